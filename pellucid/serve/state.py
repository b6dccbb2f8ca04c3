"""What all routes of one server share.

state: State = request.app.state.pellucid
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pellucid.serve.desk import Desk, Desks
from pellucid.serve.history import History
from pellucid.serve.jobs import Made, Step
from pellucid.serve.library import Library
from pellucid.serve.metrics import Metrics
from pellucid.serve.replies import Running, reply
from pellucid.serve.requests import Asked
from pellucid.serve.results import plain
from pellucid.serve.settings import Settings
from pellucid.serve.uploads import Uploads


@dataclass(frozen=True, eq=False)
class State:
    """The parts of a server."""

    settings: Settings
    desks: Desks
    history: History
    library: Library
    running: Running
    metrics: Metrics
    uploads: Uploads

    def kept(self, made: Made, model: str, asked: Asked, **more: Any) -> dict[str, Any]:
        """What is answered: the result, with the id that it is kept under, beside what was asked and ``more``. Raises
        ``OutputError``."""
        data, key = plain(made.result), None
        if asked.keep and made.title is not None:
            request = {**asked.model_dump(exclude_unset=True, exclude={"keep", "trace"}), **more}
            key = self.history.add(made.kind, made.title, model, data, request)
        return {"id": key, "kind": made.kind, "result": data}

    async def answer(
        self,
        request: Request,
        desk: Desk,
        steps: Sequence[Step],
        asked: Asked,
        **more: Any,
    ) -> Response:
        """Put the steps into their lanes, and reply."""
        job, line = self.running.begin(desk, steps, lambda made: self.kept(made, desk.name, asked, **more))
        return await reply(job, line, request)


def state_of(request: Request) -> State:
    """Of the server that got the request."""
    found: State = request.app.state.pellucid
    return found
