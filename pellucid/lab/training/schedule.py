"""The learning rate at each optimiser step: linear warm-up, then cosine, linear, constant, or WSD.

    rate(0.5, "cosine", least=0.1)     # half-way: 0.55 of the peak

Warm-up, stable, decay (WSD): constant, then down in the last fifth (Hu et al. 2024, arXiv:2404.06395).
"""

from __future__ import annotations

import math

SHAPES = ("cosine", "linear", "constant", "wsd")
DECAY = 0.2  # the last part of a run, in which WSD goes down


def rate(share: float, shape: str, *, least: float) -> float:
    """The share of the peak rate after ``share`` (0..1) of the steps that follow the warm-up; ``least`` at the end."""
    if shape == "constant":
        return 1.0
    if shape == "cosine":
        return least + (1 - least) * (1 + math.cos(math.pi * share)) / 2
    if shape == "wsd":
        share = max(0.0, (share - (1 - DECAY)) / DECAY)
    return 1 - (1 - least) * share


def at(step: int, steps: int, *, warmup: int, shape: str, least: float) -> float:
    """The share of the peak rate at ``step`` (from 0) of ``steps``."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return rate(min(1.0, (step - warmup) / max(1, steps - warmup)), shape, least=least)
