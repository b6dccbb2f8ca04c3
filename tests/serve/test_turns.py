"""One model shared: turns, twins, stops, batches; what others interrupt comes out as it would alone."""

from __future__ import annotations

import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
import torch
from asking import EVENTS, Gate, asked, events, listening, tiny_model, wait
from starlette.testclient import TestClient

from pellucid.model import Model
from pellucid.models.load import LoadedModel
from pellucid.serve.jobs import Job, Step
from pellucid.serve.settings import Settings
from pellucid.serve.turns import Turns
from pellucid.serve.twin import stops, twin
from pellucid.trace.explain import explain
from pellucid.trace.inside import attention

PROMPT, TARGET = "What is the capital of France?", "The capital is Paris."


def test_no_two_compute_at_once_and_each_has_its_share() -> None:
    turns, inside, most = Turns(), 0, 0
    shares = dict.fromkeys("abc", 0)
    until = time.monotonic() + 1.0

    def work(name: str) -> None:
        nonlocal inside, most
        with turns.mine(name):
            while time.monotonic() < until:
                inside += 1
                most = max(most, inside)
                time.sleep(0.002)
                shares[name] += 1
                inside -= 1
                turns.pause(name, 0.01)

    threads = [threading.Thread(target=work, args=(n,)) for n in shares]
    for t in threads:
        t.start()
    for t in threads:
        t.join(10)
    assert most == 1
    assert min(shares.values()) > 0.5 * max(shares.values())


def test_a_turn_is_kept_for_its_quantum_and_then_goes_to_whoever_waited_longest() -> None:
    turns, order = Turns(), []
    with turns.mine("long"):
        began = time.monotonic()
        waiting = []
        for name in ("first", "second"):

            def once(name: str = name) -> None:
                with turns.mine(name):
                    order.append((name, time.monotonic() - began))

            waiting.append(threading.Thread(target=once))
            waiting[-1].start()
            wait(lambda: len(turns._waiting) == len(waiting))
        turns.pause("long", quantum=10)
        assert order == []  # it had not had its quantum
        time.sleep(0.05)
        turns.pause("long", quantum=0.05)
        order.append(("long", time.monotonic() - began))
        for t in waiting:
            t.join(5)
    assert [n for n, _ in order][:1] == ["first"]
    assert order[0][1] >= 0.05
    assert {n for n, _ in order} == {"first", "second", "long"}


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "mixtral"])
def test_a_twin_has_the_same_weights_and_nothing_else(family: str) -> None:
    network: Any = tiny_model(family=family).network
    other = twin(network)
    ours, theirs = dict(network.named_parameters()), dict(other.named_parameters())
    assert list(ours) == list(theirs)
    assert all(ours[n] is theirs[n] for n in ours)
    assert all(a is b for a, b in zip(network.buffers(), other.buffers(), strict=True))
    assert {id(m) for m in network.modules()}.isdisjoint(id(m) for m in other.modules())
    ids, seen = torch.tensor([[5, 9, 12, 40]]), []
    before = network(ids).logits
    hook = next(m for m in network.modules() if isinstance(m, torch.nn.ModuleList))[0].register_forward_hook(
        lambda *a: seen.append(1)
    )
    with attention(network, "eager"):
        assert other.config._attn_implementation != "eager"
        assert torch.equal(other(ids).logits, before)
    hook.remove()
    assert seen == []


def test_stops_after_every_layer_there_and_back() -> None:
    network: Any = tiny_model().network
    ids, calls = torch.tensor([[5, 9, 12, 40]]), []
    with stops(network, lambda: calls.append(1)):
        with torch.no_grad():
            network(ids)
        assert len(calls) == 2
        network(inputs_embeds=network.get_input_embeddings()(ids).detach().requires_grad_()).logits.sum().backward()
        assert len(calls) == 6
    network(ids)
    assert len(calls) == 6
    assert not any(m._forward_hooks for m in network.modules())


@pytest.mark.parametrize(
    ("method", "at"), [("attention", 2), ("integrated_gradients", 3), ("integrated_gradients", 40)]
)
def test_a_pass_that_is_ended_leaves_the_network_as_it_was(method: str, at: int) -> None:
    class Enough(Exception):
        pass

    loaded = tiny_model()
    network: Any = loaded.network
    own = explain(loaded, PROMPT, TARGET, method="attention", trust=False).total
    implementation = network.config._attn_implementation
    count = itertools.count(1)

    def pause() -> None:
        if next(count) == at:
            raise Enough

    with pytest.raises(Enough), stops(network, pause):
        explain(loaded, PROMPT, TARGET, method=method, trust=True)
    assert network.config._attn_implementation == implementation
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert all(p.grad is None for p in network.parameters())
    assert explain(loaded, PROMPT, TARGET, method="attention", trust=False).total.tolist() == own.tolist()


