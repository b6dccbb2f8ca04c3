"""What was written, and which of the given values each of its paragraphs used: plain data, no torch.

done.text; done.unused; done.save("mail.html"); Written.load("mail.json")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pellucid.apps.speaker import Decoding
from pellucid.apps.writing.evidence import Part
from pellucid.lens.plain import Result
from pellucid.trace.result import ModelInfo, Trace


@dataclass(frozen=True)
class Point:
    """A value that was given: characters ``start`` to ``end`` of ``messages[message]``. With a trace, ``falls`` are
    those of each paragraph's log-probability without it (nats), ``used`` whether any is above that paragraph's
    threshold, ``first`` the first such paragraph, from 1; without one, ``used`` is None."""

    field: str
    number: int
    text: str
    message: int
    start: int
    end: int
    falls: tuple[float, ...] = ()
    used: bool | None = None
    first: int | None = None


@dataclass(frozen=True)
class Written(Result):
    """A text that was written for a ``task`` from ``fields``. ``template`` names the file that ``messages`` were made
    by, ``lang`` its language; ``tokens`` new ones, ``logprob`` their mean (nats a token), ``end``: ``stop`` or
    ``length``. ``paragraphs`` and the falls of ``points`` are there with a trace; ``note`` says why there is none where
    one was asked for."""

    SCHEMA: ClassVar[str] = "pellucid.written/1"

    task: str
    lang: str
    fields: dict[str, tuple[str, ...]]
    template: str
    messages: tuple[dict[str, str], ...]
    text: str
    tokens: int
    logprob: float
    end: str
    decoding: Decoding
    points: tuple[Point, ...]
    paragraphs: tuple[Part, ...]
    model: ModelInfo
    seconds: float
    note: str = ""
    trace: Trace | None = None

    @property
    def unused(self) -> tuple[Point, ...]:
        """The values that no paragraph used; none where nothing was traced."""
        return tuple(p for p in self.points if p.used is False)

    def rows(self) -> list[dict[str, Any]]:
        """One row a value: field, number, text, used, first, and its fall for each paragraph, nats."""
        return [
            {
                "field": p.field,
                "number": p.number,
                "text": p.text,
                "used": p.used,
                "first": p.first,
                **{f"paragraph {k + 1}": fall for k, fall in enumerate(p.falls)},
            }
            for p in self.points
        ]
