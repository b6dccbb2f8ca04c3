"""A trace by words: each one's share of what the trace says, so that traces in different units can be added up.

    read(trace).words[0].share

**The scale.** A trace's scores are divided by the sum of their absolute values over the tokens that the user wrote. The
unit of method and objective is gone then, and every trace weighs the same: shares add up to 1.

**Words** are those of ``trace.segments.words`` (Chinese by jieba where it is installed, else by characters), because
tokens are pieces that nobody can read. Each token's share is spread evenly over its visible characters, and a word
collects those of its own; byte-level pieces of one character all go to it. A token of blanks alone (a line break) is an
entry of its own.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Set
from dataclasses import dataclass

from pellucid.apps.report.collect import texts_of
from pellucid.apps.report.stopwords import folded
from pellucid.trace import segments
from pellucid.trace.result import FRAME_ROLES, Trace

WORD, STOP, PUNCTUATION = "word", "stop", "punctuation"


@dataclass(frozen=True)
class Word:
    """``share`` is its part of the sum of magnitudes (NaN: not measured), ``net`` the same with signs; ``tokens``: how
    many it is made of; ``kind``: ``word``, ``stop`` or ``punctuation`` (with blanks)."""

    text: str
    start: int
    end: int
    message: int | None
    share: float
    net: float
    tokens: float
    kind: str


@dataclass(frozen=True)
class Reading:
    """``written`` tokens are the user's, ``shares`` their magnitudes over the sum of them (NaN: not measured; empty
    where all are 0). ``frame`` and ``first`` are the template's and the very first token's part of the magnitudes of
    all tokens."""

    trace: Trace
    words: tuple[Word, ...]
    written: tuple[int, ...]
    shares: tuple[float, ...]
    frame: float
    first: float


def read(trace: Trace, stops: Set[str] | None = None) -> Reading:
    """``trace`` by words; ``stops`` are the function words, casefolded (None: not known)."""
    total = [float(x) for x in trace.total]
    sizes = [abs(x) if math.isfinite(x) else 0.0 for x in total]
    written = tuple(i for i, s in enumerate(trace.sources) if s.role not in FRAME_ROLES)
    mine, every = sum(sizes[i] for i in written), sum(sizes)
    frame = sum(x for x, s in zip(sizes, trace.sources, strict=True) if s.role in FRAME_ROLES)
    if not mine > 0:
        empty = (math.nan, math.nan) if not every > 0 else (frame / every, sizes[0] / every)
        return Reading(trace, (), written, (), *empty)
    shares = tuple(sizes[i] / mine if math.isfinite(total[i]) else math.nan for i in written)
    words = _words(trace, written, [total[i] / mine for i in written], stops or frozenset())
    return Reading(trace, words, written, shares, frame / every, sizes[0] / every)


def _words(trace: Trace, written: tuple[int, ...], scores: list[float], stops: Set[str]) -> tuple[Word, ...]:
    texts = texts_of(trace)
    owner = {
        (message, at): (message, start, end)
        for message, text in texts.items()
        for start, end in segments.words(text)
        for at in range(start, end)
    }
    held: dict[tuple[int | None, int, int], list[float]] = {}  # share, net, tokens, measured tokens
    for i, score in zip(written, scores, strict=True):
        s = trace.sources[i]
        if s.start is None or s.end is None or s.end <= s.start:
            continue
        seen = [at for at in range(s.start, s.end) if not texts[s.message][at].isspace()]
        places = [owner.get((s.message, at), (s.message, at, at + 1)) for at in seen]
        for place in places or [(s.message, s.start, s.end)]:
            part = 1 / max(len(places), 1)
            entry = held.setdefault(place, [0.0, 0.0, 0.0, 0.0])
            entry[2] += part
            if math.isfinite(score):
                entry[0] += abs(score) * part
                entry[1] += score * part
                entry[3] += part
    out = []
    for (message, start, end), (share, net, tokens, measured) in held.items():
        text = texts[message][start:end]
        known = measured > 0
        out.append(
            Word(
                text,
                start,
                end,
                message,
                share if known else math.nan,
                net if known else math.nan,
                tokens,
                kind_of(text, stops),
            )
        )
    return tuple(sorted(out, key=lambda w: (-1 if w.message is None else w.message, w.start)))


def kind_of(text: str, stops: Set[str]) -> str:
    """``punctuation``: blanks, and Unicode's categories P (an emoji or a plus sign is none); ``stop``: in ``stops``."""
    if all(c.isspace() or unicodedata.category(c).startswith("P") for c in text):
        return PUNCTUATION
    return STOP if folded(text) in stops else WORD
