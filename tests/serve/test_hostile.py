"""Bodies, values, files and texts that somebody sends to break something: each gets one sentence, and stays text."""

from __future__ import annotations

import io
import json
import time
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asking import EVENTS, JSON, asked, refused
from samples_rag import a_pdf
from starlette.testclient import TestClient

from pellucid.serve.settings import Settings


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with asked(Settings(models=("tiny",), body=100_000, upload=300_000, tokens=100, patience=1e9)) as found:
        yield found


RAW = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"[" * 100_000,
    b'{"prompt":' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"prompt":' + b'{"a":' * 990 + b"1" + b"}" * 991,
    b'{"prompt": "a", "steps": NaN}',
    b'{"prompt": "a", "steps": Infinity}',
    b'{"prompt": "a", "seed": 1e400}',
    b'{"prompt": "a", "seed": -1}',
    b'{"prompt": "a", "seed": 99999999999999999999999999}',
    b'{"prompt": "a", "steps": ' + b"9" * 5000 + b"}",
    b'{"prompt": "\\ud800"}',
    b'{"prompt": [{"role": "user", "content": "\\udfff\\ud800"}]}',
    b'{"prompt": "a", "strategy": "\\ud800"}',
    b'{"prompt": "a", "model": "\\ud800"}',
    b'{"prompt": "a\\u0000b"}',
    b'{"prompt": "\xff\xfe"}',
    b'{"prompt": ""}',
    b'{"prompt": []}',
    b'{"prompt": "   "}',
    b'{"prompt": "a", "steps": true, "unknown": 1}',
    b'{"prompt": "a", "strategy": "temperature:1e-300"}',
    b'{"prompt": "a", "strategy": "temperature:nan"}',
    b'{"prompt": "a", "strategy": "top_k:1e400"}',
    b'{"prompt": "a", "strategy": "/etc/passwd"}',
    b'{"prompt": "a", "begin": [-1]}',
    b'{"prompt": "a", "begin": [1e30]}',
    b'{"prompt": "' + b"word " * 15_000 + b'"}',
    b'{"prompt": [{"role": "<script>", "content": "x", "more": 1}]}',
    b'{"prompt": "\xe2\x80\xae\xf0\x9f\x98\x80", "top_k": 0}',
]


@pytest.mark.parametrize("body", RAW, ids=range(len(RAW)))
def test_what_is_no_request_is_told_so(client: TestClient, body: bytes) -> None:
    for headers in (JSON, EVENTS):
        reply = client.post("/api/v1/next", content=body, headers=headers)
        if reply.headers["content-type"].startswith("text/event-stream"):
            assert "event: error" in reply.text
            assert "InternalError" not in reply.text
        else:
            refused(reply)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("explain", {"target": "b", "parameters": {"steps": float("nan")}, "method": "integrated_gradients"}),
        ("explain", {"target": "b", "parameters": {"steps": "\ud800"}, "method": "integrated_gradients"}),
        ("explain", {"target": "b", "parameters": {"steps": 1e308}, "method": "integrated_gradients"}),
        ("explain", {"target": "b", "parameters": {"steps": 10**12}, "method": "integrated_gradients"}),
        ("explain", {"target": "b", "parameters": {"steps": {"a": []}}, "method": "integrated_gradients"}),
        ("explain", {"target": "b", "parameters": {"__class__": 1, "memory": 1}}),
        ("explain", {"target": "b", "method": "__import__('os')"}),
        ("explain", {"target": "", "per_token": True}),
        ("explain", {"target": "b", "span": [5, 2]}),
        ("explain", {"target": "b", "span": [-9, 10**18]}),
        ("explain", {"target": "b", "objective": "contrast"}),
        ("explain", {"temperature": 1e-300}),
        ("explain", {"max_new_tokens": 10**9}),
        ("compare", {"target": "b", "methods": ["saliency", "saliency"]}),
        ("compare", {"target": "b", "parameters": {"saliency": {"x": 1}}}),
        ("decode", {"strategies": ["beam:64", "beam:1e9"]}),
        ("lens", {"last": 10**9}),
    ],
)
def test_values_that_make_no_sense(client: TestClient, path: str, body: dict[str, Any]) -> None:
    data = json.dumps({"prompt": "The capital", **body}).encode()
    refused(client.post(f"/api/v1/{path}", content=data, headers=JSON))


