"""``/api/v1`` gives what the rooms' own functions give on the same model, as JSON and as events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import EVENTS, asked, events, tiny_model
from starlette.testclient import TestClient

from pellucid.apps.chat.results import Message
from pellucid.apps.chat.why import explained
from pellucid.apps.rag.knowledge import Knowledge
from pellucid.apps.speaker import Decoding, speaker
from pellucid.lens.flow import flow
from pellucid.model import Model
from pellucid.serve.settings import Settings

PROMPT, TARGET = "What is the capital of France?", "The capital is Paris."
CHAT = [{"role": "user", "content": PROMPT}]
#: What no two runs share.
PASSING = ("seconds", "generate_seconds", "created", "cost")


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(tiny_model())


@pytest.fixture(scope="module")
def client(documents: Path) -> Iterator[TestClient]:
    with asked(Settings(models=("tiny",), knowledge={"kb": documents / "kb"})) as found:
        yield found


def lasting(data: Any) -> Any:
    """``data`` as JSON has it, without what differs from run to run."""
    if isinstance(data, dict):
        return {k: lasting(v) for k, v in data.items() if k not in PASSING and k != "reused"}
    if isinstance(data, float):  # the last digits are those of a cache that was or was not read before
        return float(f"{data:.5g}")
    return [lasting(v) for v in data] if isinstance(data, list | tuple) else data


def asks(client: TestClient, path: str, **body: Any) -> dict[str, Any]:
    """The reply, which JSON and events must give alike."""
    once = client.post(f"/api/v1/{path}", json=body)
    assert once.status_code == 200, once.text
    told = events(client.post(f"/api/v1/{path}", json=body, headers=EVENTS).text)
    assert [told[0][0], told[1][0], told[-1][0]] == ["job", "queued", "result"], [n for n, _ in told]
    first, second = once.json(), told[-1][1]
    assert first["kind"] == second["kind"]
    assert lasting(first["result"]) == lasting(second["result"])
    deltas = "".join(d["delta"] for n, d in told if n == "text")
    return {**first, "written": deltas, "events": told}


Ask = Callable[[Model], Any]
SAME: dict[str, tuple[str, dict[str, Any], Ask]] = {
    "explain": (
        "explain",
        {"prompt": PROMPT, "target": TARGET, "method": "input_x_gradient", "unit": "word", "span": "Paris"},
        lambda m: m.explain(PROMPT, TARGET, method="input_x_gradient", unit="word", span="Paris", per_token=True),
    ),
    "explain a contrast in a chat": (
        "explain",
        {
            "prompt": CHAT,
            "target": TARGET,
            "per_token": False,
            "objective": "contrast",
            "instead_of": "The capital is Madrid.",
        },
        lambda m: m.explain(CHAT, TARGET, objective="contrast", instead_of="The capital is Madrid."),
    ),
    "explain with parameters": (
        "explain",
        {"prompt": PROMPT, "target": TARGET, "method": "integrated_gradients", "parameters": {"steps": 4}},
        lambda m: m.explain(PROMPT, TARGET, method="integrated_gradients", steps=4, per_token=True),
    ),
    "compare": (
        "compare",
        {"prompt": PROMPT, "target": TARGET, "methods": ["saliency", "attention"], "trust": False},
        lambda m: m.compare(PROMPT, ["saliency", "attention"], TARGET, trust=False, per_token=True),
    ),
    "next": ("next", {"prompt": PROMPT, "steps": 3}, lambda m: m.next_tokens(PROMPT, steps=3)),
    "next after a choice": (
        "next",
        {"prompt": "The", "raw": True, "steps": 2, "top_k": 3, "strategy": "top_p:0.9", "seed": 5, "begin": [40, 41]},
        lambda m: m.next_tokens("The", raw=True, steps=2, top_k=3, strategy="top_p:0.9", seed=5, begin=[40, 41]),
    ),
    "decode": (
        "decode",
        {"prompt": PROMPT, "strategies": ["greedy", "beam:2"], "steps": 4},
        lambda m: m.decode(PROMPT, ["greedy", "beam:2"], steps=4),
    ),
    "surprisal": ("surprisal", {"text": TARGET, "top_k": 2}, lambda m: m.surprisal(TARGET, top_k=2)),
    "lens": ("lens", {"prompt": PROMPT, "kind": "mlp", "last": 4}, lambda m: m.logit_lens(PROMPT, kind="mlp", last=4)),
    "anatomy": ("anatomy", {"sentence": "The capital"}, lambda m: m.anatomy("The capital")),
    "relevance": ("relevance", {"query": "capital", "text": TARGET}, lambda m: m.relevance("capital", TARGET)),
    "classify": (
        "classify",
        {"text": TARGET, "labels": ["true", "false"], "methods": ["saliency"]},
        lambda m: m.classify(TARGET, ["true", "false"], methods=["saliency"]),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_an_endpoint_gives_what_the_room_gives(client: TestClient, model: Model, name: str) -> None:
    path, body, ask = SAME[name]
    reply, own = asks(client, path, **body), ask(model)
    expected = json.loads(json.dumps(own.to_dict()))
    found = reply["result"]
    assert lasting(found) == lasting(expected)
    assert reply["id"]
    stages = [d for n, d in reply["events"] if n == "progress"]
    assert all(0 <= s["done"] <= s["total"] for s in stages if s["total"] is not None)


def test_an_answer_is_streamed_and_then_explained(embedded: Model) -> None:
    """Written in one lane and explained in another, and yet the library's own trace."""
    own = embedded.explain(PROMPT, max_new_tokens=4, per_token=True, trust=False)
    with asked(Settings(models=("real",)), lambda name: embedded.loaded) as client:
        body = {"prompt": PROMPT, "max_new_tokens": 4, "trust": False}
        said = events(client.post("/api/v1/explain", json=body, headers=EVENTS).text)
    names = [n for n, _ in said]
    assert names[:2] == ["job", "queued"]
    assert names[-1] == "result"
    last_text = len(names) - 1 - names[::-1].index("text")
    stages = [d["stage"] for n, d in said if n == "progress"]
    assert stages[0] == "writing"
    assert {d["stage"] for n, d in said[last_text:] if n == "progress"} - {"writing"}  # the explanation's come after
    found = said[-1][1]["result"]
    assert "".join(d["delta"] for n, d in said if n == "text") == own.answer.text == found["answer"]["text"]
    assert found["answer"]["generated"] is True
    expected = json.loads(json.dumps(own.to_dict()))
    assert [t["id"] for t in found["targets"]] == [t["id"] for t in expected["targets"]]
    assert found["total"] == pytest.approx(expected["total"], rel=1e-3)
    for mine, theirs in zip(found["scores"], expected["scores"], strict=True):
        assert [x or 0.0 for x in mine] == pytest.approx([x or 0.0 for x in theirs], rel=1e-3, abs=1e-5)


