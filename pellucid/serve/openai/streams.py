"""OpenAI's stream: a line ``data: {...}`` a piece, and ``data: [DONE]`` at the end.

return await answered(state, request, desk, steps, chunk=chunk, stream=True)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pellucid.errors import ContextError
from pellucid.serve.desk import Desk
from pellucid.serve.faults import Refused
from pellucid.serve.jobs import Step
from pellucid.serve.openai.explained import Answered
from pellucid.serve.replies import EVENTS, answer, dumps, events, outcome
from pellucid.serve.state import State

PIECE = "piece"


def named(found: Any) -> Any:
    """A text that is too long, as OpenAI's clients know it; anything else as it is."""
    return Refused(400, str(found), "context_length_exceeded") if isinstance(found, ContextError) else found


async def answered(
    state: State,
    request: Request,
    desk: Desk,
    steps: Sequence[Step],
    *,
    title: str,
    stream: bool,
    usage: bool,
    chunk: Callable[[dict[str, Any]], dict[str, Any]],
) -> Response:
    """The whole body; or with ``stream`` its pieces. ``chunk`` makes an event of a piece, and of ``{}`` what an event
    without one has."""

    def finish(made: Answered) -> dict[str, Any]:
        body = made.body
        if made.trace is not None:
            data = made.trace.to_dict()
            body["pellucid"] = {"id": state.history.add("trace", title, desk.name, data), "trace": data}
        elif made.note is not None:
            body["pellucid"] = {"id": None, "trace": None, "note": made.note}
        return body

    job, line = state.running.begin(desk, steps, finish)
    if not stream:
        return answer(named(await outcome(job, line, request)))

    async def lines() -> AsyncIterator[bytes]:
        async for name, data in events(job, line, request):
            if name == PIECE:
                yield b"data: " + dumps(chunk(data)) + b"\n\n"
            elif name == "error":
                yield b"data: " + dumps(data) + b"\n\n"
                return
            elif name == "result":
                if "pellucid" in data:
                    yield b"data: " + dumps({**chunk({}), "choices": [], "pellucid": data["pellucid"]}) + b"\n\n"
                if usage:
                    yield b"data: " + dumps({**chunk({}), "choices": [], "usage": data["usage"]}) + b"\n\n"
                yield b"data: [DONE]\n\n"
            elif not name:
                yield b": \n\n"

    return StreamingResponse(lines(), media_type=EVENTS, headers={"X-Accel-Buffering": "no"})