def test_a_quick_request_is_answered_in_the_middle_of_an_explanation_and_changes_nothing() -> None:
    """The explanation is made slow: its layers sleep, those of prompts this short do not."""
    way = {"method": "integrated_gradients", "trust": False, "per_token": True}
    body = {"prompt": PROMPT, "target": TARGET, "parameters": {"steps": 6}, **way}
    own = Model(tiny_model()).explain(PROMPT, TARGET, steps=6, **way)
    gate = Gate(only=lambda states: states.shape[1] > 8, slow=0.1)
    ended: dict[str, float] = {}
    with listening(load=gate.load) as address, ThreadPoolExecutor(2) as pool:

        def long() -> Any:
            reply = httpx2.post(f"{address}/api/v1/explain", json=body, timeout=60)
            ended["long"] = time.monotonic()
            return reply.json()

        gate.shut()
        running = pool.submit(long)
        assert gate.entered.wait(30)
        gate.open()
        quick = []
        for _ in range(3):
            began = time.monotonic()
            reply = httpx2.post(f"{address}/api/v1/next", json={"prompt": "The", "raw": True, "steps": 2}, timeout=60)
            quick.append(time.monotonic() - began)
            ended["quick"] = time.monotonic()
            assert reply.status_code == 200
        found = running.result()["result"]
    assert ended["quick"] < ended["long"]
    expected = json.loads(json.dumps(own.to_dict()))
    assert found["total"] == expected["total"]
    assert found["scores"] == expected["scores"]


