"""Answers and what they rest on: explain, compare, flow, generate, why.

Step("writing", ...) writes the answer and streams it; Step("long", ...) explains it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pellucid.errors import InputError
from pellucid.serve import requests as ask
from pellucid.serve.jobs import Job, Made, Step
from pellucid.serve.lane import Voice
from pellucid.serve.settings import Settings
from pellucid.serve.work.prompts import Prompt, check_length, check_new, plain, title, usable

#: Fields that are options of the rooms under the same name.
_OPTIONS = (
    "objective",
    "instead_of",
    "span",
    "unit",
    "per_token",
    "trust",
    "raw",
    "max_new_tokens",
    "temperature",
    "seed",
)


def explain(asked: ask.Explain, settings: Settings) -> list[Step]:
    """The answer first, where none is given; then what it rests on."""

    def run(voice: Voice, prompt: Prompt, target: str | None, options: dict[str, Any]) -> Any:
        from pellucid.trace.explain import explain

        return explain(voice.loaded, prompt, target, method=asked.method, budget=asked.budget, **options)

    return _explained(asked, settings, "trace", run, lambda found, written: written(found))


def compare(asked: ask.Compare, settings: Settings) -> list[Step]:
    """The answer first, where none is given; then each of the methods."""

    def run(voice: Voice, prompt: Prompt, target: str | None, options: dict[str, Any]) -> Any:
        from pellucid.trace.compare import compare

        return compare(voice.loaded, prompt, asked.methods, target, **options)

    def each(found: Any, written: Callable[[Any], Any]) -> Any:
        return replace(found, traces=tuple(map(written, found.traces)))

    return _explained(asked, settings, "comparison", run, each)


def _explained(
    asked: ask.Explain | ask.Compare,
    settings: Settings,
    kind: str,
    run: Callable[[Voice, Prompt, str | None, dict[str, Any]], Any],
    each: Callable[[Any, Callable[[Any], Any]], Any],
) -> list[Step]:
    """A step that writes, where no answer is given, and one in which ``run`` explains; ``each`` lets every trace of its
    result say who wrote the answer."""

    def attribute(voice: Voice, job: Job, before: Any) -> Made:
        prompt, target = plain(asked.prompt), _target(asked, before)
        check_length(voice, prompt, settings, raw=asked.raw, more=target or "")
        with usable(asked.parameters):
            found = run(voice, prompt, target, {**_options(asked, voice, job), "parameters": asked.parameters})
        return Made(kind, each(found, lambda trace: _written(trace, asked, before)), title(asked.prompt))

    return [*_writing(asked, settings), Step("long", attribute)]


def _writing(asked: ask.Explained, settings: Settings) -> list[Step]:
    """A step that writes the model's own answer and streams it. Other kinds of model answer in the engine."""
    check_new(asked.max_new_tokens, settings)

    def write(voice: Voice, job: Job, before: Any) -> str | None:
        from pellucid.apps.speaker import Decoding
        from pellucid.apps.stepping import stepped
        from pellucid.lens.steps import check_length as check_room
        from pellucid.models.encode import encode

        prompt = plain(asked.prompt)
        check_length(voice, prompt, settings, raw=asked.raw)
        if voice.loaded.kind != "causal":
            return None
        ids = encode(voice.loaded, prompt, raw=asked.raw).ids
        check_room(voice.loaded, len(ids), asked.max_new_tokens)
        strategy = f"temperature:{asked.temperature!r}" if asked.temperature else "greedy"
        how = Decoding(strategy, asked.max_new_tokens, asked.seed)
        said, _ = stepped(voice.loaded, ids, how, asked.max_new_tokens, None, on_text=job.text, progress=job.progress)
        if not said.text.strip():
            raise InputError("the model ended its answer at once, so there is nothing to explain: give a target")
        return said.text

    return [Step("writing", write)] if asked.target is None else []


def _target(asked: ask.Explained, before: Any) -> str | None:
    """The answer to explain: given, or written in the step before."""
    return asked.target if asked.target is not None else before


def _written(trace: Any, asked: ask.Explained, before: Any) -> Any:
    """The trace says that the model wrote the answer, where it did so in the step before."""
    if asked.target is not None or before is None:
        return trace
    settings = {"max_new_tokens": asked.max_new_tokens, "temperature": asked.temperature}
    return replace(trace, answer=replace(trace.answer, generated=True, parameters=settings))


def _options(asked: ask.Explained, voice: Voice, job: Job) -> dict[str, Any]:
    return {**{n: getattr(asked, n) for n in _OPTIONS}, "memory": voice.memory, "progress": job.progress}


def flow(asked: ask.Flow, settings: Settings) -> list[Step]:
    """From a trace; the route puts that of ``id`` into ``trace``."""

    def graph(voice: Voice, job: Job, before: Any) -> Made:
        from pellucid.lens.flow import flow
        from pellucid.trace.result import Trace

        if asked.trace is None:
            raise InputError("expected the id of a stored trace, or a trace: neither was given")
        trace = Trace.from_dict(asked.trace)
        return Made("flow", flow(trace, top=asked.top, share=asked.share, frame=asked.frame), trace.answer.text)

    return [Step("quick", graph)]


def generate(asked: ask.Generate, settings: Settings) -> list[Step]:
    """An answer, streamed."""
    how = asked.decoding
    check_new(how.max_new_tokens, settings)
    if (asked.messages is None) == (asked.prompt is None):
        raise InputError("expected either messages or a prompt: exactly one of the two")
    given: Prompt = (
        [{"role": "user", "content": asked.prompt or ""}] if asked.messages is None else plain(asked.messages)
    )

    def write(voice: Voice, job: Job, before: Any) -> Made:
        from dataclasses import asdict

        from pellucid.apps.speaker import Decoding

        check_length(voice, voice.speaker.prompt(given), settings)
        said = voice.speaker.write(
            given,
            Decoding(how.strategy, how.max_new_tokens, how.seed, tuple(how.stop)),
            on_text=job.text,
            progress=job.progress,
        )
        return Made("said", asdict(said))

    return [Step("writing", write)]


def why(asked: ask.Why, settings: Settings) -> list[Step]:
    """The last answer of a conversation over all that stands before it."""
    *before, last = asked.messages
    if last.role != "assistant" or not before:
        raise InputError(
            f"the last of the messages should be the assistant's answer, after a question; it is the {last.role}'s"
        )

    def explain(voice: Voice, job: Job, made: Any) -> Made:
        from pellucid.apps.chat.results import Message
        from pellucid.apps.chat.why import explained

        check_length(voice, voice.speaker.prompt(plain(before)), settings, more=last.content)
        read = [Message(m.role, m.content, k) for k, m in enumerate(before, 1)]
        found = explained(
            voice.speaker, read, last.content, span=asked.span, memory=voice.memory, progress=job.progress
        )
        return Made("why", found, last.content)

    return [Step("long", explain)]
