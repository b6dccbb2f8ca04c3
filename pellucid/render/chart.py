"""Lines over the steps of a run: as SVG for a page, as a row of blocks for a terminal.

    svg(Chart("nats a token", "step", (Series("held out", ((100, 2.3), (200, 1.9))),)))

The SVG has no colours of its own (classes ``c0`` to ``c5``), and a line ``now`` that the page's script moves.
"""

from __future__ import annotations

import math

from pellucid.render.blocks import Chart, Series
from pellucid.render.html import escaped
from pellucid.render.visible import one_line

WIDTH, HEIGHT = 720.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 150.0, 10.0, 26.0
COLOURS = 6
BLOCKS, PLAIN_BLOCKS = "▁▂▃▄▅▆▇█", ".:-=+*#@"
CELLS = 40


def domain(chart: Chart) -> tuple[float, float, float, float]:
    """(least x, largest x, least y, largest y), never empty."""
    xs = [x for s in chart.series for x, _ in s.points] or [0.0]
    ys = [y for s in chart.series for _, y in s.points if math.isfinite(y)] or [0.0]
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    if x0 == x1:
        x0, x1 = x0 - 0.5, x1 + 0.5
    if y0 == y1:
        y0, y1 = y0 - 0.5, y1 + 0.5
    return x0, x1, y0, y1


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most ``most`` round numbers from ``low`` to ``high``: 1, 2 or 5 times a power of ten apart."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def number(x: float) -> str:
    """A tick's number: four figures, no exponent for what a run counts."""
    return (f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.4g}").replace("-", "−")


def spread(places: list[float], least: float, low: float, high: float) -> list[float]:
    """Heights of names, moved apart to be ``least`` from each other, in their order, within ``low`` to ``high``."""
    order = sorted(range(len(places)), key=lambda k: places[k])
    at: dict[int, float] = {}
    before = low - least
    for k in order:
        before = max(places[k], before + least)
        at[k] = before
    after = high + least
    for k in reversed(order):
        after = min(at[k], after - least)
        at[k] = after
    return [at[k] for k in range(len(places))]


def svg(chart: Chart) -> str:
    """The chart; names of its lines stand at their ends."""
    x0, x1, y0, y1 = domain(chart)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(v: float) -> float:
        return LEFT + (v - x0) / (x1 - x0) * (right - LEFT)

    def y(v: float) -> float:
        return bottom - (v - y0) / (y1 - y0) * (bottom - TOP)

    parts = []
    for v in ticks(y0, y1):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{number(v)}</text>')
    for v in ticks(x0, x1, 6):
        parts.append(f'<text x="{x(v):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{number(v)}</text>')
    parts.append(f'<text x="{right + 18}" y="{HEIGHT - 8}">{escaped(chart.across)}</text>')
    drawn = [s for s in chart.series if s.points]
    ends = spread([y(s.points[-1][1]) for s in drawn], 13.0, TOP + 4, bottom)
    for k, (s, end) in enumerate(zip(drawn, ends, strict=True)):
        name = f"c{k % COLOURS}"
        line = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in s.points if math.isfinite(b))
        parts.append(f'<polyline class="{name}" points="{line}"/>')
        if len(s.points) <= 60:
            parts += [
                f'<circle class="{name}" cx="{x(a):.1f}" cy="{y(b):.1f}" r="2"/>'
                for a, b in s.points
                if math.isfinite(b)
            ]
        parts.append(f'<text class="{name}" x="{right + 8}" y="{end + 4:.1f}">{escaped(one_line(s.name))}</text>')
    parts.append(f'<line class="now" x1="{right}" x2="{right}" y1="{TOP}" y2="{bottom}"/>')
    told = escaped(f"{chart.name}: {'; '.join(told_of(s) for s in drawn)}")
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{told}" '
        f'data-x="{x0:g} {x1:g} {LEFT:g} {right:g}">{"".join(parts)}</svg>'
    )


def told_of(series: Series) -> str:
    """A line in words: where it begins, where it ends."""
    first, last = series.points[0][1], series.points[-1][1]
    return f"{one_line(series.name)} {number(first)} → {number(last)}"


def row(series: Series, low: float, high: float, *, plain: bool = False) -> str:
    """A line as a row of blocks, each the mean of a stretch of points."""
    blocks = PLAIN_BLOCKS if plain else BLOCKS
    ys = [y for _, y in series.points if math.isfinite(y)]
    cells = min(CELLS, len(ys))
    found = []
    for k in range(cells):
        some = ys[k * len(ys) // cells : (k + 1) * len(ys) // cells]
        share = (sum(some) / len(some) - low) / (high - low)
        found.append(blocks[min(len(blocks) - 1, max(0, round(share * (len(blocks) - 1))))])
    return "".join(found)
