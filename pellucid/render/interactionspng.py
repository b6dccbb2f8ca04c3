"""Interactions between units as a picture: each unit's own number, every pair as a map, and the largest sets.

model.interactions("...", unit="sentence").save("pairs.png")
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO

from matplotlib.figure import Figure

from pellucid.render.canvas import INK, Block, Canvas, Typesetter
from pellucid.render.colors import Scale, hex_of
from pellucid.render.fonts import fonts_for
from pellucid.render.interactionshtml import facts, pairs, shown, together
from pellucid.render.panels import DIM, FAINT_LINE, lines, title_block
from pellucid.render.png import DPI, MARGIN, WIDTH, lay_out, missing, write
from pellucid.render.visible import label, one_line
from pellucid.render.words import chosen, say, score_text
from pellucid.trace.interactions import Interactions

#: Units in the list and the map, sets in the list; the HTML and JSON files have more.
MOST, LISTED = 24, 12
PITCH, SIZE = 16.0, 9.5
WIDEST = 46.0


def _units(found: Interactions, places: list[int], lang: str, setter: Typesetter, width: float, full: Scale) -> Block:
    """Number, bar and text of each unit."""
    middle, reach, at_text = 90.0, 60.0, 215.0
    names = [setter.cut(label(found.units[i].text), SIZE, width - at_text) for i in places]
    heading = setter.fonts.drawable(say("alone", lang))

    def draw(canvas: Canvas, y: float) -> None:
        canvas.text(0, y + 10, heading, SIZE, color=DIM)
        y += PITCH
        canvas.box(middle - 0.5, y, 0.75, PITCH * len(places), DIM)
        for i, name in zip(places, names, strict=True):
            level = full.level(found[i])
            start = middle + min(level, 0.0) * reach
            canvas.text(18, y + 11, str(i + 1), SIZE, color=DIM, ha="right")
            canvas.box(
                start, y + 2, abs(level) * reach, PITCH - 5, hex_of(full.color(full.limit * (1 if level > 0 else -1)))
            )
            canvas.text(at_text - 10, y + 11, score_text(found[i], True), SIZE, ha="right")
            canvas.text(at_text, y + 11, name, SIZE)
            y += PITCH

    return Block(PITCH * (len(places) + 1) + 14, draw)


def _map(found: Interactions, places: list[int], setter: Typesetter, width: float, full: Scale) -> Block:
    """Pairs below the diagonal, each unit's own number on it."""
    left = 24.0
    cell = min(WIDEST, (width - left) / len(places))
    high = min(cell, 24.0)
    numbers = pairs(found)
    size = min(8.5, cell / 4.4)  # five characters and a little

    def draw(canvas: Canvas, y: float) -> None:
        for column, j in enumerate(places):
            canvas.text(left + (column + 0.5) * cell, y + 10, str(j + 1), SIZE, color=DIM, ha="center")
        y += PITCH
        for row, i in enumerate(places):
            canvas.text(left - 6, y + high / 2 + 3, str(i + 1), SIZE, color=DIM, ha="right")
            for column, j in enumerate(places[: row + 1]):
                value = found[i] if i == j else numbers[(min(i, j), max(i, j))]
                x = left + column * cell
                shade = full.shade(value)
                canvas.box(x, y, cell, high, FAINT_LINE)
                canvas.box(x + 0.5, y + 0.5, cell - 1, high - 1, shade.background if shade else "#ffffff")
                text = score_text(value, True)
                canvas.text(
                    x + cell / 2, y + high / 2 + size / 3, text, size, color=shade.text if shade else INK, ha="center"
                )
            y += high

    return Block(PITCH + high * len(places) + 14, draw)


def _sets(found: Interactions, setter: Typesetter, width: float) -> Block:
    """The largest sets: number, places, the beginnings of their texts."""
    best = together(found, LISTED)
    places = [" × ".join(str(i + 1) for i in v.units) for v in best]
    at_places = 52.0
    at_text = at_places + max((setter.width(p, SIZE) for p in places), default=0.0) + 14
    texts = []
    for v in best:
        room = (width - at_text) / len(v.units) - setter.width(" × ", SIZE)
        texts.append(" × ".join(setter.cut(label(found.units[i].text), SIZE, room) for i in v.units))

    def draw(canvas: Canvas, y: float) -> None:
        for v, place, text in zip(best, places, texts, strict=True):
            canvas.text(at_places - 12, y + 11, score_text(v.value, True), SIZE, ha="right")
            canvas.text(at_places, y + 11, place, SIZE, color=DIM)
            canvas.text(at_text, y + 11, text, SIZE)
            y += PITCH

    return Block(PITCH * len(best) + 12, draw)


def figure(found: Interactions, *, lang: str | None = None) -> Figure:
    """The picture as a matplotlib figure; ``lang`` is ``en`` or ``zh``, the locale's where None."""
    lang, width = chosen(lang), WIDTH - 2 * MARGIN
    answer = one_line((found.span.text if found.span else found.answer.text).strip())
    texts = [u.text for u in found.units] + [answer, found.model.name, say("together", lang), say("pairs", lang)]
    setter = Typesetter(fonts_for(texts), DPI)
    full = Scale(max((abs(v.value) for v in found.values), default=0.0), signed=True)
    places = shown(found, MOST)
    heading = say("title", lang, model=one_line(found.model.name), part=answer)
    blocks = [title_block(setter, heading, width), _units(found, places, lang, setter, width, full)]
    if found.order > 1:
        blocks.append(lines(setter, [say("pairs", lang)], width, size=10.5, gap=4))
        blocks.append(_map(found, places, setter, width, full))
        blocks.append(lines(setter, [say("together", lang)], width, size=10.5, gap=4))
        blocks.append(_sets(found, setter, width))
    left = [] if len(places) == len(found.units) else [say("pairs_left", lang, n=len(places), of=len(found.units))]
    notes = missing(setter.fonts)
    blocks.append(lines(setter, [*left, facts(found, lang), *notes], width, size=9, color=DIM))
    for sentence in notes:
        warnings.warn(sentence, UserWarning, stacklevel=2)
    return lay_out(blocks, setter)


def save_png(found: Interactions, target: Path | str | IO[bytes], *, lang: str | None = None) -> None:
    """Write the picture to a path or an open binary file."""
    write(figure(found, lang=lang), target)
