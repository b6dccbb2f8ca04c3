"""What all routes of one server share.

state: State = request.app.state.pellucid
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from pellucid.serve.results import plain
from pellucid.serve.settings import Settings


@dataclass(frozen=True, eq=False)
class State:
    """The parts of a server."""

    settings: Settings
    desks: Desks
    history: History
    library: Library
    running: Running
    metrics: Metrics

    def kept(self, made: Made, model: str, keep: bool) -> dict[str, Any]:
        """What is answered: the result, with the id that it is kept under. Raises ``OutputError``."""
        data = plain(made.result)
        key = self.history.add(made.kind, made.title, model, data) if keep and made.title is not None else None
        return {"id": key, "kind": made.kind, "result": data}

    async def answer(
        self,
        request: Request,
        desk: Desk,
        steps: Sequence[Step],
        *,
        keep: bool,
        finish: Callable[[Made], Any] | None = None,
    ) -> Response:
        """Put the steps into their lanes, and reply."""
        job, line = self.running.begin(desk, steps, finish or (lambda made: self.kept(made, desk.name, keep)))
        return await reply(job, line, request)


def state_of(request: Request) -> State:
    """Of the server that got the request."""
    found: State = request.app.state.pellucid
    return found
