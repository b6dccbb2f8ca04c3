"""Feed-forward networks: plain with an activation, or gated.

    LabConfig(feed_forward="swiglu", intermediate_size=512)

Plain: W2 f(W1 x). Gated (Shazeer 2020, arXiv:2002.05202): W3 (f(W1 x) * W2 x), with f SiLU (SwiGLU) or GELU (GeGLU).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pellucid.lab.blocks.activations import ACTIVATIONS
from pellucid.lab.blocks.experts import Experts
from pellucid.lab.configuration import GATED


class Plain(nn.Module):
    """W2 f(W1 x)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.activation_fn = ACTIVATIONS[config.feed_forward]()
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to the same."""
        out: Tensor = self.fc2(self.activation_fn(self.fc1(x)))
        return out


class Gated(nn.Module):
    """W3 (f(W1 x) * W2 x)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)
        self.act_fn = ACTIVATIONS[config.feed_forward]()

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to the same."""
        out: Tensor = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
        return out


def feed_forward(config: Any) -> nn.Module:
    """What the configuration names."""
    if config.num_experts:
        return Experts(config)
    return Gated(config) if config.feed_forward in GATED else Plain(config)
