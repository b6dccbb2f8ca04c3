"""A leaderboard as a picture: faithfulness against cost, a point a method, its interval as a line.

save_png(board, "leaderboard.png")
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pellucid.render.canvas import INK, Block, Canvas, Typesetter
from pellucid.render.fonts import fonts_for
from pellucid.render.panels import DIM, FAINT_LINE, lines
from pellucid.render.png import DPI, MARGIN, WIDTH, lay_out, write

if TYPE_CHECKING:
    from pellucid.bench.board import Board, Row

RANDOM = "random"
HEIGHT, LEFT, BOTTOM = 400.0, 40.0, 34.0
POINT, LABEL = "#2f6fb3", 8.0
PANELS = (("comprehensiveness", "comprehensiveness (nats an answer token)"), ("lds", "linear datamodelling score"))


@dataclass(frozen=True)
class Axis:
    """Numbers to points along one side; ``log`` spaces powers of ten evenly."""

    low: float
    high: float
    start: float
    length: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a number."""
        a, b, v = self.low, self.high, value
        if self.log:
            a, b, v = (math.log10(max(x, 1e-9)) for x in (a, b, v))
        return self.start + self.length * (v - a) / ((b - a) or 1.0)

    def ticks(self) -> list[float]:
        """Round numbers inside."""
        if self.log:
            steps = [m * 10.0**e for e in range(-2, 7) for m in (1, 2, 5)]
            return [t for t in steps if self.low <= t <= self.high]
        rough = (self.high - self.low) / 5
        step = 10 ** math.floor(math.log10(rough))
        step *= next(m for m in (1, 2, 5, 10) if m * step >= rough)
        first = math.ceil(self.low / step)
        return [k * step for k in range(first, int(self.high / step) + 1)]


def place_labels(wanted: Sequence[tuple[float, float, float]], height: float) -> list[float]:
    """Heights y for labels (x, y, width) that would overlap otherwise: each goes to the nearest free place."""
    placed: list[tuple[float, float, float]] = []
    out = []
    for x, y, width in wanted:
        for k in range(200):
            step = (k + 1) // 2 * height / 2 * (1 if k % 2 else -1)
            free = y + step
            if not any(abs(free - other) < height and x < right and left < x + width for left, other, right in placed):
                break
        placed.append((x, free, x + width))
        out.append(free)
    return out


def _panel(board: Board, measure: str, title: str, setter: Typesetter, width: float, left: float) -> Block:
    rows = [r for r in board.rows if r.label != RANDOM and math.isfinite(r.means[measure][0])]
    random = next((r.means[measure][0] for r in board.rows if r.label == RANDOM), math.nan)
    known = [v for r in rows for v in r.means[measure] if math.isfinite(v)] + [random]
    known = [v for v in known if math.isfinite(v)] or [0.0, 1.0]
    costs = [max(r.cost, 0.1) for r in rows] or [1.0]
    low, high = min(known), max(known)
    pad = (high - low) * 0.06 or 0.1
    x = Axis(min(costs) / 1.3, max(costs) * 1.3, left + LEFT, width - LEFT - 90, log=True)

    def draw(canvas: Canvas, y0: float) -> None:
        y = Axis(low - pad, high + pad, y0 + HEIGHT - BOTTOM, -(HEIGHT - BOTTOM - 22))
        canvas.text(left + LEFT, y0 + 10, title, 10, bold=True)
        for t in y.ticks():
            canvas.box(left + LEFT, y.at(t), x.length + 84, 0.5, FAINT_LINE)
            canvas.text(left + LEFT - 5, y.at(t) + 3, f"{t:.2f}", LABEL, color=DIM, ha="right")
        for t in x.ticks():
            canvas.box(x.at(t), y.start, 0.5, 4, DIM)
            canvas.text(x.at(t), y.start + 14, f"{t:g}", LABEL, color=DIM, ha="center")
        canvas.text(
            left + LEFT + x.length / 2, y.start + 28, "cost in forward passes (F)", LABEL, color=DIM, ha="center"
        )
        if math.isfinite(random):
            canvas.box(left + LEFT, y.at(random) - 0.5, x.length + 84, 1, DIM)
            canvas.text(left + LEFT + 4, y.at(random) - 3, "random", LABEL, color=DIM)
        order = sorted(rows, key=lambda r: -r.means[measure][0])
        points = [(x.at(max(r.cost, 0.1)), y.at(r.means[measure][0])) for r in order]
        heights = place_labels(
            [(px + 6, py, setter.width(r.label, LABEL)) for (px, py), r in zip(points, order, strict=True)], 9
        )
        for r, (px, py), ly in zip(order, points, heights, strict=True):
            _point(canvas, r, measure, px, py, y)
            canvas.text(px + 6, ly + 3, setter.fonts.drawable(r.label), LABEL, color=INK)

    return Block(HEIGHT, draw)


def _point(canvas: Canvas, row: Row, measure: str, px: float, py: float, y: Axis) -> None:
    _, low, high = row.means[measure]
    if math.isfinite(low):
        canvas.box(px - 0.4, y.at(high), 0.8, y.at(low) - y.at(high), "#9dbbdc")
    canvas.box(px - 2.5, py - 2.5, 5, 5, POINT)


def save_png(board: Board, target: str | Path | IO[bytes]) -> None:
    """Draw the board."""
    s = board.settings
    title = f"{s['model']} on {s['data']}: faithfulness against cost"
    caption = (
        f"{max((r.examples for r in board.rows), default=0)} questions; lines are 95 % bootstrap intervals of the mean "
        f"over questions; F = {board.forward_seconds:.2f} s"
    )
    setter = Typesetter(fonts_for([title, caption, *(r.label for r in board.rows)]), DPI)
    width = WIDTH - 2 * MARGIN
    panels = [_panel(board, m, t, setter, width / 2, k * width / 2) for k, (m, t) in enumerate(PANELS)]

    def both(canvas: Canvas, y: float) -> None:
        for p in panels:
            p.draw(canvas, y)

    blocks = [
        lines(setter, [title], width, size=13, gap=4),
        lines(setter, [caption], width, size=9, color=DIM, gap=14),
        Block(HEIGHT, both),
    ]
    write(lay_out(blocks, setter), target)
