"""The scale: a score to the colour behind its token, and to the colour of the text on it.

    from pellucid.render.colors import scale
    scale(trace).shade(0.7, dark=True)          # Shade(background='#4a7eb2', text='#000000')

Blue is for the answer, orange against it: a pair that colour-blind readers tell apart. Scores without a sign
use the blue alone. The full colour is the largest magnitude among the user's own units; tokens of the
template may exceed it and are clipped. Steps are even to the eye (mixed in OKLab), and text is black or
white, whichever stands out more: one of the two always has a contrast of 4.58 or better (WCAG asks for 4.5).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pellucid.render.units import Unit, content, magnitude, source_units
from pellucid.trace.result import Trace

RGB = tuple[int, int, int]

PAPER: RGB = (255, 255, 255)
NIGHT: RGB = (16, 20, 24)
BLUE_ON_PAPER: RGB = (11, 92, 173)
ORANGE_ON_PAPER: RGB = (201, 84, 4)
BLUE_ON_NIGHT: RGB = (100, 178, 255)
ORANGE_ON_NIGHT: RGB = (255, 160, 80)
#: Below this share of the largest magnitude a token is left unshaded.
FAINT = 0.04


def hex_of(rgb: RGB) -> str:
    """``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def _linear(c: float) -> float:
    return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4


def _gamma(c: float) -> int:
    c = min(max(c, 0.0), 1.0)
    return round(255 * (12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055))


def _to_oklab(rgb: RGB) -> tuple[float, float, float]:
    r, g, b = (_linear(c / 255) for c in rgb)
    l = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)  # noqa: E741  # the paper's names
    m = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    s = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
        1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
        0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s,
    )


def _from_oklab(lab: tuple[float, float, float]) -> RGB:
    light, a, b = lab
    l = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3  # noqa: E741
    m = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _gamma(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
        _gamma(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
        _gamma(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s),
    )


def blend(a: RGB, b: RGB, share: float) -> RGB:
    """``share`` of the way from ``a`` to ``b``, even to the eye."""
    x, y = _to_oklab(a), _to_oklab(b)
    return _from_oklab((x[0] + (y[0] - x[0]) * share, x[1] + (y[1] - x[1]) * share, x[2] + (y[2] - x[2]) * share))


def luminance(rgb: RGB) -> float:
    """Relative luminance as WCAG 2 defines it."""
    r, g, b = (_linear(c / 255) for c in rgb)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: RGB, b: RGB) -> float:
    """Contrast ratio as WCAG 2 defines it, 1 to 21."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@dataclass(frozen=True)
class Shade:
    """Two colours as ``#rrggbb``: behind the token, and of its text."""

    background: str
    text: str


@dataclass(frozen=True)
class Scale:
    """Scores to colours: ``limit`` is the magnitude of the full one, ``signed`` gives 'against' its own hue."""

    limit: float
    signed: bool

    def level(self, score: float) -> float:
        """-1 (fully against) to 1 (fully for); without sign, 0 to 1. 0 for a score that is missing."""
        if not (math.isfinite(score) and self.limit > 0):
            return 0.0
        level = min(max(score / self.limit, -1.0), 1.0)
        return level if self.signed else abs(level)

    def color(self, score: float, *, dark: bool = False) -> RGB:
        """The colour behind a token with this score, on white or (``dark``) on near-black."""
        level = self.level(score)
        if dark:
            return blend(NIGHT, BLUE_ON_NIGHT if level >= 0 else ORANGE_ON_NIGHT, abs(level))
        return blend(PAPER, BLUE_ON_PAPER if level >= 0 else ORANGE_ON_PAPER, abs(level))

    def shade(self, score: float, *, dark: bool = False) -> Shade | None:
        """Both colours of a token, or None where it is too faint to shade."""
        if abs(self.level(score)) < FAINT:
            return None
        back = self.color(score, dark=dark)
        text = max(((0, 0, 0), (255, 255, 255)), key=lambda t: contrast(back, t))
        return Shade(hex_of(back), hex_of(text))


def scale_of(units: Iterable[Unit], *, signed: bool) -> Scale:
    """The scale whose full colour is the largest of these magnitudes; a negative score makes it signed."""
    units = list(units)
    return Scale(max(map(magnitude, units), default=0.0), signed or any(u.score < 0 for u in units))


def scale(trace: Trace, units: list[Unit] | None = None) -> Scale:
    """The scale of a trace: over what the user wrote, never the template."""
    return scale_of(content(source_units(trace) if units is None else units), signed=trace.method.signed)
