"""A queue and the thread that works on it, with a voice of its own: a twin of the model.

    lane = Lane("quick", turns, room=12, batch=4)
    lane.open(loaded); lane.put(job)

Each model has three lanes. ``quick``: passes without gradients and a few tokens; equal ones run as a batch.
``writing``: texts, token by token. ``long``: explanations. They share the device by ``turns``.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pellucid.serve.jobs import Cancelled, Ended, Full, Job, Step
from pellucid.serve.pace import Pace
from pellucid.serve.turns import QUANTUM, Turns
from pellucid.serve.twin import stops, twin

if TYPE_CHECKING:
    from pellucid.models.load import LoadedModel

#: Seconds that a text or an explanation may wait before it begins: beyond, it is told to come again.
WAIT = 60.0
log = logging.getLogger("pellucid.serve")


@dataclass(frozen=True, eq=False)
class Voice:
    """What a step asks: the lane's own ``loaded`` model and the ``speaker`` over it; ``memory``: bytes an explanation
    may add; ``kept``: what the lane keeps from one request to the next (keys and values of what was read last)."""

    loaded: LoadedModel
    speaker: Any
    memory: int
    kept: dict[str, Any] = field(default_factory=dict)


class OutOfMemory(Exception):
    """The machine has too little memory for this request."""


def memory_ran_out(error: BaseException) -> bool:
    """Is it what torch or Python say when there is no memory left?"""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )


class Lane:
    """See above. ``name`` is the lane's among those of all models: ``model/long``."""

    def __init__(
        self,
        name: str,
        turns: Turns,
        *,
        room: int,
        batch: int = 1,
        batch_tokens: int = 2048,
        quantum: float = QUANTUM,
        patience: float = math.inf,
    ) -> None:
        self.name, self.turns, self.room, self.quantum = name, turns, room, quantum
        self.batch, self.batch_tokens, self.patience = batch, batch_tokens, patience
        self.pace: Pace | None = None  # of short requests: one that would wait too long is refused
        self.forward: Callable[[Job], None] = lambda job: None  # where the job's next step is put
        self._jobs: deque[Job] = deque()
        self._ready = threading.Condition()
        self._voice: Voice | None = None
        self._warm: Callable[[Voice], None] | None = None
        self._now: list[Job] = []
        self._ends = 0.0  # when what runs should be done
        self._failed: BaseException | None = None
        self._open = True
        self._each = 1.0  # seconds that one took lately
        self._thread = threading.Thread(target=self._run, name=f"pellucid-{name}", daemon=True)
        self._thread.start()

    def open(self, loaded: LoadedModel, memory: int, warm: Callable[[Voice], None] | None = None) -> None:
        """There is a model now: begin to work. ``warm`` is done first, so that no request has to wait for what is only
        slow the first time (imports, mostly)."""
        from dataclasses import replace

        from pellucid.apps.speaker import speaker

        own = replace(loaded, network=twin(loaded.network))
        with self._ready:
            self._warm, self._voice = warm, Voice(own, speaker(own), memory)
            self._ready.notify()

    def put(self, job: Job, *, admitted: bool = False) -> int:
        """Wait in this lane: how many are before it, which the job hears too. Raises ``Full``, and what ``fail`` was
        given; a job that is in its second step always has room."""
        self.sweep()
        with self._ready:
            if self._failed is not None:
                raise self._failed.with_traceback(None)
            if not admitted:
                self._admit(job)
            job.sweep = self.sweep
            waiting = len(self._jobs)
            job.listener("queued", {"place": waiting})
            self._jobs.append(job)
            self._ready.notify()
            return waiting

    def _admit(self, job: Job) -> None:
        """Raise ``Full`` where there is no room, or none in time."""
        waiting = len(self._jobs)
        if waiting >= self.room:
            raise Full(min(max(self._each * waiting / self.batch, 1.0), 60.0))
        busy = waiting or self._now
        if self.pace is not None and busy:
            own = max(self.pace.seconds(job.steps[:1]), self.pace.typical)
            waits = self.pace.scale * (own + sum(self.pace.seconds(j.steps[:1]) for j in self._jobs))
            waits += max(self._ends - time.monotonic(), 0.0)
            if waits > self.patience * self.pace.alone * own:
                raise Full(min(max(waits, 1.0), 60.0))
        elif self.pace is None and self._each * waiting > WAIT:
            raise Full(min(self._each, 60.0))

    def sweep(self) -> None:
        """Those who wait and were cancelled, or waited too long, are told now: they take no room."""
        with self._ready:
            over = [j for j in self._jobs if j.over]
            for job in over:
                self._jobs.remove(job)
        for job in over:
            try:
                job.check()
            except Ended as e:
                job.done(e)

    def fail(self, error: BaseException) -> None:
        """There will be no model: all who wait are told, and all who come."""
        with self._ready:
            self._failed, waiting, self._jobs = error, list(self._jobs), deque()
        for job in waiting:
            job.done(error)

    def close(self) -> None:
        """No new work; what runs is told to end."""
        with self._ready:
            self._open = False
            self._failed = self._failed or Cancelled("the server is closing")
            for job in (*self._now, *self._jobs):
                job.cancel()
            self._ready.notify()

    def join(self, seconds: float) -> None:
        """Wait for the thread."""
        self._thread.join(seconds)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._jobs)

    def _take(self) -> list[Job]:
        """The next, and those that can run with it."""
        with self._ready:
            while self._open and not (self._voice and self._jobs):
                self._ready.wait()
            if not self._jobs:
                return []
            first = self._jobs.popleft()
            step, found = first.steps[0], [first]
            if step.key is not None and step.many is not None:
                longest = step.size
                for job in list(self._jobs):
                    other = job.steps[0]
                    tokens = max(longest, other.size) * (len(found) + 1)
                    if len(found) >= self.batch or other.key != step.key or tokens > self.batch_tokens:
                        continue
                    if self.pace is None or self.pace.together([j.steps[0] for j in found], other):
                        longest = max(longest, other.size)
                        self._jobs.remove(job)
                        found.append(job)
            self._now = found
            if self.pace is not None:
                self._ends = time.monotonic() + self.pace.scale * self.pace.seconds([j.steps[0] for j in found])
            for place, job in enumerate(self._jobs):
                job.listener("queued", {"place": place})
            return found

    def _run(self) -> None:
        with self._ready:
            while self._open and not self._voice:
                self._ready.wait()
        if self._voice is not None and self._warm is not None:
            try:
                with self.turns.mine(self.name):
                    self._warm(self._voice)
            except Exception:  # whoever asks for that will hear of it
                log.warning("warming up failed", exc_info=True)
        while jobs := self._take():
            began = time.monotonic()
            expected = 0.0 if self.pace is None else self.pace.seconds([j.steps[0] for j in jobs])
            turn = self.turns.taken
            try:
                self._work(jobs)
            except Exception as e:  # the lane must live, and nobody wait for nothing
                for job in jobs:
                    job.done(e)  # of one that was answered it changes nothing
            self._now = []
            if self.pace is not None and jobs[0].steps[0].size:
                alone = self.turns.taken == turn + 1
                self.pace.learn(expected, time.monotonic() - began, alone=alone)
            self._each = 0.8 * self._each + 0.2 * (time.monotonic() - began)

    def _work(self, jobs: list[Job]) -> None:
        voice = self._voice
        if voice is None:
            for job in jobs:
                job.done(Cancelled("the server is closing"))
            return

        def pause() -> None:
            if len(jobs) == 1 or all(j.cancelled for j in jobs):  # a batch goes on for those who still wait
                jobs[0].check()
            # On a GPU gradients come back in a thread that serves every lane: it must not wait there for its turn.
            if threading.current_thread() is self._thread:
                self.turns.pause(self.name, self.quantum)

        with self.turns.mine(self.name), stops(voice.loaded.network, pause):
            outcomes = self._outcomes(voice, jobs)
        self._now, self._ends = [], 0.0  # before any is told: whoever hears of it may ask again at once
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, BaseException) or len(job.steps) == 1:
                job.done(outcome)
            else:
                job.steps.pop(0)
                job.before = outcome
                try:
                    self.forward(job)
                except Exception as e:
                    job.done(e)

    def _outcomes(self, voice: Voice, jobs: list[Job]) -> list[Any]:
        steps: list[Step] = [j.steps[0] for j in jobs]
        if len(jobs) > 1 and steps[0].many is not None:
            try:
                return steps[0].many(voice, list(zip(jobs, steps, strict=True)))
            except Exception:
                log.debug("a batch failed: each by itself, so that one alone fails", exc_info=True)
        return [self._outcome(voice, job, step) for job, step in zip(jobs, steps, strict=True)]

    def _outcome(self, voice: Voice, job: Job, step: Step) -> Any:
        try:
            job.check()
            return step.run(voice, job, job.before)
        except Exception as e:
            return self._told(e)

    def _told(self, error: Exception) -> Exception:
        """What the request is told; memory is given back where it ran out."""
        if isinstance(error, Ended) or not memory_ran_out(error):
            return error
        error.__traceback__ = None  # it holds what was computed
        gc.collect()
        with contextlib.suppress(ImportError):
            import torch

            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return OutOfMemory(
            "the machine ran out of memory for this request: shorten the text, ask for fewer tokens, or take a method "
            "that keeps less"
        )
