"""What an answer rests on: which messages, which of their sentences, which tokens.

    why = explained(me, messages, answer)        # or chat.why()

Messages and sentences are left out one at a time: for m messages and s sentences 2 + m + s forward passes, each from
the place that it changes on. Their scores are falls of the answer's log-probability in nats, so no measure of trust
stands beside them: they are what it would measure. Tokens have one fast method (``method="auto"``, ``budget="fast"``),
with trust.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pellucid.apps.chat.results import Message, Why
from pellucid.apps.speaker import Speaker
from pellucid.errors import InputError, unknown
from pellucid.progress import Progress, silent
from pellucid.trace import segments
from pellucid.trace.result import Trace

LEVELS = ("message", "sentence", "token")


def check_levels(levels: str | Sequence[str]) -> tuple[str, ...]:
    """The levels that are asked for, coarse to fine. Raises ``OptionError``."""
    given = (levels,) if isinstance(levels, str) else tuple(levels)
    for level in given or ("",):
        if level not in LEVELS:
            raise unknown("level", level, list(LEVELS))
    return tuple(level for level in LEVELS if level in given)


def explained(
    me: Speaker,
    messages: Sequence[Message],
    answer: str,
    *,
    levels: str | Sequence[str] = LEVELS,
    span: str | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Why:
    """``answer`` to ``messages`` explained by ``levels``; ``span``: only this part of it. ``options`` are those of
    ``Model.explain`` for the level token. Raises ``InputError`` for an answer without text."""
    chosen = check_levels(levels)
    if not answer.strip():
        raise InputError("the last answer is empty, so there is nothing to explain: ask something else first")
    prompt = [{"role": m.role, "content": m.content} for m in messages]
    began = time.perf_counter()
    traces: dict[str, Trace] = {}
    for level in chosen:
        how: dict[str, Any]
        if level == "token":
            how = {"method": "auto", "budget": "fast", **options}
            if how["method"] != "auto" and "budget" not in options:
                del how["budget"]
        else:
            unit: Any = level if level == "sentence" else _whole(messages)
            how = {"method": "leave_one_out", "unit": unit, "trust": False}
        traces[level] = me.explain(prompt, answer, span=span, progress=progress, **how)
    return Why(me.info, answer, span, tuple(messages), traces, round(time.perf_counter() - began, 4))


def _whole(messages: Sequence[Message]) -> dict[str, tuple[int, int, int]]:
    """Each message that holds text as a part of its own, which models that read one text know too."""
    found = {}
    for k, m in enumerate(messages):
        place = segments.trimmed(m.content, 0, len(m.content))
        if place is not None:
            found[f"message {k + 1} ({m.role})"] = (k, *place)
    return found
