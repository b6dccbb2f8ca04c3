"""Records of ``bench relevance`` to a table: means with intervals, each row's difference from ``auto``.

    board = RelevanceBoard.of(records.lines, settings, made); board.rows[0].means["span_roc"]

Every example counts once; intervals are of the bootstrap over examples at 95 %, and differences are taken on the same
draws of examples. The area of degrees compares every question's own paragraph with every question's other ones, so that
a degree has to mean the same from query to query.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pellucid.bench.board import plain, reference_of
from pellucid.relevance.modes import AUTO
from pellucid.trace.curves import roc_area

SCHEMA = "pellucid.relevance-board/1"
DRAWS = 1000
#: Means over questions, then areas of degrees over pairs of them.
MEASURES = ("span_roc", "span_precision", "sentence_roc", "sentence_precision", "top1", "top3")
DEGREES = ("degree", "calibrated")
Value = tuple[float, float, float]  # mean, low, high
_NOTHING: Value = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class RelevanceRow:
    """``means`` by measure; ``beside``: the reference's minus this row's, so that above nothing the reference is
    better. ``seconds``: median a question."""

    label: str
    examples: int
    seconds: float
    means: dict[str, Value]
    beside: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class RelevanceBoard:
    """The table, best area of tokens first."""

    settings: dict[str, Any]
    rows: tuple[RelevanceRow, ...]
    made: dict[str, Any]
    reference: str | None = None

    @classmethod
    def of(
        cls,
        lines: Sequence[Mapping[str, Any]],
        settings: Mapping[str, Any],
        made: Mapping[str, Any],
        *,
        reference: str | None = None,
    ) -> RelevanceBoard:
        """From records; ``reference`` is ``auto`` where it is None and was measured. Raises ``OptionError`` for one
        that was not."""
        labels = list(dict.fromkeys(str(r["row"]) for r in lines))
        reference = reference_of(reference, labels, AUTO)
        seed = int(settings.get("seed", 0))
        by = {label: {r["example"]: r for r in lines if r["row"] == label} for label in labels}
        rows = []
        for label in labels:
            mine = by[label]
            values = list(mine.values())
            means = {m: statistic(m, values, None, seed) for m in (*MEASURES, *DEGREES)}
            beside: dict[str, Value] = {}
            if reference is not None and label != reference:
                both = [e for e in mine if e in by[reference]]
                a, b = [by[reference][e] for e in both], [mine[e] for e in both]
                beside = {m: statistic(m, a, b, seed) for m in (*MEASURES, *DEGREES)}
            seconds = float(np.median([r["seconds"] for r in values]))
            rows.append(RelevanceRow(label, len(values), seconds, means, beside))
        rows.sort(key=lambda r: -r.means["span_roc"][0] if math.isfinite(r.means["span_roc"][0]) else 1.0)
        return cls(dict(settings), tuple(rows), dict(made), reference)

    def to_dict(self) -> dict[str, Any]:
        """Plain data in schema ``pellucid.relevance-board/1``; what is undefined is None."""
        found: dict[str, Any] = {"schema": SCHEMA, **plain(asdict(self))}
        return found


def statistic(
    measure: str, a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]] | None, seed: int = 0
) -> Value:
    """A measure of records ``a``, or that of ``a`` minus that of ``b``, which hold the same examples: (value, low,
    high)."""
    sides = [_values(measure, r) for r in ((a,) if b is None else (a, b))]
    if any(s is None for s in sides):
        return _NOTHING
    able = np.logical_and.reduce([np.isfinite(s).all(axis=1) for s in sides if s is not None])
    kept = [s[able] for s in sides if s is not None]
    n = len(kept[0])
    if n == 0:
        return _NOTHING

    def value(draw: npt.NDArray[np.int64]) -> float:
        parts = [_reduce(s[draw]) for s in kept]
        return parts[0] - parts[1] if len(parts) == 2 else parts[0]

    whole = value(np.arange(n))
    if n < 2:
        return (whole, math.nan, math.nan)
    random = np.random.default_rng(seed)
    drawn = [value(random.integers(0, n, n)) for _ in range(DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return (whole, float(low), float(high))


def _values(measure: str, records: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64] | None:
    """[examples, 1] of a mean, [examples, 1 + others] of degrees, own first; None where a row has none."""
    if measure in MEASURES:
        return np.array([[math.nan if r[measure] is None else r[measure]] for r in records], dtype=np.float64)
    at = DEGREES.index(measure)
    if any(len(r["own"]) <= at for r in records):
        return None
    return np.array([[r["own"][at], *(o[at] for o in r["others"])] for r in records], dtype=np.float64)


def _reduce(values: npt.NDArray[np.float64]) -> float:
    """The mean of one column; of several the area under ROC of the first against the others."""
    if values.shape[1] == 1:
        return float(values.mean())
    positive = np.zeros(values.shape, dtype=bool)
    positive[:, 0] = True
    return roc_area(values.ravel(), positive.ravel())
