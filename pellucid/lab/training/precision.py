"""In which numbers a step computes: float32, bfloat16 where it is native, float16 with a scaler.

    with precision.context("bf16", device): loss = ...

Weights, their gradients and the optimiser's state stay float32 (Micikevicius et al. 2017, arXiv:1710.03740).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from pellucid.errors import OptionError, unknown

KINDS = ("auto", "fp32", "bf16", "fp16")


def choose(kind: str, device: torch.device) -> str:
    """``auto`` to what the device does natively. Raises ``OptionError``.

    On a CPU auto is fp32: bfloat16 there is emulated on most, and slower where it is not.
    """
    if kind not in KINDS:
        raise unknown("precision", kind, list(KINDS))
    native = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    if kind == "auto":
        return "bf16" if native else "fp16" if device.type == "cuda" else "fp32"
    if kind == "fp16" and device.type == "cpu":
        raise OptionError("fp16 on a CPU has too small a range and no fast kernels: choose fp32 or bf16")
    if kind == "bf16" and device.type == "cuda" and not native:
        raise OptionError("this GPU has no native bfloat16: choose fp16 or fp32")
    return kind


def context(kind: str, device: torch.device) -> AbstractContextManager[Any]:
    """Autocast, or nothing for fp32."""
    if kind == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if kind == "bf16" else torch.float16)


def scaler(kind: str, device: torch.device) -> torch.amp.GradScaler:
    """What keeps small float16 gradients from vanishing; it does nothing for other kinds."""
    return torch.amp.GradScaler(device.type, enabled=kind == "fp16")
