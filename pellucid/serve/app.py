"""The application: its parts put together, ready for any ASGI server.

    app = create_app(Settings())
    uvicorn.run(app)                     # or: pellucid serve

``load`` may bring other models than ``load_model`` would (the tests' tiny ones).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from pellucid.errors import Error
from pellucid.serve import pages
from pellucid.serve.api import about, documents, kept, working
from pellucid.serve.desk import Desks, Load, NotLoaded
from pellucid.serve.faults import Refused, body
from pellucid.serve.guard import Guard
from pellucid.serve.history import History
from pellucid.serve.jobs import Ended, Full
from pellucid.serve.lane import OutOfMemory
from pellucid.serve.library import Library
from pellucid.serve.metrics import Counted, Metrics
from pellucid.serve.openai import chats, completions, listing
from pellucid.serve.replies import Running, answer
from pellucid.serve.settings import Settings
from pellucid.serve.state import State
from pellucid.serve.uploads import Uploads
from pellucid.version import __version__

ABOUT = (
    "Which part of the input made the model say that. Results are those of the Python package (`pellucid.trace/1` and "
    "its like); `/v1` is OpenAI's form, with the field `pellucid` beside."
)


def create_app(settings: Settings, load: Load | None = None) -> FastAPI:
    """The application. The history is opened here; models are loaded when it starts, or first asked for."""
    history = History(settings.history, bytes=settings.kept_bytes, days=settings.kept_days)
    desks = Desks(settings, load)
    running = Running(settings.seconds)
    state = State(settings, desks, history, Library(settings.knowledge), running, Metrics(desks), Uploads())

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        desks.start()
        try:
            yield
        finally:
            running.close()
            desks.close()
            state.library.close()
            history.close()

    app = FastAPI(
        title="Pellucid", version=__version__, description=ABOUT, docs_url=None, redoc_url=None, lifespan=life
    )
    app.state.pellucid = state
    for router in (
        working.router,
        kept.router,
        documents.router,
        about.router,
        listing.router,
        completions.router,
        chats.router,
        pages.router,
    ):
        app.include_router(router)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    for kind in (Error, Ended, Full, NotLoaded, OutOfMemory, Refused, Exception):
        app.add_exception_handler(kind, failed)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Counted, metrics=state.metrics)
    return app


async def failed(request: Request, error: Exception) -> Response:
    """Any error of a route."""
    return answer(error)


async def http(request: Request, error: Any) -> Response:
    """No such route, or not by that method."""
    message = {
        400: "the body cannot be read: expected JSON in UTF-8, nested a few hundred deep at most",
        404: "there is nothing at this address",
        405: f"this address does not answer {request.method}",
    }
    code = "invalid" if error.status_code == 400 else "address"
    found = body(error.status_code, message.get(error.status_code, str(error.detail)), code)
    reply = answer(found, error.status_code)
    for name, value in (error.headers or {}).items():
        reply.headers[name] = value
    return reply


async def invalid(request: Request, error: Any) -> Response:
    """A body or parameter without the form that is expected: one sentence a fault, at most three. OpenAI's own status
    for it is another, and its clients tell errors apart by that."""
    status = 400 if request.url.path.startswith("/v1/") else 422
    return answer(body(status, "; ".join(map(fault, error.errors()[:3])), "invalid"), status)


def fault(found: dict[str, Any]) -> str:
    """One of pydantic's errors as a sentence."""
    if found["type"] == "json_invalid":
        return f"the body is no JSON, from character {found['loc'][-1]} on: {found.get('ctx', {}).get('error', '')}"
    place = ".".join(map(str, found["loc"][1:]))  # the first says where it stands: body, query, path
    given = repr(found.get("input"))
    given = given if len(given) <= 60 else f"{given[:57]}..."
    return f"{place or 'the body'}: {found['msg'][:1].lower()}{found['msg'][1:]} (given {given})"
