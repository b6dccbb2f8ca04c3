"""An example as a model reads it, its own answer, and the tokens that may go.

    asked = ask(loaded, example, settings)
    asked.answer, asked.candidates

A language model reads the paragraph and the question in a prompt, and what may go is the paragraph. A classifier and an
encoder-decoder read the text alone, and all that was written may go; a model that answers with a part of a context
reads question and context, and the context may go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from pellucid.bench.squad import Example
from pellucid.errors import ContextError, InputError
from pellucid.models.encode import Encoded, encode
from pellucid.models.generate import generate
from pellucid.models.load import LoadedModel
from pellucid.trace.prepare import prepare
from pellucid.trace.result import FRAME_ROLES


class Limits(Protocol):
    """What ``ask`` goes by."""

    @property
    def prompt(self) -> str:
        """With {context} and {question}."""
        ...

    @property
    def max_prompt_tokens(self) -> int:
        """Longer ones are passed over."""
        ...

    @property
    def max_new_tokens(self) -> int:
        """Of the answer."""
        ...


@dataclass(frozen=True)
class Asked:
    """One example as the model reads it, and its own answer: token ids, or the places of a choice. ``candidates``: the
    tokens that may go; ``human`` [candidates]: does a person's marked answer touch the token?"""

    id: str
    encoded: Encoded
    answer: list[int]
    text: str
    candidates: list[int]
    human: list[bool]


def ask(loaded: LoadedModel, example: Example, limits: Limits) -> Asked | None:
    """Put the example and take the answer; None where it is longer than the limits allow, where the model answers with
    nothing, or where fewer than two tokens may go."""
    if loaded.kind == "causal":
        return _written(loaded, example, limits)
    return _prepared(loaded, example, limits)


def _written(loaded: LoadedModel, example: Example, limits: Limits) -> Asked | None:
    """A prompt, and what the model goes on with, greedily."""
    values = {"context": example.context, "question": example.question}
    prompt = limits.prompt if example.question else "{context}"
    parts = re.split(r"(\{context\}|\{question\})", prompt)
    start = len("".join(values.get(p.strip("{}"), p) for p in parts[: parts.index("{context}")]))
    text = "".join(values.get(p.strip("{}"), p) for p in parts)
    encoded = encode(loaded, text)
    if len(encoded.ids) > limits.max_prompt_tokens:
        return None
    try:
        answer = generate(loaded, encoded.ids, max_new_tokens=limits.max_new_tokens)
    except InputError:  # an empty answer: there is nothing to explain
        return None
    end = start + len(example.context)
    candidates = [
        i
        for i, t in enumerate(encoded.tokens)
        if t.start is not None and t.end is not None and start <= t.start and t.end <= end and t.role == "user"
    ]
    said = str(loaded.tokenizer.decode(answer))
    return _asked(example, encoded, answer, said, candidates, start)


def _prepared(loaded: LoadedModel, example: Example, limits: Limits) -> Asked | None:
    """A text or a question with its context, and the translation, class or part of the context."""
    prompt: Any = example.context
    if loaded.kind == "span":
        if not example.question:
            raise InputError(
                f"'{loaded.name}' answers questions with a part of a context: give a SQuAD-style file, which has both"
            )
        prompt = (example.question, example.context)
    try:
        ready = prepare(loaded, prompt, max_new_tokens=limits.max_new_tokens)
    except ContextError:
        return None
    except InputError:
        if loaded.kind == "seq2seq":  # an empty answer: there is nothing to explain
            return None
        raise
    encoded = ready.encoded
    if len(encoded.ids) > limits.max_prompt_tokens:
        return None
    role = "context" if loaded.kind == "span" else None
    candidates = [
        i
        for i, t in enumerate(encoded.tokens)
        if t.start is not None and (t.role == role if role else t.role not in FRAME_ROLES)
    ]
    return _asked(example, encoded, list(ready.answer_ids), ready.answer.text, candidates, 0)


def _asked(
    example: Example, encoded: Encoded, answer: list[int], text: str, candidates: list[int], start: int
) -> Asked | None:
    if len(candidates) == len(encoded.ids):  # something of the prompt has to stay
        candidates = candidates[1:]
    if len(candidates) < 2:
        return None
    marked = [(start + a, start + b) for a, b in example.spans]
    human = [
        any((encoded.tokens[i].start or 0) < b and (encoded.tokens[i].end or 0) > a for a, b in marked)
        for i in candidates
    ]
    return Asked(example.id, encoded, answer, text, candidates, human)
