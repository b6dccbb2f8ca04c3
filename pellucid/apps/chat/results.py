"""What a conversation gives, as plain data: a reply, and what an answer rests on.

reply = chat.say("What is the capital of France?"); reply.text, reply.cut
why = chat.why(); why.traces["message"].units
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from pellucid.apps.chat.history import Cut
from pellucid.lens.plain import Result
from pellucid.trace.result import ModelInfo, Trace, UnitScore


@dataclass(frozen=True)
class Reply(Result):
    """An answer in a conversation.

    ``turn`` is the answer's number in the history; ``intent`` what the message was taken for (None: not asked),
    ``system`` and ``strategy`` how it was answered. ``end``: ``stop``, ``length`` or ``interrupted``; of an interrupted
    answer ``tokens``, ``logprob`` (mean, nats a token) and ``reused`` are not known. ``prompt`` tokens were read, of
    which ``reused`` were kept from the turn before. ``cut`` is what had to leave the history (None: nothing).
    ``first_seconds`` passed before the first text came, ``seconds`` in all.
    """

    SCHEMA: ClassVar[str] = "pellucid.reply/1"

    model: ModelInfo
    asked: str
    text: str
    turn: int
    intent: str | None
    system: str | None
    strategy: str
    end: str
    tokens: int | None
    logprob: float | None
    prompt: int
    reused: int | None
    cut: Cut | None
    first_seconds: float | None
    seconds: float

    def rows(self) -> list[dict[str, Any]]:
        """One row: what was asked and said."""
        return [
            {
                "turn": self.turn,
                "asked": self.asked,
                "text": self.text,
                "intent": self.intent,
                "end": self.end,
                "tokens": self.tokens,
                "logprob": self.logprob,
                "prompt": self.prompt,
                "reused": self.reused,
                "cut_turns": 0 if self.cut is None else len(self.cut.turns),
                "cut_tokens": 0 if self.cut is None else self.cut.tokens,
                "seconds": self.seconds,
            }
        ]


@dataclass(frozen=True)
class Message:
    """A message that an answer could rest on; ``turn`` is its number in the history, None for the instruction."""

    role: str
    content: str
    turn: int | None


@dataclass(frozen=True)
class Why(Result):
    """What an answer rests on, over the whole conversation before it.

    ``traces`` are by level, coarse to fine: ``message`` and ``sentence`` by leave-one-out (the fall of the answer's
    log-probability without it, nats), ``token`` by a fast method, whose scores have its own unit. ``span`` is the part
    of the answer that they explain, None for the whole.
    """

    SCHEMA: ClassVar[str] = "pellucid.why/1"

    model: ModelInfo
    answer: str
    span: str | None
    messages: tuple[Message, ...]
    traces: dict[str, Trace]
    seconds: float

    def scored(self, level: str) -> list[tuple[int | None, UnitScore]]:
        """The units of ``message`` or ``sentence``, each with the message that it is of (None where the model reads one
        text and a sentence is of no message alone)."""
        trace = self.traces[level]
        if level == "message":
            return list(zip((k for k, m in enumerate(self.messages) if m.content.strip()), trace.units, strict=True))
        return [(u.message, u) for u in trace.units]

    def top(self, level: str = "message") -> UnitScore | None:
        """The unit that the answer rests on most; None where there is none with a score."""
        found = [u for u in self.traces[level].units if not math.isnan(u.score)]
        return max(found, key=lambda u: u.score, default=None)

    def rows(self) -> list[dict[str, Any]]:
        """One row a message, sentence and token of what people wrote, by level."""
        found: list[dict[str, Any]] = []
        for level, trace in self.traces.items():
            parts: list[tuple[int | None, str, int | None, int | None, float]]
            if level == "token":
                parts = [
                    (s.message, s.text, s.start, s.end, float(trace.total[i]))
                    for i, s in ((i, trace.sources[i]) for i in trace.content)
                ]
            else:
                parts = [(m, u.text, u.start, u.end, u.score) for m, u in self.scored(level)]
            for message, text, start, end, score in parts:
                of = None if message is None else self.messages[message]
                found.append(
                    {
                        "level": level,
                        "message": message,
                        "turn": None if of is None else of.turn,
                        "role": None if of is None else of.role,
                        "text": text,
                        "start": start,
                        "end": end,
                        "score": score if math.isfinite(score) else None,
                    }
                )
        return found
