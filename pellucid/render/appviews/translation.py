"""A translation as blocks: its words with the source words that they rest on, and the matrix in two heat maps.

blocks = view(found, "en")
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pellucid.apps.translation import Aligned, Translation, clean
from pellucid.render.appviews.shared import heat, made, number, trusted, words
from pellucid.render.blocks import Cell, Element, Heading, Lines, Table
from pellucid.render.shading import percent
from pellucid.render.units import Unit, source_units, target_units
from pellucid.render.visible import label, one_line

LEAST = 0.01  # a share that is named beside the first

tell = words(
    {
        "source": {"en": "Source: what mattered in all", "zh": "原文：各部分的总体影响"},
        "source_in": {"en": "Source ({language}): what mattered in all", "zh": "原文（{language}）：各部分的总体影响"},
        "given": {"en": "The translation was given.", "zh": "译文为给定。"},
        "into": {"en": "Translated into {language}.", "zh": "译入语言：{language}。"},
        "words": {"en": "Where each word comes from ({method})", "zh": "每个词来自哪里（{method}）"},
        "word": {"en": "translation", "zh": "译文"},
        "from": {"en": "source", "zh": "原文"},
        "next": {"en": "then", "zh": "其次"},
        "share": {"en": "from the source", "zh": "来自原文"},
        "prob": {"en": "p", "zh": "p"},
        "matrix": {
            "en": "Translation (down) by source (across), in % of each row",
            "zh": "译文（行）与原文（列），占每行的百分比",
        },
        "prefix": {
            "en": "Translation (down) by the translation before it (across), in % of each row",
            "zh": "译文（行）与此前的译文（列），占每行的百分比",
        },
        "unseen": {
            "en": "The method {method} changes the source alone, and says nothing of what was translated before.",
            "zh": "方法 {method} 只改动原文，不涉及每个词元之前的译文。",
        },
    }
)


def view(t: Translation, lang: str) -> list[Element]:
    """The blocks."""
    trace = t.trace
    out: list[Element] = [Heading(one_line(t.translation))]
    said = [] if t.generated else [tell("given", lang)]
    if t.target_language is not None:
        said.append(tell("into", lang, language=t.target_language))
    if said:
        out.append(Lines(tuple(said)))
    key = "source" if t.source_language is None else "source_in"
    out += [Heading(tell(key, lang, language=t.source_language)), heat(trace)]
    out += [Heading(tell("words", lang, method=trace.method.name)), _alignment(t.words, lang)]
    rows, across = target_units(trace), source_units(trace)
    border = len(trace.sources)
    out += [Heading(tell("matrix", lang)), _grid(t, rows, across, 0, lang)]
    assert trace.scores is not None
    if len(rows) > 1 and bool(np.isfinite(trace.scores[:, border:]).any()):
        out += [Heading(tell("prefix", lang)), _grid(t, rows, rows[:-1], border, lang)]
    elif len(rows) > 1:
        out.append(Lines((tell("unseen", lang, method=trace.method.name),), True))
    return [*out, trusted(trace, lang), made(t.model, t.seconds, lang)]


def _alignment(found: Sequence[Aligned], lang: str) -> Table:
    """A row a word: its first source word, the others, the source's part, its probability."""
    parts = any(w.from_source is not None for w in found)
    columns = [tell("word", lang), tell("from", lang), "%", tell("next", lang), tell("prob", lang)]
    columns += [tell("share", lang)] if parts else []
    rows = []
    for w in found:
        first, others = w.sources[0] if w.sources else None, [s for s in w.sources[1:] if s.share >= LEAST]
        cells = [
            Cell(w.text),
            Cell("–" if first is None else first.text, None if first is None else first.share, _tip(w)),
            Cell("–" if first is None else percent(first.share)),
            Cell("  ".join(f"{one_line(s.text)} {percent(s.share)}" for s in others)),
            Cell(percent(math.exp(w.logprob))),
        ]
        if parts:
            cells.append(Cell("–" if w.from_source is None else percent(w.from_source), w.from_source))
        rows.append(tuple(cells))
    return Table(tuple(columns), tuple(rows), frozenset({2, 4, 5}))


def _tip(w: Aligned) -> str:
    return ", ".join(f"{s.text} {number(s.score, 4, sign=True)}" for s in w.sources)


def _name(unit: Unit) -> str:
    """A token as the head of a column."""
    return label(clean(unit.text) if unit.frame else unit.text)


def _grid(t: Translation, rows: list[Unit], across: list[Unit], offset: int, lang: str) -> Table:
    """Tokens of the translation by other tokens, each row's magnitudes as parts of their sum."""
    matrix = t.trace.scores
    assert matrix is not None
    out = []
    for row in rows:
        block = [matrix[np.ix_(row.indices, [offset + i for i in unit.indices])] for unit in across]
        scores = [float(np.nansum(b)) if np.isfinite(b).any() else math.nan for b in block]
        size = [abs(s) for s in scores if math.isfinite(s)]
        whole, most = sum(size) or 1.0, max(size, default=0.0) or 1.0
        cells = [
            Cell(
                f"{100 * abs(s) / whole:.0f}" if math.isfinite(s) else "",
                abs(s) / most if math.isfinite(s) else None,
                f"{label(row.text)} ← {_name(unit)}: {number(s, 4, sign=True)}" if math.isfinite(s) else "",
            )
            for s, unit in zip(scores, across, strict=True)
        ]
        out.append((Cell(label(row.text)), *cells))
    columns = (tell("word", lang), *(_name(u) for u in across))
    return Table(columns, tuple(out), frozenset(range(1, len(columns))), grid=True)
