"""Servers in this process for the tests: tiny models, a client past the network or over a real port, events read."""

from __future__ import annotations

import json
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import uvicorn
from starlette.testclient import TestClient
from tiny import FAMILIES, chat_tokenizer

from pellucid.models.load import LoadedModel
from pellucid.serve.app import create_app
from pellucid.serve.guard import HEADERS
from pellucid.serve.settings import Settings

JSON = {"Content-Type": "application/json"}
#: Nobody is sent away because the machine is slow today.
PLAIN = Settings(models=("tiny",), patience=1e9)
EVENTS = {**JSON, "Accept": "text/event-stream"}


def tiny_model(name: str = "tiny", family: str = "llama", context: int | None = None) -> LoadedModel:
    """The same random weights each time."""
    torch.manual_seed(7)
    tokenizer = chat_tokenizer()
    network = FAMILIES[family](len(tokenizer)).eval()
    if context is not None:
        network.config.max_position_embeddings = context
    return LoadedModel.wrap(network, tokenizer, name=name)


@contextmanager
def asked(settings: Settings | None = None, load: Callable[[str], LoadedModel] = tiny_model) -> Iterator[TestClient]:
    """A client of a server whose model is there."""
    app = create_app(replace(settings or Settings(models=("tiny",), patience=1e9), warm=False), load)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        wait(lambda: client.get("/readyz").status_code == 200)
        yield client


@contextmanager
def listening(settings: Settings | None = None, load: Callable[[str], LoadedModel] = tiny_model) -> Iterator[str]:
    """A server on a free port, in a thread: its address."""
    app = create_app(replace(settings or Settings(models=("tiny",), patience=1e9), warm=False), load)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(64)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [s]}, daemon=True)
        thread.start()
        wait(lambda: server.started and app.state.pellucid.desks.named(None).state == "ready")
        yield f"http://127.0.0.1:{s.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def wait(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Until it is true; fails where that does not happen."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)


def events(text: str) -> list[tuple[str, Any]]:
    """(name, data) of each server-sent event."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def refused(reply: Any, *statuses: int) -> str:
    """The one sentence of an answer that is a refusal, which says nothing of this machine."""
    assert 400 <= reply.status_code < 500, (reply.status_code, reply.text)
    assert not statuses or reply.status_code in statuses, (reply.status_code, reply.text)
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert not re.search(rf"Traceback|site-packages|{Path.home()}|{Path.cwd()}|{tempfile.gettempdir()}/", reply.text), (
        reply.text
    )
    for name, value in HEADERS.items():
        assert reply.headers[name] == value
    return str(error["message"])


@dataclass
class Gate:
    """Makes models whose first layer waits here while it is shut: how a test holds a request in the middle. ``passed``
    counts the layer's calls, each ``slow`` seconds slower; ``only``: others are neither held nor counted."""

    only: Callable[[torch.Tensor], bool] = lambda states: True
    slow: float = 0.0
    passed: int = 0
    entered: threading.Event = field(default_factory=threading.Event)
    _open: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """Whoever waits goes on."""
        self._open.set()

    def shut(self) -> None:
        """Whoever comes waits; ``entered`` is set by the first."""
        self._open.clear()
        self.entered.clear()

    def load(self, name: str = "tiny") -> LoadedModel:
        """A tiny model with the gate in it."""
        loaded = tiny_model(name)

        def stop(module: Any, given: Any) -> None:
            if self.only(given[0]):
                self.passed += 1
                self.entered.set()
                time.sleep(self.slow)
                assert self._open.wait(60)

        loaded.network.model.layers[0].register_forward_pre_hook(stop)
        return loaded
