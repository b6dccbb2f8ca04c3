"""A model double for tests: it follows a script, and what an answer rests on is known by a rule.

    from pellucid.testing import Scripted
    me = Scripted({"capital": "Paris is the capital."})          # pattern found in the last message -> answer
    me = Scripted(["first answer", "second answer"])             # one after another
    me = Scripted(lambda messages: messages[-1]["content"])
    Chat(me).say("What is the capital?")

Tokens are words. The log-probability of an answer's word is ``KNOWN`` nats where the prompt holds that word and
``UNKNOWN`` where it does not (``weigh``: another rule). So taking a word away costs ``KNOWN - UNKNOWN`` nats for each
of its occurrences in the answer, if it is the only place that holds it; a trace by any method of this double is that
leave-one-out, exactly. ``asked`` keeps every prompt that was answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pellucid.apps.speaker import Decoding, Messages, OnText, Said
from pellucid.errors import ContextError, OptionError
from pellucid.progress import Progress, silent
from pellucid.trace import segments
from pellucid.trace.result import (
    Answer,
    Cost,
    MethodInfo,
    ModelInfo,
    NamedSpan,
    Prompt,
    Source,
    Span,
    Target,
    Trace,
    UnitScore,
)

KNOWN, UNKNOWN = -0.1, -4.0
Script = Mapping[str, str] | Sequence[str] | Callable[[Messages], str]
#: (everything that the prompt says, the answer's words before this one, this word) -> its log-probability, nats.
Weigh = Callable[[str, Sequence[str], str], float]


def by_words(prompt: str, before: Sequence[str], word: str) -> float:
    """``KNOWN`` where the prompt holds the word, whatever its case, and for marks; else ``UNKNOWN``."""
    if not any(c.isalnum() for c in word):
        return KNOWN
    held = {prompt[a:b].casefold() for a, b in segments.words(prompt)}
    return KNOWN if word.casefold() in held else UNKNOWN


class Scripted:
    """A ``Speaker`` that follows ``script``; ``context`` in words. Raises ``OptionError`` where a line is missing."""

    def __init__(
        self, script: Script, *, weigh: Weigh = by_words, context: int | None = None, name: str = "scripted"
    ) -> None:
        self.script, self.weigh, self._context, self._name = script, weigh, context, name
        self.asked: list[tuple[dict[str, str], ...]] = []
        self.decodings: list[Decoding] = []

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def chats(self) -> bool:
        """It reads messages."""
        return True

    @property
    def context(self) -> int | None:
        """The longest prompt with answer, in words."""
        return self._context

    @property
    def info(self) -> ModelInfo:
        """What results say of it."""
        return ModelInfo(self._name, "memory", None, "float64", "cpu", 0)

    def count(self, messages: Messages) -> int:
        """Words of the contents, and one a message."""
        return sum(1 + len(segments.words(m["content"])) for m in messages)

    def write(
        self,
        messages: Messages,
        decoding: Decoding = Decoding(),  # noqa: B008  # frozen
        *,
        on_text: OnText | None = None,
        progress: Progress = silent,
    ) -> Said:
        """The script's next line, cut at ``max_new_tokens`` words and before a stop text."""
        prompt = self.count(messages)
        if self._context is not None and prompt >= self._context:
            raise ContextError(f"the prompt is {prompt} words and '{self._name}' reads {self._context}: shorten it")
        self.asked.append(tuple(dict(m) for m in messages))
        self.decodings.append(decoding)
        text, end = self._line(messages), "stop"
        for stop in decoding.stop:
            text = text.split(stop, 1)[0]
        places = segments.words(text)
        if len(places) > decoding.max_new_tokens:
            text, end = text[: places[decoding.max_new_tokens - 1][1]], "length"
        if on_text is not None:
            for piece in re.findall(r"\S*\s*", text):
                if piece:
                    on_text(piece)
        weights = self._weights(messages, text)
        return Said(text, len(weights), sum(weights) / max(len(weights), 1), end, prompt)

    def _line(self, messages: Messages) -> str:
        if callable(self.script):
            return self.script(messages)
        if isinstance(self.script, Mapping):
            for pattern, line in self.script.items():
                if re.search(pattern, messages[-1]["content"], re.IGNORECASE | re.DOTALL):
                    return line
            raise OptionError(f"no pattern of the script is in {messages[-1]['content']!r}")
        if len(self.asked) > len(self.script):
            raise OptionError(f"the script has {len(self.script)} lines, and more was asked")
        return self.script[len(self.asked) - 1]

    def _weights(self, messages: Messages, answer: str) -> list[float]:
        prompt = "\n".join(m["content"] for m in messages)
        words = [answer[a:b] for a, b in segments.words(answer)]
        return [self.weigh(prompt, words[:k], w) for k, w in enumerate(words)]

    def logprobs(
        self, prompts: Sequence[Messages], answers: Sequence[str], *, progress: Progress = silent
    ) -> list[list[float]]:
        """The rule's log-probability of each word of each answer."""
        return [self._weights(m, a) for m, a in zip(prompts, answers, strict=True)]

    def explain(self, messages: Messages, answer: str | None = None, **options: Any) -> Trace:
        """Leave-one-out of the rule: of words, or of the ``unit`` that is asked for."""
        given = answer is not None
        answer = self.write(messages).text if answer is None else answer
        places = segments.words(answer)
        if not places:
            raise OptionError("the answer holds no word: expected some text")
        weights = np.array(self._weights(messages, answer))
        sources = [
            Source(m["content"][a:b], 0, a, b, m["role"], k, n)
            for k, m in enumerate(messages)
            for n, (a, b) in enumerate(segments.words(m["content"]))
        ]

        def fall(message: int, start: int, end: int) -> Any:
            """Of each answer word, when these characters go [targets]."""
            changed = [dict(m) for m in messages]
            content = changed[message]["content"]
            changed[message]["content"] = content[:start] + " " + content[end:]
            return weights - np.array(self._weights(changed, answer))

        falls = np.array([fall(s.message or 0, s.start or 0, s.end or 0) for s in sources])  # [sources, targets]
        kind = options.get("unit", "token")
        stretches = [] if kind == "token" else list(_stretches(messages, kind))
        parts = np.array([fall(m, a, b) for _, m, a, b in stretches]).reshape(-1, len(places))
        insides = [
            tuple(i for i, s in enumerate(sources) if s.message == m and a <= (s.start or 0) and (s.end or 0) <= b)
            for _, m, a, b in stretches
        ]
        if stretches:  # as what-if methods do: a unit's number, shared among its tokens
            falls = np.zeros_like(falls)
            for inside, part in zip(insides, parts, strict=True):
                falls[list(inside)] = part / max(len(inside), 1)
        whole = options.get("span")
        span = None if whole is None else _span(answer, whole, places)
        chosen = list(range(len(places))) if span is None else list(span.targets)
        named = []
        for name, part in (options.get("spans") or {}).items():
            s = _span(answer, part, places)
            targets = list(s.targets)
            named.append(
                NamedSpan(
                    name,
                    s.text,
                    s.start,
                    s.end,
                    s.targets,
                    falls[:, targets].sum(1).astype(np.float32),
                    tuple(float(x) for x in parts[:, targets].sum(1)),
                )
            )
        matrix = None
        if options.get("per_token"):
            after = np.full((len(places), len(places)), np.nan)
            matrix = np.concatenate([falls.T, after], axis=1).astype(np.float32)
        return Trace(
            model=self.info,
            method=MethodInfo(options.get("method", "leave_one_out"), True),
            objective="logprob",
            prompt=Prompt(None, tuple(dict(m) for m in messages), "\n".join(m["content"] for m in messages), False),
            answer=Answer(answer, not given),
            sources=tuple(sources),
            targets=tuple(
                Target(answer[a:b], 0, a, b, float(np.exp(w)), float(w), 1, 0.0)
                for (a, b), w in zip(places, weights, strict=True)
            ),
            total=falls[:, chosen].sum(1).astype(np.float32),
            scores=matrix,
            cost=Cost(0.0, 1 + len(sources) + len(stretches), 0, 0),
            seed=0,
            span=span,
            trust_note="not measured: a scripted model",
            unit=kind if isinstance(kind, str) else "parts",
            units=tuple(
                UnitScore(name, messages[m]["content"][a:b], a, b, m, inside, float(score))
                for (name, m, a, b), inside, score in zip(stretches, insides, parts[:, chosen].sum(1), strict=True)
            ),
            unit_merge="method",
            spans=tuple(named),
        )


def _stretches(messages: Messages, kind: Any) -> list[tuple[str, int, int, int]]:
    """(name, message, start, end) of each unit."""
    from pellucid.trace.units import KINDS

    if isinstance(kind, str):
        found = [(k, a, b) for k, m in enumerate(messages) for a, b in KINDS[kind](m["content"])]
        return [(f"{kind} {n + 1}", *place) for n, place in enumerate(found)]
    items = kind.items() if isinstance(kind, Mapping) else ((f"part {n + 1}", p) for n, p in enumerate(kind))
    return [(name, *part) for name, part in items]


def _span(answer: str, part: str | tuple[int, int], places: Sequence[tuple[int, int]]) -> Span:
    if isinstance(part, str):
        if part not in answer:
            raise OptionError(f"the span {part!r} is not in the answer {answer!r}")
        start = answer.index(part)
        end = start + len(part)
    else:
        start, end = part
    targets = tuple(k for k, (a, b) in enumerate(places) if a < end and b > start)
    return Span(answer[start:end], start, end, targets)
