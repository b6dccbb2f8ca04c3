"""One trace in the terminal: the prompt shaded by what mattered, the answer, top tokens, trust.

    python -c "import pellucid; pellucid.Trace.load('trace.json').show()"

With true colour (or 256) tokens are shaded, foreground and background both set, so that they can be read on
dark and on light terminals; what is not shaded keeps the terminal's own colours. Where there is no colour
(NO_COLOR, a dumb terminal, output into a file or a pipe) tokens carry marks, ``[capital]₉``, and no escape
sequence is written at all. No control character of the prompt or the answer reaches the terminal
(``visible``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.segment import Segment, Segments
from rich.text import Text

from pellucid.render import fold
from pellucid.render.colors import Scale, scale
from pellucid.render.named import span_lines
from pellucid.render.pieces import answer_pieces, notes, prompt_pieces
from pellucid.render.shading import Colors, Marks, Shading
from pellucid.render.table import top_table, units_table
from pellucid.render.units import ranked, source_units, target_units
from pellucid.render.words import chosen, provenance, say, title, trust_line
from pellucid.render.wrap import Piece, wrap
from pellucid.trace.result import Trace

__all__ = ["View", "dark_background", "render", "show"]

#: The answer is what the reader came for: it is folded only when it is very long.
ANSWER_LIMIT = 4000
#: Signs near to ours, for an output that cannot write them.
_NEAR = str.maketrans(
    {
        "…": "...",
        "·": "-",
        "“": '"',
        "”": '"',
        "−": "-",
        "–": "-",
        "⟨": "<",
        "⟩": ">",
        "‹": "<",
        "›": ">",
        "↵": "\\n",
        "⇥": "\\t",
        "⟦": ">>",
        "⟧": "<<",
        "█": "#",
        "\u00a0": " ",
        "␣": "_",
    }
)


def dark_background(env: Mapping[str, str] | None = None) -> bool:
    """Whether the terminal is dark: COLORFGBG, where it is set, ends in the background's number. Else dark."""
    env = os.environ if env is None else env
    last = env.get("COLORFGBG", "").rpartition(";")[2]
    return not (last.isdigit() and (int(last) == 7 or 9 <= int(last) <= 15))


def colorful(console: Console) -> bool:
    """Can this console show a scale of colours?"""
    # 16 colours cannot hold a scale: marks say more.
    return not console.no_color and console.color_system in ("truecolor", "256")


@dataclass
class View:
    """What ``render`` returns: rich asks it for its lines when it knows the console."""

    trace: Trace
    full: bool = False
    width: int | None = None
    lang: str = "en"
    words: bool = False
    dark: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.width is not None:
            options = options.update(width=min(self.width, options.max_width))
        style: Shading = Colors(self.dark) if colorful(console) else Marks(ascii_only=options.ascii_only)
        segments = [s for part in self._parts(style, options.max_width) for s in console.render(part, options)]
        if options.ascii_only:
            segments = list(encodable(segments, options.encoding))
        yield Segments(segments)

    def _parts(self, style: Shading, width: int) -> Iterator[Text | Padding]:
        trace, lang = self.trace, self.lang
        units = source_units(trace, words=self.words)
        steps = scale(trace, units)
        yield Text(title(trace, lang), style=style.of("bold"))
        yield Text()
        sections = fold.arrange(units, full=self.full)
        yield self._heading("prompt", style)
        yield from self._prompt(sections, steps, style, width)
        yield Text()
        yield self._heading("answer" if trace.answer.generated else "given", style)
        yield from self._answer(style, width)
        yield Text()
        if trace.units:
            yield self._heading("top_units", style)
            most = len(trace.units) if self.full else fold.TOP
            yield Padding(units_table(trace, style, lang, most), (0, 0, 0, 2))
            yield Text()
        best = [u for u in ranked(units)[: fold.TOP] if u.score != 0]
        if best:
            yield self._heading("top", style)
            yield Padding(top_table(best, units, trace, steps, style, lang, width), (0, 0, 0, 2))
            yield Text()
        if trace.spans:
            yield self._heading("named_spans", style)
            for line in span_lines(trace, lang):
                yield from _beside("", wrap([Piece(line)], width - 2), 2, "")
            yield Text()
        yield hanging(style.legend(steps, lang), width, style.of("dim"))
        for line in notes(trace, sections, lang, can_unfold=True):
            yield hanging([Piece(line)], width, style.of("dim"))
        yield hanging([Piece(trust_line(trace, lang), style.of("bold"))], width)
        yield hanging([Piece(provenance(trace, lang))], width, style.of("dim"))

    def _heading(self, key: str, style: Shading) -> Text:
        return Text(say(key, self.lang), style=style.of("bold"))

    def _prompt(self, sections: list[fold.Section], steps: Scale, style: Shading, width: int) -> Iterator[Text]:
        rows = prompt_pieces(self.trace, sections, steps, style, self.lang)
        margin = 2 + max((cell_len(name) + 2 for name, _ in rows if name), default=0)
        margin = min(margin, max(width // 3, 2))
        for name, pieces in rows:
            yield from _beside(name, wrap(pieces, width - margin), margin, style.of("bold"))

    def _answer(self, style: Shading, width: int) -> Iterator[Text]:
        limit = 10**9 if self.full else ANSWER_LIMIT
        pieces = answer_pieces(self.trace, style, self.lang, limit=limit, words=self.words)
        yield from _beside("", wrap(pieces, width - 2), 2, "")
        unlikely = style.unlikely(target_units(self.trace, words=self.words), self.lang)
        if unlikely:
            yield from _beside("", wrap([Piece(unlikely, style.of("dim"))], width - 2), 2, "")


def _beside(name: str, lines: list[Text], margin: int, style: str) -> Iterator[Text]:
    """Lines with a margin, the first with a name in it."""
    for i, line in enumerate(lines):
        head = Text("  ", no_wrap=True, overflow="crop")
        if i == 0 and name:
            head.append(name, style or None)
            head.truncate(margin, overflow="ellipsis")
        head.append(" " * (margin - head.cell_len))
        yield head + line


def hanging(pieces: list[Piece], width: int, style: str = "") -> Text:
    """A sentence in lines of its own."""
    out = Text("\n", no_wrap=True, overflow="crop").join(wrap(pieces, width))
    out.style = style
    return out


def encodable(segments: list[Segment], encoding: str) -> Iterator[Segment]:
    """For an output that cannot write every character: near signs, and escapes (\\u4f60) for the rest."""
    for text, style, control in segments:
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            text = text.translate(_NEAR).encode(encoding, "backslashreplace").decode(encoding)
        yield Segment(text, style, control)


def render(
    trace: Trace,
    *,
    full: bool = False,
    width: int | None = None,
    lang: str | None = None,
    words: bool = False,
    dark: bool | None = None,
) -> View:
    """The trace as something that ``rich`` can print.

    ``full`` folds nothing. ``width`` is in cells (the console's own where None). ``lang`` is ``en`` or ``zh``
    (the locale's where None). ``words`` shows whole words. ``dark`` says which background to shade for: it is
    read from COLORFGBG where None, and taken for dark where the terminal does not say.
    """
    return View(trace, full, width, chosen(lang), words, dark_background() if dark is None else dark)


def show(trace: Trace, *, full: bool = False, console: Console | None = None, lang: str | None = None) -> None:
    """Print the trace."""
    (console or Console()).print(render(trace, full=full, lang=lang), end="")
