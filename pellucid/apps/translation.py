"""A translation and where each of its words comes from: plain data.

found = model.translate("Das Haus ist klein.")
found.translation; found.words[0].sources[0].text; found.trace.scores; found.save("house.html")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pellucid.lens.plain import Result
from pellucid.trace.result import ModelInfo, Trace


def clean(name: str) -> str:
    """The name of a token that no text stands for, its sign for a blank (sentencepiece's, U+2581) as one."""
    return name.replace("\u2581", " ")


@dataclass(frozen=True)
class Link:
    """A word of the source, characters ``start`` to ``end`` of it: ``score`` is the sum of the matrix over its tokens
    and those of the translated word, ``share`` its part of the magnitude of all the source's words."""

    text: str
    start: int
    end: int
    score: float
    share: float


@dataclass(frozen=True)
class Aligned:
    """A word of the translation (characters ``start`` to ``end`` of it) and the source words that it rests on most, the
    largest magnitude first. ``logprob``: of its tokens together, nats. ``from_source``: the source's part of the
    magnitude of source and translation so far; None where the method does not measure both in one unit."""

    text: str
    start: int
    end: int
    logprob: float
    sources: tuple[Link, ...]
    from_source: float | None


@dataclass(frozen=True)
class Translation(Result):
    """A translation, and the trace of every token of it: ``trace.scores`` [targets, source tokens + targets].

    ``generated``: by the model, or given. ``words`` are those of the translation in order, marks too. Languages are
    None where the model is not told any. ``logprob`` is the mean over tokens of the translation, nats.
    """

    SCHEMA: ClassVar[str] = "pellucid.translation/1"

    model: ModelInfo
    source: str
    translation: str
    generated: bool
    source_language: str | None
    target_language: str | None
    logprob: float
    words: tuple[Aligned, ...]
    trace: Trace
    seconds: float

    @property
    def source_tokens(self) -> tuple[str, ...]:
        """The source's tokens as they stand in its text (pieces of one character carry it whole), and those that frame
        it by their names; a piece that is but the blank before the text is a blank."""
        return tuple(clean(s.text) if s.start is None else s.text for s in self.trace.sources)

    @property
    def target_tokens(self) -> tuple[str, ...]:
        """The translation's tokens as they stand in its text."""
        return tuple(t.text for t in self.trace.targets)

    def rows(self) -> list[dict[str, Any]]:
        """The alignment: one row a word of the translation and a source word that it rests on."""
        return [
            {
                "word": w.text,
                "start": w.start,
                "end": w.end,
                "logprob": w.logprob,
                "from_source": w.from_source,
                "rank": k + 1,
                "source": s.text,
                "source_start": s.start,
                "source_end": s.end,
                "score": s.score,
                "share": s.share,
            }
            for w in self.words
            for k, s in enumerate(w.sources)
        ]
