"""Requests that end early, wait, or find no room; and a model that comes late, or not at all."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from asking import EVENTS, Gate, asked, events, listening, tiny_model, wait
from starlette.testclient import TestClient

from pellucid.models.load import LoadedModel
from pellucid.serve.app import create_app
from pellucid.serve.jobs import Job, TimedOut
from pellucid.serve.settings import Settings

PROMPT, TARGET = "What is the capital of France?", "The capital is Paris."
#: More passes than a test waits for.
LONG = {
    "prompt": PROMPT,
    "target": TARGET,
    "method": "integrated_gradients",
    "parameters": {"steps": 2048},
    "trust": False,
}


def still(gate: Gate) -> bool:
    """Nothing computes any more."""
    before = gate.passed
    time.sleep(0.4)
    return gate.passed <= before


@pytest.mark.parametrize("headers", [EVENTS, {}])
def test_whoever_goes_is_not_computed_for(headers: dict[str, str]) -> None:
    gate = Gate(slow=0.01)
    with listening(load=gate.load) as address:
        gate.passed = 0
        sock = started(address, LONG, headers)
        wait(lambda: gate.passed > 5)
        sock.close()
        wait(lambda: still(gate), 10)
        listed = httpx2.get(f"{address}/api/v1/traces").json()
        assert listed["results"] == []
        quick = httpx2.post(f"{address}/api/v1/next", json={"prompt": "a", "steps": 1}, timeout=30)
        assert quick.status_code == 200


def started(address: str, body: Any, headers: dict[str, str]) -> socket.socket:
    """A request for an explanation whose answer is not waited for: the socket, to be closed."""
    host, port = address.removeprefix("http://").split(":")
    data = json.dumps(body).encode()
    head = {"Host": f"{host}:{port}", "Content-Type": "application/json", "Content-Length": str(len(data)), **headers}
    lines = "".join(f"{k}: {v}\r\n" for k, v in head.items())
    sock = socket.create_connection((host, int(port)))
    sock.sendall(f"POST /api/v1/explain HTTP/1.1\r\n{lines}\r\n".encode() + data)
    return sock


def test_a_request_is_cancelled_by_its_id() -> None:
    gate = Gate(slow=0.01)
    with listening(load=gate.load) as address, ThreadPoolExecutor(1) as pool:
        gate.passed = 0
        key: list[str] = []

        def ask() -> list[tuple[str, Any]]:
            text = ""
            with httpx2.stream("POST", f"{address}/api/v1/explain", json=LONG, headers=EVENTS, timeout=30) as reply:
                for piece in reply.iter_text():
                    text += piece
                    if not key and (found := events(text)):
                        key.append(found[0][1]["id"])
            return events(text)

        said = pool.submit(ask)
        wait(lambda: bool(key) and gate.passed > 3)
        assert httpx2.post(f"{address}/api/v1/jobs/{key[0]}/cancel").json() == {"cancelled": True}
        name, data = said.result(10)[-1]
        assert (name, data["error"]["code"]) == ("error", "Cancelled")
        assert still(gate)
        assert httpx2.get(f"{address}/api/v1/traces").json()["results"] == []
        assert httpx2.post(f"{address}/api/v1/jobs/{key[0]}/cancel").status_code == 404


def test_who_waits_and_is_cancelled_gives_up_the_place_at_once() -> None:
    gate = Gate()
    with listening(Settings(models=("tiny",), long=1), gate.load) as address, ThreadPoolExecutor(2) as pool:
        gate.shut()
        post = f"{address}/api/v1/explain"
        first = pool.submit(httpx2.post, post, json={"prompt": PROMPT, "target": TARGET, "trust": False}, timeout=60)
        assert gate.entered.wait(30)
        text, key = "", ""
        with httpx2.stream("POST", post, json=LONG, headers=EVENTS, timeout=30) as reply:
            for piece in reply.iter_text():
                text += piece
                if not key and "queued" in text:
                    key = events(text)[0][1]["id"]
                    full = httpx2.post(post, json=LONG)
                    assert full.status_code == 429
                    assert int(full.headers["retry-after"]) >= 1
                    assert full.json()["error"]["type"] == "rate_limit_error"
                    httpx2.post(f"{address}/api/v1/jobs/{key}/cancel")
        assert events(text)[-1][1]["error"]["code"] == "Cancelled"  # while the first still runs
        third = pool.submit(httpx2.post, post, json={"prompt": PROMPT, "target": TARGET, "trust": False}, timeout=60)
        time.sleep(0.2)
        gate.open()
        assert [f.result().status_code for f in (first, third)] == [200, 200]


def test_a_request_has_its_time_whether_it_runs_or_waits() -> None:
    gate = Gate(slow=0.01)
    settings = Settings(models=("tiny",), seconds=0.6)
    with listening(settings, gate.load) as address, ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        running = httpx2.post(f"{address}/api/v1/explain", json=LONG, timeout=30)
        assert (running.status_code, running.json()["error"]["code"]) == (504, "TimedOut")
        assert time.monotonic() - began < 5
        assert still(gate)
        gate.shut()
        held = pool.submit(httpx2.post, f"{address}/api/v1/explain", json=LONG, timeout=30)
        assert gate.entered.wait(10)
        waiting = httpx2.post(f"{address}/api/v1/explain", json=LONG, timeout=30)  # the lane never comes to it
        assert waiting.status_code == 504
        gate.open()
        assert held.result().status_code == 504


def test_progress_tells_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("pellucid.serve.jobs.time.monotonic", lambda: now[0])
    told: list[Any] = []
    job = Job([], listener=lambda name, data: told.append(data), done=told.append, seconds=60)
    for at, done in ((100.0, 0), (102.0, 2), (102.05, 3), (104.0, 4), (110.0, 10)):
        now[0] = at
        job.progress("saliency", done, 10)
    assert [(d["done"], d["seconds_left"]) for d in told] == [(0, None), (2, 8.0), (4, 6.0), (10, 0.0)]
    job.progress("trust", 1, None)
    assert told[-1] == {"stage": "trust", "done": 1, "total": None, "seconds_left": None}
    now[0] = 161.0
    with pytest.raises(TimedOut, match="60 seconds"):
        job.progress("trust", 2, None)


def test_requests_wait_for_a_model_that_is_being_loaded() -> None:
    there = threading.Event()

    def load(name: str) -> LoadedModel:
        assert there.wait(30)
        return tiny_model(name)

    app = create_app(Settings(models=("tiny", "second")), load)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client, ThreadPoolExecutor(2) as pool:
        early = client.get("/readyz")
        assert (early.status_code, early.json()["error"]["code"]) == (503, "NotReady")
        first, second = client.get("/api/v1/models").json()["models"]
        assert (first["state"], first["context"], second["state"]) == ("loading", None, "cold")
        body = {"prompt": "a", "steps": 1}
        waiting = [pool.submit(client.post, "/api/v1/next", json={**body, "model": m}) for m in (None, "second")]
        time.sleep(0.2)
        assert not any(w.done() for w in waiting)
        there.set()
        assert [w.result().json()["result"]["model"]["name"] for w in waiting] == ["tiny", "second"]
        assert client.get("/readyz").status_code == 200


def test_a_model_that_cannot_be_loaded_is_told_and_the_others_answer() -> None:
    fails = threading.Event()

    def load(name: str) -> LoadedModel:
        if name == "broken":
            assert fails.wait(30)
            raise OSError("no such file: /home/someone/models/broken.gguf")
        return tiny_model(name)

    with asked(Settings(models=("tiny", "broken")), load) as client, ThreadPoolExecutor(1) as pool:
        body = {"prompt": "a", "steps": 1, "model": "broken"}
        waiting = pool.submit(client.post, "/api/v1/next", json=body)
        desk = client.app.state.pellucid.desks.named("broken")  # type: ignore[attr-defined]
        wait(lambda: desk.lanes["quick"].waiting == 1)
        fails.set()
        for reply in (waiting.result(), client.post("/api/v1/next", json=body)):
            assert reply.status_code == 503
            assert "could not be loaded" in reply.json()["error"]["message"]
            assert "/home" not in reply.text
        assert client.get("/api/v1/models").json()["models"][1]["state"] == "failed"
        assert client.post("/api/v1/next", json={"prompt": "a", "steps": 1}).status_code == 200
