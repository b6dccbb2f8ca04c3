"""Several methods as one picture: a panel of shaded text and bars for each, then how far they agree.

    model.compare("What is the capital of France?").save("compare.png")

The panels are those of a single trace's picture (``panels``), shorter, under one title and one answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from matplotlib.figure import Figure

from pellucid.render import fold
from pellucid.render.canvas import Block, Canvas, Typesetter
from pellucid.render.colors import scale
from pellucid.render.panels import DIM, FAINT_LINE, bars, legend, lines, text_strip, title_block
from pellucid.render.pieces import answer_pieces, prompt_pieces
from pellucid.render.png import ANSWER_LIMIT, ANSWER_LINES, DPI, MARGIN, WIDTH, fonts, lay_out, missing, write
from pellucid.render.shading import Colors
from pellucid.render.units import ranked, rows_of, source_units
from pellucid.render.visible import one_line
from pellucid.render.words import chosen, compare_title, provenance, say, share_text, trust_line
from pellucid.trace.compare import Comparison
from pellucid.trace.result import Trace

#: Lines of prompt a panel, and bars; beyond MOST methods both become fewer, so that the picture stays bounded.
PROMPT_LINES = 20
BARS = 6
MOST = 8


def _panel(trace: Trace, lang: str, setter: Typesetter, width: float, many: int) -> list[Block]:
    units = source_units(trace)
    steps = scale(trace, units)
    style = Colors(dark=False)
    sections = fold.arrange(units, full=False)
    shrink = min(1.0, MOST / many)
    rows = prompt_pieces(trace, sections, steps, style, lang)
    blocks = [
        _rule(width),
        text_strip(setter, one_line(trace.method.name), rows, width, max(2, int(PROMPT_LINES * shrink)), lang),
        legend(setter, steps, lang),
    ]
    compared = rows_of(trace) if trace.units else units
    most = max(1, int(BARS * shrink))
    best = [u for u in ranked(compared)[:most] if u.score != 0 and u.score == u.score]
    if best:
        key = "top_units" if trace.units else "top"
        own = scale(trace, compared)
        blocks.append(bars(setter, say(key, lang), best, compared, trace, own, lang, width))
    return [*blocks, lines(setter, [trust_line(trace, lang)], width, size=9.5, gap=14)]


def _rule(width: float) -> Block:
    def draw(canvas: Canvas, y: float) -> None:
        canvas.box(0, y + 2, width, 0.75, FAINT_LINE)

    return Block(14, draw)


def _agreement(comparison: Comparison, lang: str, setter: Typesetter, width: float) -> list[Block]:
    """Both matrices as tables of numbers; names are cut to their columns."""
    a = comparison.agreement
    left = 130.0
    column = min(110.0, (width - left) / len(a.methods))
    names = [setter.cut(one_line(n), 9, left - 8) for n in a.methods]
    heads = [setter.cut(one_line(n), 9, column - 8) for n in a.methods]
    pitch = 16.0

    def table(matrix: Sequence[Sequence[float]]) -> Block:
        def draw(canvas: Canvas, y: float) -> None:
            for j, name in enumerate(heads):
                canvas.text(left + (j + 1) * column - 8, y + 10, name, 9, color=DIM, ha="right")
            for i, (name, row) in enumerate(zip(names, matrix, strict=True)):
                at = y + pitch * (i + 1) + 10
                canvas.text(0, at, name, 9, color=DIM)
                for j, x in enumerate(row):
                    canvas.text(left + (j + 1) * column - 8, at, share_text(float(x)), 9, ha="right")

        return Block(pitch * (len(names) + 1) + 12, draw)

    return [
        _rule(width),
        lines(setter, [say("spearman", lang, n=a.entries)], width, size=9.5, gap=4),
        table(a.spearman.tolist()),
        lines(setter, [say("overlap", lang, k=a.top_k)], width, size=9.5, gap=4),
        table(a.overlap.tolist()),
    ]


def figure(comparison: Comparison, *, lang: str | None = None) -> Figure:
    """The picture as a matplotlib figure; ``lang`` is ``en`` or ``zh``, the locale's where None."""
    lang = chosen(lang)
    traces, width = comparison.traces, WIDTH - 2 * MARGIN
    setter = Typesetter(fonts(traces, lang), DPI)
    blocks = [title_block(setter, compare_title(traces, lang), width)]
    key = "answer" if traces[0].answer.generated else "given"
    answer = answer_pieces(traces[0], Colors(dark=False), lang, limit=ANSWER_LIMIT)
    blocks.append(text_strip(setter, say(key, lang), [("", answer)], width, ANSWER_LINES, lang))
    for trace in traces:
        blocks += _panel(trace, lang, setter, width, len(traces))
    if len(traces) > 1:
        blocks += _agreement(comparison, lang, setter, width)
    notes = missing(setter.fonts)
    small = [say("shaded_alone", lang), *(provenance(t, lang) for t in traces), *notes]
    blocks.append(lines(setter, small, width, size=9, color=DIM))
    for sentence in notes:
        warnings.warn(sentence, UserWarning, stacklevel=2)
    return lay_out(blocks, setter)


def save_png(comparison: Comparison, target: Path | str | IO[bytes], *, lang: str | None = None) -> None:
    """Write the picture to a path or an open binary file."""
    write(figure(comparison, lang=lang), target)
