"""Records of ``bench rag`` to a table: retrieval, answers, citations against chance, calibration; every mean with its
95 % bootstrap interval over questions.

    board = RagBoard.of(records.lines, settings, made); board.save("rag.md")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pellucid.bench.rag import DEPTH, FOUND, WITHHELD
from pellucid.lens.plain import Result
from pellucid.trace.curves import interval, roc_area

Line = Mapping[str, Any]
#: Bins of the reliability diagram, of equal width in confidence.
BINS = 5


@dataclass(frozen=True)
class Figure:
    """A mean of ``n`` questions with its interval; ``chance``: what no knowledge would give, None where nothing is."""

    group: str
    name: str
    value: float
    low: float
    high: float
    n: int
    chance: float | None = None


@dataclass(frozen=True)
class Bin:
    """Answers of about the same confidence: its mean, the share that is right, how many."""

    confidence: float
    right: float
    n: int


@dataclass(frozen=True)
class RagBoard(Result):
    """``reliability`` and the figures of the group ``calibration`` are of all answers, with the gold paragraph and
    without it."""

    SCHEMA: ClassVar[str] = "pellucid.rag-board/1"

    settings: dict[str, Any]
    figures: tuple[Figure, ...]
    reliability: tuple[Bin, ...]
    made: dict[str, str]

    @classmethod
    def of(cls, lines: Sequence[Line], settings: Mapping[str, Any], made: Mapping[str, str]) -> RagBoard:
        """From records."""
        seed = int(settings.get("seed", 0))
        figures: list[Figure] = []

        def add(
            group: str, name: str, of: Sequence[Line], value: Callable[[Line], float], chance: float | None = None
        ) -> None:
            values = [value(r) for r in of]
            if values:
                low, high = interval(values, seed=seed) if len(values) > 1 else (math.nan, math.nan)
                figures.append(Figure(group, name, float(np.mean(values)), low, high, len(values), chance))

        for name in dict.fromkeys(r["kind"] for r in lines if r["kind"] not in (FOUND, WITHHELD)):
            mine = [r for r in lines if r["kind"] == name]
            for k in (1, 3, 5, DEPTH):
                add(f"retrieval, {name}", f"recall@{k}", mine, _within(k))
            add(f"retrieval, {name}", f"MRR@{DEPTH}", mine, lambda r: 1 / r["rank"] if r["rank"] else 0.0)
        found = [r for r in lines if r["kind"] == FOUND and r.get("answer")]
        away = [r for r in lines if r["kind"] == WITHHELD and r.get("answer")]
        # An answer that the model ended at once is a wrong one; it has no sentence that could be cited or marked.
        asked = [r for r in lines if r["kind"] == FOUND]
        for name, of in (("with the gold paragraph", [r for r in asked if r.get("gold")]), ("all", asked)):
            add(f"answers, {name}", "holds a marked answer", of, lambda r: float(r.get("right", False)))
            add(f"answers, {name}", "F1", of, lambda r: r.get("f1", 0.0))
            add(f"answers, {name}", "exact match", of, lambda r: r.get("exact_match", 0.0))
            add(f"answers, {name}", "empty", of, lambda r: float(not r.get("answer")))
        add("answers, gold withheld", "holds a marked answer", away, lambda r: float(r["right"]))
        right = [r for r in found if r["gold"] and r["right"]]
        drawn = float(np.mean([len(r["cited"]) / r["passages"] for r in right])) if right else None
        once = float(np.mean([1 / r["passages"] for r in right])) if right else None
        add("citations of right answers", "recall of the gold paragraph", right, lambda r: r["cites_gold"], drawn)
        add("citations of right answers", "gold is the first cited", right, lambda r: r["first_is_gold"], once)
        some = [r for r in right if r["cited"]]
        add("citations of right answers", "precision", some, lambda r: r["cites_gold"] / len(r["cited"]), once)
        add("the mark 'unsupported'", "on answers with gold withheld", away, lambda r: float(r["unsupported"] > 0))
        add("the mark 'unsupported'", "absent from right answers", right, lambda r: float(r["unsupported"] == 0))
        every = [r for r in (*found, *away) if r["confidence"] is not None]
        for group, of in (("calibration", every), ("calibration, gold found", [r for r in found if r["gold"]])):
            figures += _calibration(group, of, seed)
        return cls(dict(settings), tuple(figures), tuple(_bins(every)), dict(made))

    def rows(self) -> list[dict[str, Any]]:
        """One row a figure."""
        return [
            {n: getattr(f, n) for n in ("group", "name", "value", "low", "high", "n", "chance")} for f in self.figures
        ]


def _within(k: int) -> Callable[[Line], float]:
    return lambda r: float((r["rank"] or math.inf) <= k)


def _pairs(lines: Sequence[Line]) -> tuple[Any, Any]:
    sure = np.array([r["confidence"]["value"] for r in lines], dtype=np.float64)
    return sure, np.array([bool(r["right"]) for r in lines])


def _bins(lines: Sequence[Line]) -> list[Bin]:
    if not lines:
        return []
    sure, right = _pairs(lines)
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    return [
        Bin(float(sure[place == b].mean()), float(right[place == b].mean()), int((place == b).sum()))
        for b in range(BINS)
        if (place == b).any()
    ]


def expected_error(sure: Any, right: Any) -> float:
    """Expected calibration error: mean over bins of |confidence - share right|, by their sizes (Guo et al. 2017,
    arXiv:1706.04599)."""
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    return float(
        sum(abs(sure[place == b].mean() - right[place == b].mean()) * (place == b).mean() for b in np.unique(place))
    )


def _calibration(group: str, lines: Sequence[Line], seed: int) -> list[Figure]:
    """ECE and area under ROC of the confidence; each number's area beside, where it was measured."""
    if len(lines) < 2:
        return []
    sure, right = _pairs(lines)
    draws = np.random.default_rng(seed)

    def with_interval(name: str, statistic: Callable[[Any, Any], float], of: Any, chance: float | None) -> Figure:
        values = []
        for _ in range(1000):
            d = draws.integers(0, len(of), len(of))
            values.append(statistic(of[d], right[d]))
        finite = [v for v in values if math.isfinite(v)]
        low, high = np.quantile(finite, [0.025, 0.975]) if finite else (math.nan, math.nan)
        return Figure(group, name, statistic(of, right), float(low), float(high), len(of), chance)

    found = [with_interval("ECE", expected_error, sure, None)]
    names = {
        "value": "area under ROC",
        "gain": "area, gain alone",
        "logprob": "area, log-probability alone",
        "support": "area, support alone",
        "relevance": "area, relevance alone",
        "consistency": "area, consistency alone",
        "verbal": "area, the model's own 1 to 10",
    }
    for key, name in names.items():
        values = [r["confidence"].get(key) for r in lines]
        if all(v is not None for v in values):
            found.append(with_interval(name, roc_area, np.array(values, dtype=np.float64), 0.5))
    return found
