"""What the server keeps: the history over HTTP, permalinks, every form of file, and what there is to ask."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from asking import asked, tiny_model
from starlette.testclient import TestClient

from pellucid.model import Model
from pellucid.serve.settings import Settings
from pellucid.trace.result import Trace

PROMPT, TARGET = "What is the capital of France?", "The capital is Paris."
BODIES: dict[str, dict[str, Any]] = {
    "explain": {"prompt": PROMPT, "target": TARGET},
    "compare": {"prompt": PROMPT, "target": TARGET, "trust": False},
    "relevance": {"query": "capital", "text": TARGET},
    "next": {"prompt": PROMPT, "steps": 2},
    "decode": {"prompt": PROMPT, "steps": 2, "strategies": ["greedy", "beam:2"]},
    "surprisal": {"text": TARGET},
    "lens": {"prompt": PROMPT, "last": 3},
    "anatomy": {},
    "classify": {"text": TARGET, "labels": ["true", "false"], "methods": ["saliency"]},
    "why": {"messages": [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": TARGET}]},
}
OWN_VIEW = ("explain", "compare", "relevance")


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with asked(Settings(models=("tiny",))) as found:
        yield found


@pytest.fixture(scope="module")
def kept(client: TestClient) -> dict[str, dict[str, Any]]:
    """One result of each kind."""
    found = {}
    for path, body in BODIES.items():
        reply = client.post(f"/api/v1/{path}", json=body)
        assert reply.status_code == 200, (path, reply.text)
        found[path] = reply.json()
    return found


def test_a_result_is_found_again(client: TestClient, kept: dict[str, Any]) -> None:
    listed = client.get("/api/v1/traces").json()
    assert [r["id"] for r in listed["results"]] == [r["id"] for r in reversed(kept.values())]
    for reply in kept.values():
        again = client.get(f"/api/v1/traces/{reply['id']}").json()
        assert (again["kind"], again["result"], again["model"]) == (reply["kind"], reply["result"], "tiny")
    (why,) = client.get("/api/v1/traces", params={"kind": "why"}).json()["results"]
    assert (why["id"], why["title"]) == (kept["why"]["id"], TARGET)
    assert len(client.get("/api/v1/traces", params={"q": "capital of france"}).json()["results"]) == 6
    pages, before = [], None
    while True:
        page = client.get("/api/v1/traces", params={"limit": 3, **({"before": before} if before else {})}).json()
        pages += page["results"]
        before = page["next"]
        if before is None:
            break
    assert pages == listed["results"]


def test_what_is_not_to_be_kept_is_not(client: TestClient, kept: dict[str, Any]) -> None:
    before = len(client.get("/api/v1/traces").json()["results"])
    reply = client.post("/api/v1/explain", json={**BODIES["explain"], "keep": False}).json()
    assert reply["id"] is None
    assert reply["kind"] == "trace"
    assert len(client.get("/api/v1/traces").json()["results"]) == before


@pytest.mark.parametrize(("path", "lang"), [*((p, "en") for p in BODIES), ("explain", "zh"), ("lens", "zh")])
def test_every_form_of_file(client: TestClient, kept: dict[str, Any], path: str, lang: str) -> None:
    key, kind, result = (kept[path][n] for n in ("id", "kind", "result"))
    where = f"/api/v1/traces/{key}/export"
    forms = {f: client.get(where, params={"as": f, "lang": lang}) for f in ("json", "html", "png", "md", "csv")}
    assert forms["json"].json() == result
    assert forms["png"].content.startswith(b"\x89PNG\r\n")
    assert forms["html"].text.lstrip().lower().startswith("<!doctype html")
    for form, reply in forms.items():
        if reply.status_code == 400:  # a form that this kind has none of, and the answer says which it has
            assert path in OWN_VIEW
            assert f"not written as '{form}': expected one of" in reply.json()["error"]["message"]
            continue
        assert reply.headers["content-disposition"] == f'attachment; filename="pellucid-{kind}.{form}"'
        assert "frame-ancestors 'self'" in reply.headers["content-security-policy"]
        assert "sandbox allow-scripts" in reply.headers["content-security-policy"]
    if path not in OWN_VIEW:
        rows = list(csv.DictReader(io.StringIO(forms["csv"].text.removeprefix("\ufeff"))))
        assert rows
        assert all(None not in row for row in rows)
        assert len(forms["md"].text) > 50
    inline = client.get(where, params={"as": "html", "inline": "1"})
    assert "content-disposition" not in inline.headers


def test_files_are_those_of_save(client: TestClient, kept: dict[str, Any], tmp_path: Any) -> None:
    key = kept["explain"]["id"]
    trace = Trace.from_dict(kept["explain"]["result"])
    trace.save(tmp_path / "t.html")
    trace.save(tmp_path / "t.json")
    assert client.get(f"/api/v1/traces/{key}/export?as=html").content == (tmp_path / "t.html").read_bytes()
    saved = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert client.get(f"/api/v1/traces/{key}/export?as=json").json() == saved


@pytest.mark.parametrize("path", BODIES)
def test_a_fragment_is_drawn_for_what_has_no_component(client: TestClient, kept: dict[str, Any], path: str) -> None:
    reply = client.get(f"/api/v1/traces/{kept[path]['id']}/fragment", params={"lang": "zh"})
    if path in OWN_VIEW:
        assert reply.status_code == 400
        return
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" not in reply.text
    assert "<" in reply.text


def test_pictures_asked_for_at_once_come_out_as_each_alone(client: TestClient, kept: dict[str, Any]) -> None:
    """They are drawn by several threads."""
    from concurrent.futures import ThreadPoolExecutor

    keys = [kept[p]["id"] for p in ("explain", "next")] * 3
    one = {k: client.get(f"/api/v1/traces/{k}/export?as=png").content for k in set(keys)}
    with ThreadPoolExecutor(6) as pool:
        many = list(pool.map(lambda k: client.get(f"/api/v1/traces/{k}/export?as=png").content, keys))
    assert many == [one[k] for k in keys]


def test_what_is_deleted_is_gone() -> None:
    with asked() as client:
        keys = [client.post("/api/v1/next", json={"prompt": p, "steps": 1}).json()["id"] for p in "abc"]
        assert client.delete(f"/api/v1/traces/{keys[0]}").json() == {"deleted": 1}
        for path in ("", "/export", "/fragment"):
            assert client.get(f"/api/v1/traces/{keys[0]}{path}").status_code == 404
        assert client.delete(f"/api/v1/traces/{keys[0]}").status_code == 404
        assert client.delete("/api/v1/traces").json() == {"deleted": 2}
        assert client.get("/api/v1/traces").json() == {"results": [], "next": None}


def test_what_there_is_to_ask(client: TestClient) -> None:
    (about,) = client.get("/api/v1/models").json()["models"]
    assert (about["name"], about["kind"], about["context"], about["chats"]) == ("tiny", "causal", 128, True)
    assert about["default"]
    assert about["loaded"]
    methods = {m["name"] for m in client.get("/api/v1/methods").json()["methods"]}
    assert {"saliency", "integrated_gradients", "attention"} <= methods
    model = Model(tiny_model())
    for name in ("saliency", "attention"):
        assert name in methods
        assert model.explain(PROMPT, TARGET, method=name, trust=False).method.name == name
    assert client.get("/healthz").json()["status"] == "ok"


def test_requests_are_counted_by_route(client: TestClient) -> None:
    def counts() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        return {k: float(v) for k, _, v in (x.rpartition(" ") for x in lines if x.startswith("pellucid_"))}

    key = 'pellucid_requests_total{method="POST",route="/api/v1/next",status="%d"}'
    before = counts()
    client.post("/api/v1/next", json={"prompt": "a", "steps": 1, "keep": False})
    client.post("/api/v1/next", json={"prompt": "a", "steps": 0})
    client.get("/nowhere/7")
    client.request("BREW", "/api/v1/next")
    after = counts()
    assert after[key % 200] == before.get(key % 200, 0) + 1
    assert after[key % 422] == before.get(key % 422, 0) + 1
    assert not any("nowhere" in k or "BREW" in k for k in after)
    assert after['pellucid_model_ready{model="tiny"}'] == 1
    assert after['pellucid_waiting{lane="quick",model="tiny"}'] == 0
