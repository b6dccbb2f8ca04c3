"""The matrix as a heat map: rows are tokens of the answer, columns those of the prompt.

    matrix(setter, trace, source_units(trace), "en", 828).height

Cells keep a size that one can see: beyond ROWS x COLUMNS neighbours share a cell, which shows the strongest
of them, and a sentence says so. Labels are thinned to what fits, the columns with the largest scores first.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pellucid.render.canvas import Block, Canvas, Typesetter
from pellucid.render.colors import Scale
from pellucid.render.panels import DIM, FAINT_LINE, HEADING
from pellucid.render.units import Unit, content, magnitude, target_units
from pellucid.render.visible import label
from pellucid.render.words import say, score_text
from pellucid.trace.result import Trace

Cells = npt.NDArray[np.float64]

ROWS = 150
COLUMNS = 400
#: Height of the map, and of one row where there are few.
HIGH = 520.0
ROW = 16.0
WIDEST_CELL = 34.0
SIZE = 8.5
PITCH = 10.5


def _summed(matrix: Cells, groups: list[tuple[int, ...]], axis: int) -> Cells:
    """Rows or columns of one unit added up; NaN only where all of them are."""
    parts = []
    for group in groups:
        part = np.take(matrix, group, axis=axis)
        seen = ~np.isnan(part).all(axis=axis)
        parts.append(np.where(seen, np.nansum(part, axis=axis), np.nan))
    return np.stack(parts, axis=axis)


def strongest(matrix: Cells, most: int, axis: int) -> tuple[Cells, int]:
    """At most ``most`` rows or columns, each the strongest (sign kept) of as many neighbours as it takes."""
    size = matrix.shape[axis]
    step = math.ceil(size / most)
    if step == 1:
        return matrix, 1
    groups = [np.take(matrix, range(i, min(i + step, size)), axis=axis) for i in range(0, size, step)]
    out = []
    for group in groups:
        rank = np.where(np.isnan(group), -1.0, np.abs(group))
        best = np.expand_dims(rank.argmax(axis=axis), axis)
        out.append(np.take_along_axis(group, best, axis=axis))
    return np.concatenate(out, axis=axis), step


def cells(trace: Trace, units: list[Unit]) -> Cells:
    """The matrix of what the user wrote, unit by unit."""
    assert trace.scores is not None
    scores = trace.scores[:, : len(trace.sources)].astype(np.float64)
    scores = _summed(scores, [u.indices for u in content(units)], 1)
    return _summed(scores, [u.indices for u in target_units(trace)], 0)


def _painted(values: Cells, steps: Scale) -> npt.NDArray[np.uint8]:
    """Pixels: the scale's colours; nothing (transparent) where there is no score."""
    out = np.zeros((*values.shape, 4), dtype=np.uint8)
    # 1024 steps of the scale: finer than a screen, and a large matrix needs no Python loop over its cells.
    at = np.linspace(-1, 1, 1025)
    table = np.array([steps.color(x * steps.limit) for x in at], dtype=np.uint8)
    seen = np.isfinite(values)
    level = np.clip(values[seen] / steps.limit, -1, 1) if steps.limit > 0 else np.zeros(int(seen.sum()))
    out[seen, :3] = table[np.rint((level + 1) * 512).astype(int)]
    out[seen, 3] = 255
    return out


def _spaced(order: list[int], pitch: float, least: float) -> list[int]:
    """Places to label, in the order of preference, no two nearer than ``least``."""
    apart = max(1, math.ceil(least / pitch))
    taken: set[int] = set()
    out = []
    for i in order:
        if not any(j in taken for j in range(i - apart + 1, i + apart)):
            taken.add(i)
            out.append(i)
    return out


def matrix(setter: Typesetter, trace: Trace, units: list[Unit], lang: str, width: float) -> Block:
    """The heat map with its labels."""
    columns, rows = content(units), target_units(trace)
    values = cells(trace, units)
    signed = trace.method.signed or bool((values < 0).any())
    names = [u.text for u in rows], [u.text for u in columns]
    return grid(setter, say("matrix", lang), *names, values, list(map(magnitude, columns)), signed, lang, width)


def grid(
    setter: Typesetter,
    name: str,
    rows: list[str],
    columns: list[str],
    values: Cells,
    weights: list[float],
    signed: bool,
    lang: str,
    width: float,
) -> Block:
    """A heat map of ``values`` [rows, columns] under its ``name``; columns with the largest ``weights`` are labelled
    first."""
    finite = np.abs(values[np.isfinite(values)])
    steps = Scale(float(finite.max()) if finite.size else 0.0, signed)
    values, across = strongest(values, COLUMNS, 1)
    values, down = strongest(values, ROWS, 0)
    many_rows, many_columns = values.shape
    row = min(ROW, HIGH / many_rows)
    left = 96.0
    column = min((width - left) / many_columns, WIDEST_CELL)
    by_total = sorted(range(many_columns), key=lambda i: -max(weights[i * across : (i + 1) * across]))
    among = (range(i * across, min((i + 1) * across, len(columns))) for i in range(many_columns))
    named = [columns[max(places, key=lambda k: weights[k])] for places in among]
    heads = {i: setter.cut(label(named[i]), SIZE, 80) for i in _spaced(by_total, column, PITCH)}
    sides = {i: setter.cut(label(rows[i * down]), SIZE, left - 10) for i in _spaced(list(range(many_rows)), row, PITCH)}
    foot = max((setter.width(h, SIZE) for h in heads.values()), default=0.0) + 8
    facts = [f"{say('strong', lang)} = {score_text(steps.limit, False)}"]
    if across * down > 1:
        facts.append(say("binned", lang, n=across * down))
    if np.isnan(values).any():
        facts.append(say("unseen", lang))
    caption = setter.fonts.drawable(" · ".join(facts))
    heading = setter.fonts.drawable(name)
    pixels = _painted(values, steps)

    def draw(canvas: Canvas, y: float) -> None:
        canvas.text(0, y + 14, heading, 10.5, bold=True, color=DIM)
        y += HEADING
        high, wide = row * many_rows, column * many_columns
        canvas.box(left - 0.75, y - 0.75, wide + 1.5, high + 1.5, FAINT_LINE)
        canvas.box(left, y, wide, high, "#eef0f2", hatch="#b9c1c8" if np.isnan(values).any() else None)
        canvas.image(left, y, wide, high, pixels)
        for i, text in sides.items():
            canvas.text(left - 6, y + (i + 0.5) * row, text, SIZE, ha="right", va="center")
        for i, text in heads.items():
            canvas.text(left + (i + 0.5) * column, y + high + 5, text, SIZE, ha="center", va="top", rotation=90)
        canvas.text(left, y + high + foot + 14, caption, 9, color=DIM)

    return Block(HEADING + row * many_rows + foot + 34, draw)
