"""What an answer's sentences are worth against passages: plain data.

checked.claims[0].verdict; checked.claims[0].passage; checked.supported
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from pellucid.apps.rag.passage import Found
from pellucid.lens.plain import Result
from pellucid.trace.result import ModelInfo, Trace

SUPPORTED, CONTRADICTED, NOT_FOUND = "supported", "contradicted", "not found"
VERDICTS = (SUPPORTED, CONTRADICTED, NOT_FOUND)


@dataclass(frozen=True)
class Place:
    """A sentence of passage ``number`` (from 1): its characters in the passage's text."""

    number: int
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Against:
    """A sentence that contradicts the claim: by which ``rule`` (number, date, denial), with what stands against what:
    ``claimed`` and ``stated``."""

    place: Place
    rule: str
    claimed: str
    stated: str


@dataclass(frozen=True)
class Claim:
    """A sentence of the answer: characters ``start`` to ``end``; ``verdict``: one of ``VERDICTS``.

    ``passage`` (its number) is the one that makes the claim likeliest, by ``gain`` nats a token over one about nothing;
    ``words``: the share of the claim's other content words that it holds; ``missing``: the claim's numbers, dates and
    names that it does not hold; ``sentence``: the one in it that matters most, by ``trace``. None where no passage was
    found.
    ``against``: what contradicts the claim, also where another passage supports it."""

    text: str
    start: int
    end: int
    verdict: str
    passage: int | None
    gain: float | None
    words: float | None
    missing: tuple[str, ...]
    sentence: Place | None
    against: Against | None
    trace: Trace | None

    @property
    def disputed(self) -> bool:
        """One passage supports it, and another contradicts it."""
        return self.verdict == SUPPORTED and self.against is not None


@dataclass(frozen=True)
class Verified(Result):
    """``answer`` and its ``claims`` against ``passages``. ``least``: nats a token that a passage must give a claim."""

    SCHEMA: ClassVar[str] = "pellucid.verified/1"

    question: str
    answer: str
    claims: tuple[Claim, ...]
    passages: tuple[Found, ...]
    least: float
    model: ModelInfo
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def supported(self) -> bool:
        """Every claim is supported."""
        return bool(self.claims) and all(c.verdict == SUPPORTED for c in self.claims)

    def rows(self) -> list[dict[str, Any]]:
        """One row a claim."""
        found = []
        for n, c in enumerate(self.claims, 1):
            passage = None if c.passage is None else self.passages[c.passage - 1].passage
            found.append(
                {
                    "claim": n,
                    "text": c.text,
                    "verdict": c.verdict,
                    "passage": c.passage,
                    "document": None if passage is None else passage.document,
                    "gain": c.gain,
                    "words": c.words,
                    "missing": "; ".join(c.missing),
                    "sentence": None if c.sentence is None else c.sentence.text,
                    "against": None if c.against is None else c.against.place.text,
                    "rule": None if c.against is None else c.against.rule,
                }
            )
        return found

    def __repr__(self) -> str:
        counts = ", ".join(f"{sum(c.verdict == v for c in self.claims)} {v}" for v in VERDICTS)
        return f"Verified({counts})"
