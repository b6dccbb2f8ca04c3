"""A route for each kind of work, made from the table ``WORK``; and how one is cancelled.

curl -s localhost:8000/api/v1/next -H 'content-type: application/json' -d '{"prompt": "The capital of France is"}'
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Body, Path, Request, Response
from fastapi.concurrency import run_in_threadpool

from pellucid.errors import InputError
from pellucid.serve.api.shapes import ERRORS, REPLIES, Reply
from pellucid.serve.faults import Refused
from pellucid.serve.jobs import Step
from pellucid.serve.requests import Asked, Flow
from pellucid.serve.settings import Settings
from pellucid.serve.state import state_of
from pellucid.serve.work import WORK

router = APIRouter(prefix="/api/v1", tags=["work"])
Steps = Callable[[Any, Settings], list[Step]]


def route(kind: type[Asked], steps: Steps) -> Callable[..., Coroutine[Any, Any, Response]]:
    """A function that answers a request of this kind."""

    async def answer(request: Request, asked: Any = Body()) -> Response:  # noqa: B008  # FastAPI's way
        state = state_of(request)
        desk = state.desks.named(asked.model)
        if isinstance(asked, Flow) and asked.id is not None:
            trace = await run_in_threadpool(_stored, request, asked.id)
            asked = asked.model_copy(update={"trace": trace})
        return await state.answer(request, desk, steps(asked, state.settings), asked)

    answer.__annotations__["asked"] = kind
    answer.__doc__ = kind.__doc__
    return answer


def _stored(request: Request, key: str) -> Any:
    found = state_of(request).history.get(key)
    if found is None:
        raise Refused(404, f"there is no result '{key}'", "id")
    if found[0].kind != "trace":
        raise InputError(f"'{key}' is a {found[0].kind}: expected the id of a trace")
    return found[1]


for _name, (_kind, _steps) in WORK.items():
    router.add_api_route(
        f"/{_name}", route(_kind, _steps), methods=["POST"], name=_name, response_model=Reply, responses=REPLIES
    )


@router.post("/jobs/{id}/cancel", responses=ERRORS)
async def cancel(request: Request, id: str = Path(max_length=100)) -> dict[str, bool]:
    """End what runs: the id is in the event ``job``."""
    if not state_of(request).running.cancel(id):
        raise Refused(404, "nothing of that id runs: it has ended, or never was", "id")
    return {"cancelled": True}
