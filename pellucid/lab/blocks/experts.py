"""A mixture of experts: each token visits the few feed-forward networks that a router chooses for it.

    LabConfig(num_experts=8, num_experts_per_tok=2)

y = sum over the k likeliest experts e of p_e / (sum of those p) * FFN_e(x), p = softmax(W x) (Shazeer et al. 2017,
arXiv:1701.06538; weights renewed over the chosen as in Mixtral). Tokens are sorted by expert, so that each expert runs
once on all of its tokens. Two losses keep the router in order: balance, E * sum_e f_e P_e with f_e the share of
choices that fell on e and P_e its mean probability (Fedus et al. 2021, arXiv:2101.03961; 1 where all is even), and z,
the mean of logsumexp(W x)^2 (Zoph et al. 2022, arXiv:2202.08906).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.lab.blocks.activations import ACTIVATIONS
from pellucid.lab.configuration import GATED


@dataclass
class Routing:
    """Where a batch's tokens went: the two losses (with graph), and tokens an expert [experts] before any was
    dropped."""

    balance: Tensor
    z: Tensor
    load: Tensor
    dropped: int


class Experts(nn.Module):
    """The mixture. ``routing`` holds what the last forward pass did, until it is taken."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.experts, self.chosen = config.num_experts, config.num_experts_per_tok
        self.capacity = config.expert_capacity
        width, inner = config.hidden_size, config.intermediate_size
        self.gated = config.feed_forward in GATED
        self.router = nn.Linear(width, self.experts, bias=False)
        self.up = nn.Parameter(torch.empty(self.experts, (2 if self.gated else 1) * inner, width))
        self.down = nn.Parameter(torch.empty(self.experts, width, inner))
        self.act_fn = ACTIVATIONS[config.feed_forward]()
        self.routing: Routing | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to the same."""
        flat = x.reshape(-1, x.shape[-1])  # [tokens, width]
        logits = self.router(flat).float()  # [tokens, experts]
        probabilities = logits.softmax(-1)
        weights, experts = probabilities.topk(self.chosen, -1)  # [tokens, k]
        weights = weights / weights.sum(-1, keepdim=True)
        load = torch.bincount(experts.flatten(), minlength=self.experts)  # [experts]
        order = experts.flatten().argsort(stable=True)  # choices, expert by expert; within one in the tokens' order
        counts = load.tolist()
        kept = counts
        if self.capacity is not None:
            limit = math.ceil(self.capacity * order.numel() / self.experts)
            kept = [min(c, limit) for c in counts]
            starts = [sum(counts[:e]) for e in range(self.experts)]
            order = torch.cat([order[s : s + c] for s, c in zip(starts, kept, strict=True)])
        token = order // self.chosen
        out = self._run(flat[token], kept) * weights.flatten()[order, None].to(flat.dtype)
        if self.training:
            share = load / load.sum()
            self.routing = Routing(
                self.experts * (share * probabilities.mean(0)).sum(),
                logits.logsumexp(-1).square().mean(),
                load,
                sum(counts) - sum(kept),
            )
        return torch.zeros_like(flat).index_add(0, token, out).view_as(x)

    def _run(self, grouped: Tensor, counts: list[int]) -> Tensor:
        """Each expert on its own stretch of ``grouped`` [choices, width]."""
        parts = []
        for expert, some in enumerate(grouped.split(counts)):
            if not len(some):
                continue
            h = some @ self.up[expert].T
            if self.gated:
                a, b = h.chunk(2, -1)
                h = self.act_fn(a) * b
            else:
                h = self.act_fn(h)
            parts.append(h @ self.down[expert].T)
        return torch.cat(parts)


def routings(network: nn.Module) -> list[Routing]:
    """What each mixture did in the last forward pass in training mode; asked for once."""
    found = []
    for m in network.modules():
        if isinstance(m, Experts) and m.routing is not None:
            found.append(m.routing)
            m.routing = None
    return found