def test_degrees_of_several_texts(client: TestClient, model: Model) -> None:
    texts = [TARGET, "Tell me about the weather."]
    reply = asks(client, "relevance", query="capital", texts=texts)
    own = model.relevance_degree(["capital"], texts)[0]
    assert reply["result"]["degrees"] == pytest.approx(own.tolist(), abs=1e-6)
    assert reply["id"] is None  # nothing to look at again


def test_flow_of_a_stored_and_of_a_given_trace(client: TestClient, model: Model) -> None:
    trace = model.explain(PROMPT, TARGET, per_token=True)
    key = asks(client, "explain", prompt=PROMPT, target=TARGET)["id"]
    own = lasting(json.loads(json.dumps(flow(trace, top=3).to_dict())))
    assert lasting(asks(client, "flow", id=key, top=3)["result"]) == own
    assert lasting(asks(client, "flow", trace=trace.to_dict(), top=3)["result"]) == own
    other = asks(client, "next", prompt=PROMPT, steps=1)["id"]
    for body, status in (({}, 400), ({"id": other}, 400), ({"id": "none"}, 404), ({"trace": {"schema": "x"}}, 400)):
        assert client.post("/api/v1/flow", json=body).status_code == status


def test_an_answer_is_streamed_as_it_is_written(client: TestClient, model: Model) -> None:
    way = {"strategy": "temperature:0.8", "max_new_tokens": 12, "seed": 3, "stop": ["zebra"]}
    reply = asks(client, "generate", messages=CHAT, decoding=way)
    own = speaker(model).write(CHAT, Decoding("temperature:0.8", 12, 3, ("zebra",)))
    assert reply["written"] == own.text == reply["result"]["text"]
    assert len([n for n, _ in reply["events"] if n == "text"]) > 1
    assert (reply["result"]["tokens"], reply["result"]["end"]) == (own.tokens, own.end)
    assert reply["result"]["logprob"] == pytest.approx(own.logprob)
    assert reply["id"] is None
    for body in ({}, {"prompt": "a", "messages": CHAT}):
        assert client.post("/api/v1/generate", json=body).status_code == 400


