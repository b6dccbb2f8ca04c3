"""Value zeroing: what becomes of each position when one token's value vector is taken out of a layer's attention.

    pellucid explain --method value_zeroing "..."

C_l[t, j] = 1 - cos(h_t, h_t without v_j), where h_t is the layer's output at t and only layer l's attention is without
the value of j; rows are normalised to add up to 1. Unlike attention weights it sees the values, the residual stream,
the norms and the MLP. ``aggregate``: ``rollout`` multiplies the layers (C_l ... C_1), ``mean`` averages the rows of the
answer's positions, ``last`` takes the last layer's. score of target i and token j: row p, the position that
predicts it. Each token costs a pass through the layers: about as many forward passes as there are tokens.

Mohebbi et al. 2023, "Quantifying Context Mixing in Transformers" (arXiv:2301.12971).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.errors import unknown
from pellucid.trace.inside import Attention, attending, precision
from pellucid.trace.layers import layer_inputs
from pellucid.trace.methods import Method
from pellucid.trace.methods.attention import from_rows, target_rows

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pellucid.trace.engine import Run, Scores

AGGREGATES = ("rollout", "mean", "last")
_TOKENS = 4096  # in a batch


def value_zeroing(run: Run, *, aggregate: str) -> Scores:
    """Context mixing by zeroed values, through the layers."""
    import torch

    if aggregate not in AGGREGATES:
        raise unknown("aggregate", aggregate, list(AGGREGATES))
    network: Any = run.loaded.network
    tokens = run.ids.shape[1]
    batch = max(1, _TOKENS // tokens)
    zeroed: Tensor | None = None  # [batch], which token's value is out in which row

    def attend(a: Attention) -> torch.Tensor:
        if zeroed is None:
            return a.usual()
        value = a.value.clone()
        value[torch.arange(len(zeroed), device=value.device), :, zeroed] = 0
        return Attention(a.module, a.layer, a.query, a.key, value, a.mask, a.scaling, a.softcap).usual()

    with torch.no_grad(), attending(network, attend):
        layers, _ = layer_inputs(network, run.values)
        rolled = torch.eye(tokens, device=run.ids.device)
        rows: list[Tensor] = []
        with precision(network, run.precision):
            for depth, layer in enumerate(layers):
                plain = layer.run(1)[0].float()
                mixing = torch.zeros(tokens, tokens, device=run.ids.device)
                for first in range(0, tokens, batch):
                    run.progress("zeroing values", depth + first / tokens, len(layers))
                    zeroed = torch.arange(first, min(first + batch, tokens), device=run.ids.device)
                    without = layer.run(len(zeroed)).float()  # [batch, tokens, width]
                    mixing[:, zeroed] = (1 - torch.cosine_similarity(without, plain[None], dim=-1)).clamp(min=0).T
                    zeroed = None
                mixing = mixing.tril()  # what is above the diagonal is rounding
                mixing /= mixing.sum(-1, keepdim=True).clamp(min=torch.finfo(mixing.dtype).tiny)
                rows.append(mixing[target_rows(run)])
                rolled = mixing @ rolled
        run.forwards += tokens
    run.progress("zeroing values", len(layers), len(layers))
    by = {
        "rollout": lambda: rolled[target_rows(run)],
        "mean": lambda: torch.stack(rows).mean(0),
        "last": lambda: rows[-1],
    }
    return from_rows(run, by[aggregate]())


METHOD = Method(
    name="value_zeroing",
    description="change of each position's state when a token's value is taken out of a layer's attention",
    paper="Mohebbi et al. 2023, arXiv:2301.12971",
    formula="prod_l C_l[p, j], C_l[t, j] = 1 - cos(h_t, h_t without v_j)",
    cost="about as many forwards as tokens",
    signed=False,
    needs="attention",
    kinds=("causal",),
    function=value_zeroing,
    parameters={"aggregate": "rollout"},
)
