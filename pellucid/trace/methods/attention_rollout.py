"""Attention rollout: attention weights multiplied through the layers, with the residual stream as a second way.

    pellucid explain --method attention_rollout "..."

R_l = (residual I + (1 - residual) mean_h A_lh) R_(l-1), R_0 = I; score of target i and token j = R[p, j] with p the
position that predicts it. It takes tokens at deep layers for mixtures of tokens, which plain attention does not. One
forward pass.

Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers" (arXiv:2005.00928), whose share of the residual
stream is 0.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.errors import OptionError
from pellucid.trace.inside import Attention, attending
from pellucid.trace.methods import Method
from pellucid.trace.methods.attention import from_rows, target_rows

if TYPE_CHECKING:
    import torch

    from pellucid.trace.engine import Run, Scores


def attention_rollout(run: Run, *, residual: float) -> Scores:
    """Product over layers of mean attention with its residual part."""
    import torch

    if not 0 <= residual <= 1:
        raise OptionError(f"residual should be a share from 0 to 1, given {residual}")
    tokens = run.ids.shape[1]
    rolled = torch.eye(tokens, device=run.ids.device)

    def roll(a: Attention) -> torch.Tensor:
        nonlocal rolled
        weights = a.weights()
        rolled = residual * rolled + (1 - residual) * weights[0].mean(0).to(rolled.dtype) @ rolled
        return a.output(weights)

    with attending(run.loaded.network, roll):
        run.values()
    return from_rows(run, rolled[target_rows(run)])


METHOD = Method(
    name="attention_rollout",
    description="attention multiplied through the layers, half of it residual",
    paper="Abnar & Zuidema 2020, arXiv:2005.00928",
    formula="prod_l (I/2 + mean_h A_lh/2)[p, j]",
    cost="1 forward",
    signed=False,
    needs="attention",
    kinds=("causal",),
    function=attention_rollout,
    parameters={"residual": 0.5},
)
