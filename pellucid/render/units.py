"""Tokens to display units: what is drawn as one piece.

    from pellucid.render.units import source_units, ranked
    [(u.text, u.score) for u in ranked(source_units(trace))[:3]]

A byte-level tokenizer cuts an emoji or a Chinese character into pieces that are no characters. Each piece
carries the whole character as its text, so drawing token by token would repeat it; here such pieces become
one unit, with the sum of their scores (the trace's ``merge``). Pieces that overlap in part (a blank with the
first byte of a character, then the other bytes) are joined too, and so are tokens that are drawn as one shape
(the people and joiners of a family emoji, a letter and its accent). With ``words``, tokens of one word become
one unit as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

from pellucid.render.graphemes import clusters, joins
from pellucid.render.visible import one_line
from pellucid.trace.result import FRAME_ROLES, Source, Target, Trace

Tokens = Sequence[Source | Target]


@dataclass(frozen=True)
class Unit:
    """What is drawn as one piece: ``indices`` are its places in ``sources`` (or ``targets``)."""

    text: str
    score: float
    role: str
    message: int | None
    indices: tuple[int, ...]

    @property
    def frame(self) -> bool:
        """Whether the template wrote it, not the user."""
        return self.role in FRAME_ROLES


def _joined(tokens: Tokens, units: list[Unit]) -> list[Unit]:
    """Units, one a token, with those that share characters made one."""
    out: list[Unit] = []
    end = -1  # where the last unit ends; -1 when it has no offsets
    for token, unit in zip(tokens, units, strict=True):
        last = out[-1] if out else None
        if token.start is None or token.end is None:
            end = -1
            out.append(unit)
            continue
        if last and end >= 0 and (last.message, last.role) == (unit.message, unit.role):
            fresh = unit.text[max(end - token.start, 0) :] if token.end > end else ""
            if token.start < end or _one_shape(last.text, fresh):
                out[-1] = _sum(last, unit, last.text + fresh)
                end = max(end, token.end)
                continue
        end = token.end
        out.append(unit)
    return out


def _one_shape(before: str, after: str) -> bool:
    return bool(before and after) and joins(clusters(before)[-1], after[0])


def _sum(a: Unit, b: Unit, text: str) -> Unit:
    return replace(a, text=text, score=a.score + b.score, indices=a.indices + b.indices)


def _worded(units: list[Unit], tokens: Tokens) -> list[Unit]:
    out: list[Unit] = []
    for unit in units:
        last = out[-1] if out else None
        same = (
            last is not None
            and not unit.frame
            and (last.message, last.role) == (unit.message, unit.role)
            and tokens[last.indices[-1]].word == tokens[unit.indices[0]].word
        )
        if last is not None and same:
            out[-1] = _sum(last, unit, last.text + unit.text)
        else:
            out.append(unit)
    return out


def source_units(trace: Trace, *, words: bool = False) -> list[Unit]:
    """The prompt in units, in reading order, each with its ``total``."""
    units = [
        Unit(s.text, float(x), s.role, s.message, (i,))
        for i, (s, x) in enumerate(zip(trace.sources, trace.total, strict=True))
    ]
    units = _joined(trace.sources, units)
    return _worded(units, trace.sources) if words else units


def target_units(trace: Trace, *, words: bool = False) -> list[Unit]:
    """The answer in units, in reading order; the score is the log-probability (nats), which adds up too."""
    units = [Unit(t.text, t.logprob, "assistant", None, (i,)) for i, t in enumerate(trace.targets)]
    units = _joined(trace.targets, units)
    return _worded(units, trace.targets) if words else units


def content(units: list[Unit]) -> list[Unit]:
    """Those that the user wrote; all of them where there is only a frame (as ``Trace.content``)."""
    return [u for u in units if not u.frame] or units


def rows_of(trace: Trace) -> list[Unit]:
    """What is ranked: the trace's units, or the user's tokens (byte pieces of a character as one)."""
    if not trace.units:
        return content(source_units(trace))
    return [Unit(u.text, u.score, trace.sources[u.tokens[0]].role, u.message, u.tokens) for u in trace.units]


def magnitude(unit: Unit) -> float:
    """How much it matters, for or against; 0 where the score is missing (null in the file)."""
    return abs(unit.score) if math.isfinite(unit.score) else 0.0


def ranked(units: list[Unit]) -> list[Unit]:
    """The user's units, largest magnitude first, ties in reading order."""
    return sorted(content(units), key=lambda u: -magnitude(u))


def around(unit: Unit, units: list[Unit], cells: int) -> tuple[str, str]:
    """What stands before and after a unit in its message, up to ``cells`` each (then an ellipsis)."""
    at = next(i for i, u in enumerate(units) if u is unit)
    return _reach(units, at, -1, cells), _reach(units, at, 1, cells)


def _reach(units: list[Unit], at: int, step: int, cells: int) -> str:
    out, i = "", at + step
    while 0 <= i < len(units) and (units[i].message, units[i].role) == (units[at].message, units[at].role):
        piece = one_line(units[i].text)
        if cell_len(out) + cell_len(piece) > cells:
            return "…" + out if step < 0 else out + "…"
        out = piece + out if step < 0 else out + piece
        i += step
    return out
