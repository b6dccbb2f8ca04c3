"""What the OpenAPI document says of answers: replies, errors, lists.

@router.post("/explain", response_model=Reply, responses=ERRORS)
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class Reply(BaseModel):
    """A result of a ``kind``, and the ``id`` that it is kept under (null: it is not kept)."""

    id: str | None
    kind: str
    result: dict[str, Any]


class Fault(BaseModel):
    """What went wrong: ``message`` is one sentence, ``code`` the name of the error."""

    message: str
    type: str
    param: str | None
    code: str | None


class Faulty(BaseModel):
    """The body of every answer that is an error."""

    error: Fault


_MEANINGS = {
    400: "something that was given cannot be used; the message says what is expected",
    401: "the token is missing or wrong",
    403: "a page of another origin asked",
    404: "there is none of that name or id",
    408: "the body did not come in time",
    413: "too long: for the model, for this server, or for a body",
    415: "the body is no JSON",
    421: "the server is not called by that name",
    422: "the body does not have the form that is expected",
    429: "no room to wait in: `Retry-After` says when to come again",
    499: "it was cancelled",
    501: "an optional package is missing",
    503: "the model is not there, or the memory does not suffice",
    504: "it took longer than a request may",
    507: "the history cannot be written or read",
}
ERRORS: dict[int | str, dict[str, Any]] = {s: {"model": Faulty, "description": d} for s, d in _MEANINGS.items()}
_EVENTS = {
    "description": "The result; or with `Accept: text/event-stream` the events `job`, `queued`, `progress`, `text`, "
    "and at last `result` or `error`, each with JSON as its data.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
REPLIES: dict[int | str, dict[str, Any]] = {200: _EVENTS, **ERRORS}
