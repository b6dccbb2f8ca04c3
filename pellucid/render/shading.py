"""How a token looks in the terminal: shaded in colour, or marked where there is no colour.

    Colors(dark=True)       # a background per token
    Marks()                 # [capital]₉ is strong, [the]₂ weak, and not one escape sequence

Both answer the same questions, so that ``terminal`` lays out once for the two.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from rich.style import Style

from pellucid.render.colors import Scale, hex_of
from pellucid.render.units import Unit
from pellucid.render.visible import label, visible
from pellucid.render.words import say
from pellucid.render.wrap import Piece

#: Marks below this level (of 9) would drown the text; the legend says so.
LEAST = 2
_SUBSCRIPT = str.maketrans("0123456789+-", "₀₁₂₃₄₅₆₇₈₉₊₋")
#: Unlikelier than this a token of the answer is pointed out.
UNLIKELY = 0.5


class Shading(ABC):
    """What ``Colors`` and ``Marks`` share, and the questions that they answer."""

    @abstractmethod
    def of(self, style: str) -> str:
        """The style, or none where escapes are not wanted."""

    @abstractmethod
    def token(self, body: str, level: float, steps: Scale, score: float, frame: bool) -> list[Piece]:
        """A prompt token without the blank before it."""

    @abstractmethod
    def answer(self, unit: Unit, marked: bool) -> list[Piece]:
        """A token of the answer (without the blank before it)."""

    @abstractmethod
    def bar(self, share: float, positive: bool, cells: int) -> Piece:
        """A bar that fills ``share`` of ``cells``."""

    @abstractmethod
    def legend(self, steps: Scale, lang: str) -> list[Piece]:
        """What explains the shades."""

    def frame(self, tokens: int) -> str:
        """The mark of folded template tokens."""
        return f"⟨{tokens}⟩"

    def span(self, opens: bool) -> Piece:
        """The mark at the start or end of the explained part."""
        return Piece("⟦" if opens else "⟧", self.of("bold"))

    def unlikely(self, units: list[Unit], lang: str) -> str:
        """The answer's least likely tokens in words, at most five."""
        low = sorted((u for u in units if math.exp(u.score) < UNLIKELY), key=lambda u: u.score)[:5]
        tokens = ", ".join(f"“{label(u.text)}” {percent(math.exp(u.score))}" for u in low)
        key = "unlikely_underlined" if self.of("underline") else "unlikely"
        return say(key, lang, tokens=tokens) if low else ""


def percent(p: float) -> str:
    """A probability as per cent, never rounded to nothing or to certainty."""
    if p >= 0.995:
        return ">99 %" if p < 1 else "100 %"
    return f"{100 * p:.0f} %" if p >= 0.095 else f"{100 * p:.2g} %" if p >= 0.0001 else "<0.01 %"


def split(text: str) -> tuple[str, str]:
    """Blanks before a token, and the rest: shading the blank too would blur where tokens begin."""
    body = text.lstrip(" ")
    return (text[: len(text) - len(body)], body) if body else ("", text)


def unit_pieces(unit: Unit, steps: Scale, style: Shading) -> list[Piece]:
    """A prompt token in pieces: the blank before it plain, the rest shaded; a line feed breaks the line."""
    blank, body = split(unit.text)
    pieces = [Piece(blank)] if blank else []
    # The template's own line breaks would pull a message apart: there only the sign is drawn.
    parts = visible(body).split("\n")
    for i, part in enumerate(parts):
        if part:
            pieces += style.token(part, steps.level(unit.score), steps, unit.score, unit.frame)
        if i + 1 < len(parts) and not unit.frame:
            pieces.append(Piece("\n"))
    return pieces


@dataclass
class Colors(Shading):
    """Shades, for true colour and 256 colours."""

    dark: bool = True

    def of(self, style: str) -> str:
        return style

    def token(self, body: str, level: float, steps: Scale, score: float, frame: bool) -> list[Piece]:
        shade = steps.shade(score, dark=self.dark)
        if shade is None:
            return [Piece(body, "dim" if frame else "")]
        return [Piece(body, Style(color=shade.text, bgcolor=shade.background, italic=frame or None))]

    def answer(self, unit: Unit, marked: bool) -> list[Piece]:
        p = math.exp(unit.score)
        style = " ".join(s for s, on in (("bold", marked), ("underline", p < UNLIKELY), ("dim", p < 0.1)) if on)
        return [Piece(visible(unit.text), style)]

    def bar(self, share: float, positive: bool, cells: int) -> Piece:
        # Mid-tones that stand out from black and from white (contrast 3 or better with both).
        return Piece(_blocks(share, cells), "#3b82d6" if positive else "#d0701c")

    def legend(self, steps: Scale, lang: str) -> list[Piece]:
        ends = ("against", "for") if steps.signed else ("weak", "strong")
        levels = range(-4, 5) if steps.signed else range(1, 9)
        unit = Scale(max(map(abs, levels)), steps.signed)
        swatches = [Piece("  ", Style(bgcolor=hex_of(unit.color(x, dark=self.dark)))) for x in levels]
        return [Piece(say(ends[0], lang) + " "), *swatches, Piece(" " + say(ends[1], lang))]


@dataclass
class Marks(Shading):
    """Levels 1 to 9 behind a token in brackets, in plain characters only."""

    ascii_only: bool = False

    def of(self, style: str) -> str:
        return ""

    def _mark(self, body: str, level: int, signed: bool) -> str:
        number = f"{level:+d}" if signed else str(abs(level))
        return f"[{body}:{number}]" if self.ascii_only else f"[{body}]{number.translate(_SUBSCRIPT)}"

    def token(self, body: str, level: float, steps: Scale, score: float, frame: bool) -> list[Piece]:
        nine = math.floor(9 * abs(level) + 0.5) * (-1 if level < 0 else 1)
        return [Piece(body if abs(nine) < LEAST else self._mark(body, nine, steps.signed))]

    def answer(self, unit: Unit, marked: bool) -> list[Piece]:
        return [Piece(visible(unit.text))]

    def bar(self, share: float, positive: bool, cells: int) -> Piece:
        return Piece("#" * round(share * cells) if self.ascii_only else _blocks(share, cells))

    def legend(self, steps: Scale, lang: str) -> list[Piece]:
        word = "…" if not self.ascii_only else "..."
        facts = {"example": self._mark(word, 9, steps.signed), "least": LEAST}
        if steps.signed:
            return [Piece(say("marks_signed", lang, against=self._mark(word, -9, True), **facts))]
        return [Piece(say("marks", lang, **facts))]


def _blocks(share: float, cells: int) -> str:
    eighths = max(round(min(max(share, 0.0), 1.0) * cells * 8), 1)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