def test_why_the_last_answer_was_given(client: TestClient, model: Model) -> None:
    talk = [*CHAT, {"role": "assistant", "content": TARGET}]
    reply = asks(client, "why", messages=talk)
    own = explained(speaker(model), [Message("user", PROMPT, 1)], TARGET)
    assert lasting(reply["result"]) == lasting(json.loads(json.dumps(own.to_dict())))
    for wrong in (CHAT, talk[1:]):
        assert client.post("/api/v1/why", json={"messages": wrong}).status_code == 400


def test_an_index_is_searched_asked_and_read(client: TestClient, documents: Path) -> None:
    (held,) = client.get("/api/v1/rag").json()["indexes"]
    assert held["name"] == "kb"
    assert sum(c["documents"] for c in held["collections"]) == 2
    found = asks(client, "rag/kb/search", query="Who built the third tower?", k=2)["result"]
    knowledge = Knowledge.open(documents / "kb")
    own = knowledge.find("Who built the third tower?", 2)
    assert lasting(found) == lasting(json.loads(json.dumps(own.to_dict())))
    name = found["found"][0]["passage"]["document"]
    whole = client.get("/api/v1/rag/kb/text", params={"document": name}).json()
    assert whole == {"document": name, "text": knowledge.text(name, None)}
    assert "John Smeaton" in whole["text"]
    knowledge.close()
    assert client.get("/api/v1/rag/kb/text", params={"document": "/etc/passwd"}).status_code == 404
    assert client.post("/api/v1/rag/other/search", json={"query": "x"}).status_code == 404


def test_a_question_to_an_index_is_answered_with_citations(documents: Path) -> None:
    question = "How hot is water for green tea?"
    settings = Settings(models=("tiny",), knowledge={"kb": documents / "kb"})
    with asked(settings, lambda name: tiny_model(context=4096)) as client:
        reply = asks(client, "rag/kb/ask", question=question, passages=1, max_new_tokens=12)
    knowledge = Knowledge.open(documents / "kb")
    own = Model(tiny_model(context=4096)).rag(knowledge, question, passages=1, decoding=Decoding(max_new_tokens=12))
    knowledge.close()
    assert lasting(reply["result"]) == lasting(json.loads(json.dumps(own.to_dict())))
    assert reply["written"].strip() == own.answer.strip()


def test_an_index_that_is_damaged_does_not_hide_the_others(documents: Path, tmp_path: Path) -> None:
    folders = {"broken": tmp_path / "broken", "kb": documents / "kb"}
    folders["broken"].mkdir()
    (folders["broken"] / "pellucid-index.json").write_text("{", encoding="utf-8")
    with asked(Settings(models=("tiny",), knowledge=folders)) as client:
        assert [i["name"] for i in client.get("/api/v1/rag").json()["indexes"]] == ["kb"]
        reply = client.post("/api/v1/rag/broken/search", json={"query": "tower"})
        assert reply.status_code == 400
        assert "damaged" in reply.json()["error"]["message"]
        assert client.post("/api/v1/rag/kb/search", json={"query": "tower"}).status_code == 200


def test_a_field_that_does_not_fit_is_named(client: TestClient) -> None:
    """Also one that is called as a part of a request is."""
    for path, body, name in (
        ("relevance", {"query": "", "text": "x"}, "query"),
        ("next", {"prompt": "x", "steps": 0}, "steps"),
        ("explain", {}, "prompt"),
    ):
        reply = client.post(f"/api/v1/{path}", json=body)
        assert reply.status_code == 422
        assert reply.json()["error"]["message"].startswith(f"{name}: ")
