"""An answer from passages, with what each of its sentences rests on: plain data.

answer.sentences[0].citations[0].number; answer.confidence.support; answer.passages[0].document
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from pellucid.apps.rag.passage import Found
from pellucid.lens.plain import Result
from pellucid.trace.result import ModelInfo, Trace


@dataclass(frozen=True)
class Part:
    """A sentence of a passage: its characters there; ``drop``: the fall in nats of the answer sentence when it goes."""

    text: str
    start: int
    end: int
    drop: float


@dataclass(frozen=True)
class Citation:
    """Passage ``number`` (from 1, its place in the result's ``passages``): ``drop`` and ``alone`` in nats over the
    answer sentence, ``evidence`` is what it is ranked by; ``sentences``: those within it that matter, most first."""

    number: int
    drop: float
    alone: float
    evidence: float
    sentences: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Sentence:
    """A sentence of the answer: characters ``start`` to ``end``. ``logprob`` and ``gain`` (over the same without any
    passage) in nats, summed over its ``tokens``; ``strongest``: the strongest passage's evidence, nats a token;
    ``supported``: it rests on something retrieved, namely ``citations``."""

    text: str
    start: int
    end: int
    tokens: int
    logprob: float
    gain: float
    strongest: float
    supported: bool
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True)
class Claimed:
    """A bracketed number that the model wrote itself: ``[2]`` in answer sentence ``sentence``. ``held``: the computed
    citations of that sentence hold it; ``exists``: there is a passage of that number."""

    number: int
    sentence: int
    exists: bool
    held: bool


@dataclass(frozen=True)
class Confidence:
    """How far to trust the answer, from evidence. ``value`` 0 to 1 is the calibrated whole (``calibration`` says by
    what); ``gain``: log-probability with passages less without, nats a token; ``logprob``: with them, nats a token;
    ``support``: share of answer tokens in supported sentences; ``relevance``: how much likelier the nearest passage
    makes the question, nats a token; ``consistency``: mean agreement of sampled answers with this one, None where none
    were drawn; ``verbal``: the model's own 1 to 10, None where it was not asked or said none."""

    value: float
    gain: float
    logprob: float
    support: float
    relevance: float | None = None
    consistency: float | None = None
    verbal: int | None = None
    calibration: str = ""


@dataclass(frozen=True)
class Cited(Result):
    """``question`` as asked, ``standalone`` as searched for. ``passages`` in order of number, best first. ``trace`` has
    the passages as its units, ``within`` the sentences of those that are cited. ``notes`` say what else there is to
    know (nothing found; a fall back; what was cut)."""

    SCHEMA: ClassVar[str] = "pellucid.cited/1"

    question: str
    standalone: str
    answer: str
    end: str
    passages: tuple[Found, ...]
    sentences: tuple[Sentence, ...]
    claimed: tuple[Claimed, ...]
    confidence: Confidence | None
    trace: Trace | None
    within: Trace | None
    collection: str
    model: ModelInfo
    seconds: float
    generate_seconds: float = 0.0
    forward_passes: int = 0
    notes: tuple[str, ...] = ()
    hops: tuple[Hop, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def supported(self) -> bool:
        """Every sentence of the answer rests on something retrieved."""
        return bool(self.sentences) and all(s.supported for s in self.sentences)

    def rows(self) -> list[dict[str, Any]]:
        """One row a citation: sentence, supported, number, document, drop, alone; a row without one where there is
        none."""
        found: list[dict[str, Any]] = []
        for n, s in enumerate(self.sentences):
            head = {"sentence": n + 1, "text": s.text, "supported": s.supported}
            for c in s.citations:
                passage = self.passages[c.number - 1].passage
                found.append(
                    {**head, "number": c.number, "document": passage.document, "drop": c.drop, "alone": c.alone}
                )
            if not s.citations:
                found.append({**head, "number": None, "document": None, "drop": None, "alone": None})
        return found

    def __repr__(self) -> str:
        cited = sorted({c.number for s in self.sentences for c in s.citations})
        return f"Cited({self.answer[:60]!r}, rests on {cited or 'nothing retrieved'} of {len(self.passages)} passages)"


@dataclass(frozen=True)
class Hop:
    """One step of a question that was taken apart: its own question, answer and evidence."""

    question: str
    answer: str
    passages: tuple[Found, ...]
    sentences: tuple[Sentence, ...]
    trace: Trace | None