BOMB = zlib.compress(b"x" * 200_000_000, 9)
UPLOADS = {
    "broken.pdf": b"%PDF-1.7\n" + b"\x00\xff" * 500,
    "none.pdf": b"no pdf at all",
    "bomb.pdf": b"%%PDF-1.4\n1 0 obj<</Length %d/Filter/FlateDecode>>stream\n" % len(BOMB)
    + BOMB
    + b"\nendstream endobj",
    "binary.txt": bytes(range(256)) * 20,
    "program.exe": b"MZ\x00",
    "noending": b"text",
    ".txt": b"text",
    "a\x00.txt": b"text",
    "a\n.txt": b"text",
    "x" * 400 + ".txt": b"text",
    "-c.py2": b"print()",
    "../../../etc/passwd": b"text",
    "code.py": b"def f(:\n\x00",
}


@pytest.mark.parametrize("name", UPLOADS, ids=range(len(UPLOADS)))
def test_files_that_are_none(client: TestClient, name: str) -> None:
    began = time.monotonic()
    refused(client.post("/api/v1/text", params={"name": name}, content=UPLOADS[name]))
    assert time.monotonic() - began < 25


def test_files_that_are_some(client: TestClient, tmp_path: Path) -> None:
    def read(name: str, data: bytes) -> Any:
        return client.post("/api/v1/text", params={"name": name}, content=data)

    assert read("empty.txt", b"").json() == {"name": "empty.txt", "text": ""}
    assert read("../x/notes.TXT", "Ünïcode 🙂\n".encode()).json() == {"name": "notes.TXT", "text": "Ünïcode 🙂\n"}
    assert "Hello page" in read("a.pdf", a_pdf("Hello page")).json()["text"]
    assert "alert" not in read("a.html", b"<p>Text</p><script>alert(1)</script>").json()["text"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as z:
        z.writestr("../../evil.txt", "evil")
    refused(read("archive.zip", packed.getvalue()))
    assert "give a part of it" in refused(read("long.txt", b"word " * 2000))


def test_files_at_once_are_two(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(6) as pool:
        asks = [pool.submit(client.post, "/api/v1/text?name=a.txt", content=b"text") for _ in range(6)]
        replies = [a.result() for a in asks]
    found = sorted(r.status_code for r in replies)
    assert found[0] == 200
    assert set(found) <= {200, 429}
    assert all(r.headers["retry-after"] == "2" for r in replies if r.status_code == 429)


HOSTILE = "<script>alert('x')</script>\"'&<img src=x>\u202e\x1b[3m<!--"


def test_html_in_a_prompt_stays_text(client: TestClient) -> None:
    found = {
        "explain": client.post("/api/v1/explain", json={"prompt": HOSTILE, "target": HOSTILE[:15], "trust": False}),
        "next": client.post("/api/v1/next", json={"prompt": HOSTILE, "steps": 1}),
        "surprisal": client.post("/api/v1/surprisal", json={"text": HOSTILE}),
        "relevance": client.post("/api/v1/relevance", json={"query": HOSTILE[:10], "text": HOSTILE[:30]}),
    }
    for path, reply in found.items():
        assert reply.status_code == 200, (path, reply.text)
        assert reply.headers["content-type"] == "application/json"
        assert "script" in reply.text
        key = reply.json()["id"]
        html = client.get(f"/api/v1/traces/{key}/export?as=html").text
        for piece in ("<script>alert", "<img src=x"):
            assert piece not in html, (path, piece)
        if path in ("next", "surprisal"):
            drawn = client.get(f"/api/v1/traces/{key}/fragment").text
            assert "<script" not in drawn
            assert "<img" not in drawn
            assert "&lt;" in drawn
    titles = [r["title"] for r in client.get("/api/v1/traces").json()["results"]]
    assert any("<script>" in t for t in titles)
