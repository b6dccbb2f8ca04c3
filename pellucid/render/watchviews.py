"""A run's checkpoints as blocks: one prompt at each, and how everything went.

blocks = watched(watch("runs/mine", "ROMEO:"), "en")
"""

from __future__ import annotations

import math

from pellucid.lab.watched import Seen, Watched
from pellucid.render.blocks import Cell, Chart, Element, Frames, Heading, Heat, Lines, Series, Table
from pellucid.render.lenswords import tell
from pellucid.render.shading import percent
from pellucid.render.visible import one_line

#: A token with this share of the largest score is set off in the grid.
STRONG = 0.5


def watched(r: Watched, lang: str) -> list[Element]:
    """The view."""
    parts: list[Element] = [
        Heading(tell("watch_title", lang, run=one_line(r.run), answer=one_line(r.answer).strip())),
        Lines((tell("watch_given" if r.given else "watch_said", lang),)),
        Frames(
            tell("watch_step", lang),
            tuple(c.step for c in r.checkpoints),
            tuple(_frame(r, c, lang) for c in r.checkpoints),
        ),
    ]
    if r.loss or r.held_out:
        curves = (("watch_train", r.loss), ("watch_held", r.held_out))
        series = tuple(Series(tell(k, lang), tuple((p.step, p.nats) for p in c)) for k, c in curves if c)
        parts.append(_chart("watch_loss", lang, series))
    parts.append(_chart("watch_next", lang, _followed(r)))
    logprob = Series(tell("watch_logprob_line", lang), tuple((c.step, c.logprob) for c in r.checkpoints))
    parts.append(_chart("watch_logprob", lang, (logprob,)))
    like = tuple((c.step, c.like_last) for c in r.checkpoints if c.like_last is not None)
    parts.append(_chart("watch_like", lang, (Series(tell("watch_like_line", lang), like),)))
    parts += [Heading(tell("watch_grid", lang)), _grid(r, lang)]
    notes = [tell("watch_note", lang, method=r.method)]
    if r.signed:
        notes.append(tell("watch_signed", lang))
    if r.left_out:
        notes.append(tell("watch_left", lang, n=r.left_out))
    notes.append(tell("made", lang, model=one_line(r.model.name), seconds=f"{r.seconds:.1f}"))
    return [*parts, Lines(tuple(notes), True)]


def _chart(key: str, lang: str, series: tuple[Series, ...]) -> Chart:
    return Chart(tell(key, lang), tell("watch_across", lang), series)


def _shares(r: Watched, c: Seen) -> list[float | None]:
    """Each token's magnitude of the checkpoint's largest; None of what was not measured."""
    sizes = [abs(s) if math.isfinite(s) else None for s in c.scores]
    most = max((s for s in sizes if s is not None), default=0.0) or 1.0
    return [None if s is None else s / most for s in sizes]


def _tips(r: Watched, c: Seen) -> list[str]:
    return [f"{s:+.4g}".replace("-", "−") if math.isfinite(s) else "" for s in c.scores]


def _frame(r: Watched, c: Seen, lang: str) -> tuple[Heat | Table | Lines | Heading, ...]:
    held = "–" if c.held_out is None else f"{c.held_out:.4f}"
    facts = {"step": f"{c.step:,}", "held": held, "logprob": f"{c.logprob:.3f}".replace("-", "−")}
    heat = Heat(tuple(zip(r.tokens, _shares(r, c), _tips(r, c), strict=True)))
    rows = tuple((Cell(e.text, token=True), Cell(percent(e.prob), e.prob, f"id {e.id}")) for e in c.choices)
    return (
        Heading(tell("watch_at", lang, **facts)),
        heat,
        Table((tell("watch_token", lang), tell("watch_prob", lang)), rows, frozenset({1})),
        Lines((tell("watch_written", lang, text=one_line(c.written)),)),
    )


def _followed(r: Watched) -> tuple[Series, ...]:
    steps = [c.step for c in r.checkpoints]
    return tuple(
        Series(f"“{one_line(f.text).replace(' ', '␣')}”", tuple(zip(steps, f.probs, strict=True))) for f in r.followed
    )


def _grid(r: Watched, lang: str) -> Table:
    shown = [k for k, frame in enumerate(r.frame) if not frame] or list(range(len(r.tokens)))
    rows = []
    for c in r.checkpoints:
        shares, tips = _shares(r, c), _tips(r, c)
        told = [
            Cell(r.tokens[k], shares[k], f"{r.tokens[k]} {tips[k]}", (shares[k] or 0.0) >= STRONG, True) for k in shown
        ]
        rows.append((Cell(f"{c.step:,}"), *told))
    columns = (tell("watch_across", lang), *("" for _ in shown))
    return Table(columns, tuple(rows), frozenset({0}), grid=True)
