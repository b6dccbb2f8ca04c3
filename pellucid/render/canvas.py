"""A page in points, from the top left, on a matplotlib figure: text that is measured, boxes, lines.

    setter = Typesetter(fonts_for(["法国"]), dpi=144); setter.width("法国", 11)

Text never goes through mathtext or TeX (``$`` is a character), and every colour is given here, so that the
user's rcParams change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

from pellucid.render.fonts import Fonts

INK = "#1c2126"


@dataclass
class Typesetter:
    """Measures text as Agg will draw it."""

    fonts: Fonts
    dpi: int
    _widths: dict[tuple[str, float, bool, bool], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._renderer = RendererAgg(8, 8, self.dpi)  # type: ignore[no-untyped-call]

    def width(self, text: str, size: float, *, bold: bool = False, italic: bool = False) -> float:
        """Width in points (of text that ``fonts.drawable`` has been through)."""
        text = text.replace("\n", "")
        key = (text, size, bold, italic)
        if key not in self._widths:
            properties = self.fonts.properties(size, bold=bold, italic=italic)
            size_of = self._renderer.get_text_width_height_descent
            # Of ink alone Agg knows the width; with a mark after it, the blank at its edge counts too.
            pixels = [size_of(t, properties, False)[0] for t in (text + "|", "|")]  # type: ignore[no-untyped-call]
            self._widths[key] = float(pixels[0] - pixels[1]) * 72 / self.dpi
        return self._widths[key]

    def cut(self, text: str, size: float, width: float) -> str:
        """``text``, made drawable, and shortened with an ellipsis to ``width``."""
        text = self.fonts.drawable(text)
        if len(text) <= 400 and self.width(text, size) <= width:
            return text
        text = text[:400]  # more than any line holds; each step below measures it again
        while text and self.width(text + "…", size) > width:
            text = text[:-1]
        return text + "…"


@dataclass
class Block:
    """A part of the page: its height, and how to draw it from a distance ``y`` below the top."""

    height: float
    draw: Callable[[Canvas, float], None]


@dataclass
class Canvas:
    """The page while it is drawn: ``x`` from the left margin, ``y`` down from the top, in points."""

    fig: Figure
    setter: Typesetter
    height: float
    margin: float

    def __post_init__(self) -> None:
        flip = Affine2D().scale(1, -1).translate(self.margin, self.height)
        self.transform = flip + Affine2D().scale(1 / 72) + self.fig.dpi_scale_trans

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        color: str = INK,
        bold: bool = False,
        italic: bool = False,
        ha: Literal["left", "center", "right"] = "left",
        va: Literal["baseline", "center", "top"] = "baseline",
        rotation: float = 0,
    ) -> None:
        """Text (already drawable), with its baseline at ``y``."""
        if not text.strip():
            return
        properties = self.setter.fonts.properties(size, bold=bold, italic=italic)
        artist = Text(
            x,
            y,
            text,
            color=color,
            fontproperties=properties,
            horizontalalignment=ha,
            verticalalignment=va,
            rotation=rotation,
            parse_math=False,
            usetex=False,
            transform=self.transform,
        )
        artist.set_clip_on(False)
        self.fig.add_artist(artist)

    def box(self, x: float, y: float, width: float, height: float, color: str, *, hatch: str | None = None) -> None:
        """A filled rectangle; ``hatch`` is the colour of slanted lines in it."""
        artist = Rectangle(
            (x, y),
            width,
            height,
            facecolor=color,
            edgecolor=hatch or "none",
            linewidth=0,
            hatch="////" if hatch else None,
            transform=self.transform,
        )
        # On whole pixels: neighbours then meet without a seam.
        artist.set_snap(True)
        self.fig.add_artist(artist)

    def image(self, x: float, y: float, width: float, height: float, pixels: npt.NDArray[np.uint8]) -> None:
        """Cells of one colour each; a cell of alpha 0 lets through what is behind."""
        whole = self.fig.get_figwidth() * 72
        place = (
            (x + self.margin) / whole,
            1 - (y + height) / self.height,
            width / whole,
            height / self.height,
        )
        axes = self.fig.add_axes(place, zorder=2)  # above the boxes
        axes.set_axis_off()
        axes.imshow(pixels, aspect="auto", interpolation="nearest", origin="upper", resample=False)
