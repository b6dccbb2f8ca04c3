"""Who may ask, what may be sent, and what answers do not say: every bad request gets one sentence and no more."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import JSON, asked, listening, refused, tiny_model
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from pellucid.cli.main import main
from pellucid.errors import OptionError
from pellucid.serve.guard import HEADERS
from pellucid.serve.run import check
from pellucid.serve.settings import Settings

PATHS = ("/", "/api/v1/models", "/api/v1/traces", "/openapi.json", "/metrics", "/v1/models", "/static/app.js", "/docs")
NEXT = {"prompt": "a", "steps": 1, "keep": False}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with asked(Settings(models=("tiny",), body=100_000, upload=300_000, tokens=100)) as found:
        yield found


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_headers(client: TestClient, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-security-policy"] == HEADERS["content-security-policy"]
    assert "unsafe-inline" not in reply.headers["content-security-policy"].split("style-src")[0]
    assert "unsafe-eval" not in reply.headers["content-security-policy"]
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in reply.headers
    refused(client.get("/nowhere"), 404)
    refused(client.put(path, json={}), 405)


def test_an_unexpected_fault_has_them_too_and_says_nothing(client: TestClient, monkeypatch: Any) -> None:
    def fail(*given: Any, **more: Any) -> Any:
        raise RuntimeError("the secret is in /home/someone/secret")

    monkeypatch.setattr(client.app.state.pellucid.history, "find", fail)  # type: ignore[attr-defined]
    reply = client.get("/api/v1/traces")
    assert reply.status_code == 500
    assert "secret" not in reply.text
    assert reply.headers["content-security-policy"] == HEADERS["content-security-policy"]


@pytest.mark.parametrize(
    ("host", "fine"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("[::1]:8000", True),
        ("127.9.9.9", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:8000", False),
        ("10.0.0.1", False),
        ("", False),
        ("[", False),
        ("[::1", False),
        ("local\thost", False),
        ("127.0.0.1@evil.example", False),
    ],
)
def test_it_answers_to_its_own_names_alone(client: TestClient, host: str, fine: bool) -> None:
    for path in ("/", "/api/v1/models"):
        reply = client.get(path, headers={"Host": host})
        assert reply.status_code == 200 if fine else refused(reply, 421)


def test_names_and_addresses_that_were_allowed() -> None:
    with asked(Settings(models=("tiny",), host="0.0.0.0", token="t", hosts=("my.host",))) as client:
        for host, status in (("my.host:8000", 200), ("192.168.1.7:8000", 200), ("other.host", 421)):
            assert client.get("/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "fine"),
    [
        ({"Origin": "http://127.0.0.1:8000"}, True),
        ({"Origin": "http://127.0.0.1:8001"}, False),
        ({"Origin": "http://localhost:8000"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://["}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_pages_of_other_origins_get_nothing(client: TestClient, headers: dict[str, str], fine: bool) -> None:
    for ask in (
        lambda: client.get("/api/v1/traces", headers=headers),
        lambda: client.post("/api/v1/next", json=NEXT, headers=headers),
        lambda: client.post("/api/v1/jobs/none/cancel", headers=headers),
        lambda: client.request("OPTIONS", "/api/v1/next", headers=headers),
        lambda: client.delete("/api/v1/traces", headers=headers),
    ):
        reply = ask()
        assert (reply.status_code != 403) if fine else refused(reply, 403)
    link = client.get("/r/abc", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})
    assert link.status_code == 200  # a permalink in a letter, read in a browser


def test_the_token_opens_all_but_the_page() -> None:
    with asked(Settings(models=("tiny",), token="right-token")) as client:
        for path in ("/", "/r/abc", "/static/app.js", "/healthz", "/readyz", "/docs"):
            assert client.get(path).status_code == 200
        asks = [
            ("GET", "/api/v1/models"),
            ("GET", "/api/v1/traces"),
            ("DELETE", "/api/v1/traces"),
            ("GET", "/api/v1/traces/x/export"),
            ("POST", "/api/v1/next"),
            ("POST", "/api/v1/text?name=a.txt"),
            ("POST", "/"),
            ("GET", "/openapi.json"),
            ("GET", "/metrics"),
            ("GET", "/v1/models"),
            ("POST", "/v1/completions"),
            ("GET", "//api/v1/models"),
            ("GET", "/static/../api/v1/models"),
        ]
        for given in (
            None,
            "",
            "Bearer",
            "Bearer wrong",
            "Bearer right-token2",
            "Bearer right-toke",
            "Basic right-token",
        ):
            headers = {} if given is None else {"Authorization": given}
            for method, path in asks:
                reply = client.request(method, path, headers={**JSON, **headers}, content=b"{}")
                if path.startswith("/static/..") and reply.status_code == 404:
                    continue  # the client itself made it another path
                refused(reply, 401)
        good = {"Authorization": "Bearer right-token"}
        assert client.get("/api/v1/models", headers=good).status_code == 200
        assert (
            client.post("/api/v1/next", json=NEXT, headers={"Authorization": "bearer right-token"}).status_code == 200
        )
        assert (
            client.get("/api/v1/models", headers={"Authorization": "Bearer rïght-token".encode("latin-1")}).status_code
            == 401
        )
    for token in ("", " ", "with blank", "schlüssel", "a\nb"):
        with pytest.raises(OptionError, match="token"):
            Settings(token=token)


def test_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    import hmac

    real = hmac.compare_digest
    monkeypatch.setattr("pellucid.serve.guard.hmac.compare_digest", lambda a, b: (seen.append((a, b)), real(a, b))[1])
    with asked(Settings(models=("tiny",), token="right")) as client:
        client.get("/api/v1/models", headers={"Authorization": "Bearer no"})
    assert seen == [(b"no", b"right")]


def test_bodies_have_a_size_and_a_kind(client: TestClient) -> None:
    big = json.dumps({"prompt": "x" * 120_000}).encode()
    assert "100000 bytes" in refused(client.post("/api/v1/next", content=big, headers=JSON), 413)
    assert "100000 bytes" in refused(client.post("/api/v1/next", content=iter([big[:60_000]] * 3), headers=JSON), 413)
    upload = "/api/v1/text?name=a.txt"
    refused(client.post(upload, content=b"x" * 300_001), 413)
    refused(client.post(upload, content=iter([b"x" * 200_000] * 2)), 413)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        refused(client.post("/api/v1/next", content=b'{"prompt": "a"}', headers={"Content-Type": kind}), 415)
    for length in ("-1", "1e3", "9" * 5000, "0x10"):
        refused(client.post("/api/v1/next", content=b"{}", headers={**JSON, "Content-Length": length}), 413)
    reply = client.post("/api/v1/jobs/none/cancel")
    assert reply.status_code == 404  # no body needs no kind


def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then does not help."""
    monkeypatch.setattr("pellucid.serve.guard.SLOW", 0.5)
    monkeypatch.setattr("pellucid.serve.guard.RATE", 1e9)
    with listening() as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as s:
            s.sendall(
                f"POST /api/v1/next HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
                "Content-Length: 1000\r\n\r\n".encode()
            )
            began, got = time.monotonic(), b""
            s.settimeout(0.1)
            while b"}}" not in got and time.monotonic() - began < 30:
                with contextlib.suppress(TimeoutError):
                    got += s.recv(4096)
                with contextlib.suppress(OSError):
                    s.sendall(b" ")
        assert b" 408 " in got.split(b"\r\n")[0]
        assert 0.4 < time.monotonic() - began < 20


