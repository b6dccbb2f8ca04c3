"""Lens views in the terminal.

    model.surprisal("...").show()

Shades as those of traces where there is colour; where there is none, what is set off stands in brackets and shares are
left to the numbers beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segments
from rich.style import Style
from rich.table import Table as RichTable
from rich.text import Text

from pellucid.lens.plain import Result
from pellucid.render.blocks import Cell, Chart, Element, Frames, Graph, Heading, Heat, Lines, Matrix, Table, Tree, Twig
from pellucid.render.chart import domain, told_of
from pellucid.render.chart import row as chart_row
from pellucid.render.colors import Scale
from pellucid.render.lensviews import blocks_of
from pellucid.render.shading import Colors, Marks, Shading
from pellucid.render.terminal import colorful, dark_background, encodable, hanging
from pellucid.render.visible import one_line, visible
from pellucid.render.words import chosen
from pellucid.render.wrap import Piece

STEPS = Scale(1.0, signed=False)
#: Cells of a grid's column, its token and number.
WIDE = 18
#: Twigs below the best of each depth that a terminal shows.
TWIGS = 120
EDGES = 60
#: Columns of a matrix that are named for each row.
SOURCES = 6


def blanks(text: str) -> str:
    """A token's blanks to be seen: the one before it as ``␣`` where nothing else is there, kept where it opens a
    word."""
    return one_line(text).replace(" ", "␣") if not text.strip(" ") else one_line(text)


@dataclass
class View:
    """What ``show`` prints."""

    result: Result
    lang: str
    dark: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        style: Shading = Colors(self.dark) if colorful(console) else Marks(ascii_only=options.ascii_only)
        parts: Iterator[RenderableType] = self._parts(style, options.max_width)
        segments = [s for part in parts for s in console.render(part, options)]
        if options.ascii_only:
            segments = list(encodable(segments, options.encoding))
        yield Segments(segments)

    def _parts(self, style: Shading, width: int) -> Iterator[RenderableType]:
        yield from self._elements(blocks_of(self.result, self.lang), style, width)

    def _elements(
        self, blocks: Sequence[Element], style: Shading, width: int, *, first: int = 0
    ) -> Iterator[RenderableType]:
        for k, block in enumerate(blocks, first):
            if isinstance(block, Heading):
                if k:
                    yield Text()
                yield Text(one_line(block.text), style=style.of("bold"))
            elif isinstance(block, Lines):
                if block.quiet:
                    yield Text()
                for line in block.lines:
                    yield hanging([Piece(line)], width, style.of("dim") if block.quiet else "")
            elif isinstance(block, Heat):
                yield hanging(list(self._heat(block, style)), width)
            elif isinstance(block, Matrix):
                yield from self._matrix(block, style, width)
            elif isinstance(block, Table):
                yield from self._tables(block, style, width)
            elif isinstance(block, Tree):
                yield from self._tree(block, style)
            elif isinstance(block, Chart):
                yield from self._chart(block, style)
            elif isinstance(block, Frames):
                yield from self._elements(block.frames[-1], style, width, first=1)
            elif isinstance(block, Graph):
                yield from self._graph(block, style, width)

    def _chart(self, block: Chart, style: Shading) -> Iterator[Text]:
        _, _, low, high = domain(block)
        yield Text()
        yield Text(one_line(block.name), style.of("bold"))
        plain = isinstance(style, Marks) and style.ascii_only
        for s in block.series:
            if s.points:
                line = Text("  ", no_wrap=True, overflow="ellipsis")
                line.append(chart_row(s, low, high, plain=plain))
                line.append(f"  {told_of(s)}", style.of("dim") or None)
                yield line

    def _heat(self, block: Heat, style: Shading) -> Iterator[Piece]:
        for k, (text, share, _) in enumerate(block.parts):
            marked = k in block.marks
            if marked and k - 1 not in block.marks:
                yield style.span(True)
            for i, line in enumerate(visible(text).replace("↵\n", "\n").split("\n")):
                if i:
                    yield Piece("\n")
                body = line.lstrip(" ")
                if len(body) < len(line):
                    yield Piece(line[: len(line) - len(body)])
                if body:
                    shown = [Piece(body)] if share is None else style.token(body, share, STEPS, share, False)
                    yield from (self._set_off(p, style) for p in shown) if marked else shown
            if marked and k + 1 not in block.marks:
                yield style.span(False)

    @staticmethod
    def _set_off(piece: Piece, style: Shading) -> Piece:
        """Bold and underlined over its shade, where there is colour; the signs around it say it everywhere."""
        given = Style.parse(piece.style) if isinstance(piece.style, str) else piece.style
        return Piece(piece.text, given + Style.parse(style.of("bold underline")))

    def _matrix(self, block: Matrix, style: Shading, width: int) -> Iterator[Text]:
        """Each row with its largest columns, the largest first."""
        yield Text(one_line(block.name), style.of("dim"))
        most = block.most or 1.0
        for name, row in zip(block.rows, block.shares, strict=True):
            best = sorted(((x, k) for k, x in enumerate(row) if x), key=lambda e: (-e[0], e[1]))[:SOURCES]
            pieces = [Piece(f"  {blanks(name).strip(' ') or '␣'} ← ", style.of("bold"))]
            for share, k in best:
                pieces += style.token(
                    blanks(block.columns[k]).strip(" ") or "␣", share / most, STEPS, share / most, False
                )
                pieces.append(Piece(" "))
            yield hanging(pieces if best else [*pieces, Piece("–")], width)

    def _cell(self, cell: Cell, style: Shading, *, narrow: bool) -> Text:
        text = blanks(cell.text) if cell.token else one_line(cell.text)
        text = text.strip(" ") if narrow else text
        shade = STEPS.shade(cell.share, dark=self.dark) if cell.share is not None and style.of("bold") else None
        if cell.strong and not style.of("bold") and text:
            text = f"[{text}]"
        if shade is not None:
            return Text(
                text,
                Style(
                    color=shade.text, bgcolor=shade.background, bold=cell.strong or None, underline=cell.strong or None
                ),
            )
        return Text(text, style.of("bold") if cell.strong else "")

    def _tables(self, block: Table, style: Shading, width: int) -> Iterator[RenderableType]:
        """The table; a grid that is wider than the terminal in pieces, one under the other."""
        if not block.grid:
            yield Padding(self._table(block, range(len(block.columns)), style, width), (0, 0, 0, 2))
            return
        sizes = [
            min(
                max(
                    cell_len(one_line(r[c].text).strip()) for r in (*block.rows, tuple(Cell(n) for n in block.columns))
                ),
                WIDE,
            )
            for c in range(len(block.columns))
        ]
        at = 1
        while at < len(block.columns):
            some, used = [0], sizes[0] + 4
            while at < len(block.columns) and (used + sizes[at] + 1 <= width or len(some) == 1):
                some.append(at)
                used += sizes[at] + 1
                at += 1
            yield Padding(self._table(block, some, style, width, pad=1), (0, 0, 0, 2))
            if at < len(block.columns):
                yield Text()

    def _table(
        self, block: Table, columns: range | list[int], style: Shading, width: int, *, pad: int = 2
    ) -> RichTable:
        table = RichTable(
            box=None, padding=(0, pad, 0, 0), header_style=style.of("dim"), show_edge=False, pad_edge=False
        )
        for c in columns:
            last = c == len(block.columns) - 1 and not block.grid
            table.add_column(
                one_line(block.columns[c]),
                justify="right" if c in block.numbers else "left",
                no_wrap=not last,
                overflow="fold" if last else "ellipsis",
                max_width=WIDE if block.grid else None,
            )
        for row in block.rows:
            table.add_row(*(self._cell(row[c], style, narrow=block.grid) for c in columns))
        return table

    def _tree(self, block: Tree, style: Shading) -> Iterator[Text]:
        """Depth first, the likeliest first; what was dropped is shown where it grew."""
        children: dict[int, list[int]] = {}
        for k, t in enumerate(block.twigs):
            children.setdefault(t.parent, []).append(k)
        yield Text(f"  {block.root}")
        drawn = 0
        todo = [(k, "  ") for k in reversed(children.get(-1, []))]
        while todo and drawn < TWIGS:
            k, indent = todo.pop()
            twig = block.twigs[k]
            drawn += 1
            yield self._twig(twig, indent, style)
            below = children.get(k, [])
            # A path without a fork goes straight down.
            further = indent + ("  " if len(below) > 1 or len(children.get(twig.parent, [])) > 1 else "")
            todo += [(j, further) for j in reversed(below)]
        if todo:
            yield Text(f"  … {len(block.twigs) - drawn}", style=style.of("dim"))

    def _twig(self, twig: Twig, indent: str, style: Shading) -> Text:
        sign = "●" if twig.best else "○" if twig.kept else "·"
        name = blanks(twig.text).strip(" ") or "␣"
        line = Text(f"{indent}{sign} {name}", no_wrap=True, overflow="ellipsis")
        line.append(f"  {twig.note}{' g' if twig.greedy else ''}", style.of("dim") or None)
        if style.of("bold"):
            line.stylize("bold" if twig.best else "" if twig.kept else "dim")
        return line

    def _graph(self, block: Graph, style: Shading, width: int) -> Iterator[Text]:
        """Each answer token with its sources, the strongest first: the layout of steps."""
        for k, node in enumerate(block.nodes):
            if not node.second:
                continue
            sources = sorted((e for e in block.edges if e[1] == k), key=lambda e: -e[2])
            pieces = [Piece(f"{blanks(node.text).strip(' ') or '␣'} ← ", style.of("bold"))]
            for source, _, share, _ in sources[:EDGES]:
                pieces += style.token(blanks(block.nodes[source].text).strip(" ") or "␣", share, STEPS, share, False)
                pieces.append(Piece(" "))
            yield hanging(pieces if sources else [*pieces, Piece("–")], width)


def show(result: Result, *, console: Console | None = None, lang: str | None = None) -> None:
    """Print it."""
    (console or Console()).print(View(result, chosen(lang), dark_background()), end="")
