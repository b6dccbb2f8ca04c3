"""Attention x gradient: each attention weight times how much the answer would gain by more of it.

    pellucid explain --method attention_x_gradient "..."

score_j = mean over layers and heads of the sum over rows t of f(A[t, j] dA[t, j]), where dA is the gradient of the
objective with respect to the weight itself and f is the positive part (``positive``), or nothing. ``rows``: ``all``
positions, or ``answer``: only those that predict the answer. One forward and one backward pass; the matrix takes a
backward pass a target, and the whole graph is kept in memory.

Barkan et al. 2021, "Grad-SAM" (arXiv:2204.11073); Chefer et al. 2021 (arXiv:2103.15679) use the same product by layer.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from pellucid.errors import unknown
from pellucid.trace.inside import Attention, attending
from pellucid.trace.methods import Method
from pellucid.trace.methods.attention import target_rows

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.trace.engine import Run, Scores


def attention_x_gradient(run: Run, *, positive: bool, rows: str) -> Scores:
    """Attention weights times their gradients, summed over the rows."""
    import torch

    from pellucid.trace.engine import Scores

    if rows not in ("all", "answer"):
        raise unknown("rows", rows, ["all", "answer"])
    places = slice(None) if rows == "all" else target_rows(run)
    tokens = run.ids.shape[1]
    found = torch.zeros(tokens, device=run.ids.device)
    calls = 0

    def look(a: Attention) -> Tensor:
        nonlocal calls
        out, calls = a.usual(), calls + a.query.shape[1]
        detached = Attention(
            a.module, a.layer, a.query.detach(), a.key.detach(), a.value.detach(), a.mask, a.scaling, a.softcap
        )

        def product(gradient: Tensor) -> None:
            """A . dA, with dA = dO V^T, when the gradient of this attention's output comes back."""
            heads = detached.value.shape[1]
            back = gradient[:, :, places].unflatten(1, (heads, -1)) @ detached.value[:, :, None].transpose(-1, -2)
            credit = detached.weights(places) * back.flatten(1, 2)
            found.add_((credit.clamp(min=0) if positive else credit).sum((0, 1, 2)).to(found.dtype))

        if out.requires_grad:
            out.register_hook(product)
        return out

    def changes(network: Any) -> AbstractContextManager[None]:
        return attending(network, look)

    total, matrix = torch.zeros(tokens, device=run.ids.device), None
    if run.per_token:
        matrix = torch.full((run.targets, tokens), torch.nan, device=run.ids.device)
    for target in run.backwards_of_graph(changes):
        if matrix is not None and target is not None:
            matrix[target] = found / calls
        else:
            total = found / calls
        found.zero_()
    return Scores(total, matrix)


METHOD = Method(
    name="attention_x_gradient",
    description="attention weights times the objective's gradient with respect to them",
    paper="Barkan et al. 2021, arXiv:2204.11073",
    formula="mean_l,h sum_t max(0, A_lh[t, j] ds/dA_lh[t, j])",
    cost="1 forward, 1 backward (1 backward a target token more for the matrix)",
    signed=False,
    needs="gradient",
    kinds=("causal",),
    function=attention_x_gradient,
    parameters={"positive": True, "rows": "all"},
)
