"""The judge against plain runs of each shortened prompt, one by one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from pellucid.errors import InputError, OptionError
from pellucid.model import Model
from pellucid.models.load import LoadedModel
from pellucid.trace import curves
from pellucid.trace.engine import Run
from pellucid.trace.explain import explain
from pellucid.trace.faithful import Judge, Verdict, faithfulness, importance
from pellucid.trace.objective import objective
from pellucid.trace.randomise import randomised

PROMPT, ANSWER = [5, 80, 33, 120, 64, 9, 200, 41, 3, 77, 60, 61, 62, 15], [17, 99, 150]
CANDIDATES = list(range(2, 13))


def judge(model: LoadedModel, **options: object) -> Judge:
    run = Run(model, PROMPT, ANSWER, objective("logprob"), units=[[i] for i in CANDIDATES])
    return Judge(run, **options)  # type: ignore[arg-type]


def plain(model: LoadedModel, gone: set[int]) -> float:
    """Mean log-probability of the answer's tokens without the prompt's places ``gone``."""
    row = [t for i, t in enumerate(PROMPT) if i not in gone]
    with torch.no_grad():
        logits = model.network(torch.tensor([row + ANSWER]), use_cache=False).logits[0]
    rows = torch.log_softmax(logits[len(row) - 1 : -1], -1)
    return float(rows[torch.arange(len(ANSWER)), ANSWER].mean())


def test_curves_and_lds_are_those_of_plain_runs(tiny: Callable[..., LoadedModel]) -> None:
    model = tiny(dtype=torch.float64)
    scores = np.random.default_rng(0).normal(size=len(CANDIDATES))
    own = judge(model, ablations=12, seed=3)
    found = own.verdicts({"a": scores})["a"]
    best = [CANDIDATES[i] for i in np.argsort(-scores)]
    sizes = curves.counts(len(CANDIDATES))
    deletion = [plain(model, set(best[:k])) for k in sizes]
    insertion = [plain(model, set(best[k:])) for k in sizes]
    assert found.deletion == pytest.approx(deletion, abs=1e-6)
    assert found.insertion == pytest.approx(insertion, abs=1e-6)
    at = {f: deletion[0] - deletion[curves.GRID.index(f)] for f in curves.FRACTIONS}
    assert found.comprehensiveness == pytest.approx(sum(at.values()) / 5, abs=1e-6)
    probabilities = [math.exp(v) for v in deletion]
    assert found.rise_deletion == pytest.approx(curves.area(probabilities), abs=1e-6)
    effects = [plain(model, {c for c, stays in zip(CANDIDATES, m, strict=True) if not stays}) for m in own.random_kept]
    predicted = [sum(s for s, stays in zip(scores, m, strict=True) if stays) for m in own.random_kept]
    assert found.lds == pytest.approx(stats.spearmanr(predicted, effects).statistic, abs=1e-9)


def test_random_ablations_keep_groups_whole(tiny: Callable[..., LoadedModel]) -> None:
    own = judge(tiny(), ablations=400, keep=0.7, group=3)
    for group in own.groups:
        assert (own.random_kept[:, group].all(1) | ~own.random_kept[:, group].any(1)).all()
    assert own.random_kept.mean() == pytest.approx(0.7, abs=0.04)


def test_what_ran_once_does_not_run_again(tiny: Callable[..., LoadedModel]) -> None:
    own = judge(tiny(), ablations=10)
    scores = np.arange(len(CANDIDATES), dtype=float)
    first = own.verdicts({"a": scores})
    ran = own.passes
    again = own.verdicts({"a": scores, "the same order": scores * 2 + 1})
    assert own.passes == ran
    assert again["a"] == first["a"]
    assert again["the same order"].deletion == first["a"].deletion
    both = judge(tiny(), ablations=10)
    both.verdicts({"a": scores, "b": -scores})
    assert both.passes < 2 * ran


def test_a_perfect_predictor_has_lds_one(tiny: Callable[..., LoadedModel], monkeypatch: pytest.MonkeyPatch) -> None:
    """Effects replaced by a linear game: its weights are the best ranking there is, by every measure."""
    weights = np.random.default_rng(4).normal(size=len(CANDIDATES))

    def linear(run: Run, kept: np.ndarray, **_: object) -> torch.Tensor:
        return torch.tensor(np.asarray(kept) @ weights)[:, None].expand(-1, 3)

    monkeypatch.setattr("pellucid.trace.faithful.effects", linear)
    found = judge(tiny()).verdicts({"own": weights, "reversed": -weights, **judge(tiny()).random_orders(6)})
    assert found["own"].lds == pytest.approx(1)
    assert found["reversed"].lds == pytest.approx(-1)
    for name, v in found.items():
        assert v.comprehensiveness <= found["own"].comprehensiveness + 1e-12, name
        assert v.sufficiency >= found["own"].sufficiency - 1e-12, name


def test_refusals(tiny: Callable[..., LoadedModel]) -> None:
    model = tiny()
    with pytest.raises(InputError, match="two tokens"):
        Judge(Run(model, PROMPT, ANSWER, objective("logprob"), units=[[3]]))
    with pytest.raises(InputError, match="nothing would be left"):
        Judge(Run(model, PROMPT, ANSWER, objective("logprob")))
    with pytest.raises(OptionError, match="at least 2 ablations"):
        judge(model, ablations=1)
    with pytest.raises(ValueError, match="finite scores"):
        judge(model).verdicts({"a": np.array([1.0, math.nan])})
    assert importance([1.0, -2.0, math.nan], "magnitude").tolist() == [1, 2, 0]
    assert importance([1.0, -2.0, math.nan], "signed").tolist() == [1, -2, 0]


def test_a_trace_is_judged(tiny: Callable[..., LoadedModel]) -> None:
    model = tiny()
    trace = explain(model, "The capital of France is", " Paris, Madrid", method="leave_one_out", raw=True)
    report = Model(model).faithfulness(trace, ablations=12, orders=4)
    assert set(report.random) == set(Verdict.numbers())
    mean, low, high = report.random["comprehensiveness"]
    assert low <= mean <= high
    # The trust line's own figures come another way: nothing removed is the answer's log-probability.
    whole = sum(t.logprob for t in trace.targets) / len(trace.targets)
    assert report.verdict.deletion[0] == pytest.approx(whole, abs=1e-5)
    assert report.to_dict()["verdict"]["lds"] == pytest.approx(report.verdict.lds)
    contrast = explain(
        model, "The capital is", " Paris", objective="contrast", instead_of=" Madrid", raw=True, trust=False
    )
    with pytest.raises(InputError, match="cannot be made again"):
        faithfulness(model, contrast)
    with pytest.raises(InputError, match="explains 'llama'"):
        faithfulness(tiny("gpt2"), trace)


def test_randomised_weights_come_back(tiny: Callable[..., LoadedModel]) -> None:
    model = tiny()
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    with pytest.raises(RuntimeError, match="inside"), randomised(model.network, seed=1):
        changed = [not torch.equal(before[k], v) for k, v in model.network.state_dict().items() if before[k].std() > 0]
        assert all(changed)
        raise RuntimeError("inside")
    for k, v in model.network.state_dict().items():
        assert torch.equal(before[k], v), k
