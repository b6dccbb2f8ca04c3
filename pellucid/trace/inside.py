"""Change how a model runs, and put everything back: attention implementation, precision.

    with attention(network, "eager"), precision(network, "fast"):
        ...

Nothing here touches a class or a module of transformers, only this one network, and only while the context is open.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pellucid.errors import unknown

PRECISIONS = ("full", "fast")


@contextmanager
def attention(network: Any, implementation: str | None) -> Iterator[None]:
    """Run ``network`` with one of transformers' attention implementations; None changes nothing."""
    before = network.config._attn_implementation
    if implementation is None or implementation == before:
        yield
        return
    network.set_attn_implementation(implementation)
    try:
        yield
    finally:
        network.set_attn_implementation(before)


def native_bfloat16(device: Any) -> bool:
    """Does the hardware multiply bfloat16 itself (Ampere and later GPUs; x86 CPUs with AVX-512 BF16 or AMX)?"""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.get_device_capability(device) >= (8, 0))
    if device.type == "cpu":
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # no public name for either
        return any(bool(getattr(torch.cpu, p, bool)()) for p in probes)
    return False


@contextmanager
def precision(network: Any, name: str) -> Iterator[str]:
    """``fast``: matrix products in bfloat16 by autocast, where the hardware has it; sums and scores stay float32.

    Yields what is in force, ``full`` where fast would not be faster: no native bfloat16, or a model that is in half
    precision already.
    """
    import torch

    if name not in PRECISIONS:
        raise unknown("precision", name, list(PRECISIONS))
    device = network.get_input_embeddings().weight.device
    if name == "full" or network.dtype != torch.float32 or not native_bfloat16(device):
        yield "full"
        return
    with torch.autocast(device.type, torch.bfloat16):
        yield "fast"
