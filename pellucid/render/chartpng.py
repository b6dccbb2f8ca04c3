"""A chart as a block of a picture.

block = chart_block(setter, Chart("nats a token", "step", series), width)
"""

from __future__ import annotations

import math

from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve

from pellucid.render.blocks import Chart
from pellucid.render.canvas import Block, Canvas, Typesetter
from pellucid.render.chart import domain, number, spread, ticks
from pellucid.render.panels import DIM, FAINT_LINE
from pellucid.render.visible import one_line

HEIGHT, NAME, LEFT, RIGHT, BOTTOM = 150.0, 20.0, 46.0, 170.0, 20.0
SIZE = 9.0
COLOURS = ("#2f6fbb", "#c2641a", "#2c8a57", "#a64d9b", "#8a7a12", "#6b7280")  # those of lens.css on paper


def chart_block(setter: Typesetter, chart: Chart, width: float) -> Block:
    """Lines with their names at their ends, a few round numbers at both axes."""
    x0, x1, y0, y1 = domain(chart)
    right, low, high = width - RIGHT, HEIGHT - BOTTOM, NAME + 6
    drawn = [s for s in chart.series if s.points]

    def x(v: float) -> float:
        return LEFT + (v - x0) / (x1 - x0) * (right - LEFT)

    def y(v: float) -> float:
        return low - (v - y0) / (y1 - y0) * (low - high)

    ends = spread([y(s.points[-1][1]) for s in drawn], 12.0, high, low)
    names = [setter.cut(one_line(s.name), SIZE, RIGHT - 16) for s in drawn]
    title = setter.cut(one_line(chart.name), 10, width)

    def draw(canvas: Canvas, top: float) -> None:
        canvas.text(0, top + 13, title, 10, bold=True, color=DIM)
        for v in ticks(y0, y1, 4):
            canvas.box(LEFT, top + y(v), right - LEFT, 0.6, FAINT_LINE)
            canvas.text(LEFT - 5, top + y(v) + 3, number(v), SIZE, color=DIM, ha="right")
        for v in ticks(x0, x1, 6):
            canvas.text(x(v), top + HEIGHT - 4, number(v), SIZE, color=DIM, ha="center")
        canvas.text(right + 16, top + HEIGHT - 4, chart.across, SIZE, color=DIM)
        for k, s in enumerate(drawn):
            color = COLOURS[k % len(COLOURS)]
            points = [(x(a), top + y(b)) for a, b in s.points if math.isfinite(b)]
            canvas.fig.add_artist(
                PathPatch(Curve(points), facecolor="none", edgecolor=color, linewidth=1.2, transform=canvas.transform)
            )
            canvas.text(right + 8, top + ends[k] + 3, names[k], SIZE, color=color, bold=True)

    return Block(HEIGHT + 14, draw)
