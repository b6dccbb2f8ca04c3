"""Everything before a method runs: encode, answer (or take the answer given), find spans, units and the objective.

    ready = prepare(loaded, "What is the capital of France?", spans={"city": "Paris"})

It is done once, however many methods are asked afterwards (``compare``), so that all of them explain the same answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pellucid.errors import ContextError, InputError, OptionError
from pellucid.models.align import align_ids
from pellucid.models.encode import Encoded, Messages, encode, encode_target
from pellucid.models.generate import generate
from pellucid.models.heads import problem
from pellucid.models.kinds import CHOOSING
from pellucid.models.load import LoadedModel
from pellucid.models.quantization import kernels
from pellucid.models.seq2seq import decoder_start
from pellucid.progress import Progress, silent
from pellucid.trace import classify, extract
from pellucid.trace import goal as goals
from pellucid.trace import objective as objectives
from pellucid.trace import spans as places
from pellucid.trace import units as stretches
from pellucid.trace.engine import Run
from pellucid.trace.heads import Answered
from pellucid.trace.memory import budget
from pellucid.trace.objective import Function
from pellucid.trace.reference import Part
from pellucid.trace.result import Answer, Span
from pellucid.trace.runs import run_class
from pellucid.trace.units import Kind, Unit


@dataclass(frozen=True)
class Prepared:
    """One prompt, one answer, and what of it is to be explained.

    ``spans`` are the targets' characters in ``answer.text``; ``part`` is the span that the total explains (None: the
    whole answer), ``named`` are further ones; ``units`` are empty for tokens. ``details`` is plain data on how a head
    answered, ``untrusted`` says why trust cannot be measured, None where it can.
    """

    encoded: Encoded
    answer: Answer
    answer_ids: list[int]
    spans: list[tuple[int, int]]
    part: Span | None
    named: tuple[tuple[str, Span], ...]
    goal: goals.Goal
    units: list[Unit]
    kind: Kind
    reduce: str
    allowed: int
    generate_seconds: float
    details: dict[str, Any] = field(default_factory=dict)
    untrusted: str | None = None

    @property
    def selected(self) -> list[int]:
        """Targets that the total explains."""
        return list(range(len(self.answer_ids))) if self.part is None else list(self.part.targets)

    def run(self, loaded: LoadedModel, *, selected: Sequence[int] | None = None, **options: Any) -> Run:
        """A run of ``loaded`` over this prompt and answer, for the total's targets or those ``selected``; ``options``
        are ``Run``'s."""
        targets = self.selected if selected is None else list(selected)
        goal = self.goal.objective
        return run_class(loaded)(
            loaded,
            self.encoded.ids,
            self.answer_ids,
            objectives.scaled(goal, 1 / len(targets)) if self.reduce == "mean" else goal,
            selected=targets,
            allowed=self.allowed,
            **options,
        )


