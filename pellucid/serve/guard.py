"""Who may ask, and how much: host, origin, token, kinds and sizes of bodies, before any route sees a request.

    app = Guard(app, settings)

- A name that the server is not called by is refused, so that a page elsewhere cannot reach it by pointing a name of its
  own here (DNS rebinding). Addresses cannot be pointed, and are let through where the server listens to others.
- A request that a page of another origin makes is refused, whatever it is.
- The token, where there is one, is compared in constant time. The page itself and its files need none: they hold
  nothing, and ask for it.
- A body over the limit, one that does not come within ``SLOW`` seconds, and one that is no JSON are refused.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from pellucid.serve.faults import Refused, told
from pellucid.serve.settings import LOOPBACK, Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SLOW = 30.0  # seconds that a body may take to come
UPLOAD = "/api/v1/text"
OPEN = ("/", "/healthz", "/readyz")
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
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        started = False

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = {k.lower() for k, _ in message["headers"]}
                extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in own]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        try:
            headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
            self._check(scope, headers)
            await self.app(scope, self._bounded(scope, headers, receive), answer)
        except Refused as e:
            if started:
                raise
            await refuse(e, answer)

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
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refused(403, "requests from pages of other origins are not answered", "origin")
        if headers.get("sec-fetch-site") == "cross-site" and scope["path"] not in OPEN:
            raise Refused(403, "requests from pages of other origins are not answered", "origin")
        if self.settings.token is not None and not self._open(scope):
            kind, _, given = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode(), self.settings.token.encode())
            if kind.lower() != "bearer" or not right:
                raise Refused(401, "expected the server's token, as 'Authorization: Bearer ...'", "token")
        if scope["method"] in ("POST", "PUT", "PATCH") and scope["path"] != UPLOAD:
            kind = headers.get("content-type", "").split(";")[0].strip().lower()
            if kind != "application/json" and headers.get("content-length", "") != "0":
                raise Refused(415, f"expected a body of the type application/json, given '{kind or 'none'}'", "type")

    def _known(self, host: str) -> bool:
        name = (urlsplit(f"//{host}").hostname or "") if host.isprintable() else ""
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

    def _bounded(self, scope: Scope, headers: dict[str, str], receive: Receive) -> Receive:
        """``receive``, counting."""
        most = self.settings.upload if scope["path"] == UPLOAD else self.settings.body
        too_much = Refused(413, f"the body is larger than the {most} bytes that this server takes", "size")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            raise too_much
        seen, whole = 0, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal seen, whole
            if whole:
                return await receive()  # now it waits for the client to go
            try:
                message = await asyncio.wait_for(receive(), SLOW)
            except asyncio.TimeoutError:
                raise Refused(408, f"the body did not come within {SLOW:g} seconds", "slow") from None
            seen += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if seen > most:
                raise too_much
            return message

        return counted


async def refuse(error: Exception, send: Send) -> None:
    """Answer with an error."""
    status, found = told(error)
    data = json.dumps(found).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
