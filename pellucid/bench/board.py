"""Records to a leaderboard: means with intervals, sorted by how far the answer falls without what a method names.

    board = Board.of(records.lines, settings); board.rows[0].means["comprehensiveness"]

Means are over examples, each example counting once; intervals are of the bootstrap over examples, at 95 %. A method
that failed on an example has the sentence in ``errors`` and its means over the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pellucid.errors import unknown
from pellucid.trace.faithful import Verdict, summary

SCHEMA = "pellucid.leaderboard/1"
RANDOM = "random"
#: What the others are compared with, example by example, where nothing else is asked for and it was measured.
REFERENCE = "leave_one_out"
#: Measures in which they are compared.
COMPARED = ("comprehensiveness", "lds")
#: What is averaged; ``over_random`` is comprehensiveness minus that of random orders of the same example.
MEASURES = (*Verdict.numbers(), "roc", "randomised", "over_random")


@dataclass(frozen=True)
class Row:
    """One method: ``means`` are (mean, low, high) by measure, NaN where a measure has no value; ``beside`` the same of
    paired differences from the board's reference, for the measures in ``COMPARED``. ``cost`` is the median over
    examples, in forward passes F over the same tokens."""

    label: str
    examples: int
    cost: float
    seconds: float
    means: dict[str, tuple[float, float, float]]
    errors: tuple[str, ...] = ()
    beside: dict[str, tuple[float, float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Board:
    """A leaderboard, best comprehensiveness first, random orders among the rows. ``reference``: the row that the others
    are compared with example by example, if any."""

    settings: dict[str, Any]
    rows: tuple[Row, ...]
    prompt_tokens: float
    answer_tokens: float
    forward_seconds: float
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
    ) -> Board:
        """From records; ``made`` says when and on what; ``reference`` is a label, ``leave_one_out`` where it is None
        and that was measured. Raises ``OptionError`` for a reference that was not."""
        about = [r for r in lines if "method" not in r]
        random = {r["example"]: r["random"] for r in about}
        labels = list(dict.fromkeys(r["method"] for r in lines if "method" in r))
        seed = int(settings.get("seed", 0))
        rows = [_row(label, [r for r in lines if r.get("method") == label], random, seed) for label in labels]
        reference = reference_of(reference, labels, REFERENCE)
        for row in rows if reference is not None else []:
            row.beside.update({m: paired(lines, row.label, str(reference), m, seed=seed) for m in COMPARED})
        rows.append(Row(RANDOM, len(random), 0.0, 0.0, _means(list(random.values()), seed)))
        return cls(
            dict(settings),
            tuple(sorted(rows, key=lambda r: -_order(r.means["comprehensiveness"][0]))),
            _mean([r["prompt_tokens"] for r in about]),
            _mean([r["answer_tokens"] for r in about]),
            _mean([r["forward_seconds"] for r in about]),
            dict(made),
            reference,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data in schema ``pellucid.leaderboard/1``; what is undefined is None."""
        found: dict[str, Any] = {"schema": SCHEMA, **plain(asdict(self))}
        return found


def plain(x: Any) -> Any:
    """Lists and dictionaries that JSON can hold; a float that is no number becomes None."""
    if isinstance(x, Mapping):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [plain(v) for v in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x


def reference_of(reference: str | None, labels: Sequence[str], usual: str) -> str | None:
    """The row that others are compared with: the ``usual`` one where None is asked for and it was measured. Raises
    ``OptionError`` for one that was not."""
    if reference is None:
        return usual if usual in labels else None
    if reference not in labels:
        raise unknown("row to compare with", reference, list(labels))
    return reference


def _row(label: str, lines: list[Mapping[str, Any]], random: Mapping[str, Mapping[str, Any]], seed: int) -> Row:
    good = [r for r in lines if "error" not in r]
    values = [
        {**r, "over_random": r["comprehensiveness"] - random[r["example"]]["comprehensiveness"]}
        for r in good
        if r["comprehensiveness"] is not None
    ]
    return Row(
        label,
        len(good),
        _median([r["cost"] for r in good]),
        _median([r["seconds"] for r in good]),
        _means(values, seed),
        tuple(dict.fromkeys(str(r["error"]) for r in lines if "error" in r)),
    )


def _means(values: Sequence[Mapping[str, Any]], seed: int) -> dict[str, tuple[float, float, float]]:
    return {m: summary([v[m] for v in values if v.get(m) is not None], seed) for m in MEASURES}


def paired(
    lines: Sequence[Mapping[str, Any]], a: str, b: str, measure: str, *, seed: int = 0
) -> tuple[float, float, float]:
    """Method ``a`` minus method ``b``, example by example: (mean, low, high)."""
    of = {
        label: {r["example"]: r[measure] for r in lines if r.get("method") == label and r.get(measure) is not None}
        for label in (a, b)
    }
    return summary([of[a][e] - of[b][e] for e in of[a] if e in of[b]], seed)


def _order(x: float) -> float:
    return x if math.isfinite(x) else -math.inf


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else math.nan
