"""torchao's 8-bit weights, with products and look-ups that never unpack the whole matrix.

    in_rows(network)        # every Int8Tensor of the network becomes one of these, tied ones once

The numbers are torchao's own, bit for bit; what differs is what is in memory on the way. torchao turns the whole
matrix into floats for each product and for each look-up of an embedding, which is most of the time that a CPU takes for
a token; here a CPU turns some rows at a time, as many as its cache holds, and a look-up only those that are asked for.
Where activations are rounded too, the integer product is called directly. Gradients and other devices go torchao's
way.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

#: Bytes of unpacked rows at once, for each thread: what stays in a core's second-level cache.
BLOCK = 1 << 20
#: Of the rounding of activations, as torchao has them: the range's half, its ends, the smallest scale's dtype.
_HALF, _LOW, _HIGH = 127.5, -128, 127


def in_rows(network: Any) -> None:
    """Give the network's 8-bit weights (``torchao.quantization.Int8Tensor``) the products and look-ups of this module.

    A weight that several modules share stays shared. The dtype that they stand for becomes the network's.
    """
    import torch
    from torchao.quantization import Int8Tensor

    made: dict[int, Any] = {}
    dtype = next(
        (p.dtype for p in network.parameters() if not isinstance(p, Int8Tensor) and p.is_floating_point()), None
    )
    for module in network.modules():
        for name, weight in module._parameters.items():
            if not isinstance(weight, Int8Tensor):
                continue
            if id(weight) not in made:
                rows = _rebuilt(kind(), weight, dtype or weight.dtype)
                made[id(weight)] = torch.nn.Parameter(rows, requires_grad=False)
            module._parameters[name] = made[id(weight)]


def plain(weight: Any) -> Any:
    """The same weight as torchao's own class, which its files know by name."""
    from torchao.quantization import Int8Tensor

    return _rebuilt(Int8Tensor, weight, weight.dtype)


def _rebuilt(cls: Any, weight: Any, dtype: Any) -> Any:
    names = (*weight.optional_tensor_data_names, *weight.optional_tensor_attribute_names)
    return cls(weight.qdata, weight.scale, weight.block_size, dtype, **{n: getattr(weight, n) for n in names})


@cache
def kind() -> Any:
    """The class, made when it is first needed: torchao is an extra, and slow to import."""
    import torch
    from torchao.quantization import Int8Tensor

    class Int8Rows(Int8Tensor):  # type: ignore[misc]  # torchao has no types
        """An ``Int8Tensor`` [rows, width] that is unpacked a few rows at a time."""

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.nn.functional.linear and not kwargs and isinstance(args[1], cls) and _ours(*args[:2]):
                return _product(*args)
            return super().__torch_function__(func, types, args, kwargs)

        @classmethod
        def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten.embedding.default:
                weight, ids = args[:2]
                return weight[ids.reshape(-1)].dequantize().reshape(*ids.shape, weight.shape[-1])
            return super().__torch_dispatch__(func, types, args, kwargs)

    # The name by which other code tells that torchao made a weight, as torchao sets it on its own classes.
    Int8Rows.__module__ = Int8Tensor.__module__
    return Int8Rows


def _product(x: Tensor, weight: Any, bias: Tensor | None = None) -> Tensor:
    """``x`` [..., width] times the weights [outputs, width]: [..., outputs]."""
    rows = x.reshape(-1, x.shape[-1])  # [n, width]
    found = _rounded(rows, weight) if weight.act_quant_kwargs is not None else _blocks(rows, weight)
    found = found.reshape(*x.shape[:-1], weight.shape[0])
    return (found if bias is None else found + bias).to(x.dtype)


def _ours(x: Tensor, weight: Any) -> bool:
    """Is this a product that the functions below know? Weights are symmetric, scaled by rows or groups; activations, if
    rounded, by rows."""
    import torch

    if x.device.type != "cpu" or torch.compiler.is_compiling() or (torch.is_grad_enabled() and x.requires_grad):
        return False
    given = weight.act_quant_kwargs
    if weight.act_pre_scale is not None or weight.act_quant_scale is not None or weight.block_size[0] != 1:
        return False
    if given is None:
        return True
    return (
        weight.block_size[-1] == weight.shape[-1]
        and type(given.granularity).__name__ == "PerRow"
        and given.mapping_type.name == "SYMMETRIC"
        and not given.reduce_range
    )


def _blocks(rows: Tensor, weight: Any) -> Tensor:
    """``rows`` [n, width] times the weights [outputs, width]: [n, outputs]."""
    import torch

    outputs, width = weight.qdata.shape
    groups = weight.scale.shape[1]
    step = max(16, BLOCK * torch.get_num_threads() // (width * rows.dtype.itemsize))
    found = torch.empty(len(rows), outputs, dtype=rows.dtype)
    for at in range(0, outputs, step):
        block = weight.qdata[at : at + step].to(rows.dtype)  # [step, width]
        if groups > 1:
            scaled = block.view(len(block), groups, -1) * weight.scale[at : at + step, :, None]
            block = scaled.view(len(block), width).to(rows.dtype)
        torch.mm(rows, block.T, out=found[:, at : at + step])
    return found if groups > 1 else found.mul_(weight.scale.to(rows.dtype).flatten())


def _rounded(rows: Tensor, weight: Any) -> Tensor:
    """The same where each row of activations is rounded to 8 bits too, by its own largest magnitude."""
    import torch

    smallest = torch.finfo(torch.float32).eps
    scale = (rows.abs().amax(-1, keepdim=True) / _HALF).clamp(min=smallest).float()  # [n, 1]
    whole = (rows * (1.0 / scale)).round().clamp(_LOW, _HIGH).to(torch.int8)
    found = torch._int_mm(whole, weight.qdata.T).to(scale.dtype) * scale
    product: Tensor = found.to(rows.dtype) * weight.scale.flatten()
    return product
