"""A query's text as a picture: query and degree, the text itself highlighted, the words that matter most.

model.relevance("capital gains", text).save("r.png")
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO

from matplotlib.figure import Figure

from pellucid.relevance.result import Relevance
from pellucid.render.canvas import Block, Typesetter
from pellucid.render.fonts import fonts_for
from pellucid.render.panels import DIM, legend, lines, note, text_strip, title_block
from pellucid.render.png import DPI, MARGIN, WIDTH, lay_out, missing, write
from pellucid.render.relevance import TOP, made, notes, scale_of, text_pieces, verdict
from pellucid.render.shading import Colors
from pellucid.render.visible import label, one_line, visible
from pellucid.render.words import TEXTS, chosen, say

#: Lines of text at most, so that no input makes the picture higher than 6000 pixels.
LINES = 120


def _blocks(found: Relevance, lang: str, setter: Typesetter) -> list[Block]:
    width = WIDTH - 2 * MARGIN
    steps = scale_of(found)
    pieces = text_pieces(found, Colors(dark=False), steps)
    blocks = [
        title_block(setter, one_line(verdict(found, lang)), width),
        text_strip(setter, say("relevance_text", lang), [("", pieces)], width, LINES, lang),
    ]
    if found.tokens:
        best = ", ".join(label(t.text) for t in found.top(TOP))
        blocks += [legend(setter, steps, lang), note(setter, say("relevance_top", lang, tokens=best), width)]
    small = [*notes(found, lang), made(found, lang), *missing(setter.fonts)]
    return [*blocks, lines(setter, small, width, size=9, color=DIM)]


def figure(found: Relevance, *, lang: str | None = None) -> Figure:
    """The picture as a matplotlib figure. Warns once, with a ``UserWarning``, where no font has some letters."""
    lang = chosen(lang)
    texts = [visible(found.text), visible(found.query), found.model.name]
    texts += [entry[lang] for entry in TEXTS.values() if lang in entry]
    setter = Typesetter(fonts_for(texts), DPI)
    blocks = _blocks(found, lang, setter)
    for sentence in missing(setter.fonts):
        warnings.warn(sentence, UserWarning, stacklevel=2)
    return lay_out(blocks, setter)


def save_png(found: Relevance, target: Path | str | IO[bytes], *, lang: str | None = None) -> None:
    """Write the picture to a path or an open binary file."""
    write(figure(found, lang=lang), target)
