"""Who may ask, and how much: host, origin, token, kinds and sizes of bodies, before any route sees a request.

    app = Guard(app, settings)

- A name that the server is not called by is refused, so that a page elsewhere cannot reach it by pointing a name of its
  own here (DNS rebinding). Addresses cannot be pointed, and are let through where the server listens to others.
- A request that a page of another origin makes is refused, whatever it is.
- The token, where there is one, is compared in constant time. The page itself and its files need none: they hold
  nothing, and ask for it.
- A body over the limit, one that comes too slowly (``SLOW``, ``RATE``), and one that is no JSON are refused.

What goes wrong further in and is answered nowhere else is answered here, so that no answer is without the headers.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from pellucid.serve.faults import Refused, told
from pellucid.serve.settings import LOOPBACK, Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SLOW = 30.0  # seconds that a body may take to come, and so many more as it is long at
RATE = 250_000.0  # bytes a second
UPLOAD = "/api/v1/text"
OPEN = ("/", "/docs", "/healthz", "/readyz")
OPEN_UNDER = ("/static/", "/r/")
#: The page runs its own scripts alone, and asks this server alone. Scores colour words by style attributes.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """An ASGI application around another."""

    def __init__(self, app: App, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self._names = {*LOOPBACK, settings.host, *settings.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See above; what is no HTTP request (the lifespan) goes through."""
        if scope["type"] == "websocket":  # there is none
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False
        bound = Bound(receive)

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if bound.refused is not None and not started:
                raise bound.refused  # whatever became of it on the way
            if message["type"] == "http.response.start":
                started = True
                own = {k.lower() for k, _ in message["headers"]}
                extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in own]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        try:
            headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
            self._check(scope, headers)
            bound.limit(headers, self.settings.upload if scope["path"] == UPLOAD else self.settings.body)
            await self.app(scope, bound, answer)
        except Exception as e:
            if started:
                raise
            error, bound.refused = bound.refused or e, None
            await refuse(error, answer)

    def _check(self, scope: Scope, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if not self._known(host):
            raise Refused(
                421,
                "this server is not called by that name: use its address, or allow the name when it is started "
                "(--allow-host)",
                "host",
            )
        origin = headers.get("origin")
        if origin is not None and split(origin)[0] != host.lower():
            raise Refused(403, "requests from pages of other origins are not answered", "origin")
        if headers.get("sec-fetch-site") == "cross-site" and not self._open(scope):
            raise Refused(403, "requests from pages of other origins are not answered", "origin")
        if self.settings.token is not None and not self._open(scope):
            kind, _, given = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode("latin-1"), self.settings.token.encode())
            if kind.lower() != "bearer" or not right:
                raise Refused(401, "expected the server's token, as 'Authorization: Bearer ...'", "token")
        if scope["method"] in ("POST", "PUT", "PATCH") and scope["path"] != UPLOAD:
            kind = headers.get("content-type", "").split(";")[0].strip().lower()
            empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
            if kind != "application/json" and not empty:
                raise Refused(415, f"expected a body of the type application/json, given '{kind or 'none'}'", "type")

    def _known(self, host: str) -> bool:
        name = split(f"//{host}")[1] if host.isprintable() else ""
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self.settings.public

    @staticmethod
    def _open(scope: Scope) -> bool:
        path = scope["path"]
        return scope["method"] in ("GET", "HEAD") and (path in OPEN or path.startswith(OPEN_UNDER))


def split(url: str) -> tuple[str, str]:
    """Host with port, and the host alone, in small letters; nothing where it is no address."""
    try:
        found = urlsplit(url)
        return found.netloc.lower(), found.hostname or ""
    except ValueError:
        return "", ""


class Bound:
    """A request's ``receive``, counting. ``refused``: why no more of the body was taken, however the application dealt
    with that."""

    def __init__(self, receive: Receive) -> None:
        self.refused: Refused | None = None
        self._receive, self._seen, self._whole = receive, 0, False
        self._most, self._until = 0, 0.0

    def limit(self, headers: Mapping[str, str], most: int) -> None:
        """At most so many bytes. Raises ``Refused`` for a body that says that it is longer."""
        self._most, self._until = most, asyncio.get_running_loop().time() + SLOW + most / RATE
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 15 or int(length) > most:
            raise self._too_much()

    async def __call__(self) -> MutableMapping[str, Any]:
        """The next message."""
        if self._whole:
            return await self._receive()  # now it waits for the client to go
        if self.refused is not None:
            raise self.refused
        left = self._until - asyncio.get_running_loop().time()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0))
        except asyncio.TimeoutError:
            self.refused = Refused(408, "the body did not come in time: the connection is too slow for it", "slow")
            raise self.refused from None
        self._seen += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._seen > self._most:
            self.refused = self._too_much()
            raise self.refused
        return message

    def _too_much(self) -> Refused:
        return Refused(413, f"the body is larger than the {self._most} bytes that this server takes", "size")


async def refuse(error: Exception, send: Send) -> None:
    """Answer with an error."""
    status, found = told(error)
    data = json.dumps(found).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