def test_a_websocket_is_not_opened() -> None:
    with asked() as client, pytest.raises(WebSocketDisconnect) as e, client.websocket_connect("/"):
        pass
    assert e.value.code == 1008


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2f..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/....//app.py",
        "/static/..\\app.py",
        "/static/%00",
        "/static/app.js%00.css",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/" + "a" * 5000,
        "/static/",
        "/static/.",
        "/static/lens.py",
        "/r/../../etc/passwd",
        "/api/v1/traces/..%2f..%2fx",
        "/api/v1/traces/%ff%fe",
        "/api/v1/traces/' OR 1=1 --",
        "/v1/models/..%2f..%2fetc%2fpasswd",
        "/api/v1/rag/..%2f..%2fetc/text?document=passwd",
    ],
)
def test_no_path_leads_out(client: TestClient, path: str) -> None:
    refused(client.get(path))


def test_models_are_those_of_the_list(client: TestClient, tmp_path: Path) -> None:
    for name in ("gpt2", "../tiny", "/etc", str(tmp_path), "tiny ", "TINY", "https://evil.example/model", "a" * 200):
        refused(client.post("/api/v1/next", json={**NEXT, "model": name}), 404)
        refused(client.post("/v1/completions", json={"prompt": "a", "model": name}), 404)
    refused(client.post("/api/v1/next", json={**NEXT, "model": ""}), 422)
    with pytest.raises(OptionError, match="two models are called 'm'"):
        (tmp_path / "a" / "m").mkdir(parents=True)
        (tmp_path / "b" / "m").mkdir(parents=True)
        with asked(Settings(models=(str(tmp_path / "a" / "m"), str(tmp_path / "b" / "m")))):
            pass
    with asked(Settings(models=(str(tmp_path / "a" / "m"),)), lambda source: tiny_model("m")) as own:
        assert str(tmp_path) not in own.get("/api/v1/models").text
        assert str(tmp_path) not in refused(own.post("/api/v1/next", json={**NEXT, "model": str(tmp_path)}), 404)


def test_nobody_else_may_reach_it_without_a_token() -> None:
    with pytest.raises(OptionError, match="--token"):
        check(Settings(host="0.0.0.0", port=1))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        with pytest.raises(OptionError, match=rf"port {port} on 127.0.0.1 is taken; port (\d+) is free") as e:
            check(Settings(port=port))
        named = re.search(r"--port (\d+)", str(e.value))
        assert named is not None
        check(Settings(port=int(named[1])))
    for host, port in (("no.such.host.invalid", 8000), ("203.0.113.7", 8000), ("127.0.0.1", 99_999), ("127.0.0.1", 0)):
        with pytest.raises(OptionError):
            check(Settings(host=host, port=port, token="t"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host", "0.0.0.0"], "give --token"),
        (["--token", "two words"], "without blanks"),
        (["--keep-mb", "nan"], "--keep-mb"),
        (["--keep-mb", "inf"], "--keep-mb"),
        (["--max-seconds", "nan"], "seconds should be above 0"),
        (["--port", "70000"], "from 1 to 65535"),
        (["--kb", "/no/such/folder"], "no such folder"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(options: list[str], says: str, capsys: Any) -> None:
    assert main(["serve", "--no-open", "--no-history", *options]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
