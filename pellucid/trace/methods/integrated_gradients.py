"""Integrated gradients: the gradient, averaged along the straight way from a baseline to the input.

    pellucid explain --method integrated_gradients --param steps=50 --param baseline=mean "..."

score_j = (x_j - b_j) . integral over a in [0, 1] of ds/dx_j at b + a (x - b). Scores of all tokens, prompt and answer,
add up to s(x) - s(b) as the steps grow (completeness); by how much they miss it is ``details["completeness_gap"]``, in
the objective's unit. One forward and backward pass a step, and two forward passes for the ends.

``rule`` of the integral: ``midpoint`` (the default: second order, and never at the ends, where the baseline's gradient
may be wild), ``trapezoid`` (steps + 1 points), ``gauss_legendre`` (exact for polynomials of degree 2 steps - 1).

``baseline``: ``zero``, ``mean``, ``pad`` or a token; ``walk``: ``all`` tokens go there, or the user's ``units`` alone
(``trace/baselines.py``).

Sundararajan, Taly, Yan 2017, "Axiomatic Attribution for Deep Networks" (arXiv:1703.01365).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.errors import OptionError, unknown
from pellucid.trace.baselines import baseline as get_baseline
from pellucid.trace.methods import Method

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.trace.engine import Run, Scores

RULES = ("midpoint", "trapezoid", "gauss_legendre")


def quadrature(rule: str, steps: int) -> list[tuple[float, float]]:
    """(place in [0, 1], weight), weights summing to 1. Raises ``OptionError``."""
    import numpy as np

    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise OptionError(f"steps should be a whole number of at least 1, given {steps!r}")
    if rule == "midpoint":
        return [((k + 0.5) / steps, 1 / steps) for k in range(steps)]
    if rule == "trapezoid":
        return [(k / steps, (0.5 if k in (0, steps) else 1.0) / steps) for k in range(steps + 1)]
    if rule == "gauss_legendre":
        places, weights = np.polynomial.legendre.leggauss(steps)
        return [((float(p) + 1) / 2, float(w) / 2) for p, w in zip(places, weights, strict=True)]
    raise unknown("rule", rule, list(RULES))


def completeness(run: Run, scores: Scores, start: Tensor) -> dict[str, Any]:
    """What scores should add up to, and by how much they miss: ``run.values()`` at the input less that at ``start``."""
    whole = float((run.values() - run.values(start)).double().sum())
    return {"difference": whole, "completeness_gap": float(scores.total.double().sum()) - whole}


def integrated_gradients(run: Run, *, steps: int, rule: str, baseline: str | int, walk: str) -> Scores:
    """Gradient along the straight way from the baseline, times the way."""
    from dataclasses import replace

    places = quadrature(rule, steps)
    start = get_baseline(run, baseline, walk)
    way = run.embeddings - start  # [tokens, width]

    def dot(gradient: Tensor, point: Tensor) -> Tensor:
        return (gradient * way).sum(-1)  # [rows, tokens, width] -> [rows, tokens]

    scores = run.from_points(((w, start + a * way) for a, w in places), dot, count=len(places))
    return replace(scores, details=completeness(run, scores, start))


METHOD = Method(
    name="integrated_gradients",
    description="gradient averaged along the straight way from a baseline to the input, times that way",
    paper="Sundararajan et al. 2017, arXiv:1703.01365",
    formula="(x_j - b_j) . mean_a ds/dx_j(b + a (x - b))",
    cost="steps + 2 forward, steps backward (a backward a step and target for the matrix)",
    signed=True,
    needs="gradient",
    function=integrated_gradients,
    parameters={"steps": 20, "rule": "midpoint", "baseline": "zero", "walk": "all"},
)
