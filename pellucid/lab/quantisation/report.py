"""What quantisation did to a model, as plain data: which weights, how many bytes, and what it cost.

report.after.memory / report.before.memory; report.share; report.to_json(indent=1)
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

SCHEMA = "pellucid.quantisation/1"
DIGITS = 7  # significant ones, in JSON alone


@dataclass(frozen=True)
class Converted:
    """A weight that was packed. ``names`` are those of all modules that share it, ``module`` the class of the first
    as it was (``Linear``, ``Conv1D``, ``Embedding``), ``stored`` how it is kept now."""

    names: tuple[str, ...]
    module: str
    shape: tuple[int, ...]
    parameters: int
    stored: str


@dataclass(frozen=True)
class Kept:
    """A parameter that was left as it was, and why."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    why: str


@dataclass(frozen=True)
class Measured:
    """Of one network: bytes of its weights in ``memory`` and on ``disk`` (None where they are in no file), the
    ``nats`` of all scored tokens and the ``perplexity``, tokens a second when reading a window (the head on every
    token) and when writing one after another."""

    dtype: str
    memory: int
    disk: int | None
    nats: float
    perplexity: float
    reading: float
    writing: float


@dataclass(frozen=True)
class Text:
    """What was measured on: names of the documents that were read, SHA-256 of their text (of long ones the beginning),
    how many ``tokens`` were scored, in windows of ``window``."""

    names: tuple[str, ...]
    sha256: str
    tokens: int
    window: int


@dataclass(frozen=True)
class Report:
    """Before and after, on the same text in one run. ``bfloat16`` is what the original's weights take in two bytes
    each, the yardstick that does not depend on how it was loaded."""

    model: str
    source: str
    to: str
    group: int | None
    device: str
    parameters: int
    bfloat16: int
    converted: tuple[Converted, ...]
    kept: tuple[Kept, ...]
    before: Measured
    after: Measured
    text: Text
    notes: tuple[str, ...]
    seconds: float
    versions: dict[str, str]

    @property
    def share(self) -> float:
        """Of all parameters, how many were packed: 0 to 1."""
        return sum(c.parameters for c in self.converted) / self.parameters

    @property
    def smaller(self) -> float:
        """Bytes in memory after, as a share of those before."""
        return self.after.memory / self.before.memory

    @property
    def cost(self) -> float:
        """The relative change of perplexity: 0.01 is one per cent more."""
        return self.after.perplexity / self.before.perplexity - 1

    def to_dict(self) -> dict[str, Any]:
        """Plain data; numbers to seven significant figures, None for what is no number."""
        more = {"share": self.share, "smaller": self.smaller, "cost": self.cost}
        return {"schema": SCHEMA, **_plain({**asdict(self), **more})}

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
