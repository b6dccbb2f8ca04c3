"""What goes wrong while it runs: killed, no disk, a broken file, no memory; and how it ends when it is told to."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from asking import EVENTS, asked, events, tiny_model, wait
from serving import Site, serving

from pellucid.models.load import LoadedModel
from pellucid.serve.settings import Settings

PROMPT, TARGET = "What is the capital of France?", "The capital is Paris."
NEXT = {"prompt": PROMPT, "steps": 1}


@contextmanager
def server(folder: Path, model: Path) -> Iterator[Site]:
    """``pellucid serve`` with a tiny model and a history in ``folder``."""
    with serving(folder, "--model", str(model), "--history", str(folder / "h.db")) as site:
        wait(lambda: httpx2.get(f"{site.address}/readyz").status_code == 200)
        yield site


def stored(path: Path) -> dict[str, Any]:
    """Every result of a history, read past the server; fails where the file is not whole."""
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    found = {k: json.loads(zlib.decompress(b)) for k, b in db.execute("SELECT id, body FROM results")}
    db.close()
    return found


def test_killed_in_the_middle_of_requests_nothing_that_was_answered_is_lost(tmp_path: Path, tiny_folder: Path) -> None:
    """``test_history`` kills at more moments."""
    answered: dict[str, Any] = {}
    over = threading.Event()
    with server(tmp_path, tiny_folder) as site:

        def ask(number: int) -> None:
            with httpx2.Client() as client:
                while not over.is_set():
                    try:
                        reply = client.post(f"{site.address}/api/v1/next", json={**NEXT, "seed": number}, timeout=30)
                        if reply.status_code == 200:
                            answered[reply.json()["id"]] = reply.json()["result"]
                    except (httpx2.HTTPError, ValueError):
                        return

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()
        wait(lambda: len(answered) > 15)
        site.process.kill()
        site.process.wait()
        over.set()
        for t in threads:
            t.join(10)
    kept = stored(tmp_path / "h.db")
    assert {k: kept.get(k) for k in answered} == answered


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_within_two_seconds_and_all_is_whole(tmp_path: Path, tiny_folder: Path, by: signal.Signals) -> None:
    long = {"prompt": PROMPT, "target": TARGET, "method": "integrated_gradients", "parameters": {"steps": 2048}}
    with server(tmp_path, tiny_folder) as site, ThreadPoolExecutor(2) as pool:
        kept = httpx2.post(f"{site.address}/api/v1/next", json=NEXT, timeout=60).json()["id"]
        began = threading.Event()

        def ask() -> str:
            text = ""
            where = f"{site.address}/api/v1/explain"
            with httpx2.stream("POST", where, json=long, headers=EVENTS, timeout=60) as reply:
                for piece in reply.iter_text():
                    text += piece
                    if "event: progress" in text:
                        began.set()
            return text

        running = pool.submit(ask)
        assert began.wait(60)
        waiting = pool.submit(httpx2.post, f"{site.address}/api/v1/explain", json=long, timeout=60)
        wait(lambda: 'lane="long",model="model"} 1.0' in httpx2.get(f"{site.address}/metrics").text)
        moment = time.monotonic()
        site.process.send_signal(by)
        code = site.process.wait(20)
        took = time.monotonic() - moment
        assert events(running.result())[-1][1]["error"]["code"] == "Cancelled"
        assert waiting.result().status_code == 499
    assert code == 0
    assert took < 2
    log = (tmp_path / "serve.log").read_text()
    assert log.startswith("Pellucid is at http://127.0.0.1:")
    assert log.count("\n") == 1
    assert list(stored(tmp_path / "h.db")) == [kept]
    assert not (tmp_path / "h.db-wal").exists()  # all of it is in the one file


def test_a_full_disk_is_that_requests_error(tmp_path: Path) -> None:
    with asked(Settings(models=("tiny",), history=tmp_path / "h.db")) as client:
        first = client.post("/api/v1/next", json=NEXT).json()["id"]
        db = client.app.state.pellucid.history._db  # type: ignore[attr-defined]
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
        replies = [client.post("/api/v1/lens", json={"prompt": PROMPT}) for _ in range(4)]
        assert replies[-1].status_code == 507
        error = replies[-1].json()["error"]
        assert "free space on the disk" in error["message"]
        assert error["code"] == "OutputError"
        streamed = events(client.post("/api/v1/lens", json={"prompt": PROMPT}, headers=EVENTS).text)
        assert streamed[-1][0] == "error"
        assert client.post("/api/v1/lens", json={"prompt": PROMPT, "keep": False}).status_code == 200
        assert client.get(f"/api/v1/traces/{first}").status_code == 200
        db.execute("PRAGMA max_page_count = 100000")
        assert client.post("/api/v1/lens", json={"prompt": PROMPT}).status_code == 200


def test_a_file_that_breaks_under_it_is_those_requests_error(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    with asked(Settings(models=("tiny",), history=path)) as client:
        keys = [client.post("/api/v1/next", json=NEXT).json()["id"] for _ in range(5)]
        history = client.app.state.pellucid.history  # type: ignore[attr-defined]
        history._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        history._db.execute("PRAGMA cache_size = 0")
        size = path.stat().st_size
        with path.open("r+b") as f:
            f.seek(4096)
            f.write(b"\xff" * (size - 4096))
        replies = [client.get(f"/api/v1/traces/{keys[0]}"), client.post("/api/v1/next", json=NEXT)]
        replies.append(client.get("/api/v1/traces"))
        assert 507 in {r.status_code for r in replies}
        for reply in replies:
            assert reply.status_code in (200, 404, 507)
            if reply.status_code == 507:
                assert str(tmp_path) not in reply.text
        assert client.post("/api/v1/next", json={**NEXT, "keep": False}).status_code == 200
        assert client.get("/healthz").status_code == 200
    with asked(Settings(models=("tiny",), history=path)) as client:  # the next start sets it aside
        assert client.app.state.pellucid.history.set_aside is not None  # type: ignore[attr-defined]
        assert client.post("/api/v1/next", json=NEXT).json()["id"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: 9 TB"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    ],
    ids=["python", "cpu", "cuda"],
)
def test_no_memory_for_one_request_is_that_requests_error(error: Exception) -> None:
    armed = threading.Event()

    def load(name: str) -> LoadedModel:
        loaded = tiny_model(name)

        def refuse(module: Any, given: Any) -> None:
            if armed.is_set() and given[0].shape[-1] > 20:  # a longer prompt
                raise error

        loaded.network.get_input_embeddings().register_forward_pre_hook(refuse)
        return loaded

    asks = (
        ("next", {"prompt": PROMPT * 3, "steps": 1}),
        ("explain", {"prompt": PROMPT * 3, "target": TARGET}),
        ("generate", {"prompt": PROMPT * 3}),
        ("surprisal", {"text": PROMPT * 4}),
    )
    with asked(Settings(models=("tiny",)), load) as client:
        armed.set()
        for path, body in asks:
            reply = client.post(f"/api/v1/{path}", json=body)
            assert reply.status_code == 503, (path, reply.text)
            assert "ran out of memory for this request" in reply.json()["error"]["message"]
            small = client.post("/api/v1/next", json={"prompt": "The", "raw": True, "steps": 1})
            assert small.status_code == 200
        said = client.post("/v1/completions", json={"prompt": PROMPT * 3, "max_tokens": 1})
        assert (said.status_code, said.json()["error"]["type"]) == (503, "server_error")


def test_a_lane_lives_on_after_any_fault() -> None:
    with asked() as client:
        lane = client.app.state.pellucid.desks.named(None).lanes["quick"]  # type: ignore[attr-defined]
        whole = lane._outcomes
        lane._outcomes = lambda voice, jobs: 1 / 0
        reply = client.post("/api/v1/next", json=NEXT)
        assert (reply.status_code, reply.json()["error"]["code"]) == (500, "InternalError")
        lane._outcomes = whole
        assert client.post("/api/v1/next", json=NEXT).status_code == 200
