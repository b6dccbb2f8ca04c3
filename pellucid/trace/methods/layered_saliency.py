"""Layered saliency: gradient norm times state norm, before every layer, added up.

    pellucid explain --method layered_saliency "What is the capital of France?"

With h_lj the state of position j before layer l, and g_lj the objective's gradient there:

    score_j = sum_l ||g_lj||_2 ||h_lj||_2,

the largest first-order change that turning the state could make, layer by layer. The norm at the embeddings alone
depends on how long a token's embedding happens to be (the first norm divides by it: half as long, twice the gradient),
and on what the token does in the first layer only. Never negative. The same forward and backward pass as saliency's.

Ours; measured in docs/leaderboard.md, where it scores tokens for ``relevance``. After Simonyan et al. 2014
(arXiv:1312.6034), and layer gradients as captum has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pellucid.trace.methods import Method

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.trace.engine import Run, Scores


def lengths(gradient: Tensor, states: Tensor) -> Tensor:
    """||g|| ||h|| over the width: [..., tokens, width] -> [..., tokens]."""
    found: Tensor = torch.linalg.vector_norm(gradient, dim=-1) * torch.linalg.vector_norm(states, dim=-1)
    return found


def layered_saliency(run: Run) -> Scores:
    """Gradient norm times state norm, summed over the layers."""
    return run.from_states(lengths)


METHOD = Method(
    name="layered_saliency",
    description="gradient norm times state norm before every layer: how much a token matters at any depth",
    paper="ours; after Simonyan et al. 2014, arXiv:1312.6034",
    formula="sum_l ||g_lj|| ||h_lj||",
    cost="1 forward, 1 backward (1 backward a target token for the matrix)",
    signed=False,
    needs="gradient",
    kinds=("causal",),
    function=layered_saliency,
)
