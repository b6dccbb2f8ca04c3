"""Questions to indexes, and texts out of files that are dropped on the page.

curl -s localhost:8000/api/v1/rag/kb/ask -H 'content-type: application/json' -d '{"question": "How do I resume?"}'
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from pellucid.errors import InputError, OptionError
from pellucid.serve.api.shapes import ERRORS, REPLIES, Reply
from pellucid.serve.faults import Refused
from pellucid.serve.jobs import Step
from pellucid.serve.requests import Asked, Question, Search
from pellucid.serve.state import state_of
from pellucid.serve.work.asking import answered, found

router = APIRouter(prefix="/api/v1", tags=["documents"])
Index = Annotated[str, Path(min_length=1, max_length=200)]


class Read(BaseModel):
    """A file's text."""

    name: str
    text: str


class Whole(BaseModel):
    """A document's text, in which its passages' characters are counted."""

    document: str
    text: str


@router.get("/rag", responses=ERRORS)
async def indexes(request: Request) -> dict[str, list[dict[str, Any]]]:
    """The indexes that the server was started with, and what they hold."""
    return {"indexes": await run_in_threadpool(state_of(request).library.listed)}


@router.post("/rag/{index}/search", response_model=Reply, responses=REPLIES)
async def search(request: Request, index: Index, asked: Search) -> Response:
    """Passages of an index: a ``pellucid.passages/1``."""
    return await _worked(request, index, asked, found)


@router.post("/rag/{index}/ask", response_model=Reply, responses=REPLIES)
async def ask(request: Request, index: Index, asked: Question) -> Response:
    """A question answered from an index, each sentence with the passages that it rests on: a ``pellucid.cited/1``."""
    return await _worked(request, index, asked, answered)


async def _worked(request: Request, index: str, asked: Asked, steps: Callable[..., list[Step]]) -> Response:
    """Put what is asked of an index into its lanes."""
    state = state_of(request)
    knowledge = await run_in_threadpool(state.library.named, index)
    desk = state.desks.named(asked.model)
    return await state.answer(request, desk, steps(asked, state.settings, knowledge), asked, index=index)


@router.get("/rag/{index}/text", response_model=Whole, responses=ERRORS)
async def text(
    request: Request,
    index: Index,
    document: Annotated[str, Query(min_length=1, max_length=2000)],
    collection: Annotated[str | None, Query(max_length=200)] = None,
) -> Any:
    """A document's whole text."""
    knowledge = await run_in_threadpool(state_of(request).library.named, index)
    try:
        whole = await run_in_threadpool(knowledge.text, document, collection)
    except OptionError as e:
        raise Refused(404, str(e), "document") from None
    return {"document": document, "text": whole}


@router.post(
    "/text",
    response_model=Read,
    responses=ERRORS,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def read(request: Request, name: Annotated[str, Query(min_length=1, max_length=300)]) -> Any:
    """The text of a file (.txt, .md, .html, .pdf, .py); the body is its bytes."""
    short = PurePath(name.replace("\\", "/")).name or "file"
    limit = state_of(request).settings.tokens * 40
    found = await state_of(request).uploads.read(short, await request.body())
    if len(found) > limit:
        raise InputError(f"'{short}' holds {len(found)} characters, and this server takes {limit}: give a part of it")
    return {"name": short, "text": found}
