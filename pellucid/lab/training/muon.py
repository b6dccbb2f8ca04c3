"""Muon: momentum whose matrices are made orthogonal before they are applied.

    Muon([p for p in network.parameters() if p.ndim == 2], rate=0.02)

Keller Jordan et al. 2024 (kellerjordan.github.io/posts/muon). The momentum G of a matrix is replaced by about U V^T of
its singular value decomposition, by five steps of the quintic iteration X <- aX + (bA + cA^2) X with A = X X^T, from G
/ |G|. The step is scaled by 0.2 sqrt(max(rows, columns)), so that its numbers are as large as AdamW's and the same
rate and decay serve both (Liu et al. 2025, arXiv:2502.16982). Stacks of matrices (experts) are taken one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(g: Tensor, *, steps: int = 5) -> Tensor:
    """About U V^T of each matrix of ``g`` [..., rows, columns]: singular values between 0.7 and 1.2."""
    a, b, c = COEFFICIENTS
    wide = g.shape[-2] > g.shape[-1]
    x = g.mT if wide else g
    x = x.bfloat16() if x.is_cuda else x.float()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    out: Tensor = (x.mT if wide else x).to(g.dtype)
    return out


class Muon(torch.optim.Optimizer):
    """Muon over matrices [..., rows, columns]; Nesterov momentum, decoupled weight decay."""

    def __init__(
        self, params: Iterable[Any], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0, steps: int = 5
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": steps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step. Matrices of one shape go through the iteration together."""
        for group in self.param_groups:
            shapes: dict[tuple[Any, ...], list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                ahead = p.grad.lerp(state["momentum"], group["momentum"])
                shapes.setdefault((p.shape, p.device), []).append((p, ahead))
            for (shape, _), some in shapes.items():
                steps = orthogonal(torch.stack([g for _, g in some]), steps=group["steps"])
                scale = group["lr"] * 0.2 * max(shape[-2:]) ** 0.5
                for (p, _), step in zip(some, steps, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=-scale)
