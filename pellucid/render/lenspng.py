"""Lens views as a picture.

model.surprisal("...").save("s.png")

Tables that are wider than the page lose columns, higher ones rows, and a line says how many; the JSON file holds all.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve
from rich.style import Style

from pellucid.lens.plain import Result
from pellucid.render.blocks import Cell, Chart, Element, Frames, Graph, Heading, Heat, Lines, Matrix, Table, Tree
from pellucid.render.canvas import INK, Block, Canvas, Typesetter
from pellucid.render.chart import domain, number, ticks
from pellucid.render.chartpng import chart_block
from pellucid.render.colors import BLUE_ON_PAPER, ORANGE_ON_PAPER, Scale, hex_of
from pellucid.render.fonts import fonts_for
from pellucid.render.lensterminal import blanks
from pellucid.render.lensviews import blocks_of
from pellucid.render.lenswords import SENTENCES
from pellucid.render.panels import DIM, FAINT_LINE, HEADING, LINE, lines, text_strip, title_block
from pellucid.render.png import DPI, MARGIN, WIDTH, lay_out, missing, write
from pellucid.render.pngmatrix import grid
from pellucid.render.visible import one_line, visible
from pellucid.render.words import TEXTS, chosen
from pellucid.render.wrap import Piece

STEPS = Scale(1.0, signed=False)
SIZE = 9.5
ROW = 17.0
GAP = 10.0
#: So that no input makes the picture higher than about 6000 pixels.
ROWS, STRIP, TWIGS = 120, 110, 120
CELL, WIDE_CELL = 96.0, 420.0


def _text_of(cell: Cell) -> str:
    return blanks(cell.text).strip(" ") if cell.token else one_line(cell.text)


def _table(setter: Typesetter, block: Table, width: float) -> Block:
    rows = block.rows[:ROWS]
    most = CELL if block.grid else WIDE_CELL
    texts = [[setter.cut(_text_of(c), SIZE, most) for c in row] for row in rows]
    heads = [setter.cut(one_line(c), SIZE, most) for c in block.columns]
    wide = [
        max([setter.width(heads[c], SIZE), *(setter.width(r[c], SIZE) for r in texts)]) + GAP for c in range(len(heads))
    ]
    shown, used = 0, 0.0
    while shown < len(heads) and (shown == 0 or used + wide[shown] <= width):
        used += wide[shown]
        shown += 1
    if shown < len(heads) and not block.grid:  # the last column is text: give it what is left
        wide[shown] = width - used
        texts = [
            [*r[:shown], setter.cut(_text_of(row[shown]), SIZE, wide[shown] - GAP)]
            for r, row in zip(texts, rows, strict=True)
        ]
        shown += 1
    left = [f"… +{n}" for n in (len(block.rows) - len(rows), len(heads) - shown) if n > 0]
    starts = [sum(wide[:c]) for c in range(shown)]

    def draw(canvas: Canvas, y: float) -> None:
        for c in range(shown):
            place(canvas, y, heads[c], c, DIM, False)
        y += ROW
        for row, line in zip(rows, texts, strict=True):
            for c in range(shown):
                cell, color = row[c], INK
                if cell.share is not None and (shade := STEPS.shade(cell.share)) is not None:
                    canvas.box(starts[c], y + 1, wide[c] - 3, ROW - 2, shade.background)
                    color = shade.text
                place(canvas, y, line[c], c, color, cell.strong)
                if cell.strong and cell.share is not None:
                    canvas.box(starts[c] + 3, y + ROW - 3.5, setter.width(line[c], SIZE, bold=True), 1, color)
            y += ROW
        if left:
            canvas.text(0, y + 12, "; ".join(left), 9, color=DIM)

    def place(canvas: Canvas, y: float, text: str, c: int, color: str, bold: bool) -> None:
        right = c in block.numbers
        x = starts[c] + (wide[c] - GAP / 2 - 2 if right else 3)
        canvas.text(x, y + 12, text, SIZE, color=color, bold=bold, ha="right" if right else "left")

    return Block(ROW * (len(rows) + 1) + (ROW if left else 0) + 10, draw)


def _heat(setter: Typesetter, block: Heat, width: float, lang: str) -> Block:
    pieces: list[Piece] = []
    for k, (text, share, _) in enumerate(block.parts):
        shade = None if share is None else STEPS.shade(share)
        line_under = True if k in block.marks else None
        for i, line in enumerate(visible(text).replace("↵\n", "\n").split("\n")):
            if i:
                pieces.append(Piece("\n"))
            body = line.lstrip(" ")
            if len(body) < len(line):
                pieces.append(Piece(line[: len(line) - len(body)]))
            if body:
                style = Style(underline=line_under)
                if shade is not None:
                    style += Style(color=shade.text, bgcolor=shade.background)
                pieces.append(Piece(body, style if style else ""))
    strip = text_strip(setter, "", [("", pieces)], width, STRIP, lang)
    return Block(strip.height - HEADING, lambda canvas, y: strip.draw(canvas, y - HEADING))


def _matrix(setter: Typesetter, block: Matrix, width: float, lang: str) -> Block:
    values = np.array([[np.nan if x is None else x for x in row] for row in block.shares], dtype=np.float64)
    weights = np.nan_to_num(values).sum(0).tolist()
    return grid(setter, block.name, list(block.rows), list(block.columns), values, weights, False, lang, width)


def _line(
    canvas: Canvas, points: list[tuple[float, float]], codes: list[int], color: str, width: float, alpha: float
) -> None:
    canvas.fig.add_artist(
        PathPatch(
            Curve(points, codes),
            facecolor="none",
            edgecolor=color,
            linewidth=width,
            alpha=alpha,
            transform=canvas.transform,
        )
    )


def _tree(setter: Typesetter, block: Tree, width: float) -> Block:
    """Depth to the right, one row a leaf, the likeliest on top."""
    twigs = block.twigs[:]
    children: dict[int, list[int]] = {}
    for k, t in enumerate(twigs):
        children.setdefault(t.parent, []).append(k)
    row: dict[int, float] = {}
    leaves = 0

    def settle(k: int) -> float:
        nonlocal leaves
        below = children.get(k, [])
        if not below:
            row[k] = float(leaves)
            leaves += 1
        else:
            heights = [settle(j) for j in below]
            row[k] = heights[0]
        return row[k]

    settle(-1)
    deep = max((t.depth for t in twigs), default=0)
    column = min((width - 20) / max(deep, 1), 110.0)
    names = [setter.cut(blanks(t.text).strip(" ") or "␣", 9, column - 14) for t in twigs]
    drawn = min(leaves, TWIGS)

    def draw(canvas: Canvas, y: float) -> None:
        for k, t in enumerate(twigs):
            if row[k] >= TWIGS:
                continue
            x, at = 20 + (t.depth - 1) * column, y + row[k] * 15 + 8
            above = y + row[t.parent] * 15 + 8
            start = 10 if t.parent < 0 else 20 + (t.depth - 2) * column + 6 + setter.width(names[t.parent], 9) + 2
            color = hex_of(BLUE_ON_PAPER) if t.best else DIM if t.kept else "#b9c1c8"
            _line(
                canvas,
                [(start, above), (x - 4, above), (x - 8, at), (x + 2, at)],
                [1, 4, 4, 4],
                color,
                1.6 if t.best else 0.7,
                1.0,
            )
            if t.greedy:
                canvas.box(x + 4, at + 5, setter.width(names[k], 9), 1, hex_of(ORANGE_ON_PAPER))
            canvas.text(
                x + 4, at + 3, names[k], 9, color=color if t.best else INK if t.kept else "#8a949d", bold=t.best
            )
        if leaves > drawn:
            canvas.text(0, y + drawn * 15 + 12, f"… +{leaves - drawn}", 9, color=DIM)

    return Block(15 * drawn + (15 if leaves > drawn else 0) + 12, draw)


def _graph(setter: Typesetter, block: Graph, width: float) -> Block:
    """Arcs over the tokens, which stand in lines as a text does; an arc between lines is a straight curve."""
    names = [setter.cut(blanks(n.text).strip(" ") or "␣", 10.5, 160) for n in block.nodes]
    x, line = 0.0, 0
    places: list[tuple[float, int, float]] = []
    second = False
    for n, name in zip(block.nodes, names, strict=True):
        w = setter.width(name, 10.5)
        if (x + w > width or (n.second and not second)) and places:
            x, line = 0.0, line + 1
        second = n.second
        places.append((x, line, w))
        x += w + 9
    pitch = 64.0
    height = (line + 1) * pitch + 10

    def draw(canvas: Canvas, y: float) -> None:
        for s, t, share, positive in sorted(block.edges, key=lambda e: e[2]):
            (xs, ls, ws), (xt, lt, wt) = places[s], places[t]
            a, b = xs + ws / 2, xt + wt / 2
            color = hex_of(BLUE_ON_PAPER if positive else ORANGE_ON_PAPER)
            top = y + ls * pitch + 44
            goal = y + lt * pitch + 44
            if ls == lt:
                high = min(max(abs(b - a) / 3, 10), 44)
                points = [(a, top), (a, top - high), (b, top - high), (b, top)]
            else:
                middle = (top + 18 + goal) / 2
                points = [(a, top + 16), (a, middle), (b, middle), (b, goal)]
            _line(canvas, points, [1, 4, 4, 4], color, 0.4 + 2.2 * share, 0.25 + 0.6 * share)
        for n, name, (px, pl, w) in zip(block.nodes, names, places, strict=True):
            base = y + pl * pitch + 57
            if n.second:
                canvas.box(px - 2, base + 4, w + 4, 1, FAINT_LINE)
            canvas.text(px, base, name, 10.5, bold=n.second)

    return Block(height, draw)


def _blocks(elements: Sequence[Element], setter: Typesetter, lang: str, *, first: int = 0) -> Iterator[Block]:
    width = WIDTH - 2 * MARGIN
    for k, e in enumerate(elements, first):
        if isinstance(e, Heading):
            text = one_line(e.text)
            if k == 0:
                yield title_block(setter, text, width)
            else:
                shown = setter.cut(text, 10.5, width)
                yield Block(LINE + 4, lambda c, y, s=shown: c.text(0, y + 14, s, 10.5, bold=True, color=DIM))  # type: ignore[misc]
        elif isinstance(e, Lines):
            if e.lines:
                yield lines(
                    setter,
                    [visible(s) for s in e.lines],
                    width,
                    size=9 if e.quiet else 10.5,
                    color=DIM if e.quiet else INK,
                )
        elif isinstance(e, Heat):
            yield _heat(setter, e, width, lang)
        elif isinstance(e, Matrix):
            yield _matrix(setter, e, width, lang)
        elif isinstance(e, Table):
            yield _table(setter, e, width)
        elif isinstance(e, Tree):
            yield _tree(setter, e, width)
        elif isinstance(e, Chart):
            yield chart_block(setter, e, width)
        elif isinstance(e, Frames):
            yield from _blocks(e.frames[-1], setter, lang, first=1)
        else:
            yield _graph(setter, e, width)


def _texts(elements: Sequence[Element]) -> Iterator[str]:
    """All that is written in the picture."""
    for e in elements:
        if isinstance(e, Heading):
            yield e.text
        elif isinstance(e, Lines):
            yield from e.lines
        elif isinstance(e, Heat):
            yield from (visible(t) for t, _, _ in e.parts)
        elif isinstance(e, Matrix):
            yield from (e.name, *e.rows, *e.columns)
        elif isinstance(e, Table):
            yield from e.columns
            yield from (_text_of(c) for row in e.rows for c in row)
        elif isinstance(e, Tree):
            yield from (t.text for t in e.twigs)
        elif isinstance(e, Chart):
            x0, x1, y0, y1 = domain(e)
            yield from (e.name, e.across, *(s.name for s in e.series), *map(number, (*ticks(x0, x1), *ticks(y0, y1))))
        elif isinstance(e, Frames):
            yield from _texts(e.frames[-1])
        else:
            yield from (n.text for n in e.nodes)


def figure(result: Result, *, lang: str | None = None) -> Figure:
    """The picture as a matplotlib figure. Warns once, with a ``UserWarning``, where no font has some letters."""
    lang = chosen(lang)
    elements = blocks_of(result, lang)
    texts = [
        *_texts(elements),
        *(entry[lang] for table in (TEXTS, SENTENCES) for entry in table.values() if lang in entry),
    ]
    setter = Typesetter(fonts_for(texts), DPI)
    blocks = list(_blocks(elements, setter, lang))
    said = missing(setter.fonts)
    if said:
        blocks.append(lines(setter, said, WIDTH - 2 * MARGIN, size=9, color=DIM))
    for sentence in said:
        warnings.warn(sentence, UserWarning, stacklevel=2)
    return lay_out(blocks, setter)


def save_png(result: Result, target: Path | str | IO[bytes], *, lang: str | None = None) -> None:
    """Write the picture to a path or an open binary file."""
    write(figure(result, lang=lang), target)
