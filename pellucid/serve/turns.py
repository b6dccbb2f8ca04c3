"""Who computes now: several threads share one device, one at a time, and hand it on between layers.

    turns = Turns()
    with turns.mine("long"):
        ...; turns.pause("long")        # now and then: whoever waits comes first, and then it goes on

A long explanation calls ``pause`` after every layer (``twin``), so that a short request waits for a layer and not for
the explanation. Among those who wait, the one whose last turn ended longest ago is next; nobody gives way before it
had its quantum, so that a stream of short requests does not starve a long one either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds: about a layer of a small model, and little beside any answer.
QUANTUM = 0.03


class Turns:
    """A lock that is handed on in turn."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holder: str | None = None
        self._since = 0.0
        self._waiting: list[str] = []
        self._last: dict[str, float] = {}
        self.taken = 0  # turns so far: two readings that differ by one had nobody in between

    @contextmanager
    def mine(self, name: str) -> Iterator[None]:
        """Compute while it is open. A name has one thread, and takes no second turn inside its own."""
        self._take(name)
        try:
            yield
        finally:
            self._give(name)

    def pause(self, name: str, quantum: float = QUANTUM) -> None:
        """Let others compute, if any wait and this one had ``quantum`` seconds; returns when it is its turn again."""
        if not self._waiting or time.monotonic() - self._since < quantum:  # read without the lock: a hint
            return
        self._give(name)
        self._take(name)

    def _take(self, name: str) -> None:
        with self._changed:
            self._waiting.append(name)
            while self._holder is not None or self._next() != name:
                self._changed.wait()
            self._waiting.remove(name)
            self._holder, self._since = name, time.monotonic()
            self.taken += 1

    def _give(self, name: str) -> None:
        with self._changed:
            self._holder = None
            self._last[name] = time.monotonic()
            self._changed.notify_all()

    def _next(self) -> str:
        return min(self._waiting, key=lambda n: self._last.get(n, 0.0))
