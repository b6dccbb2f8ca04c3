"""4-bit weights: torchao's plain layout, in which they are made and saved, and the layouts in which devices compute.

    made = plain(weight, group=32)             # torchao's Int4Tensor: what a file holds, on any machine
    linear.weight = laid_out(made, "cpu")      # what this device's kernel reads

Each group of ``group`` neighbours in a row shares a scale and a middle value: w = q * scale + middle, q from -8 to 7.
Packed layouts differ from device to device, and on CPUs with their instructions, so a file never holds one. The
kernels compute in bfloat16, and have no derivative.

- CPU: torch's ``_weight_int4pack_mm_for_cpu`` behind torchao's ``Int4OpaqueTensor`` (a prototype of torchao's).
- CUDA, compute capability 8.0 or above: tinygemm's ``_weight_int4pack_mm`` behind ``Int4TilePackedTo4dTensor``.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from pellucid.errors import ModelError, OptionError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: Sizes of a group that the kernels know.
GROUPS = {"cpu": (32, 64, 128), "cuda": (32, 64, 128, 256)}
#: A CPU's kernel takes so many outputs at a time.
OUTPUTS = 16
_LEVELS, _MIDDLE = 15, 8
_TILES, _TILE_WIDTH, _TILE_OUTPUTS = 8, 1024, 8  # of tinygemm's layout, as torchao chooses them


def check_device(device: torch.device | str) -> None:
    """Raise ``OptionError`` where ``device`` has no kernel for 4-bit weights."""
    import torch

    place = torch.device(device)
    if place.type not in GROUPS:
        raise OptionError(f"int4 has no kernel on {place.type}: it computes on a CPU or on CUDA; use int8")
    if place.type == "cuda" and torch.cuda.get_device_capability(place)[0] < 8:
        major, minor = torch.cuda.get_device_capability(place)
        raise OptionError(
            f"int4 needs CUDA of compute capability 8.0 or above, and {place} has {major}.{minor}: use int8"
        )


def plain(weight: Tensor, group: int) -> Any:
    """``weight`` [outputs, width] rounded to nearest, as torchao's ``Int4Tensor`` in bfloat16.

    Scale and middle are rounded to bfloat16 first and the weights by what came of it, so that nothing is lost twice.
    """
    import torch
    from torchao.quantization import Int4Tensor

    outputs, width = weight.shape
    groups = weight.detach().float().view(outputs, width // group, group)
    low, high = groups.amin(-1), groups.amax(-1)  # [outputs, groups]
    scale = ((high - low) / _LEVELS).clamp(min=1e-6).to(torch.bfloat16)
    middle = (low + _MIDDLE * scale.float()).to(torch.bfloat16)
    whole = ((groups - middle.float()[..., None]) / scale.float()[..., None]).round().clamp(-_MIDDLE, _MIDDLE - 1)
    whole = whole.to(torch.int8).view(outputs, width)
    packed = (whole[:, ::2] & 0xF) | (whole[:, 1::2] << 4)  # [outputs, width / 2], the first of a pair below
    shape = torch.Size((outputs, width))
    return Int4Tensor(packed, scale.T.contiguous(), middle.T.contiguous(), [1, group], shape)


def codes(weight: Any) -> Tensor:
    """The whole numbers of a plain weight, from 0 to 15: int32 [outputs, width]."""
    import torch

    packed = weight.qdata.view(torch.uint8)
    signed = torch.stack((packed & 0xF, packed >> 4), -1).view(weight.shape).to(torch.int32)
    found: Tensor = (signed + _MIDDLE) & 0xF  # 4-bit two's complement, moved up
    return found


def dequantized(weight: Any) -> Tensor:
    """The weights that a plain one stands for: float32 [outputs, width]."""
    outputs, width = weight.shape
    groups = (codes(weight).float() - _MIDDLE).view(outputs, weight.scale.shape[0], -1)
    found: Tensor = groups * weight.scale.T.float()[..., None] + weight.zero_point.T.float()[..., None]
    return found.reshape(outputs, width)


def laid_out(weight: Any, device: torch.device | str) -> Any:
    """A plain weight in the layout that ``device`` computes in, there. Raises ``OptionError``, ``ModelError``."""
    import torch

    place = torch.device(device)
    check_device(place)
    if weight.act_pre_scale is not None or weight.scale.dtype != torch.bfloat16 or weight.ndim != 2:
        raise ModelError("these int4 weights are of a form that is not known here: expected two dimensions, bfloat16")
    group = weight.block_size[-1]
    if group not in GROUPS[place.type]:
        known = ", ".join(map(str, GROUPS[place.type]))
        raise ModelError(f"the kernel for int4 on {place.type} takes groups of {known}; these weights have {group}")
    return (_for_cpu if place.type == "cpu" else _for_cuda)(weight.to(place), group)


def _for_cpu(weight: Any, group: int) -> Any:
    import torch

    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes(weight), 1)
    both = torch.stack((weight.scale, weight.zero_point), -1).contiguous()  # [groups, outputs, 2]
    return kinds()[0](packed, both, [1, group], weight.shape)


def _for_cuda(weight: Any, group: int) -> Any:
    """As torchao's own ``from_hp`` lays it out: filled up with zeros to whole tiles."""
    import torch

    outputs, width = weight.shape
    below, right = -outputs % _TILE_OUTPUTS, -width % _TILE_WIDTH
    whole = torch.nn.functional.pad(codes(weight), (0, right, 0, below))
    pairs = (whole[:, ::2] << 4 | whole[:, 1::2]).to(torch.uint8).contiguous()
    packed = torch.ops.aten._convert_weight_to_int4pack(pairs, _TILES)
    both = torch.stack((weight.scale, weight.zero_point), -1)  # [groups, outputs, 2]
    both = torch.nn.functional.pad(both, (0, 0, 0, below, 0, right // group)).contiguous()
    return kinds()[1](packed, both, [1, group], weight.shape)


@cache
def kinds() -> tuple[Any, Any]:
    """The classes for CPU and CUDA, made when they are first needed. Raises ``ModelError`` where torchao has none.

    They are torchao's, under a module of this project: what other code would do with torchao's own (unpack them) it
    cannot do with these.
    """
    try:
        from torchao.prototype.quantization.int4 import Int4OpaqueTensor
        from torchao.quantization import Int4TilePackedTo4dTensor
    except ImportError as e:
        raise ModelError(f"this release of torchao has no int4 for CPUs ({e}): pip install -U torchao") from None

    class Int4ForCpu(Int4OpaqueTensor):  # type: ignore[misc]  # torchao has no types
        """[outputs, width], computed on a CPU."""

    class Int4ForCuda(Int4TilePackedTo4dTensor):  # type: ignore[misc]
        """[outputs, width], computed on CUDA."""

    return Int4ForCpu, Int4ForCuda
