"""Several explanations of one prompt as one, and how far they agree.

    both = combine([model.explain(text, method=m) for m in ("saliency", "input_x_gradient")])
    agreement([a, b]).spearman

First each trace is brought to one scale (``normalize``), then token by token, on the first one's tokens, they are put
together (``how``). Ranks, products and ``mean_rank`` are of magnitudes, because what speaks against the answer mattered
too; so is a mean in which one method has no signs. Sums and ranks are taken over the tokens that the user wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pellucid.errors import InputError, unknown
from pellucid.trace.aligned import Matrix, aligned, ranks, same_units
from pellucid.trace.result import Cost, MethodInfo, Trace

HOWS = ("mean", "max_abs", "product", "mean_rank")
NORMALIZATIONS = ("sum_abs", "max_abs", "rank", "none")


def combine(traces: Sequence[Trace], how: str = "mean", normalize: str = "sum_abs") -> Trace:
    """One trace from several of the same prompt, on the tokens of the first.

    ``normalize``: ``sum_abs`` divides by the sum of magnitudes, ``max_abs`` by the largest, ``rank`` puts each
    magnitude's rank in its place, from 1/n (the smallest of n) to 1, sign kept; ``none`` leaves scores as they are.
    ``how``: ``mean``; ``max_abs``, the score with the largest magnitude, sign kept; ``product`` of magnitudes;
    ``mean_rank``, the mean of the ranks of magnitudes, from 1/n to 1, whatever ``normalize`` says.

    NaN where one of the traces has no score; template tokens too where ranks are taken, or tokenizers differ.
    Answer, targets and model are the first trace's; there is no matrix, and trust is not measured. Units are combined
    where all traces have the same. Signed only where all traces are. Raises ``InputError``, ``OptionError``.
    """
    if how not in HOWS:
        raise unknown("how", how, list(HOWS))
    if normalize not in NORMALIZATIONS:
        raise unknown("normalize", normalize, list(NORMALIZATIONS))
    if not traces:
        raise InputError("there is nothing to combine: expected one trace or more")
    traces = list(traces)
    first = traces[0]
    signed = all(t.method.signed for t in traces) and how in ("mean", "max_abs")
    tokens = _combined(aligned(traces), list(first.content), how, normalize, signed)
    units = first.units if same_units(traces) else ()
    if units:
        scores = np.array([[u.score for u in t.units] for t in traces])
        by_unit = _combined(scores, list(range(len(units))), how, normalize, signed)
        units = tuple(replace(u, score=float(x)) for u, x in zip(units, by_unit, strict=True))
    names = [t.method.name for t in traces]
    objectives = list(dict.fromkeys(t.objective for t in traces))
    return replace(
        first,
        method=MethodInfo(f"combine({how}: {', '.join(names)})", signed, {"how": how, "normalize": normalize}),
        objective=" + ".join(objectives),
        total=tokens.astype(np.float32),
        scores=None,
        span=first.span if all(t.span == first.span for t in traces) else None,
        cost=Cost(
            sum(t.cost.seconds for t in traces),
            sum(t.cost.forward_passes for t in traces),
            sum(t.cost.backward_passes for t in traces),
            max(t.cost.peak_memory_bytes for t in traces),
            first.cost.generate_seconds,
        ),
        trust=None,
        trust_note="not measured: a combination of traces",
        unit=first.unit if units else "token",
        units=units,
        unit_merge="method" if units else "sum",
        spans=(),
        details={
            "combined": [{"model": t.model.name, "method": t.method.name, "objective": t.objective} for t in traces]
        },
    )


def _combined(scores: Matrix, counted: list[int], how: str, normalize: str, signed: bool) -> Matrix:
    """[traces, entries] to [entries]; ``counted`` entries make the scale."""
    rule = "rank" if how == "mean_rank" else normalize
    x = np.stack([_normalized(row, counted, rule) for row in scores])
    if not signed:
        x = np.abs(x)
    if how == "product":
        return np.asarray(np.prod(x, axis=0))
    if how == "max_abs":
        best = np.where(np.isnan(x), np.inf, np.abs(x)).argmax(axis=0)  # NaN wins: one is enough
        return np.asarray(np.take_along_axis(x, best[None], axis=0)[0])
    return np.asarray(x.mean(axis=0))


def _normalized(row: Matrix, counted: list[int], rule: str) -> Matrix:
    size = np.abs(row[counted])
    if rule == "none" or np.isnan(size).all():
        return row
    if rule == "rank":
        out = np.full(row.shape, np.nan)
        place = ranks(size)
        sign = np.where(row[counted] < 0, -1.0, 1.0)
        out[counted] = sign * place / np.count_nonzero(~np.isnan(size))
        return out
    whole = float(np.nansum(size) if rule == "sum_abs" else np.nanmax(size))
    return row / whole if whole > 0 else row


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far explanations agree on what mattered, by magnitude.

    ``spearman`` [methods, methods] is the rank correlation over entries that both measured, NaN where one is
    constant; ``overlap`` [methods, methods] is the share of the ``top_k`` largest that two have in common. Entries
    are the traces' units where all have the same, else the tokens that the user wrote.
    """

    methods: tuple[str, ...]
    spearman: Matrix
    overlap: Matrix
    top_k: int
    entries: int


def agreement(traces: Sequence[Trace], *, top_k: int = 10) -> Agreement:
    """Compare traces of the same prompt pair by pair. Raises ``InputError`` for prompts that differ."""
    if not traces:
        raise InputError("there is nothing to compare: expected one trace or more")
    if top_k < 1:
        raise InputError(f"top_k should be at least 1, given {top_k}")
    scores = aligned(traces)[:, list(traces[0].content)]
    if same_units(traces):
        scores = np.array([[u.score for u in t.units] for t in traces])
    size = np.abs(scores)
    many, count = size.shape
    k = min(top_k, count)
    # Stable: of equal ones the first in the text counts as larger, as in ``Trace.top``.
    best = [set(np.argsort(np.where(np.isnan(row), np.inf, -row), kind="stable")[:k].tolist()) for row in size]
    correlations, common = np.eye(many), np.eye(many)
    for i in range(many):
        for j in range(many):
            correlations[i, j] = spearman(size[i], size[j])
            common[i, j] = len(best[i] & best[j]) / k
    return Agreement(tuple(t.method.name for t in traces), correlations, common, k, count)


def spearman(a: Matrix, b: Matrix) -> float:
    """Rank correlation (Pearson's, of mean ranks) where neither is NaN; NaN where one of them is constant there."""
    both = ~(np.isnan(a) | np.isnan(b))
    x, y = ranks(a[both]), ranks(b[both])
    x, y = x - x.mean() if x.size else x, y - y.mean() if y.size else y
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / scale) if scale > 0 else float("nan")
