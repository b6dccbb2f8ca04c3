"""A document in passages: cut at headings, then at sentences, each with its exact characters.

    for chunk in chunks(reading, size=150): reading.text[chunk.start : chunk.end]

A size counts units: a word (each begun sixteen letters of a long one), a number, a mark or a Chinese, Japanese or
Korean character, which is about what a token is. A passage takes sentences of one section while they fit; a sentence
that is larger than a passage is cut at its lines, and a line at its units. A heading with nothing under it goes to
what follows.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from pellucid.apps.rag.reading import Heading, Reading
from pellucid.errors import OptionError
from pellucid.trace.segments import sentences, trimmed

SIZE, OVERLAP = 150, 0
CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
# What hangs on the character before: accents, variation selectors, skin tones, joined emoji.
_HANGING = r"(?:[\u0300-\u036f\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]|\u200d.)*"
_UNIT = re.compile(rf"(?:[{CJK}]|(?:(?![{CJK}])\w){{1,16}}|[^\w\s]){_HANGING}")
_LINE = re.compile(r"[^\r\n]+")


@dataclass(frozen=True)
class Chunk:
    """Characters ``start`` to ``end`` of a document, under ``heading`` (empty: none)."""

    start: int
    end: int
    heading: str


def size_of(text: str) -> int:
    """Units of a text."""
    return sum(1 for _ in _UNIT.finditer(text))


def check_sizes(size: int, overlap: int) -> None:
    """Raises ``OptionError``."""
    if size < 1:
        raise OptionError(f"size should be at least 1 word a passage, given {size}")
    if not 0 <= overlap < size:
        raise OptionError(f"overlap should be at least 0 and less than size ({size}), given {overlap}")


def chunks(reading: Reading, *, size: int = SIZE, overlap: int = OVERLAP) -> Iterator[Chunk]:
    """Passages of at most ``size`` units, in order. With ``overlap``, one begins with the last sentences of the one
    before it in its section, as many as are whole within that many units. Raises ``OptionError``."""
    check_sizes(size, overlap)
    text = reading.text
    for start, end, heading in _sections(text, reading.headings):
        pieces = [
            (a, b, size_of(text[a:b]))
            for first, last in sentences(text[start:end])
            for a, b in _small(text, start + first, start + last, size)
        ]
        for a, b in _packed(pieces, size, overlap):
            yield Chunk(a, b, heading)


def _sections(text: str, headings: tuple[Heading, ...]) -> Iterator[tuple[int, int, str]]:
    """(start, end, heading) with something under each heading, where there is something at all."""
    edges = [Heading(0, 0, ""), *headings]
    ends = [*(h.start for h in headings), len(text)]
    waiting: int | None = None
    for k, (heading, end) in enumerate(zip(edges, ends, strict=True)):
        start = heading.start if waiting is None else waiting
        body = trimmed(text, min(heading.end, end), end)
        if body is None and k < len(edges) - 1:
            if trimmed(text, start, end) is not None:
                waiting = start
            continue
        waiting = None
        if trimmed(text, start, end) is not None:
            yield start, end, heading.text


def _small(text: str, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """The range, or, where it is too large, its lines, or parts of these."""
    units = [m.span() for m in _UNIT.finditer(text, start, end)]
    if len(units) <= size:
        yield start, end
        return
    begins = [a for a, _ in units]
    for line in _LINE.finditer(text, start, end):
        inside = trimmed(text, *line.span())
        if inside is None:
            continue
        first, last = bisect_right(begins, inside[0] - 1), bisect_right(begins, inside[1] - 1)
        for k in range(first, last, size) if last > first else (first,):
            a = inside[0] if k == first else units[k][0]
            b = inside[1] if k + size >= last else units[k + size - 1][1]
            yield a, b


def _packed(pieces: list[tuple[int, int, int]], size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Pieces (start, end, units) together while they fit."""
    held: list[tuple[int, int, int]] = []
    total = 0
    for piece in pieces:
        if held and total + piece[2] > size:
            yield held[0][0], held[-1][1]
            kept: list[tuple[int, int, int]] = []
            while held and sum(p[2] for p in kept) + held[-1][2] <= min(overlap, size - piece[2]):
                kept.insert(0, held.pop())
            held, total = kept, sum(p[2] for p in kept)
        held.append(piece)
        total += piece[2]
    if held:
        yield held[0][0], held[-1][1]
