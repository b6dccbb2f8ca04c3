"""The page and its files: what lies in ``page/``, and render's own component.

GET /              index.html; so is GET /r/{id}, which opens a stored result
GET /static/app.js
GET /docs          the API, drawn from /openapi.json by a script of our own: nothing is loaded from elsewhere
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from pellucid.serve.faults import Refused

router = APIRouter(include_in_schema=False)
MEDIA = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
SHARED = ("view.js", "view.css", "lens.js")  # of render


@cache
def content(name: str) -> bytes:
    """A file of the page's. Raises ``Refused`` for any other name."""
    if name == "lens.css":
        from pellucid.render.lenshtml import styles

        return styles().encode()
    known = {f.name for f in files("pellucid.serve").joinpath("page").iterdir() if f.is_file()}
    if name in SHARED:
        return files("pellucid.render").joinpath("assets").joinpath(name).read_bytes()
    if name not in known or name.rpartition(".")[2] not in MEDIA:
        raise Refused(404, "there is no such file", "file")
    return files("pellucid.serve").joinpath("page").joinpath(name).read_bytes()


def sent(name: str, request: Request) -> Response:
    """A file, or that it has not changed."""
    data = content(name)
    tag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=MEDIA[name.rpartition(".")[2]], headers=headers)


@router.get("/")
async def index(request: Request) -> Response:
    """The page."""
    return sent("index.html", request)


@router.get("/r/{id}")
async def permalink(request: Request, id: Annotated[str, Path(max_length=100)]) -> Response:
    """The page, which then opens that result."""
    return sent("index.html", request)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The API's description."""
    return sent("docs.html", request)


@router.get("/static/{name}")
async def static(request: Request, name: Annotated[str, Path(max_length=100)]) -> Response:
    """A file of the page's."""
    return sent(name, request)
