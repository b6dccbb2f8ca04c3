"""What the applications' views have in common: sentences in two languages, a trace over a text, who made it.

tell = words({"title": {"en": "Label: {label}", "zh": "标签：{label}"}})
[Heading(tell("title", lang, label="sport")), heat(trace, message=0), *trusted(trace, lang)]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from pellucid.render.blocks import Heat, Lines
from pellucid.render.units import source_units
from pellucid.render.visible import one_line
from pellucid.render.words import trust_line
from pellucid.trace.result import ModelInfo, Trace

Tell = Callable[..., str]


def words(sentences: Mapping[str, Mapping[str, str]]) -> Tell:
    """``tell(key, lang, **values)`` for these sentences; English where ``lang`` has none."""

    def tell(key: str, lang: str, **values: object) -> str:
        found = sentences[key]
        return found.get(lang, found["en"]).format(**values)

    return tell


def number(x: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """``−0.25``; a dash where there is none."""
    if x is None or not math.isfinite(x):
        return "–"
    return (f"{x:+.{digits}f}" if sign else f"{x:.{digits}f}").replace("-", "−")


def heat(trace: Trace, *, message: int | None = None, words: bool = True) -> Heat:
    """The prompt (one message of it) shaded by the trace's total: shares of the largest magnitude among what the user
    wrote, the scores as tips."""
    units = [u for u in source_units(trace, words=words) if not u.frame and (message is None or u.message == message)]
    every = [abs(u.score) for u in source_units(trace, words=words) if not u.frame and math.isfinite(u.score)]
    most = max(every, default=0.0) or 1.0
    return Heat(
        tuple(
            (u.text, abs(u.score) / most if math.isfinite(u.score) else None, number(u.score, 4, sign=True))
            for u in units
        )
    )


def over(
    text: str, stretches: Sequence[tuple[int, int, float | None, str]], *, marked: tuple[int, int] | None = None
) -> Heat:
    """A text with stretches (start, end, share, tip) shaded, in order and apart from each other; the rest plain. The
    characters ``marked`` are set off."""
    parts: list[tuple[int, int, float | None, str]] = []
    at = 0
    for start, end, share, tip in sorted(stretches, key=lambda s: s[:2]):
        if start > at:
            parts.append((at, start, None, ""))
        parts.append((max(start, at), end, share, tip))
        at = max(at, end)
    parts.append((at, len(text), None, ""))
    low, high = (0, 0) if marked is None else marked
    cut = [
        (max(a, x), min(b, y), share, tip)
        for a, b, share, tip in parts
        for x, y in ((0, low), (low, high), (high, len(text)))
        if max(a, x) < min(b, y)
    ]
    marks = frozenset(k for k, (a, b, _, _) in enumerate(cut) if low <= a and b <= high)
    return Heat(tuple((text[a:b], share, tip) for a, b, share, tip in cut), marks)


def trusted(trace: Trace, lang: str) -> Lines:
    """How far the trace can be trusted."""
    return Lines((trust_line(trace, lang),))


_tell = words({"made": {"en": "{model}; {seconds} s", "zh": "{model}；{seconds} 秒"}})


def made(model: ModelInfo, seconds: float, lang: str) -> Lines:
    """By which model, in what time."""
    return Lines((_tell("made", lang, model=one_line(model.name), seconds=number(seconds, 1)),), True)
