"""What an evaluation found, as plain data: one row a number, with its interval, unit and which way is better.

found = evaluate(loaded, documents=documents); found.rows[0].value; found.to_json(indent=1)
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from pellucid.lab.evaluation.bootstrap import Estimate
from pellucid.lab.evaluation.perplexity import Perplexity
from pellucid.lab.evaluation.sampling import Samples

SCHEMA = "pellucid.evaluation/1"
DIGITS = 7  # significant ones, in JSON alone


@dataclass(frozen=True)
class Row:
    """One number. ``group`` is what it is about ("likelihood", "generation", "references", or a task's name); ``low``
    and ``high`` are its 95 % interval, None where there is none; ``better`` is "up", "down" or None; ``units`` how
    many documents, prompts or examples it comes from."""

    group: str
    measure: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    better: str | None = None
    note: str = ""
    units: int = 0

    @classmethod
    def of(cls, group: str, measure: str, found: Estimate, unit: str, better: str | None = None, note: str = "") -> Row:
        """From an estimate."""
        return cls(group, measure, found.value, found.low, found.high, unit, better, note, found.units)


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured of one model. ``model`` says which and where it ran, ``settings`` how it was
    asked, ``perplexity`` the sums behind the likelihood rows, ``samples`` what the model wrote."""

    model: dict[str, Any]
    settings: dict[str, Any]
    rows: tuple[Row, ...]
    perplexity: Perplexity | None
    samples: tuple[Samples, ...]
    seconds: float
    versions: dict[str, str]

    def value(self, group: str, measure: str) -> float | None:
        """The number of one row. Raises ``KeyError`` where there is no such row."""
        for row in self.rows:
            if (row.group, row.measure) == (group, measure):
                return row.value
        raise KeyError(f"{group}: {measure}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data; numbers to seven significant figures, None for what is no number."""
        return {"schema": SCHEMA, **_plain(asdict(self))}

    def to_json(self, *, indent: int | None = None) -> str:
        """A JSON text (strict: no NaN), characters as they are."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=indent)


def _plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {str(k): _plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(v) for v in x]
    if isinstance(x, float):
        return float(f"{x:.{DIGITS}g}") if math.isfinite(x) else None
    return x
