"""A query's text in the terminal: the text itself, highlighted, line breaks kept.

    model.relevance("capital gains", text).show()

Shades and marks are those of traces (``shading``); a score that came out as no number is not shaded, and a note counts
those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segments
from rich.text import Text

from pellucid.relevance.result import Part, Relevance
from pellucid.render.colors import Scale
from pellucid.render.shading import Colors, Marks, Shading, percent
from pellucid.render.terminal import colorful, dark_background, encodable, hanging
from pellucid.render.visible import label, one_line, visible
from pellucid.render.words import chosen, say
from pellucid.render.wrap import Piece

TOP = 10


def scale_of(found: Relevance) -> Scale:
    """The full colour is the largest score's."""
    return Scale(max((t.score or 0.0 for t in found.tokens), default=0.0), signed=False)


def parts(found: Relevance) -> Iterator[Part]:
    """The whole text in order: tokens, and what stands between them with a score of None. Pieces that share characters
    with the one before come without these."""
    at = 0
    for t in found.tokens:
        if t.end <= at:
            continue
        if t.start > at:
            yield Part(found.text[at : t.start], at, t.start, None)
        start = max(t.start, at)
        yield Part(found.text[start : t.end], start, t.end, t.score)
        at = t.end
    if at < len(found.text):
        yield Part(found.text[at:], at, len(found.text), None)


def text_pieces(found: Relevance, style: Shading, steps: Scale) -> list[Piece]:
    """The whole text in runs of one style, its line breaks kept."""
    pieces: list[Piece] = []
    for part in parts(found):
        for i, line in enumerate(visible(part.text).replace("↵\n", "\n").split("\n")):
            if i:
                pieces.append(Piece("\n"))
            body = line.lstrip(" ")
            if len(body) < len(line):
                pieces.append(Piece(line[: len(line) - len(body)]))
            if body and part.score is not None:
                pieces += style.token(body, steps.level(part.score), steps, part.score, False)
            elif body:
                pieces.append(Piece(body))
    return pieces


def notes(found: Relevance, lang: str) -> Iterator[str]:
    """What a reader has to know: a cut, windows, scores that are missing."""
    if found.cut_at is not None:
        yield say("relevance_cut", lang, at=found.cut_at)
    if len(found.windows) > 1:
        yield say("relevance_windows", lang, n=len(found.windows))
    if found.not_finite:
        yield say("relevance_lost", lang, n=found.not_finite, of=len(found.tokens))


def verdict(found: Relevance, lang: str) -> str:
    """Query and degree, in a line."""
    return say(
        "relevance_degree",
        lang,
        query=one_line(found.query.strip()),
        degree=percent(found.degree),
        calibrated=f"{found.calibrated:+.1f}".replace("-", "−"),
    )


def made(found: Relevance, lang: str) -> str:
    """Model, modes, method, time."""
    return say(
        "relevance_made",
        lang,
        model=one_line(found.model.name),
        degree=found.degree_mode,
        tokens=found.token_mode,
        method=one_line(found.method),
        seconds=f"{found.seconds:.1f}",
    )


@dataclass
class View:
    """What ``show`` prints."""

    found: Relevance
    lang: str
    dark: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        style: Shading = Colors(self.dark) if colorful(console) else Marks(ascii_only=options.ascii_only)
        segments = [s for part in self._parts(style, options.max_width) for s in console.render(part, options)]
        if options.ascii_only:
            segments = list(encodable(segments, options.encoding))
        yield Segments(segments)

    def _parts(self, style: Shading, width: int) -> Iterator[Text]:
        found, lang = self.found, self.lang
        steps = scale_of(found)
        yield hanging([Piece(verdict(found, lang), style.of("bold"))], width)
        yield Text()
        yield hanging(text_pieces(found, style, steps), width)
        yield Text()
        if found.tokens:
            best = ", ".join(label(t.text) for t in found.top(TOP))
            yield hanging([Piece(say("relevance_top", lang, tokens=best))], width)
            yield hanging(style.legend(steps, lang), width, style.of("dim"))
        for line in (*notes(found, lang), made(found, lang)):
            yield hanging([Piece(line)], width, style.of("dim"))


def show(found: Relevance, *, console: Console | None = None, lang: str | None = None) -> None:
    """Print the text, highlighted."""
    (console or Console()).print(View(found, chosen(lang), dark_background()), end="")
