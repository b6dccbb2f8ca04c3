"""Counts and times for Prometheus, by the client library of that project.

curl http://127.0.0.1:8000/metrics

Each server has a registry of its own, so that two in one process do not add up.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from pellucid.serve.desk import Desk, Desks
from pellucid.serve.lane import Lane

TIMES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """What is counted."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, desks: Desks) -> None:
        self._registry = CollectorRegistry()
        names = ("route", "method", "status")
        self._count = Counter("pellucid_requests", "Requests that were answered", names, registry=self._registry)
        self._seconds = Histogram(
            "pellucid_request_seconds",
            "Seconds to the end of the answer",
            ("route",),
            registry=self._registry,
            buckets=TIMES,
        )
        waiting = Gauge("pellucid_waiting", "Requests that wait", ("model", "lane"), registry=self._registry)
        ready = Gauge("pellucid_model_ready", "1 where the model is loaded", ("model",), registry=self._registry)
        for desk in desks.desks.values():
            ready.labels(desk.name).set_function(partial(_ready, desk))
            for name, lane in desk.lanes.items():
                waiting.labels(desk.name, name).set_function(partial(_waiting, lane))

    def text(self) -> bytes:
        """All of it, in Prometheus' format."""
        return generate_latest(self._registry)

    def seen(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._count.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


def _ready(desk: Desk) -> float:
    return float(desk.state == "ready")


def _waiting(lane: Lane) -> float:
    return float(lane.waiting)


class Counted:
    """An ASGI application around another, that counts. A route is counted by its pattern, never by its path, so that
    there are as many series as routes."""

    def __init__(self, app: Callable[..., Awaitable[None]], metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Count a request when its answer has gone."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 499

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in ("GET", "POST", "DELETE", "HEAD", "OPTIONS") else "other"
            self.metrics.seen(route, method, status, time.perf_counter() - began)