def batch(client: TestClient, gate: Gate, bodies: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """Replies of requests that all wait while the gate is shut."""
    desk = client.app.state.pellucid.desks.named(None)  # type: ignore[attr-defined]
    with ThreadPoolExecutor(len(bodies) + 1) as pool:
        gate.shut()
        first = pool.submit(client.post, "/api/v1/next", json={"prompt": "hold", "raw": True, "steps": 1})
        assert gate.entered.wait(30)
        waiting = []
        for path, body in bodies:
            waiting.append(pool.submit(client.post, f"/api/v1/{path}", json=body))
            wait(lambda: desk.lanes["quick"].waiting == len(waiting))
        gate.passed = 0
        gate.open()
        assert first.result().status_code == 200
        return [w.result() for w in waiting]


PROMPTS = ["The capital", "What is the capital of France? Tell me in one word", "法国的首都", "x"]


def test_requests_that_wait_together_run_as_one_and_come_out_as_each_alone() -> None:
    gate = Gate()
    model = Model(tiny_model())
    with asked(load=gate.load) as client:
        bodies = [("next", {"prompt": p, "raw": True, "steps": 3, "seed": 4, "top_k": 3}) for p in PROMPTS]
        replies = batch(client, gate, bodies)
        assert gate.passed == 3  # passes for all four together: one for each step
        for prompt, reply in zip(PROMPTS, replies, strict=True):
            found, own = reply.json()["result"], model.next_tokens(prompt, raw=True, steps=3, seed=4, top_k=3)
            assert found["text"] == own.text
            assert found["prompt"] == own.prompt
            for mine, theirs in zip(found["steps"], own.steps, strict=True):
                assert [c["id"] for c in mine["choices"]] == [c.id for c in theirs.choices]
                assert mine["total"] == pytest.approx(theirs.total, abs=1e-4)
        replies = batch(client, gate, [("surprisal", {"text": p + " is"}) for p in PROMPTS])
        assert gate.passed == 2  # the first finds where the network's states go to its head
        for prompt, reply in zip(PROMPTS, replies, strict=True):
            assert reply.json()["result"]["bits"] == pytest.approx(model.surprisal(prompt + " is").bits, rel=1e-4)


def test_one_bad_request_of_a_batch_fails_alone() -> None:
    gate = Gate()
    long = "capital " * 140  # beyond this model's context
    with asked(load=gate.load) as client:
        good = {"prompt": "The capital", "raw": True, "steps": 2}
        bodies = [good, {**good, "prompt": long}, {**good, "top_k": 100, "begin": [99_999]}, good]
        replies = batch(client, gate, [("next", b) for b in bodies])
        assert [r.status_code for r in replies] == [200, 413, 400, 200]
        assert gate.passed == 2
        assert replies[0].json()["result"]["text"] == replies[3].json()["result"]["text"]


def test_long_texts_that_wait_together_are_read_in_windows() -> None:
    """Each is longer than what the model reads at once, and still as it comes out alone."""
    gate = Gate()
    texts = ["The capital of France is Paris. " * 30, "What is the weather? " * 25, "x y"]
    model = Model(tiny_model())
    owns = [model.surprisal(t) for t in texts]
    assert [o.windows > 1 for o in owns] == [True, True, False]
    with asked(load=gate.load) as client:
        for own, reply in zip(owns, batch(client, gate, [("surprisal", {"text": t}) for t in texts]), strict=True):
            assert reply.json()["result"]["bits"] == pytest.approx(own.bits, rel=1e-5)


def test_an_error_inside_a_batch_is_that_requests_alone() -> None:
    """The pass of the batch fails; each is run by itself, and the one that is at fault fails again."""

    def load(name: str) -> LoadedModel:
        loaded = tiny_model(name)
        bad = loaded.tokenizer("zebra")["input_ids"]

        def refuse(module: Any, given: Any) -> None:
            if any(row[-len(bad) :] == bad for row in given[0].tolist()):
                raise RuntimeError("this prompt breaks the network")

        loaded.network.get_input_embeddings().register_forward_pre_hook(refuse)
        return loaded

    gate = Gate()

    def both(name: str) -> LoadedModel:
        loaded = load(name)
        held = gate.load(name)
        (hook,) = held.network.model.layers[0]._forward_pre_hooks.values()
        loaded.network.model.layers[0].register_forward_pre_hook(hook)
        return loaded

    with asked(load=both) as client:
        bodies = [("next", {"prompt": p, "raw": True, "steps": 1}) for p in ("The capital", "a zebra", "France")]
        replies = batch(client, gate, bodies)
    assert [r.status_code for r in replies] == [200, 500, 200]
    assert "zebra" not in replies[1].text
    assert "breaks the network" not in replies[1].text


def test_another_thread_of_a_lane_does_not_hand_its_turn_on() -> None:
    """On a GPU gradients come back in a thread that all lanes share: if it waited there, all would."""
    order: list[str] = []
    done = threading.Event()
    with asked() as client:
        desk = client.app.state.pellucid.desks.named(None)  # type: ignore[attr-defined]
        turn = threading.Event()

        def long(voice: Any, job: Job, before: Any) -> None:
            turn.set()
            wait(lambda: bool(desk.lanes["quick"].turns._waiting))
            time.sleep(0.1)  # longer than any quantum
            other = threading.Thread(target=lambda: voice.loaded.network(torch.tensor([[5, 6, 7]])))
            other.start()
            other.join(10)
            order.append("long")

        def quick(voice: Any, job: Job, before: Any) -> None:
            order.append("quick")

        def put(lane: str, run: Any, end: Any) -> None:
            desk.put(Job([Step(lane, run)], listener=lambda *a: None, done=end, seconds=60))

        put("long", long, lambda outcome: None)
        assert turn.wait(10)
        put("quick", quick, lambda outcome: done.set())
        assert done.wait(20)
    assert order == ["long", "quick"]


def test_who_waits_is_told_its_place() -> None:
    """Who waits hears how many are before it, each time that one is taken."""
    gate = Gate()
    body = {"prompt": PROMPT, "target": TARGET, "trust": False, "per_token": False}
    with asked(Settings(models=("tiny",), long=5), load=gate.load) as client, ThreadPoolExecutor(4) as pool:
        lane = client.app.state.pellucid.desks.named(None).lanes["long"]  # type: ignore[attr-defined]
        gate.shut()
        replies = [pool.submit(client.post, "/api/v1/explain", json=body, headers=EVENTS)]
        assert gate.entered.wait(30)
        for k in range(3):
            replies.append(pool.submit(client.post, "/api/v1/explain", json=body, headers=EVENTS))
            wait(lambda k=k: lane.waiting == k + 1)
        gate.open()
        places = [[d["place"] for n, d in events(r.result().text) if n == "queued"] for r in replies]
    assert places == [[0], [0], [1, 0], [2, 1, 0]]
