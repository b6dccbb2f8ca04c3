"""An evaluation as a table in the terminal, as a picture, or as a file of JSON.

    show(evaluation); save(evaluation, Path("eval.png")); save(evaluation, Path("eval.json"))

A row is a number with its 95 % interval; an arrow says which way is better. In the picture, numbers that have a scale
(shares, and those of 100) stand on it, with the interval as a line. What a model wrote is shown beneath, cut short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segments
from rich.table import Table
from rich.text import Text

from pellucid.render.visible import one_line

if TYPE_CHECKING:
    from pellucid.lab.evaluation.result import Evaluation, Row
    from pellucid.render.canvas import Block, Typesetter

ARROWS = {"up": "↑", "down": "↓", None: ""}
#: Of units with a scale: its end.
SCALES = {"share": 1.0, "of 100": 100.0}
#: Of the terminal's table: cells between columns, what a note has at least, and from where on it is wrapped, not cut.
GAP, NOTE_CELLS, WRAPPED = 2, 12, 36
#: Prompts whose first sample is shown, and characters of it.
SHOWN, LENGTH = 3, 600
MEASURE, TRACK, VALUE, INTERVAL, NOTE = 0.0, 232.0, 424.0, 432.0, 520.0  # left edges (of VALUE, the right one), points
TRACK_LENGTH, LINE = 136.0, 17.0
_DECIMALS = {"share": 3, "of 100": 1, "bits": 3, "nats a token": 3}


def number(value: float | None, unit: str) -> str:
    """``0.412``, ``31.2``, ``1,234``; a dash where there is none."""
    if value is None:
        return "–"
    if unit in _DECIMALS:
        return f"{value:.{_DECIMALS[unit]}f}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def interval(row: Row) -> str:
    """``0.35–0.48``; nothing where there is none."""
    if row.low is None or row.high is None:
        return ""
    return f"{number(row.low, row.unit)}–{number(row.high, row.unit)}"


def said(row: Row) -> str:
    """Unit and note of a row, on one line."""
    unit = "" if row.unit in ("", "share") else row.unit
    return one_line("; ".join(t for t in (unit, row.note) if t))


def groups(evaluation: Evaluation) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each group, in order."""
    for name, rows in groupby(evaluation.rows, key=lambda r: r.group):
        yield one_line(name), list(rows)


def title(evaluation: Evaluation) -> str:
    """What was evaluated."""
    model = evaluation.model
    return one_line(
        f"{model['name']}: {_count(int(model['parameters']))} parameters, {model['dtype']} on {model['device']}"
    )


def footer(evaluation: Evaluation) -> str:
    """How to read the table, and with what it was made."""
    made = ", ".join(f"{k} {v}" for k, v in evaluation.versions.items())
    return (
        "Beside each number its 95 % bootstrap interval over documents, windows, prompts or examples. "
        f"{evaluation.seconds:.0f} s; {made}."
    )


def _count(n: int) -> str:
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if n >= size:
            return f"{n / size:.3g}{letter}"
    return str(n)


@dataclass
class View:
    """The table, as rich draws it."""

    evaluation: Evaluation

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        segments = [s for part in self._parts(options.max_width) for s in console.render(part, options)]
        if options.ascii_only:
            from pellucid.render.terminal import encodable

            segments = list(encodable(segments, options.encoding))
        yield Segments(segments)

    def _parts(self, width: int) -> Iterator[RenderableType]:
        rows = self.evaluation.rows
        value = max((len(number(r.value, r.unit)) for r in rows), default=1)
        within = max((len(interval(r)) + 2 for r in rows), default=1)
        measure = max((cell_len(one_line(r.measure)) + 2 for r in rows), default=1)
        measure = max(min(measure, width - value - within - 2 * GAP - NOTE_CELLS - GAP), 8)
        note = width - measure - value - within - 3 * GAP  # what is left; nothing on a narrow terminal
        yield Text(title(self.evaluation), style="bold")
        for name, own in groups(self.evaluation):
            yield Text()
            yield Text(name, style="bold")
            table = Table(box=None, padding=(0, GAP, 0, 0), show_edge=False, pad_edge=False, show_header=False)
            table.add_column(no_wrap=True, overflow="ellipsis", width=measure)
            table.add_column(justify="right", no_wrap=True, width=value)
            table.add_column(no_wrap=True, width=within)
            if note > 0:
                whole = note >= WRAPPED
                table.add_column(no_wrap=not whole, overflow="fold" if whole else "ellipsis", style="dim", width=note)
            for row in own:
                found = interval(row)
                cells = [
                    Text(f"{one_line(row.measure)} {ARROWS[row.better]}".rstrip()),
                    Text(number(row.value, row.unit)),
                    Text(f"({found})" if found else ""),
                    Text(said(row)),
                ]
                table.add_row(*cells[: 4 if note > 0 else 3])
            yield table
        yield Text()
        yield Text(footer(self.evaluation), style="dim")


