"""The field ``pellucid`` of an answer in OpenAI's form: a trace of what was written.

step = explaining(asked.pellucid, prompt, raw=False, settings=settings)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pellucid.errors import OptionError
from pellucid.serve.jobs import Job, Step
from pellucid.serve.lane import Voice
from pellucid.serve.openai.bodies import Extension
from pellucid.serve.settings import Settings
from pellucid.serve.work.prompts import Prompt, check_length, usable


@dataclass
class Answered:
    """What was written, on its way through the steps: OpenAI's body, the texts, and a trace where one is made."""

    body: dict[str, Any]
    texts: list[str]
    trace: Any = None
    note: str | None = None


def check(wanted: Extension, n: int) -> None:
    """Raise ``OptionError`` for several answers at once."""
    if wanted.explain and n != 1:
        raise OptionError(f"pellucid.explain explains one answer, and {n} are asked for: give n: 1")


def explaining(wanted: Extension, prompt: Prompt, *, raw: bool, settings: Settings) -> list[Step]:
    """A second step, where it is asked for."""
    if not wanted.explain:
        return []

    def attribute(voice: Voice, job: Job, before: Answered) -> Answered:
        from pellucid.trace.explain import explain

        if not before.texts[0].strip():
            before.note = "the answer is empty, so there is nothing to explain"
            return before
        check_length(voice, prompt, settings, raw=raw, more=before.texts[0])
        with usable(wanted.parameters):
            trace = explain(
                voice.loaded,
                prompt,
                before.texts[0],
                method=wanted.method,
                budget=wanted.budget,
                parameters=wanted.parameters,
                per_token=wanted.per_token,
                trust=wanted.trust,
                raw=raw,
                memory=voice.memory,
                progress=job.progress,
            )
        before.trace = replace(trace, answer=replace(trace.answer, generated=True))
        return before

    return [Step("long", attribute)]
