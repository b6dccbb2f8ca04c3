"""The kinds of quantisation, all of them torchao's: how many bits, what is rounded, which devices compute with it.

    KINDS["int4"].group, KINDS["int4"].check_device("cuda")

A kind is a function that packs one linear layer where it stands, one that describes it to transformers, and a line in
``KINDS``. The token table and the head are 8-bit rows in every kind: they are looked up and read off by row, and errors
in them reach every token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pellucid.errors import OptionError, unknown
from pellucid.models import int4

if TYPE_CHECKING:
    import torch


def _anywhere(device: torch.device | str) -> None:
    """Every device computes with it."""


@dataclass(frozen=True)
class Kind:
    """``pack`` packs a linear layer (given the group, or None) and returns its plain form where a file needs another
    than memory; ``config`` is torchao's own description of it. ``group`` is how many weights of a row share a scale
    where nothing is asked for, None for whole rows; ``groups`` what may be asked for, None for any, () for nothing.
    ``outputs``: a layer's outputs should be a multiple of it. ``dtype`` is what the rest of the network is cast to,
    None for what it has."""

    name: str
    title: str
    pack: Callable[[Any, int | None], Any]
    config: Callable[[int | None], Any]
    check_device: Callable[[torch.device | str], None] = _anywhere
    group: int | None = None
    groups: tuple[int, ...] | None = ()
    outputs: int = 1
    dtype: str | None = None

    def group_of(self, asked: int | None) -> int | None:
        """The group to use. Raises ``OptionError`` for one that this kind does not have."""
        if asked is None:
            return self.group
        if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
            raise OptionError(f"group_size should be a whole number of weights, 1 or more, given {asked!r}")
        if self.groups == ():
            raise OptionError(f"{self.name} has one scale a row and no groups: leave group_size out, given {asked}")
        if self.groups is not None and asked not in self.groups:
            raise OptionError(
                f"group_size of {self.name} should be one of {', '.join(map(str, self.groups))}, given {asked}"
            )
        return asked

    def stored(self, group: int | None) -> str:
        """How a layer is stored, in words."""
        return self.name if group is None else f"{self.name}, groups of {group}"


def kind_of(name: str) -> Kind:
    """The kind of that name. Raises ``OptionError``."""
    if name not in KINDS:
        raise unknown("kind of quantisation", name, list(KINDS))
    return KINDS[name]


def pack_rows(module: Any) -> None:
    """Pack the weight [rows, width] of a linear layer or an embedding in 8 bits, a scale a row."""
    _apply(module, _int8(None))


def _apply(module: Any, config: Any) -> None:
    from torchao.quantization import quantize_

    quantize_(module, config, filter_fn=lambda found, name: found is module)


def _int8(group: int | None) -> Any:
    from torchao.quantization import Int8WeightOnlyConfig, PerGroup, PerRow

    scales = PerRow() if group is None else PerGroup(group)
    return Int8WeightOnlyConfig(granularity=scales, set_inductor_config=False)


def _int8_dynamic(group: int | None) -> Any:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig

    return Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)


def _int4(group: int | None) -> Any:
    from torchao.quantization import Int4WeightOnlyConfig

    return Int4WeightOnlyConfig(group_size=group, set_inductor_config=False)


def _pack_int4(module: Any, group: int | None) -> Any:
    import torch

    plain = int4.plain(module.weight, group or 0)
    packed = int4.laid_out(plain, module.weight.device)
    module.weight = torch.nn.Parameter(packed, requires_grad=False)
    return plain


def _float8(group: int | None) -> Any:
    from torchao.quantization import Float8WeightOnlyConfig

    return Float8WeightOnlyConfig(set_inductor_config=False)


def _check_float8(device: torch.device | str) -> None:
    import torch

    place = torch.device(device)
    there = f"the model is on {place}"
    if place.type == "cuda":
        major, minor = torch.cuda.get_device_capability(place)
        if (major, minor) >= (8, 9):
            return
        there = f"{place} has {major}.{minor}"
    raise OptionError(f"float8 needs CUDA of compute capability 8.9 or above, and {there}: use int8, of as many bits")


KINDS: dict[str, Kind] = {
    k.name: k
    for k in (
        Kind(
            "int8",
            "weights in 8 bits; computes in the model's own dtype, and passes gradients",
            lambda module, group: _apply(module, _int8(group)),
            _int8,
            groups=None,
        ),
        Kind(
            "int8-dynamic",
            "weights in 8 bits, activations rounded to 8 bits as they come; integer products, no gradients",
            lambda module, group: _apply(module, _int8_dynamic(group)),
            _int8_dynamic,
        ),
        Kind(
            "int4",
            "weights in 4 bits, groups share a scale and a middle; computes in bfloat16, no gradients",
            _pack_int4,
            _int4,
            int4.check_device,
            group=32,
            groups=int4.GROUPS["cpu"],
            outputs=int4.OUTPUTS,
            dtype="bfloat16",
        ),
        Kind(
            "float8",
            "weights as 8-bit floats (e4m3); CUDA of compute capability 8.9 or above",
            lambda module, group: _apply(module, _float8(group)),
            _float8,
            _check_float8,
        ),
    )
}