def show(evaluation: Evaluation, *, console: Console | None = None) -> None:
    """Print the table."""
    (console or Console()).print(View(evaluation))


def save_png(evaluation: Evaluation, target: str | Path | IO[bytes]) -> None:
    """Draw the picture. Warns once, with a ``UserWarning``, where no installed font has some of the letters."""
    import warnings

    from pellucid.render.canvas import Typesetter
    from pellucid.render.fonts import fonts_for
    from pellucid.render.panels import DIM, lines, title_block
    from pellucid.render.png import DPI, MARGIN, WIDTH, lay_out, missing, write

    texts = [title(evaluation), footer(evaluation), *ARROWS.values()]
    texts += [one_line(t) for r in evaluation.rows for t in (r.group, r.measure, r.note)]
    texts += [t for pair in _samples(evaluation) for t in pair]
    setter = Typesetter(fonts_for(texts), DPI)
    width = WIDTH - 2 * MARGIN
    blocks = [title_block(setter, title(evaluation), width)]
    blocks += [_table(setter, name, rows, width) for name, rows in groups(evaluation)]
    for prompt, text in _samples(evaluation):
        blocks.append(lines(setter, [setter.cut(prompt, 10, width)], width, size=10, gap=1))
        blocks.append(lines(setter, [text], width, size=9, color=DIM, gap=9))
    blocks.append(lines(setter, [footer(evaluation), *missing(setter.fonts)], width, size=8.5, color=DIM))
    for sentence in missing(setter.fonts):
        warnings.warn(sentence, UserWarning, stacklevel=2)
    write(lay_out(blocks, setter), target)


def _samples(evaluation: Evaluation) -> list[tuple[str, str]]:
    """(prompt, first sample) of the first few prompts, each on one line and cut."""
    found = []
    for s in evaluation.samples[:SHOWN]:
        text = one_line(s.texts[0].text.strip())
        found.append((f"▸ {one_line(s.prompt)}", text[:LENGTH] + ("…" if len(text) > LENGTH else "")))
    return found


def _table(setter: Typesetter, name: str, rows: list[Row], width: float) -> Block:
    """One group: measure, place on its scale, value, interval, note."""
    from pellucid.render.canvas import Block, Canvas
    from pellucid.render.panels import DIM, FAINT_LINE

    names = [setter.cut(f"{one_line(r.measure)} {ARROWS[r.better]}".rstrip(), 9.5, TRACK - 8) for r in rows]
    notes = [setter.cut(said(r), 8, width - NOTE) for r in rows]
    heading = setter.cut(name, 10.5, width)

    def draw(canvas: Canvas, y: float) -> None:
        canvas.text(MEASURE, y + 13, heading, 10.5, bold=True, color=DIM)
        y += 22
        for row, measure, note in zip(rows, names, notes, strict=True):
            canvas.box(MEASURE, y + LINE - 1, width, 0.4, FAINT_LINE)
            canvas.text(MEASURE, y + 11.5, measure, 9.5)
            if row.unit in SCALES:
                _mark(canvas.box, row, y)
            canvas.text(VALUE, y + 11.5, number(row.value, row.unit), 9.5, ha="right", bold=True)
            canvas.text(INTERVAL, y + 11.5, interval(row), 8.5, color=DIM)
            canvas.text(NOTE, y + 11.5, note, 8, color=DIM)
            y += LINE

    return Block(22 + LINE * len(rows) + 12, draw)


def _mark(box: Callable[[float, float, float, float, str], None], row: Row, y: float) -> None:
    """A number on its scale from 0: the track, the interval, the point."""
    from pellucid.render.boardpng import POINT
    from pellucid.render.panels import FAINT_LINE

    def at(value: float) -> float:
        return TRACK + TRACK_LENGTH * min(max(value / SCALES[row.unit], 0.0), 1.0)

    box(TRACK, y + 7.5, TRACK_LENGTH, 1.2, FAINT_LINE)
    if row.low is not None and row.high is not None:
        box(at(row.low), y + 6.6, max(at(row.high) - at(row.low), 0.8), 3, "#9dbbdc")
    if row.value is not None:
        box(at(row.value) - 2, y + 4.2, 4, 8, POINT)


def save(evaluation: Evaluation, path: Path) -> Path:
    """Write ``.json`` or ``.png`` by the path's ending, whole or not at all. Raises ``OutputError``."""
    from pellucid.render import _write, writer

    makers: dict[str, Callable[[Evaluation], bytes]] = {
        ".json": lambda e: (e.to_json(indent=1) + "\n").encode("utf-8", "backslashreplace"),
        ".png": _png,
    }
    return _write(evaluation, path, writer(path, makers))


def _png(evaluation: Evaluation) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    save_png(evaluation, buffer)
    return buffer.getvalue()
