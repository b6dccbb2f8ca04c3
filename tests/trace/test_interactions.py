"""Interactions against plain loops over all sets, closed forms, and single forward passes, in float64."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.errors import InputError, MissingExtraError, NumericError, OptionError, OutputError, SchemaError
from pellucid.model import Model
from pellucid.models.encode import encode, encode_target
from pellucid.models.load import LoadedModel
from pellucid.trace import ablate
from pellucid.trace import units as stretches
from pellucid.trace.interactions import INDICES, Interactions, explained, game_interactions

Sets = tuple[int, ...]
PROMPT = "The sky is blue. Paris is in France. What is the capital of France?"


def subsets(of: Sets, least: int = 0, most: int | None = None) -> list[Sets]:
    return list(chain.from_iterable(combinations(of, k) for k in range(least, (len(of) if most is None else most) + 1)))


def derivative(v: dict[Sets, float], of: Sets, at: Sets) -> float:
    """The discrete derivative of v by the set ``of`` at ``at``: sum over L of (-1)^(|T| - |L|) v(S + L)."""
    return sum((-1) ** (len(of) - len(part)) * v[tuple(sorted({*at, *part}))] for part in subsets(of))


def plain(v: dict[Sets, float], n: int, index: str, order: int) -> dict[Sets, float]:
    """Every number by its definition."""
    everyone = tuple(range(n))
    wanted = subsets(everyone, 1, order)
    if index in ("SII", "BII", "k-SII"):
        found = {}
        for t in wanted:
            others = tuple(i for i in everyone if i not in t)
            found[t] = 0.0
            for s in subsets(others):
                shapley = math.factorial(len(s)) * math.factorial(n - len(s) - len(t)) / math.factorial(n - len(t) + 1)
                found[t] += derivative(v, t, s) * (0.5 ** (n - len(t)) if index == "BII" else shapley)
        if index != "k-SII":
            return found
        bernoulli = {0: 1.0, 1: -0.5, 2: 1 / 6}
        return {t: sum(bernoulli[len(u) - len(t)] * found[u] for u in wanted if set(t) <= set(u)) for t in wanted}
    if index == "STII":
        found = {t: derivative(v, t, ()) for t in wanted if len(t) < order}
        for t in (t for t in wanted if len(t) == order):
            others = tuple(i for i in everyone if i not in t)
            found[t] = order / n * sum(derivative(v, t, s) / math.comb(n - 1, len(s)) for s in subsets(others))
        return found
    sets, columns = subsets(everyone), [(), *wanted]
    x = np.array([[set(t) <= set(s) for t in columns] for s in sets], dtype=float)
    y = np.array([v[s] for s in sets])
    if index == "FBII":
        return dict(zip(columns, np.linalg.lstsq(x, y, rcond=None)[0], strict=True))
    # FSII: Shapley's kernel, with nothing and everything met exactly.
    ends = np.array([len(s) in (0, n) for s in sets])
    weight = np.array([(n - 1) / (math.comb(n, len(s)) * len(s) * (n - len(s))) for s in sets if 0 < len(s) < n])
    a, b, c = x[~ends], x[ends], len(columns)
    kkt = np.block([[a.T @ (weight[:, None] * a), b.T], [b, np.zeros((2, 2))]])
    return dict(
        zip(columns, np.linalg.solve(kkt, np.concatenate([a.T @ (weight * y[~ends]), y[ends]]))[:c], strict=True)
    )


def game_of(v: dict[Sets, float]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda masks: np.array([v[tuple(np.flatnonzero(m).tolist())] for m in masks])


@pytest.mark.parametrize("index", sorted(INDICES))
@pytest.mark.parametrize("order", [1, 2, 3])
def test_all_sets_give_the_definition(index: str, order: int) -> None:
    pytest.importorskip("shapiq")
    random = np.random.default_rng(3)
    v = {s: float(random.normal()) for s in subsets(tuple(range(5)))}
    found, _, exact = game_interactions(game_of(v), 5, index=index, order=order, budget=32, seed=0)
    assert exact
    expected = plain(v, 5, index, order)
    assert set(found) == set(subsets(tuple(range(5)), 1, order))
    for t, x in found.items():
        # shapiq meets FSII's two conditions by a weight of 1e8, not exactly.
        assert x == pytest.approx(expected[t], abs=1e-5 if index == "FSII" else 1e-9)
    if index in ("k-SII", "STII", "FSII"):
        assert sum(found.values()) == pytest.approx(v[tuple(range(5))] - v[()], abs=1e-5)


def by_hand(sets: np.ndarray) -> np.ndarray:
    """2 a + 3 b c - d + 1, whatever the others do."""
    a, b, c, d = (sets[:, i].astype(float) for i in range(4))
    return 2 * a + 3 * b * c - d + 1


@pytest.mark.parametrize("index", ["k-SII", "FSII", "FBII", "STII", "SII", "BII"])
@pytest.mark.parametrize("units", [4, 12])
def test_a_game_by_hand(index: str, units: int) -> None:
    """Of pairs at most: exact where all sets run, and by regression too; by sampling within its noise."""
    pytest.importorskip("shapiq")
    found, empty, exact = game_interactions(by_hand, units, index=index, order=2, budget=400, seed=1)
    assert exact == (units == 4)
    single = 1.5 if index in ("SII", "BII") else 0.0  # of b and c: their pair's halves, unless taken out
    expected = {(0,): 2.0, (1,): single, (2,): single, (3,): -1.0, (1, 2): 3.0}
    noise = 1e-4 if exact else {"KernelSHAPIQ": 0.25, "SVARMIQ": 1.3}.get(INDICES[index][0], 1e-4)
    for t, x in found.items():
        assert x == pytest.approx(expected.get(t, 0.0), abs=noise)
    if INDICES[index][1] and noise < 0.1:
        masks = (np.arange(2**units)[:, None] >> np.arange(units)) & 1 == 1
        assert explained(masks, by_hand(masks), found, empty) == pytest.approx(1.0, abs=1e-6)


@pytest.fixture
def model(tiny: Callable[..., LoadedModel]) -> LoadedModel:
    return tiny("llama", torch.float64)


@pytest.mark.parametrize("index", ["k-SII", "STII"])
def test_a_models_interactions_are_those_of_single_passes(model: LoadedModel, index: str) -> None:
    pytest.importorskip("shapiq")
    found = Model(model).interactions(PROMPT, " Paris", unit="sentence", index=index)
    encoded = encode(model, PROMPT)
    units = stretches.units(encoded, "sentence")
    answer = encode_target(model, encoded, " Paris")
    v = {}
    for s in subsets((0, 1, 2)):
        gone = {i for k, u in enumerate(units) if k not in s for i in u.tokens}
        prompt = [t for i, t in enumerate(encoded.ids) if i not in gone]
        with torch.no_grad():
            logits = model.network(torch.tensor([prompt + answer]), use_cache=False).logits[0, len(prompt) - 1 : -1]
        v[s] = float(torch.log_softmax(logits, -1)[torch.arange(len(answer)), answer].sum())
    assert found.whole == pytest.approx(v[0, 1, 2], abs=1e-5)
    assert found.none == pytest.approx(v[()], abs=1e-5)
    for t, x in plain(v, 3, index, 2).items():
        assert found[t] == pytest.approx(x, abs=2e-5)
    assert (found.exact, found.ablations, len(found.values)) == (True, 8, 6)
    assert found.cost.forward_passes == 9
    assert [u.text for u in found.units] == [
        "The sky is blue.",
        "Paris is in France.",
        "What is the capital of France?",
    ]
    assert found.top(1, order=2)[0].value == max((v.value for v in found.values if len(v.units) == 2), key=abs)
    assert found[1, 0] == found[0, 1]
    with pytest.raises(KeyError, match="expected up to 2 different places of 3 units"):
        found[0, 1, 2]


def test_samples_are_asked_for_at_once(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("shapiq")
    calls = []
    effects = ablate.effects
    monkeypatch.setattr(ablate, "effects", lambda run, kept, **o: (calls.append(len(kept)), effects(run, kept, **o))[1])
    options = {"unit": "word", "budget": 200, "span": "ris", "reduce": "mean"}
    found = Model(model).interactions(PROMPT, " Paris", **options)
    assert calls == [200]
    assert not found.exact
    assert found.ablations == 200
    assert found.r2 is not None
    again = Model(model).interactions(PROMPT, " Paris", **options)
    assert [v.value for v in again.values] == [v.value for v in found.values]
    assert [v.value for v in Model(model).interactions(PROMPT, " Paris", **options, seed=1).values] != [
        v.value for v in found.values
    ]


def test_the_file_comes_back(model: LoadedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shapiq")
    messages = [{"role": "user", "content": PROMPT}]
    for prompt in (PROMPT, messages):
        found = Model(model).interactions(prompt, " Paris", span="ris")
        path = found.save(tmp_path / "i.json")
        again = Interactions.load(path)
        assert again.to_dict() == found.to_dict()
        assert json.loads(path.read_text())["schema"] == "pellucid.interactions/1"
        assert again.prompt == found.prompt
        assert again.span == found.span
    assert found.versions["shapiq"]
    with pytest.raises(OutputError, match=r"ends in \.json, \.html, \.png"):
        found.save(tmp_path / "i.txt")
    found.show(k=2)
    shown = capsys.readouterr().out
    assert "What is the capital of France?" in shown
    assert shown.count(" × ") == 4  # two pairs: their numbers and their texts
    assert "exact, all 8 sets run" in shown


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "holds no interactions, or was cut short"),
        ("[]", "not interactions: expected an object"),
        ('{"schema": "pellucid.interactions/1"}', "not whole interactions: KeyError 'span'"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "i.json").write_text(text)
    with pytest.raises(SchemaError, match=sentence):
        Interactions.load(tmp_path / "i.json")
    with pytest.raises(InputError, match="cannot read"):
        Interactions.load(tmp_path / "none.json")


def test_without_shapiq_the_extra_is_named(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shapiq", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pellucid\[shapiq\]'"):
        Model(model).interactions(PROMPT)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"index": "KSII"}, "unknown index 'KSII': expected one of k-SII"),
        ({"order": 0}, "order should be a whole number of at least 1, given 0"),
        ({"budget": 1.5}, "budget should be a whole number of at least 2, given 1.5"),
        ({"order": 4}, "order 4 need at least 4 units, and the prompt has 3 of the kind 'sentence'"),
        ({"unit": "word", "budget": 20}, r"more than a budget of 20 ablations .* a budget of \d+ and more"),
        ({"unit": "phrase"}, "unknown unit 'phrase'"),
    ],
)
def test_bad_options(model: LoadedModel, options: dict, sentence: str) -> None:  # type: ignore[type-arg]
    pytest.importorskip("shapiq")
    with pytest.raises(OptionError, match=sentence):
        Model(model).interactions(PROMPT, **options)


def test_nothing_left_says_what_to_do(model: LoadedModel) -> None:
    pytest.importorskip("shapiq")
    with pytest.raises(InputError, match=r"leaves nothing of the prompt.*replace='pad'"):
        Model(model).interactions(PROMPT, " Paris", raw=True)
    found = Model(model).interactions(PROMPT, " Paris", raw=True, replace="pad")
    assert found.exact


def test_a_lost_ablation_is_named(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("shapiq")

    def effects(run, kept, **options):  # type: ignore[no-untyped-def]
        out = torch.zeros(len(kept), len(run.selected), dtype=torch.float64)
        out[[m.tolist() == [True, False, True] for m in kept]] = torch.nan
        return out

    monkeypatch.setattr(ablate, "effects", effects)
    with pytest.raises(NumericError, match=r"1 of 8 ablations .* the first keeps sentence 1, sentence 3"):
        Model(model).interactions(PROMPT, " Paris")
