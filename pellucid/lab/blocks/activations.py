"""Activations by the names that configurations have for them; a gated network's name stands for its gate's.

    ACTIVATIONS["relu_squared"]()

Squared ReLU is So et al. 2021 (arXiv:2109.08668).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class SquaredReLU(nn.Module):
    """max(0, x)^2."""

    def forward(self, x: Tensor) -> Tensor:
        """Each number by itself."""
        return nn.functional.relu(x).square()


ACTIVATIONS: dict[str, Any] = {
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "relu": nn.ReLU,
    "relu_squared": SquaredReLU,
    "silu": nn.SiLU,
    "swiglu": nn.SiLU,
    "geglu": nn.GELU,
}
