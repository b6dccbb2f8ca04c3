"""Discretized integrated gradients: the way from the input to the baseline leads past real words.

    pellucid explain --method discretized_integrated_gradients --param steps=10 "..."

A straight way runs through embeddings that no word has. Here each token walks from its own embedding w towards the
baseline b over anchors: at every step one of the ``neighbors`` nearest words of where it stands, made monotonic (each
dimension that is not between w and b is moved to the straight way's next place), the nearest to the straight way's next
place first (``strategy="greedy"``) or the one with most monotonic dimensions (``"max_count"``). Then

score_j = sum over steps k of ds/dx_j(point_k) . (point_k - point_(k+1)), point_0 the input and the last the baseline,

a Riemann sum whose scores add up to s(x) - s(b) as the steps grow; ``details["completeness_gap"]`` says how nearly.
One forward and backward pass a step; the walk itself is a search in the vocabulary for each distinct token.

``baseline`` and ``walk`` as in integrated gradients.

Sanyal & Ren 2021, "Discretized Integrated Gradients for Explaining Language Models" (arXiv:2108.13654).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.errors import OptionError, unknown
from pellucid.trace.baselines import baseline as get_baseline
from pellucid.trace.methods import Method
from pellucid.trace.methods.integrated_gradients import completeness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from pellucid.trace.engine import Run, Scores

STRATEGIES = ("greedy", "max_count")


def monotonic(anchors: Tensor, now: Tensor, end: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Anchors [neighbors, width] with every dimension that is not between ``now`` and ``end`` [width] moved to
    ``now + step``; and how many dimensions of each were between."""
    import torch

    low, high = torch.minimum(now, end), torch.maximum(now, end)
    between = (anchors >= low) & (anchors <= high)
    return torch.where(between, anchors, now + step), between.sum(-1)


def word_way(words: Tensor, token: int, end: Tensor, *, steps: int, neighbors: int, strategy: str) -> Tensor:
    """The points of one token's way [steps + 1, width] from ``words[token]`` [vocabulary, width] to ``end``."""
    import torch

    now, anchor, visited = words[token], token, {token}
    points = [now]
    for k in range(steps - 1):
        near = (
            torch.linalg.vector_norm(words - words[anchor], dim=-1)
            .topk(min(neighbors + len(visited), len(words)), largest=False)
            .indices
        )
        free = [int(i) for i in near if int(i) not in visited][:neighbors]
        step = (end - now) / (steps - k)
        if not free:
            now = now + step
            points.append(now)
            continue
        moved, count = monotonic(words[free], now, end, step)
        best = (
            int(torch.linalg.vector_norm(moved - (now + step), dim=-1).argmin())
            if strategy == "greedy"
            else int(count.argmax())
        )
        now, anchor = moved[best], free[best]
        visited.add(anchor)
        points.append(now)
    return torch.stack([*points, end])


def vocabulary(table: Any, like: Tensor) -> Tensor:
    """All embeddings of a layer [vocabulary, width], on the device and in the dtype of ``like``."""
    import torch

    every = torch.arange(table.num_embeddings, device=table.weight.device)
    return torch.cat([table(part).detach() for part in every.split(8192)]).to(like)


def discretized_integrated_gradients(
    run: Run, *, steps: int, neighbors: int, strategy: str, baseline: str | int, walk: str
) -> Scores:
    """Gradients along a way past real words, times its pieces."""
    from dataclasses import replace

    import torch

    for name, value in (("steps", steps), ("neighbors", neighbors)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise OptionError(f"{name} should be a whole number of at least 1, given {value!r}")
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, list(STRATEGIES))
    start, ids = get_baseline(run, baseline, walk), run.ids[0].tolist()
    found: list[Tensor] = []
    for some, table in run.tables:
        words = vocabulary(table, start)
        ways: dict[tuple[int, bool], Tensor] = {}
        for n in range(len(ids))[some]:
            key = ids[n], torch.equal(start[n], words[ids[n]])  # one that stays goes nowhere, whatever its likes do
            if key not in ways:
                run.progress("walking", n, len(ids))
                ways[key] = word_way(words, ids[n], start[n], steps=steps, neighbors=neighbors, strategy=strategy)
            found.append(ways[key])
    run.progress("walking", len(ids), len(ids))
    path = torch.stack(found, 1)  # [steps + 1, tokens, width]
    at = 0

    def points() -> Iterator[tuple[float, Tensor]]:
        nonlocal at
        for at in range(steps):
            yield 1.0, path[at]

    def dot(gradient: Tensor, point: Tensor) -> Tensor:
        return (gradient * (path[at] - path[at + 1])).sum(-1)

    scores = run.from_points(points(), dot, count=steps)
    return replace(scores, details=completeness(run, scores, start))


METHOD = Method(
    name="discretized_integrated_gradients",
    description="integrated gradients along a way that leads past real words",
    paper="Sanyal & Ren 2021, arXiv:2108.13654",
    formula="sum_k ds/dx_j(p_k) . (p_k - p_(k+1)), p from x to b past words",
    cost="steps + 2 forward, steps backward (a backward a step and target for the matrix), and the walks",
    signed=True,
    needs="gradient",
    function=discretized_integrated_gradients,
    parameters={"steps": 10, "neighbors": 50, "strategy": "greedy", "baseline": "mean", "walk": "all"},
)