def prepare(
    loaded: LoadedModel,
    prompt: str | Messages | Sequence[str] | Mapping[str, str],
    target: str | Sequence[str] | None = None,
    *,
    objective: str | Function = "logprob",
    instead_of: str | None = None,
    without: Part | None = None,
    reduce: str = "sum",
    span: str | tuple[int, int] | None = None,
    spans: Mapping[str, str | tuple[int, int]] | None = None,
    unit: Kind = "token",
    merge: str | None = None,
    per_token: bool = False,
    raw: bool = False,
    parse_special: bool = False,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    window: int | None = None,
    stride: int | None = None,
    seed: int = 0,
    precision: str = "full",
    memory: str | int = "auto",
    progress: Progress = silent,
) -> Prepared:
    """What ``explain`` works on: see there for the options and errors."""
    objectives.check(objective, instead_of=instead_of, without=without, reduce=reduce)
    stretches.check(unit, merge)
    places.check(spans)
    extract.check(window, stride, loaded.kind)
    chosen: Answered | None = None
    began = time.perf_counter()
    if loaded.kind in CHOOSING:
        if temperature:
            raise OptionError(f"'{loaded.name}' chooses its likeliest answer, and draws none: leave temperature out")
        if loaded.kind == "span":
            chosen = extract.answer(
                loaded,
                prompt,
                _one(loaded, target),
                limit=max_new_tokens,
                window=window,
                stride=stride,
                precision=precision,
                progress=progress,
            )
        else:
            chosen = classify.answer(loaded, prompt, target, raw=raw, parse_special=parse_special, precision=precision)
        encoded = chosen.encoded
    else:
        encoded = encode(loaded, one_text(loaded, prompt), raw=raw, parse_special=parse_special)
        _check_context(loaded, len(encoded.ids), 1)
    chose = time.perf_counter() - began
    found = stretches.units(encoded, unit)
    allowed = budget(memory, loaded.device)

    began = time.perf_counter()
    asked: dict[str, Any] = {}
    if chosen is not None:
        ids = chosen.ids
        asked = {"max_new_tokens": max_new_tokens} if loaded.kind == "span" and target is None else {}
    elif target is None:
        room = max_new_tokens
        if loaded.context is not None:
            room = min(room, loaded.context - _before_answer(loaded, encoded))
        with kernels(loaded.network, "generating an answer"):
            ids = generate(
                loaded, encoded.ids, max_new_tokens=room, temperature=temperature, seed=seed, progress=progress
            )
        asked = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    else:
        ids = encode_target(loaded, encoded, _one(loaded, target) or "")
        _check_context(loaded, len(encoded.ids), len(ids))
    seconds = time.perf_counter() - began if target is None else 0.0
    if chosen is None:
        text, characters = align_ids(loaded.tokenizer, ids)
    else:
        text, characters, seconds = chosen.text, chosen.spans, chose
    find = extract.find if loaded.kind == "span" else places.find
    part = None if span is None else find(span, text, characters)
    named = tuple((name, find(s, text, characters, name)) for name, s in (spans or {}).items())
    goal = goals.make(
        objective,
        loaded,
        encoded,
        ids,
        text,
        span=part,
        instead_of=instead_of,
        without=without,
        precision=precision,
        per_token=per_token,
    )
    for name, s in (("", part), *named):
        _check_contrast(goal, s, name)
    return Prepared(
        encoded,
        Answer(text, target is None, asked),
        ids,
        characters,
        part,
        named,
        goal,
        found,
        unit,
        reduce,
        allowed,
        seconds,
        {} if chosen is None else chosen.details,
        "a regression gives no probability" if loaded.kind == "classifier" and problem(loaded) == "value" else None,
    )


def _one(loaded: LoadedModel, target: str | Sequence[str] | None) -> str | None:
    """A target that has to be one text. Raises ``InputError``."""
    if target is not None and not isinstance(target, str):
        raise InputError(f"'{loaded.name}' has one answer: the target should be text and is {type(target).__name__}")
    return target


def one_text(loaded: LoadedModel, prompt: Any) -> str | Messages:
    """What a model without a head reads. Raises ``InputError`` for a pair of texts."""
    if isinstance(prompt, Mapping) or (
        isinstance(prompt, tuple | list) and len(prompt) > 1 and all(isinstance(x, str) for x in prompt)
    ):
        raise InputError(
            f"'{loaded.name}' reads one text or a chat, given several texts: pairs are for classifiers, and a question "
            "with a context for models that answer with a part of it"
        )
    found: str | Messages = prompt
    return found


def _check_contrast(goal: goals.Goal, span: Span | None, name: str) -> None:
    """A contrast says nothing of a span in which both answers are the same."""
    if span is None or "pairs" not in goal.details:
        return
    differing = {pair["target"] for pair in goal.details["pairs"]} | set(goal.details["plain_logprob"])
    if not differing & set(span.targets):
        called = f"span '{name}' {span.text!r}" if name else f"span {span.text!r}"
        raise InputError(
            f"the contrast with {goal.details['other']!r} shares no position with the {called}: the two answers are "
            "the same there"
        )


def _before_answer(loaded: LoadedModel, encoded: Encoded) -> int:
    """Tokens that stand before the answer in the context that it shares."""
    return len(decoder_start(loaded)) if loaded.kind == "seq2seq" else len(encoded.ids)


def _check_context(loaded: LoadedModel, prompt: int, answer: int) -> None:
    if loaded.context is not None and loaded.kind == "seq2seq":
        # The encoder reads the source, the decoder its start and all of the answer but the last token.
        for what, length in (("source", prompt), ("answer", len(decoder_start(loaded)) + answer - 1)):
            if length > loaded.context:
                raise ContextError(
                    f"the {what}'s {length} tokens (with those that frame it) do not fit the {loaded.context} that "
                    f"'{loaded.name}' can {'read' if what == 'source' else 'write'}: shorten the {what} by at least "
                    f"{length - loaded.context} tokens, or explain it sentence by sentence"
                )
        return
    if loaded.context is not None and prompt + answer > loaded.context:
        what = f"{prompt} tokens" if answer == 1 else f"{prompt} and the answer's {answer} tokens"
        raise ContextError(
            f"the prompt's {what} do not fit the {loaded.context} tokens that '{loaded.name}' can read"
            f"{', with room for an answer' if answer == 1 else ''}: shorten the prompt by at least "
            f"{prompt + answer - loaded.context} tokens, or use a model with a longer context"
        )
