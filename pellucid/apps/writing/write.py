"""Write a text for a task, and say what of the given was used where.

    done = write(model, "mail", purpose="ask for a day off", points=["Friday 9 May", "Priya stands in"], trace=True)
    done.text; done.unused

docs/writing.md says what "used" means, and how that was measured.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.apps.speaker import Decoding, OnText, Said, Speaker, speaker
from pellucid.apps.writing.evidence import Evidence, weigh
from pellucid.apps.writing.result import Point, Written
from pellucid.apps.writing.tasks import PROSE, TASKS, Task, Values, task, values
from pellucid.apps.writing.template import Filled, Template, find
from pellucid.errors import Error, OptionError
from pellucid.progress import Progress, silent
from pellucid.relevance.prompts import language_of
from pellucid.trace.segments import paragraphs

if TYPE_CHECKING:
    from pellucid.apps.speaker import Asked


def prepared(
    name: str,
    given: dict[str, object],
    *,
    lang: str | None = None,
    template: str | Path | None = None,
    templates: str | Path | None = None,
) -> tuple[Values, str, Template, Filled]:
    """The values of a task, their language, the template in it, and the prompt: all that is wrong is found here, before
    a model is loaded. Raises ``OptionError``, ``InputError``."""
    what = TASKS[name]
    found = values(what, given)
    chosen = lang or language_of(*(t for f in what.fields if f.prose for t in found.get(f.name, ())))
    read = find(name, chosen, file=template, folder=templates)
    return found, chosen, read, read.fill(found)


def decoding_of(what: Task, strategy: str | None = None, max_new_tokens: int | None = None, seed: int = 0) -> Decoding:
    """The task's own way to decode, but for what is given. Raises ``OptionError``."""
    from pellucid.lens.strategies import parse

    own = what.decoding
    made = replace(
        own,
        strategy=parse(own.strategy if strategy is None else strategy).text,
        max_new_tokens=own.max_new_tokens if max_new_tokens is None else max_new_tokens,
        seed=seed,
    )
    if made.max_new_tokens < 1:
        raise OptionError(f"max_new_tokens should be at least 1, given {made.max_new_tokens}")
    return made


def write(
    model: Asked,
    name: str,
    *,
    lang: str | None = None,
    template: str | Path | None = None,
    templates: str | Path | None = None,
    strategy: str | None = None,
    max_new_tokens: int | None = None,
    seed: int = 0,
    stream: OnText | None = None,
    trace: bool = False,
    trust: bool = True,
    progress: Progress = silent,
    **fields: str | Sequence[str] | None,
) -> Written:
    """A text for the task ``name`` (``article``, ``story``, ``personal``, ``mail``) from ``fields``.

    - ``lang``: of the template, ``en`` or ``zh``; that of what is given where None. ``template``: a file in its place;
      ``templates``: a folder with a file of the same name.
    - ``strategy``, ``max_new_tokens`` (tokens): the task's own where None; ``seed`` of the draws.
    - ``stream`` gets the text as it is written.
    - ``trace``: weigh each value for each paragraph (a forward pass a value and four more; nine with ``trust``).

    Raises ``OptionError``, ``InputError``, ``ContextError``, ``ModelError``. What goes wrong when the text is written
    already is the result's ``note``, so that the text is not lost.
    """
    what = task(name, PROSE)
    given, chosen, read, filled = prepared(name, dict(fields), lang=lang, template=template, templates=templates)
    decoding = decoding_of(what, strategy, max_new_tokens, seed)
    me, began = speaker(model), time.perf_counter()
    said = me.write(filled.messages, decoding, on_text=stream, progress=progress)
    evidence, note = None, ""
    if trace:
        evidence, note = traced(me, filled, name, said, paragraphs(said.text), chosen, trust=trust, progress=progress)
    return Written(
        task=name,
        lang=chosen,
        fields=given,
        template=read.name,
        messages=filled.messages,
        text=said.text,
        tokens=said.tokens,
        logprob=said.logprob,
        end=said.end,
        decoding=decoding,
        points=points(filled, evidence),
        paragraphs=() if evidence is None else evidence.parts,
        model=me.info,
        seconds=round(time.perf_counter() - began, 4),
        note=note,
        trace=None if evidence is None else evidence.trace,
    )


def traced(
    me: Speaker,
    filled: Filled,
    name: str,
    said: Said,
    ranges: Sequence[tuple[int, int]],
    lang: str,
    *,
    trust: bool,
    progress: Progress,
) -> tuple[Evidence | None, str]:
    """What ``weigh`` finds, or None and why it finds nothing."""
    if not said.text.strip():
        return None, "the model wrote nothing"
    try:
        return weigh(me, filled, name, said.text, ranges, lang, trust=trust, progress=progress), ""
    except Error as e:  # told in the result: what was written is not thrown away
        return None, str(e)


def points(filled: Filled, evidence: Evidence | None) -> tuple[Point, ...]:
    """The values of a prompt, with what was found of each."""
    found = []
    for k, g in enumerate(filled.given):
        point = Point(g.field, g.number, g.text, g.message, g.start, g.end)
        if evidence is not None:
            used = evidence.used(k)
            point = replace(point, falls=evidence.falls[k], used=bool(used), first=used[0] + 1 if used else None)
        found.append(point)
    return tuple(found)
