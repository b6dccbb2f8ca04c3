"""A model in fewer bits: packed by torchao, measured beside the original, saved as a folder that loads like any other.

    pellucid lab quantise smollm2-135m-instruct --to int8 --out small
    pellucid explain --model small "What is the capital of France?"

    small = quantise("smollm2-135m-instruct", "int8")
    small.report.smaller, small.report.cost
    small.save("small")

The original is not touched: the quantised network has modules of its own, and shares with it what was not packed.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pellucid.errors import ModelError, OptionError, OutputError
from pellucid.lab.evaluation.inputs import Document
from pellucid.lab.evaluation.likelihood import check_causal
from pellucid.lab.quantisation import layers, measure
from pellucid.lab.quantisation.kinds import Kind, kind_of
from pellucid.lab.quantisation.report import Report
from pellucid.lab.quantisation.texts import standard_library
from pellucid.models import int8, packed
from pellucid.models.load import LoadedModel, load_model
from pellucid.models.quantization import first_line, packer, scheme, torchao
from pellucid.models.quiet import quiet_bars
from pellucid.progress import Progress, silent
from pellucid.version import __version__

REPORT = "quantisation.json"
TOKENS = 8192
_DTYPES = ("float32", "bfloat16", "float16")
_ROUNDED = (
    "its weights come from a GGUF file, where they were rounded before: this is the cost of rounding them once more "
    "(hardly any where kind and groups are the file's), not that of rounding the weights that were trained"
)


@dataclass(frozen=True, eq=False)
class Quantised:
    """A quantised model in memory, and what it cost."""

    loaded: LoadedModel
    report: Report

    def save(self, folder: str | Path, *, progress: Progress = silent) -> Report:
        """Write network, tokenizer and ``quantisation.json`` to a new folder in the Hub's layout, whole or not at all.

        Returns the report with the bytes on disk. Raises ``OutputError``, or ``ModelError`` where
        transformers cannot save it.
        """
        from safetensors import SafetensorError

        target = Path(os.path.realpath(folder))
        check_folder(target)
        scratch = _beside(target)
        progress(f"writing {folder}", 0, 1)
        try:
            scratch.mkdir()
            with quiet_bars():
                self.loaded.network.save_pretrained(scratch)
                self.loaded.tokenizer.save_pretrained(scratch)
            report = replace(self.report, after=replace(self.report.after, disk=measure.files(scratch)))
            (scratch / REPORT).write_text(report.to_json(indent=1) + "\n", encoding="utf-8")
            if target.exists():  # empty: check_folder looked
                target.rmdir()
            scratch.rename(target)
        except (OSError, SafetensorError) as e:
            said = getattr(e, "strerror", None) or str(e).splitlines()[0]
            raise OutputError(f"cannot write the folder {folder}: {said}") from None
        except ValueError as e:  # transformers saves no generation settings that contradict themselves
            raise ModelError(f"transformers cannot save '{self.loaded.name}': {first_line(e)}") from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        progress(f"writing {folder}", 1, 1)
        return report


def check_folder(folder: str | Path) -> None:
    """Raise ``OutputError`` where a model cannot be written to ``folder``: before the work, rather than after it."""
    target = Path(os.path.realpath(folder))
    if target.is_dir():
        if any(target.iterdir()):
            raise OutputError(f"the folder {folder} is not empty: give the name of a new one")
    elif target.exists():
        raise OutputError(f"cannot write to {folder}: it is a file; give the name of a new folder")
    if not target.parent.is_dir():
        raise OutputError(f"cannot write {folder}: there is no folder {target.parent}; make it first")
    scratch = _beside(target)
    try:
        scratch.mkdir()
        scratch.rmdir()
    except OSError as e:
        raise OutputError(f"cannot write the folder {folder}: {e.strerror or e}") from None


def _beside(target: Path) -> Path:
    """A name for a folder that is not whole yet."""
    return target.with_name(f".{target.name[:200]}-{secrets.token_hex(4)}.partial")


def check(
    to: str, group_size: int | None = None, tokens: int = TOKENS, window: int | None = None
) -> tuple[Kind, int | None]:
    """The kind and its group. Raises ``OptionError``, ``MissingExtraError`` for what is wrong whatever the model."""
    kind = kind_of(to)
    group = kind.group_of(group_size)
    for name, value in (("tokens", tokens), ("window", window)):
        if value is not None and value < 1:
            raise OptionError(f"{name} should be 1 or more, given {value}")
    torchao("quantisation")
    return kind, group


def quantise(
    model: str | LoadedModel,
    to: str = "int8",
    *,
    group_size: int | None = None,
    embedding: bool = True,
    documents: Sequence[Document] | None = None,
    tokens: int = TOKENS,
    window: int | None = None,
    progress: Progress = silent,
    **load: Any,
) -> Quantised:
    """Pack the weights of a causal language model, and measure it beside the original.

    - ``to``: ``int8`` (weights), ``int8-dynamic`` (activations too), ``int4``, ``float8`` (``quantisation.kinds``).
    - ``group_size``: how many weights of a row share a scale (int8: the whole row unless given; int4: 32).
    - ``embedding``: pack the token table and the head too, as 8-bit rows.
    - ``documents``: what to measure on, the first ``tokens`` tokens of it in windows of ``window``; without any, the
      Python standard library's source.
    - ``load``: keywords of ``load_model`` where ``model`` is a name.

    Raises ``OptionError`` for a kind that this device has not, or a group; ``ModelError`` for a model that is not
    causal, is quantised already, or has no layer to pack; ``InputError``, ``NumericError``, ``MissingExtraError``.
    """
    began = time.perf_counter()
    kind, group = check(to, group_size, tokens, window)
    texts = standard_library() if documents is None else list(documents)
    if isinstance(model, LoadedModel) and load:
        raise OptionError(f"the model is loaded already: leave out {', '.join(load)}")
    original = model if isinstance(model, LoadedModel) else load_model(model, **load, progress=progress)
    _check_model(original, kind)
    rows, text = measure.rows_of(original, texts, window, tokens)
    network = layers.sharing(original.network)
    converted, kept = _pack(network, kind, group, embedding, progress)
    quantised = replace(original, network=network)
    before, after = measure.compare(original, quantised, rows, progress=progress)
    report = Report(
        model=original.name,
        source=original.source,
        to=to,
        group=group,
        device=str(original.device),
        parameters=original.parameters,
        bfloat16=2 * sum(p.numel() for p in original.network.parameters()),
        converted=tuple(converted),
        kept=tuple(kept),
        before=before,
        after=after,
        text=text,
        notes=(_ROUNDED,) if original.source in ("embedded", "gguf") else (),
        seconds=round(time.perf_counter() - began, 3),
        versions=_versions(),
    )
    return Quantised(quantised, report)


def _check_model(loaded: LoadedModel, kind: Kind) -> None:
    check_causal(loaded, "quantisation (it measures perplexity)")
    package = scheme(loaded.network)
    if package is not None:
        raise ModelError(f"'{loaded.name}' is quantised already, by {package}: give the model that it was made from")
    dtype = str(loaded.dtype).removeprefix("torch.")
    if dtype not in _DTYPES:
        raise ModelError(f"torchao quantises {', '.join(_DTYPES)}, and '{loaded.name}' is in {dtype}: load it in one")
    kind.check_device(loaded.device)


def _pack(network: Any, kind: Kind, group: int | None, embedding: bool, progress: Progress) -> tuple[Any, Any]:
    """Pack ``network`` in place and tell transformers how; what was packed, and what was not."""
    import torch
    from transformers import TorchAoConfig

    conv1d = frozenset(packed.as_linear(network))
    converted, kept, plain = layers.pack(network, kind, group, embedding=embedding, conv1d=conv1d, progress=progress)
    if kind.dtype is not None:
        dtype = getattr(torch, kind.dtype)
        for weight in layers.weights(network):
            if weight.parameter.is_floating_point() and packer(weight.parameter) is None:
                cast = torch.nn.Parameter(weight.parameter.detach().to(dtype), requires_grad=False)
                for _, module, name in weight.owners:
                    module._parameters[name] = cast
        network.config.dtype = dtype
    config = TorchAoConfig(kind.config(group), include_input_output_embeddings=embedding)
    setattr(config, packed.CONV1D, bool(conv1d))
    packed.as_saved(network, config, plain)
    int8.in_rows(network)
    return converted, kept


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    import torch
    import transformers

    return {
        "pellucid": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchao": version("torchao"),
        "transformers": transformers.__version__,
    }
