"""The history: list, open, export, delete.

curl -s 'localhost:8000/api/v1/traces?q=capital'
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from pellucid.serve.api.shapes import ERRORS
from pellucid.serve.faults import Refused
from pellucid.serve.replies import answer
from pellucid.serve.results import exported, fragment
from pellucid.serve.state import state_of

router = APIRouter(prefix="/api/v1/traces", tags=["history"], responses=ERRORS)
Id = Annotated[str, Path(min_length=1, max_length=100)]
Lang = Annotated[Literal["en", "zh"], Query()]
#: A page of its own, that runs its own script (its own policy names that by its hash, and both hold) and asks nobody:
#: it may stand in a frame of ours.
FRAMED = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


class Entry(BaseModel):
    """A result as the list shows it; ``created`` in seconds since 1970."""

    id: str
    kind: str
    title: str
    model: str
    created: float
    bytes: int


class Listed(BaseModel):
    """Newest first; ``next`` is the next page's ``before``."""

    results: list[Entry]
    next: str | None


class Stored(Entry):
    """A result with what the list says of it, and the request that it answers."""

    request: dict[str, Any] | None
    result: dict[str, Any]


@router.get("", response_model=Listed)
async def listed(
    request: Request,
    q: Annotated[str, Query(max_length=200)] = "",
    kind: Annotated[str | None, Query(max_length=40)] = None,
    before: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Results, newest first, whose title or model holds ``q``."""
    history = state_of(request).history
    found, more = await run_in_threadpool(history.find, q, kind=kind, before=before, limit=limit)
    return answer({"results": [asdict(k) for k in found], "next": more})


@router.get("/{id}", response_model=Stored)
async def stored(request: Request, id: Id) -> Response:
    """One result, with what the list says of it."""
    about, data = await _get(request, id)
    request_of = state_of(request).history.request
    return answer({**asdict(about), "request": await run_in_threadpool(request_of, id), "result": data})


@router.get("/{id}/export", response_class=Response)
async def export(
    request: Request,
    id: Id,
    form: Annotated[Literal["json", "html", "png", "md", "csv"], Query(alias="as")] = "json",
    lang: Lang = "en",
    inline: bool = False,
) -> Response:
    """A file, as ``save`` writes it; ``inline``: as a page, to stand in a frame."""
    about, data = await _get(request, id)
    body, media = await run_in_threadpool(exported, about.kind, data, form, lang)
    headers = {"Content-Security-Policy": FRAMED}
    if not inline:
        headers["Content-Disposition"] = f'attachment; filename="pellucid-{about.kind}.{form}"'
    return Response(body, media_type=media, headers=headers)


@router.get("/{id}/fragment", response_class=Response)
async def drawn(request: Request, id: Id, lang: Lang = "en") -> Response:
    """The view's markup, every text in it escaped, to be drawn beside ``lens.css`` and ``lens.js``."""
    about, data = await _get(request, id)
    return Response(await run_in_threadpool(fragment, about.kind, data, lang), media_type="text/html; charset=utf-8")


@router.delete("/{id}")
async def delete(request: Request, id: Id) -> dict[str, int]:
    """Delete one."""
    if not await run_in_threadpool(state_of(request).history.delete, id):
        raise Refused(404, "there is no result of that id", "id")
    return {"deleted": 1}


@router.delete("")
async def delete_all(request: Request) -> dict[str, int]:
    """Delete all."""
    return {"deleted": await run_in_threadpool(state_of(request).history.delete, None)}


async def _get(request: Request, key: str) -> Any:
    found = await run_in_threadpool(state_of(request).history.get, key)
    if found is None:
        raise Refused(404, "there is no result of that id", "id")
    return found
