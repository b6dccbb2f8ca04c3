"""A long text in overlapping windows that break at sentences; each character belongs to one of them.

    cut(text, counts, room=400, overlap=50)       # counts: (start, end) of every token of the text

A window reads ``start`` to ``end``, some sentences more on both sides than it owns (``first`` to ``last``): what stands
before a sentence tells what it is about. A sentence longer than the room is cut between tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.trace.segments import sentences


@dataclass(frozen=True)
class Window:
    """Characters ``start`` to ``end`` are read, ``first`` to ``last`` are this window's own."""

    start: int
    end: int
    first: int
    last: int


def cut(text: str, tokens: Sequence[tuple[int, int]], *, room: int, overlap: int) -> list[Window]:
    """Windows of at most ``room`` tokens that share about ``overlap`` of them, in order; one where all fits.

    ``tokens`` are the (start, end) of the text's tokens. The windows' own parts follow on each other without a gap.
    """
    if len(tokens) <= room:
        return [Window(0, len(text), 0, len(text))]
    pieces = _pieces(text, tokens, max(1, room // 2 if overlap else room))
    sizes = [len(p) for p in pieces]
    found: list[Window] = []
    at = 0
    while at < len(pieces):
        begin, shared = at, 0
        while begin > 0 and shared + sizes[begin - 1] <= overlap and found:
            begin -= 1
            shared += sizes[begin]
        end, size = at, shared
        while end < len(pieces) and (size + sizes[end] <= room or end == at):
            size += sizes[end]
            end += 1
        start = 0 if begin == 0 else tokens[pieces[begin][0]][0]
        first = 0 if at == 0 else tokens[pieces[at][0]][0]
        last = len(text) if end == len(pieces) else tokens[pieces[end][0]][0]
        found.append(Window(start, last, first, last))
        at = end
    return found


def _pieces(text: str, tokens: Sequence[tuple[int, int]], most: int) -> list[list[int]]:
    """Tokens of each sentence, in order; a sentence of more than ``most`` in several pieces."""
    ends = [b for _, b in sentences(text)]
    found: list[list[int]] = [[]]
    k = 0
    for i, (start, _) in enumerate(tokens):
        while k < len(ends) and start >= ends[k]:
            k += 1
            if found[-1]:
                found.append([])
        if len(found[-1]) >= most:
            found.append([])
        found[-1].append(i)
    return [p for p in found if p]
