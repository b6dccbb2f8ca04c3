"""Several methods side by side in the terminal: the prompt down, a column a method, then how far they agree.

    model.compare("What is the capital of France?", methods=["saliency", "input_x_gradient"]).show()

Rows are the traces' units where they have any, else tokens. Of a long prompt only the rows that one of the methods
puts among its first are shown, and what lies between them is counted. Each column has a scale of its own: a norm and a
signed product have no common size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.padding import Padding
from rich.segment import Segments
from rich.table import Table
from rich.text import Text

from pellucid.render.colors import Scale, scale_of
from pellucid.render.shading import Colors, Marks, Shading
from pellucid.render.terminal import colorful, dark_background, encodable, hanging
from pellucid.render.units import Unit, ranked, rows_of
from pellucid.render.visible import label, one_line
from pellucid.render.words import chosen, compare_title, provenance, say, score_text, share_text, trust_line
from pellucid.render.wrap import Piece
from pellucid.trace.compare import Comparison

#: Up to so many rows all are shown; beyond, each method's first TOP.
ROWS = 48
TOP = 12


def shown_rows(columns: list[list[Unit]], *, full: bool = False) -> list[int | None]:
    """Places of rows in reading order; None stands for one or more that are left out."""
    count = len(columns[0])
    if full or count <= ROWS:
        return list(range(count))
    keep: set[int] = set()
    for column in columns:
        best = {id(u) for u in ranked(column)[:TOP]}
        keep |= {i for i, u in enumerate(column) if id(u) in best}
    out: list[int | None] = []
    for i in range(count):
        if i in keep:
            out.append(i)
        elif not out or out[-1] is not None:
            out.append(None)
    return out


@dataclass
class View:
    """What ``render`` returns: rich asks it for its lines when it knows the console."""

    comparison: Comparison
    full: bool = False
    lang: str = "en"
    dark: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        style: Shading = Colors(self.dark) if colorful(console) else Marks(ascii_only=options.ascii_only)
        segments = list(console.render(Group(*self._parts(style, options.max_width)), options))
        if options.ascii_only:
            segments = list(encodable(segments, options.encoding))
        yield Segments(segments)

    def _parts(self, style: Shading, width: int) -> Iterator[Text | Padding]:
        traces, lang = self.comparison.traces, self.lang
        yield Text(compare_title(traces, lang), style=style.of("bold"))
        yield Text()
        yield Padding(self._scores(style, width), (0, 0, 0, 2))
        yield Text()
        signed = any(t.method.signed for t in traces)
        yield hanging(style.legend(Scale(1.0, signed), lang), width, style.of("dim"))
        yield hanging([Piece(say("shaded_alone", lang))], width, style.of("dim"))
        if len(traces) > 1:
            yield Text()
            yield Text(say("agreement", lang), style=style.of("bold"))
            a = self.comparison.agreement
            for heading, matrix in (
                (say("spearman", lang, n=a.entries), a.spearman),
                (say("overlap", lang, k=a.top_k), a.overlap),
            ):
                yield hanging([Piece(heading)], width, style.of("dim"))
                yield Padding(_matrix(a.methods, matrix, style), (0, 0, 0, 2))
        for trace in traces:
            yield Text()
            yield Text(one_line(trace.method.name), style=style.of("bold"))
            yield hanging([Piece(trust_line(trace, lang))], width)
            yield hanging([Piece(provenance(trace, lang))], width, style.of("dim"))

    def _scores(self, style: Shading, width: int) -> Table:
        traces, lang = self.comparison.traces, self.lang
        columns = [rows_of(t) for t in traces]
        scales = [scale_of(c, signed=t.method.signed) for c, t in zip(columns, traces, strict=True)]
        first = "unit_name" if traces[0].units else "token"
        table = Table(box=None, padding=(0, 2, 0, 0), header_style=style.of("dim"), show_edge=False, pad_edge=False)
        room = max(10, width - 14 * len(traces) - 4)
        table.add_column(say(first, lang), no_wrap=True, overflow="ellipsis", max_width=room if traces[0].units else 28)
        for trace in traces:
            table.add_column(Text(one_line(trace.method.name)), justify="right", no_wrap=True, overflow="ellipsis")
        places = shown_rows(columns, full=self.full)
        for k, i in enumerate(places):
            if i is None:
                before = places[k - 1] if k else -1
                after = places[k + 1] if k + 1 < len(places) else len(columns[0])
                assert before is not None
                assert after is not None
                n = after - before - 1
                table.add_row(Text(say("gap" if n > 1 else "gap_one", lang, n=n), style=style.of("dim italic")))
                continue
            cells = [_cell(c[i], steps, style) for c, steps in zip(columns, scales, strict=True)]
            table.add_row(Text(label(columns[0][i].text)), *cells)
        return table


def _cell(unit: Unit, steps: Scale, style: Shading) -> Text:
    text = Text(no_wrap=True)
    for piece in style.token(score_text(unit.score, steps.signed), steps.level(unit.score), steps, unit.score, False):
        text.append(piece.text, piece.style or None)
    return text


def _matrix(names: tuple[str, ...], values: npt.NDArray[np.float64], style: Shading) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=style.of("dim"), show_edge=False, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(Text(one_line(name)), justify="right", no_wrap=True, overflow="ellipsis")
    for name, row in zip(names, values, strict=True):
        table.add_row(Text(one_line(name), style=style.of("dim")), *(share_text(float(x)) for x in row))
    return table


def render(comparison: Comparison, *, full: bool = False, lang: str | None = None, dark: bool | None = None) -> View:
    """The comparison as something that ``rich`` can print; options as in ``terminal.render``."""
    return View(comparison, full, chosen(lang), dark_background() if dark is None else dark)


def show(
    comparison: Comparison, *, full: bool = False, console: Console | None = None, lang: str | None = None
) -> None:
    """Print the comparison."""
    (console or Console()).print(render(comparison, full=full, lang=lang), end="")
