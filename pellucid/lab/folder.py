"""A run's folder: claimed by one recipe, weights written into it and read back, and the finished model published.

claim(Path("runs/mine"), recipe)
publish(lambda where: write(where, None), Path("runs/mine"))
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from pellucid.errors import OutputError
from pellucid.lab.training.checkpoints import Checkpoints

RUN = "run.json"
#: What transformers before 5.2x calls a LayerNorm's weights in the files of some families (BERT).
OLD = {"gamma": "weight", "beta": "bias"}


class Stated(Protocol):
    """Whatever says what a run is made by."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        ...


def claim(folder: Path, recipe: Stated) -> None:
    """Write what a run is made by into its folder, until something has come of it. Raises ``OutputError`` where the
    folder holds something else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not Checkpoints(folder, {}).any():  # nothing has come of it yet: another recipe may take its place
            if not (folder / RUN).is_file() and any(folder.iterdir()):
                raise OutputError(f"the folder {folder} holds something else than a lab run: choose another --out")
            partial = folder / f".{RUN}"
            partial.write_text(json.dumps(recipe.as_dict(), indent=1), encoding="utf-8")
            partial.replace(folder / RUN)
    except OSError as e:
        raise OutputError(f"cannot write into {folder}: {e.strerror or e}") from None


def writer(network: Any, tokenizer: Any) -> Callable[[Path, dict[str, Any] | None], None]:
    """What writes a network and its tokenizer into a folder; weights of its own where FSDP spread the network's."""
    from pellucid.models.quiet import quiet_bars

    def write(folder: Path, weights: dict[str, Any] | None) -> None:
        with quiet_bars():
            # A copy: transformers takes the tensors out of the mapping as it writes them.
            network.save_pretrained(folder, state_dict=None if weights is None else dict(weights))
        tokenizer.save_pretrained(folder)

    return write


def read_weights(network: Any, folder: Path) -> None:
    """Put the weights of a folder in the Hub's layout into ``network``."""
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    own = network.state_dict().keys()
    for name in [n for n in weights if n not in own]:
        module, _, last = name.rpartition(".")
        if f"{module}.{OLD.get(last)}" in own:
            weights[f"{module}.{OLD[last]}"] = weights.pop(name)
    missing, unexpected = network.load_state_dict(weights, strict=False)
    tied = set(network.all_tied_weights_keys) if hasattr(network, "all_tied_weights_keys") else set()
    assert not unexpected, unexpected
    assert set(missing) <= tied, missing


def publish(write: Callable[[Path], None], folder: Path) -> None:
    """The finished model into the run's own folder, a whole file at a time, the configuration last."""
    partial = folder / ".model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        write(partial)
        for path in sorted(partial.iterdir(), key=lambda p: p.name == "config.json"):
            path.replace(folder / path.name)
    except OSError as e:
        raise OutputError(f"the model cannot be written into {folder}: {e.strerror or e}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
