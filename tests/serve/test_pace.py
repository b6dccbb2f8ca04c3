"""What short requests are expected to take, which run together, and which are told to come again rather than late."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from asking import Gate, asked, tiny_model, wait

from pellucid.serve.jobs import Step
from pellucid.serve.pace import TYPICAL, WORTH, Pace
from pellucid.serve.settings import Settings


def step(size: int, passes: int = 0) -> Step:
    return Step("quick", lambda voice, job, before: None, size=size, passes=passes)


def test_seconds_are_a_pass_over_the_prompts_and_one_token_a_row_and_step() -> None:
    pace = Pace(fixed=0.1, token=0.01)
    assert pace.seconds([step(20)]) == pytest.approx(0.1 + 0.2)
    assert pace.seconds([step(20, 3)]) == pytest.approx(0.3 + 3 * 0.11)
    assert pace.seconds([step(20, 3), step(50)]) == pytest.approx(0.1 + 2 * 0.5 + 3 * 0.12)  # filled up to the longest
    assert pace.typical == pytest.approx(0.1 + 0.01 * TYPICAL)


def test_a_batch_grows_while_the_weights_are_most_of_it() -> None:
    cheap, dear = Pace(fixed=1.0, token=0.001), Pace(fixed=0.001, token=0.01)
    assert cheap.together([step(50)], step(50))
    assert not dear.together([step(50)], step(50))
    edge = Pace(fixed=1.0, token=0.01)  # one more row of n tokens: (1 + 0.02 n) / (1 + 0.01 n)
    n = int(100 * (WORTH - 1) / (2 - WORTH))
    assert edge.together([step(n)], step(n))
    assert not edge.together([step(n + 2)], step(n + 2))


def test_what_requests_took_is_learnt_and_what_they_take_alone_apart() -> None:
    pace = Pace(fixed=0.1, token=0.01)
    for _ in range(60):
        pace.learn(1.0, 3.0, alone=False)
    assert pace.scale == pytest.approx(3.0, abs=0.01)
    assert pace.alone == 1.0
    for _ in range(60):
        pace.learn(1.0, 0.5, alone=True)
    assert pace.alone == pytest.approx(0.5, abs=0.01)
    assert pace.scale == pytest.approx(0.5, abs=0.01)
    pace.learn(1.0, 1.5, alone=True)
    assert pace.alone == pytest.approx(0.51, abs=0.005)
    assert pace.scale == pytest.approx(0.7, abs=0.01)
    pace.learn(0.0, 5.0, alone=True)  # nothing expected: no infinity
    assert pace.scale < 10


def test_it_is_measured_on_the_model() -> None:
    pace = Pace.measured(tiny_model())
    assert pace.fixed > 0
    assert pace.token > 0
    assert Pace.measured(tiny_model(context=4)).typical > 0  # shorter than what is measured over


@pytest.mark.parametrize(("patience", "status"), [(1e9, 200), (2.0, 429)])
def test_who_would_wait_too_long_is_told_to_come_again(patience: float, status: int) -> None:
    gate = Gate()
    body = {"prompt": "The capital", "raw": True, "steps": 1, "keep": False}
    with asked(Settings(models=("tiny",), patience=patience), gate.load) as client, ThreadPoolExecutor(3) as pool:
        lane = client.app.state.pellucid.desks.named(None).lanes["quick"]  # type: ignore[attr-defined]
        gate.shut()
        first = pool.submit(client.post, "/api/v1/next", json={**body, "prompt": "hold this", "steps": 8})
        try:
            assert gate.entered.wait(30)
            lane._ends += 60.0  # it is expected to run for another minute
            second = pool.submit(client.post, "/api/v1/next", json=body)
            if status == 429:
                reply = second.result()
                assert reply.status_code == 429
                assert reply.json()["error"]["code"] == "Full"
                assert 1 <= int(reply.headers["Retry-After"]) <= 60
            else:
                wait(lambda: lane.waiting == 1)
        finally:
            gate.open()
        assert first.result().status_code == 200
        assert second.result().status_code == status


def test_one_client_after_another_is_never_refused() -> None:
    """Whoever has an answer may ask again: the lane is free by then, however little patience there is."""
    body = {"prompt": "The capital", "raw": True, "steps": 1, "keep": False}
    with asked(Settings(models=("tiny",), patience=1e-6)) as client:
        found = [client.post("/api/v1/next", json=body).status_code for _ in range(60)]
    assert set(found) == {200}
