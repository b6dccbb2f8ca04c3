"""AdamW for all weights, or Muon for the matrices inside the layers and AdamW for the rest.

    made = optimisers(network, "muon", rate=0.02, betas=(0.9, 0.95), decay=0.1)

Weight decay falls on matrices only: not on norms, biases, or the relative-position table's like (Loshchilov & Hutter
2017, arXiv:1711.05101).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from pellucid.lab.training.muon import Muon

KINDS = ("adamw", "muon")


def optimisers(
    network: nn.Module, kind: str, *, rate: float, betas: tuple[float, float], decay: float, adam_rate: float | None
) -> list[torch.optim.Optimizer]:
    """The optimisers of ``network``'s weights that learn; each group keeps its peak rate as ``peak``.

    ``adam_rate``: what AdamW takes beside Muon, ``rate`` where None.
    """
    learning = {n: p for n, p in network.named_parameters() if p.requires_grad}
    inside = {
        n
        for n, p in learning.items()
        if p.ndim >= 2 and not any(word in n for word in ("embed", "lm_head", "wte", "wpe", "table", "router"))
    }
    made: list[torch.optim.Optimizer] = []
    if kind == "muon":
        made.append(Muon([learning[n] for n in learning if n in inside], lr=rate, weight_decay=decay))
        learning = {n: p for n, p in learning.items() if n not in inside}
        rate = rate if adam_rate is None else adam_rate
    groups = [
        {"params": [p for p in learning.values() if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in learning.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    fused = all(p.device.type in ("cpu", "cuda") for p in learning.values())
    if groups:
        made.append(torch.optim.AdamW(groups, lr=rate, betas=betas, fused=fused))
    for group in all_groups(made):
        group["peak"] = group["lr"]
    return made


def all_groups(made: list[torch.optim.Optimizer]) -> Iterator[dict[str, Any]]:
    """Every parameter group."""
    for optimiser in made:
        yield from optimiser.param_groups


def set_rate(made: list[torch.optim.Optimizer], share: float) -> None:
    """Each group's rate as a share of its peak."""
    for group in all_groups(made):
        group["lr"] = group["peak"] * share
