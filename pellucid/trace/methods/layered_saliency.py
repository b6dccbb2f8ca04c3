"""Layered saliency: gradient norm times state norm before every layer of the upper half, added up.

    pellucid explain --method layered_saliency "What is the capital of France?"

With h_lj the state of position j before layer l, and g_lj the objective's gradient there:

    score_j = sum_l ||g_lj||_2 ||h_lj||_2,

the largest first-order change that turning the state could make, layer by layer, for the layers above the lower
``skip`` share. The norm at the embeddings alone depends on how long a token's embedding happens to be (the first norm
divides by it: half as long, twice the gradient). Half-way up a position holds what its token means where it stands,
and something of its neighbours: it says where the answer was read, and less which word made it so.

Never negative. The same forward and backward pass as saliency's, or less of it.

Ours; measured in docs/leaderboard.md, where it scores tokens for ``relevance``. After Simonyan et al. 2014
(arXiv:1312.6034), and layer gradients as captum has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pellucid.errors import OptionError
from pellucid.trace.methods import Method

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.trace.engine import Run, Scores


def lengths(gradient: Tensor, states: Tensor) -> Tensor:
    """||g|| ||h|| over the width: [..., tokens, width] -> [..., tokens]."""
    found: Tensor = torch.linalg.vector_norm(gradient, dim=-1) * torch.linalg.vector_norm(states, dim=-1)
    return found


def layered_saliency(run: Run, *, skip: float) -> Scores:
    """Gradient norm times state norm, summed over the upper layers."""
    if not 0 <= skip < 1:
        raise OptionError(f"skip should be a share of the layers from 0 to below 1, given {skip}")
    return run.from_states(lengths, skip=skip)


METHOD = Method(
    name="layered_saliency",
    description="gradient norm times state norm, over the upper half of the layers: where the answer was read",
    paper="ours; after Simonyan et al. 2014, arXiv:1312.6034",
    formula="sum_l ||g_lj|| ||h_lj||",
    cost="1 forward, 1 backward (1 backward a target token for the matrix)",
    signed=False,
    needs="gradient",
    kinds=("causal",),
    function=layered_saliency,
    parameters={"skip": 0.5},
)
