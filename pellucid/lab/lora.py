"""LoRA: small matrices beside the frozen ones, by peft (Hu et al. 2021, arXiv:2106.09685).

    adapted = attach(network, rank=16)          # y = W x + (alpha / rank) B A x; A and B alone learn
    save(adapted, Path("adapter")); restore(adapted, Path("adapter"))
    network = merged(adapted)                   # W + (alpha / rank) B A: an ordinary network again

B starts at zero, so the network begins as what it was. The folder that ``save`` writes is peft's own:
``peft.PeftModel.from_pretrained(network, "adapter")`` reads it too.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import MissingExtraError, ModelError, OptionError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "adapter_model.safetensors"


def check(rank: int, alpha: float, dropout: float) -> None:
    """Raise ``OptionError`` for what no adapter can be made of."""
    if rank < 1:
        raise OptionError(f"--lora should be a rank of at least 1, given {rank}")
    if alpha <= 0:
        raise OptionError(f"LoRA's alpha should be above 0, given {alpha:g}")
    if not 0 <= dropout < 1:
        raise OptionError(f"LoRA's dropout should be at least 0 and below 1, given {dropout:g}")


def attach(
    network: Any, *, rank: int, alpha: float | None = None, dropout: float = 0.0, name: str | None = None
) -> Any:
    """``network`` inside peft's wrapper, adapters at every linear map but the head; torch's seed decides A.

    ``alpha`` is twice the rank where None; ``name`` is what the adapter's configuration says it belongs to. Raises
    ``OptionError``, ``MissingExtraError``, ``ModelError`` for a network without linear maps.
    """
    from pellucid.models.quantization import quiet_imports

    alpha = 2.0 * rank if alpha is None else alpha
    check(rank, alpha, dropout)
    try:
        with quiet_imports():
            from peft import LoraConfig, get_peft_model
    except ImportError:
        raise MissingExtraError("LoRA needs the package peft: pip install 'pellucid[lab]'") from None
    from transformers.pytorch_utils import Conv1D

    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # any number will do
        lora_dropout=dropout,
        target_modules="all-linear",
        fan_in_fan_out=any(isinstance(m, Conv1D) for m in network.modules()),  # GPT-2's weights are [in, out]
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():  # peft asks transformers for things by the names of before 5.2x
            warnings.simplefilter("ignore", FutureWarning)
            adapted = get_peft_model(network, config)
    except ValueError as e:
        why = str(e).splitlines()[0]
        raise ModelError(f"no adapter can be put into this {network.config.model_type}: {why}") from e
    if name is not None:
        adapted.peft_config["default"].base_model_name_or_path = name
    return adapted


def save(adapted: Any, folder: Path) -> None:
    """Write the adapters and their configuration into ``folder``."""
    # Asked for "auto", peft would look at the Hub whether the vocabulary grew.
    adapted.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # a form to fill in


def restore(adapted: Any, folder: Path) -> None:
    """Put what ``save`` wrote back."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    weights: dict[str, Tensor] = load_file(folder / WEIGHTS)
    found: Any = set_peft_model_state_dict(adapted, weights)
    assert not found.unexpected_keys, found.unexpected_keys


def merged(adapted: Any) -> Any:
    """The network with the adapters' products added to its weights; the wrapper is of no use afterwards."""
    network = adapted.merge_and_unload()
    if hasattr(network, "peft_config"):
        del network.peft_config
    return network
