"""Sequential integrated gradients: each token walks from the baseline alone, while the others stay as they are.

    pellucid explain --method sequential_integrated_gradients --param steps=5 "..."

score_j = (x_j - b_j) . integral over a of ds/dx_j at x with x_j replaced by b_j + a (x_j - b_j). The points keep the
meaning of the rest of the text, which integrated gradients lose. Each token's score is what the objective changes by
when that token alone goes to the baseline, as the steps grow. Steps forward and backward passes for every token that
may be taken away (the user's), so it is for short prompts; the template's tokens and the answer's are not measured.

``rule`` and ``baseline`` as in integrated gradients.

Enguehard 2023, "Sequential Integrated Gradients" (arXiv:2305.15853).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pellucid.trace.baselines import baseline as get_baseline
from pellucid.trace.methods import Method
from pellucid.trace.methods.integrated_gradients import quadrature

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.trace.engine import Run, Scores


def sequential_integrated_gradients(run: Run, *, steps: int, rule: str, baseline: str | int) -> Scores:
    """Integrated gradients of each token by itself."""
    from dataclasses import replace

    import torch

    places = quadrature(rule, steps)
    start, plain = get_baseline(run, baseline), run.embeddings
    way = plain - start
    walking = sorted({i for unit in run.units for i in unit})
    now = torch.zeros(plain.shape[0], 1, dtype=plain.dtype, device=plain.device)  # 1 where a token is on its way

    def points() -> Iterator[tuple[float, Tensor]]:
        for j in walking:
            now.zero_()
            now[j] = 1
            for a, w in places:
                yield w, plain - (1 - a) * now * way

    def dot(gradient: Tensor, point: Tensor) -> Tensor:
        return (gradient * now * way).sum(-1)

    scores = run.from_points(points(), dot, count=len(walking) * len(places))
    run.values()
    measured = torch.zeros(plain.shape[0], dtype=torch.bool, device=plain.device)
    measured[walking] = True
    return replace(scores, measured=measured)


METHOD = Method(
    name="sequential_integrated_gradients",
    description="integrated gradients of each token alone, while the rest of the text stays",
    paper="Enguehard 2023, arXiv:2305.15853",
    formula="(x_j - b_j) . mean_a ds/dx_j(x with b_j + a (x_j - b_j) at j)",
    cost="steps forward and backward a token",
    signed=True,
    needs="gradient",
    function=sequential_integrated_gradients,
    parameters={"steps": 5, "rule": "midpoint", "baseline": "mean"},
)
