"""A job's answer over HTTP: one body of JSON, or events as they come.

    return await reply(job_of(...), request)            # by what the request accepts

Events are ``queued``, ``progress``, ``text``, then ``result`` or ``error``; ``job`` comes first, with the id that
cancels it. Where whoever asked has gone, the job is cancelled: it ends within a layer or a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pellucid.serve.desk import Desk
from pellucid.serve.faults import headers as headers_of
from pellucid.serve.faults import told
from pellucid.serve.jobs import Cancelled, Job, Step

EVENTS = "text/event-stream"
LOOK = 0.25  # seconds between two looks at whether the client is still there
PING = 10.0  # seconds without an event before a comment is sent, so that nobody between takes the line for dead


def dumps(data: Any) -> bytes:
    """Strict JSON in UTF-8; half a surrogate pair, which UTF-8 cannot hold, is escaped."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


class Line:
    """Events of one job, from its lane's thread to the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    def put(self, event: str, data: Any) -> None:
        """From any thread. The loop may have ended by then: nobody listens."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._queue.put_nowait, (event, data))

    async def get(self, seconds: float) -> tuple[str, Any] | None:
        """The next; None where none comes in time."""
        try:
            return await asyncio.wait_for(self._queue.get(), seconds)
        except asyncio.TimeoutError:
            return None


class Running:
    """The jobs that are at work, by id, and how one is begun."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.jobs: dict[str, Job] = {}
        self.closed = False

    def begin(self, desk: Desk, steps: Sequence[Step], finish: Callable[[Any], Any]) -> tuple[Job, Line]:
        """Put a job into its lane. ``finish`` makes of its outcome what is answered, in the lane's thread. Raises
        ``Full``, ``NotLoaded``."""
        if self.closed:
            raise Cancelled("the server is closing")
        line = Line()

        def done(outcome: Any) -> None:
            self.jobs.pop(job.id, None)
            try:
                if not isinstance(outcome, BaseException):
                    outcome = finish(outcome)
            except Exception as e:
                outcome = e
            line.put("end", outcome)

        job = Job(steps, listener=line.put, done=done, seconds=self.seconds)
        self.jobs[job.id] = job
        try:
            desk.put(job)
        except BaseException:
            self.jobs.pop(job.id, None)
            raise
        return job, line

    def cancel(self, key: str) -> bool:
        """Was there such a job?"""
        job = self.jobs.get(key)
        if job is not None:
            job.cancel()
        return job is not None

    def close(self) -> None:
        """End them all, and begin no more."""
        self.closed = True
        for job in list(self.jobs.values()):
            job.cancel()


class Watch:
    """Looks now and then, however much else happens, whether whoever asked is still there."""

    def __init__(self, job: Job, request: Request) -> None:
        self._job, self._request, self._next = job, request, time.monotonic() + LOOK

    async def gone(self) -> bool:
        """Has the client gone? Then the job is cancelled. One that waits and is not to go on ends now."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + LOOK
        gone = await self._request.is_disconnected()
        if gone:
            self._job.cancel()
        if self._job.over:
            self._job.sweep()
        return gone


async def outcome(job: Job, line: Line, request: Request) -> Any:
    """What came of it, or an exception; cancelled where the client goes."""
    watch = Watch(job, request)
    while True:
        event = await line.get(LOOK)
        if event is not None and event[0] == "end":
            return event[1]
        await watch.gone()


async def events(job: Job, line: Line, request: Request) -> AsyncIterator[tuple[str, Any]]:
    """Events until the end, which is ``result`` or ``error``; "" is a sign of life."""
    quiet, watch = 0.0, Watch(job, request)
    try:
        yield "job", {"id": job.id}
        while True:
            event = await line.get(LOOK)
            if (event is None or event[0] != "end") and await watch.gone():
                return
            if event is None:
                quiet += LOOK
                if quiet >= PING:
                    quiet = 0.0
                    yield "", None
                continue
            quiet = 0.0
            name, data = event
            if name != "end":
                yield name, data
            elif isinstance(data, BaseException):
                yield "error", told(data)[1]
                return
            else:
                yield "result", data
                return
    finally:
        job.cancel()  # of one that has ended it changes nothing


def wants_events(request: Request) -> bool:
    """Did the request ask for events?"""
    return EVENTS in request.headers.get("accept", "")


async def reply(job: Job, line: Line, request: Request) -> Response:
    """The answer in the form that the request accepts."""
    if wants_events(request):

        async def stream() -> AsyncIterator[bytes]:
            async for name, data in events(job, line, request):
                yield b"event: " + name.encode() + b"\ndata: " + dumps(data) + b"\n\n" if name else b": \n\n"

        return StreamingResponse(stream(), media_type=EVENTS, headers={"X-Accel-Buffering": "no"})
    found = await outcome(job, line, request)
    return answer(found)


def answer(found: Any, status: int = 200) -> Response:
    """A body, or an error's."""
    if isinstance(found, BaseException):
        status, data = told(found)
        return Response(dumps(data), status, headers_of(found), "application/json")
    return Response(dumps(found), status, media_type="application/json")
