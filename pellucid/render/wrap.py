"""Lines for a terminal: text in pieces, each with a style, broken at a width in cells.

    from pellucid.render.wrap import Piece, wrap
    wrap([Piece("法国的首都是 ", ""), Piece("Paris", "bold")], 10)

rich breaks lines at blanks only, so Chinese inside English would leave half-empty lines, and a shaded token
is a piece of a word. Here a line may break after a blank or beside a wide character, but never before a mark
that cannot open a line (，。」) or after one that cannot close it (「（). Widths come from ``rich.cells``, as
rich's own do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from pellucid.render.graphemes import clusters

_OPENING = set("([{（「『《【〈〔“‘⟦⟨")
_CLOSING = set(")]}）」』》】〉〕，。！？、；：,.!?;:”’…↵⟧⟩—₀₁₂₃₄₅₆₇₈₉₊₋")


@dataclass(frozen=True)
class Piece:
    """Text in one style (``\\n`` breaks the line); ``folded``: it stands for text that is not shown."""

    text: str
    style: str | Style = ""
    folded: bool = False


@dataclass(frozen=True)
class _Cluster:
    text: str
    width: float
    piece: int
    wide: bool


#: Part of a line: the place of its piece, and its text.
Run = tuple[int, str]


def _may_break(before: _Cluster, after: _Cluster, beyond: _Cluster | None) -> bool:
    if after.width == 0 or after.text[0] in _CLOSING or before.text[-1] in _OPENING:
        return False
    if before.text == " ":
        return after.text != " "
    if after.text[0] in _OPENING and beyond is not None:  # "[法]₃[国]₅" may break as "法国" may
        return beyond.wide and beyond.text[0] not in _CLOSING
    return (before.wide or after.wide) and after.text != " "


def _broken(flat: list[_Cluster], width: float, loose: set[int]) -> list[list[_Cluster]]:
    """Lines of clusters; a blank of a piece in ``loose`` may hang over the edge unseen."""
    lines: list[list[_Cluster]] = [[]]
    used = 0.0
    last_break = 0  # where the current line may be broken, 0 for nowhere
    for i, now in enumerate(flat):
        if now.text == "\n":
            lines.append([])
            used, last_break = 0.0, 0
            continue
        line = lines[-1]
        if line and _may_break(line[-1], now, flat[i + 1] if i + 1 < len(flat) else None):
            last_break = len(line)
        if line and used + now.width > width and now.text == " " and now.piece in loose:
            last_break = len(line)  # what follows begins a line
            continue
        while line and used + now.width > width:
            rest = line[last_break:] if last_break else []
            lines[-1] = line[:last_break] if last_break else line
            lines.append(rest)
            line = rest
            used, last_break = sum(c.width for c in rest), 0
        line.append(now)
        used += now.width
    return lines


def runs(pieces: list[Piece], width: float, measure: Callable[[str], float] = cell_len) -> list[list[Run]]:
    """The pieces as lines of at most ``width`` (one character that is wider stands alone)."""
    flat = [
        _Cluster(text, measure(text), i, cell_len(text) >= 2) for i, p in enumerate(pieces) for text in clusters(p.text)
    ]
    loose = {i for i, p in enumerate(pieces) if not p.style}
    out = []
    for line in _broken(flat, width, loose):
        parts: list[Run] = []
        for c in line:
            if parts and parts[-1][0] == c.piece:
                parts[-1] = (c.piece, parts[-1][1] + c.text)
            else:
                parts.append((c.piece, c.text))
        out.append(parts)
    return out


def wrap(pieces: list[Piece], width: int) -> list[Text]:
    """The pieces as lines for rich, of at most ``width`` cells."""
    out = []
    for line in runs(pieces, max(width, 2)):
        text = Text(no_wrap=True, end="")
        for i, part in line:
            text.append(part, pieces[i].style or None)
        out.append(text)
    return out
