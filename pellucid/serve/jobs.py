"""A request that is being worked on: its steps, what it reports, and how it ends early.

    job = Job(steps, listener=put, seconds=300)
    job.progress("saliency", 3, 16)         # raises Cancelled or TimedOut where it should not go on
    job.cancel()

A step runs in one lane (``lane``) and hands what it made to the next. ``listener`` gets (event, data) from whatever
thread works on it.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid.serve.lane import Voice

EVERY = 0.1  # seconds between two reports of progress


class Ended(Exception):
    """The request is not to go on. Never leaves this room."""


class Cancelled(Ended):
    """Whoever asked has gone, or said so."""


class TimedOut(Ended):
    """It took longer than a request may."""


class Full(Exception):
    """No room to wait in: come again after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the server is busy: try again in {seconds:.0f} seconds")
        self.seconds = seconds


@dataclass(frozen=True)
class Made:
    """A result: its ``kind``, plain ``data`` or an object with ``to_dict``, a ``title`` for the history (None: it is
    not kept)."""

    kind: str
    result: Any
    title: str | None = None


@dataclass(frozen=True)
class Step:
    """``run(voice, job, before)`` in the lane of that name, where ``before`` is what the step before made. Steps of an
    equal ``key`` may run as one by ``many``, which gives each its own outcome: what was made, or an exception. ``read``
    is what such a step reads first, ``size`` its tokens, about, ``passes`` how many more of one token follow, and
    ``title`` its result's."""

    lane: str
    run: Callable[[Voice, Job, Any], Any]
    key: Hashable | None = None
    size: int = 0
    passes: int = 0
    many: Callable[[Voice, Sequence[tuple[Job, Step]]], list[Any]] | None = None
    read: Callable[[Voice], Any] | None = None
    title: str | None = None


class Job:
    """See above. ``done`` is called once, with what was made or with the exception."""

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        listener: Callable[[str, Any], None],
        done: Callable[[Any], None],
        seconds: float,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.steps = list(steps)
        self.listener, self.done = listener, done
        self.began = time.monotonic()
        self.deadline = self.began + seconds
        self.seconds = seconds
        self.before: Any = None
        self.sweep: Callable[[], None] = lambda: None  # of the lane that it waits in: see there
        self._cancelled = threading.Event()
        self._stage, self._stage_began, self._reported = "", 0.0, 0.0

    def cancel(self) -> None:
        """It ends at its next layer, token or report."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Was it told to end?"""
        return self._cancelled.is_set()

    @property
    def over(self) -> bool:
        """Was it told to end, or has it had its time?"""
        return self.cancelled or time.monotonic() > self.deadline

    def check(self) -> None:
        """Raise ``Cancelled`` or ``TimedOut`` where it should not go on."""
        if self._cancelled.is_set():
            raise Cancelled("the request was cancelled")
        if time.monotonic() > self.deadline:
            raise TimedOut(
                f"the request took longer than the {self.seconds:g} seconds that this server gives one: shorten the "
                "text, ask for fewer tokens, or take a quicker method"
            )

    def progress(self, stage: str, done: float, total: float | None) -> None:
        """A ``Progress`` callback: reports the stage and how many seconds it has left, at most ten times a second."""
        self.check()
        now = time.monotonic()
        fresh = stage != self._stage
        if fresh:
            self._stage, self._stage_began = stage, now
        elif now - self._reported < EVERY and done != total:
            return
        self._reported = now
        left = None
        if total and done and not fresh:
            left = round((now - self._stage_began) * (total - done) / done, 1)
        self.listener("progress", {"stage": stage, "done": done, "total": total, "seconds_left": left})

    def text(self, delta: str) -> None:
        """An ``on_text`` callback."""
        self.check()
        self.listener("text", {"delta": delta})
