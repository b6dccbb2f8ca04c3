"""Every error as an HTTP answer: its status, and one body that OpenAI's clients read too.

    status, body = told(OptionError("..."))
    {"error": {"message": "...", "type": "invalid_request_error", "param": null, "code": "OptionError"}}

Errors of the rooms say what was given and what to do, and are handed on, less the paths of this machine. Any other
exception is our fault: it is logged, and the request hears no more than that.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from pellucid import errors
from pellucid.serve.desk import NotLoaded
from pellucid.serve.jobs import Cancelled, Full, TimedOut
from pellucid.serve.lane import OutOfMemory

log = logging.getLogger("pellucid.serve")

#: The first that fits decides.
STATUS: tuple[tuple[type[Exception], int], ...] = (
    (Full, 429),
    (Cancelled, 499),
    (TimedOut, 504),
    (OutOfMemory, 503),
    (NotLoaded, 503),
    (errors.ContextError, 413),
    (errors.UnknownModelError, 404),
    (errors.OutputError, 507),
    (errors.MissingExtraError, 501),
    (errors.NumericError, 422),
    (errors.Error, 400),
)
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_PATH = re.compile(r"(?<![\w.:/])(?:/[\w.@+~-]+){2,}/?|\b[A-Za-z]:\\[^\s'\"]+")


class Refused(Exception):
    """A request that is refused before anything is done with it."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def told(error: BaseException) -> tuple[int, dict[str, Any]]:
    """Status and body."""
    if isinstance(error, Refused):
        return error.status, body(error.status, str(error), error.code)
    for kind, status in STATUS:
        if isinstance(error, kind):
            return status, body(status, str(error), type(error).__name__)
    log.error("a request failed", exc_info=error)
    return 500, body(500, "the server failed at this request; its log says why", "InternalError")


def body(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """The one shape of errors."""
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": without_paths(message), "type": kind, "param": None, "code": code}}


def headers(error: BaseException) -> Mapping[str, str]:
    """``Retry-After`` where there was no room."""
    return {"Retry-After": str(max(round(error.seconds), 1))} if isinstance(error, Full) else {}


def without_paths(message: str) -> str:
    """Of absolute paths the last part alone: where things lie on this machine is nobody's affair."""
    return _PATH.sub(lambda m: re.split(r"[/\\]", m[0].rstrip("/\\"))[-1], message)
