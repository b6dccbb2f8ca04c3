"""Methods that ablate, against brute force, closed forms and their own guarantees, on tiny models in float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from pellucid.errors import InputError, OptionError
from pellucid.models.load import LoadedModel
from pellucid.trace import ablate
from pellucid.trace.engine import Run, Scores
from pellucid.trace.explain import explain
from pellucid.trace.methods import method
from pellucid.trace.methods.context_cite import lasso, log_odds
from pellucid.trace.methods.hierarchical_leave_one_out import hierarchy
from pellucid.trace.methods.kernel_shap import ablations, kernel_weight
from pellucid.trace.methods.lime import ridge
from pellucid.trace.methods.reagent import ranks, update
from pellucid.trace.objective import objective

PROMPT, ANSWER = [5, 80, 33, 120, 64, 9, 200, 41, 3, 77, 60, 61, 62, 15], [17, 99, 150]
UNITS = [[1], [2, 3, 4], [6], [7, 9], [10, 11, 12, 13]]


def scores(model: LoadedModel, name: str, units: list[list[int]] = UNITS, **parameters: object) -> tuple[Run, Scores]:
    run = Run(model, PROMPT, ANSWER, objective("logprob"), units=units, per_token=True)
    return run, method(name)(run, **parameters)


def per_unit(found: Scores, units: list[list[int]] = UNITS) -> torch.Tensor:
    return torch.stack([found.total[u].sum() for u in units])


def table(model: LoadedModel) -> dict[tuple[bool, ...], torch.Tensor]:
    """s(z) [targets] of every subset of the units, each in an ordinary pass of its own."""
    out = {}
    for mask in itertools.product([False, True], repeat=len(UNITS)):
        gone = {i for u, stays in zip(UNITS, mask, strict=True) if not stays for i in u}
        prompt = [t for i, t in enumerate(PROMPT) if i not in gone]
        with torch.no_grad():
            logits = model.network(torch.tensor([prompt + ANSWER]), use_cache=False).logits[0]
        rows = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
        out[mask] = rows[torch.arange(len(ANSWER)), ANSWER].double()
    return out


@pytest.fixture
def gpt2(tiny) -> LoadedModel:  # type: ignore[no-untyped-def]
    model: LoadedModel = tiny("gpt2", torch.float64)
    return model


def shapley(values: dict[tuple[bool, ...], torch.Tensor]) -> torch.Tensor:
    """By the definition, over all permutations [units, targets]."""
    n = len(UNITS)
    phi = torch.zeros(n, len(ANSWER), dtype=torch.float64)
    for order in itertools.permutations(range(n)):
        mask = [False] * n
        for u in order:
            before = values[tuple(mask)]
            mask[u] = True
            phi[u] += values[tuple(mask)] - before
    return phi / math.factorial(n)


def test_kernel_shap_with_every_subset_is_exact(gpt2: LoadedModel) -> None:
    _, found = scores(gpt2, "kernel_shap", samples=30)
    expected = shapley(table(gpt2))
    assert found.details["exact"]
    torch.testing.assert_close(per_unit(found), expected.sum(1), rtol=1e-8, atol=1e-10)
    assert found.matrix is not None
    rows = torch.stack([found.matrix[:, u].sum(1) for u in UNITS])
    torch.testing.assert_close(rows, expected, rtol=1e-8, atol=1e-10)


def test_kernel_shap_by_samples_keeps_its_sum(gpt2: LoadedModel) -> None:
    """Efficiency holds whatever was drawn; and the draws follow the kernel."""
    values = table(gpt2)
    _, found = scores(gpt2, "kernel_shap", samples=16)
    assert not found.details["exact"]
    whole = float((values[(True,) * 5] - values[(False,) * 5]).sum())
    assert float(found.total.sum()) == pytest.approx(whole, rel=1e-9)
    masks, weights, exact = ablations(13, 4000, np.random.default_rng(0))
    assert not exact
    assert set(weights) == {1.0}
    assert (masks[::2] != masks[1::2]).all(), "each comes with its complement"
    mass = {k: kernel_weight(13, k) * math.comb(13, k) for k in range(1, 13)}
    for k, m in mass.items():
        share = float((masks.sum(1) == k).mean())
        assert share == pytest.approx(m / sum(mass.values()), abs=0.03)


def test_shapley_sampling_is_efficient_and_within_its_error(gpt2: LoadedModel) -> None:
    values = table(gpt2)
    expected = shapley(values).sum(1)
    _, found = scores(gpt2, "shapley_sampling", permutations=60)
    whole = float((values[(True,) * 5] - values[(False,) * 5]).sum())
    assert float(found.total.sum()) == pytest.approx(whole, rel=1e-9)
    error = torch.tensor(found.details["standard_error"])
    assert ((per_unit(found) - expected).abs() < 4 * error + 1e-9).all()
    assert (error > 0).all()
    _, again = scores(gpt2, "shapley_sampling", permutations=60)
    assert torch.equal(found.total, again.total)


def test_shapley_standard_errors_are_those_of_repetition(gpt2: LoadedModel) -> None:
    """The spread of estimates over seeds, against the mean error that they state."""
    estimates, stated = [], []
    for seed in range(40):
        run = Run(gpt2, PROMPT, ANSWER, objective("logprob"), units=UNITS, seed=seed)
        found = method("shapley_sampling")(run, permutations=8)
        estimates.append(per_unit(found))
        stated.append(torch.tensor(found.details["standard_error"]))
    spread = torch.stack(estimates).std(0)
    ratio = torch.stack(stated).square().mean(0).sqrt() / spread
    assert ((ratio > 0.6) & (ratio < 1.6)).all(), ratio


def test_lime_is_its_weighted_ridge(gpt2: LoadedModel) -> None:
    """Solved here by stacking square roots of weights and of the penalty into one least-squares problem."""
    random = np.random.default_rng(1)
    z, y = (random.random((40, 5)) < 0.5).astype(float), random.normal(size=(40, 2))
    w = random.random(40)
    phi, intercept = ridge(z, y, w, 0.3)
    root = np.sqrt(w)[:, None]
    design = np.block([[z * root, root], [np.sqrt(0.3) * np.eye(5), np.zeros((5, 1))]])
    solved = np.linalg.lstsq(design, np.concatenate([y * root, np.zeros((5, 2))]), rcond=None)[0]
    np.testing.assert_allclose(np.vstack([phi, intercept]), solved, atol=1e-9)
    _, found = scores(gpt2, "lime", samples=400, kernel_width=0.4, ridge_penalty=1e-6)
    values = table(gpt2)
    masks = np.ones((400, 5), dtype=bool)
    draw = np.random.default_rng(0)
    for mask in masks[1:]:
        mask[draw.choice(5, int(draw.integers(1, 5)), replace=False)] = False
    y = np.array([float(values[tuple(bool(b) for b in m)].sum()) for m in masks])
    root = np.sqrt(np.exp(-(((1 - np.sqrt(masks.mean(1))) / 0.4) ** 2)))[:, None]
    solved = np.linalg.lstsq(np.hstack([masks, np.ones((400, 1))]) * root, y * root[:, 0], rcond=None)[0]
    np.testing.assert_allclose(per_unit(found).numpy(), solved[:5], rtol=1e-4, atol=1e-6)


def test_lasso_in_closed_form() -> None:
    """With orthogonal columns of unit variance each coefficient is the soft-thresholded covariance; KKT in general."""
    z = np.array(list(itertools.product([-1.0, 1.0], repeat=4)))
    y = z @ np.array([2.0, -0.5, 0.05, 0.0]) + 3
    phi, intercept = lasso(z, y, 0.1)
    np.testing.assert_allclose(phi, [1.9, -0.4, 0.0, 0.0], atol=1e-9)
    assert intercept == pytest.approx(3)
    random = np.random.default_rng(0)
    z, y = random.normal(size=(30, 50)), random.normal(size=30)  # more columns than rows
    phi, intercept = lasso(z, y, 0.05)
    pull = (z - z.mean(0)).T @ (y - intercept - z @ phi) / 30
    active = phi != 0
    np.testing.assert_allclose(pull[active], 0.05 * np.sign(phi[active]), atol=1e-6)
    assert (np.abs(pull[~active]) <= 0.05 + 1e-6).all()
    assert 0 < active.sum() < 50


def test_context_cite_finds_what_a_linear_model_does(gpt2: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the response is linear in the units, the Lasso gives its weights back, less the penalty; with the log-odds
    of the answer for the response."""
    weights = torch.tensor([0.0, 2.0, 0.0, -1.0, 0.0], dtype=torch.float64)

    def linear(run: Run, kept: np.ndarray, **options: object) -> torch.Tensor:  # type: ignore[type-arg]
        odds = torch.tensor(kept, dtype=torch.float64) @ weights - 4
        return (
            torch.nn.functional.logsigmoid(odds)[:, None].expand(-1, 3) / 3
        )  # the answer's probability in three parts

    monkeypatch.setattr(ablate, "effects", linear)
    _, found = scores(gpt2, "context_cite", ablations=200, alpha=0.01)
    np.testing.assert_allclose(per_unit(found).numpy(), weights.numpy(), atol=0.05)
    assert per_unit(found)[0] == 0
    assert found.details["r2"] > 0.999
    assert log_odds(np.log(np.array([0.5, 0.9]))) == pytest.approx([0.0, math.log(9)])
    assert np.isfinite(log_odds(np.array([0.0])))


def test_hierarchical_that_refines_all_is_leave_one_out(family: LoadedModel) -> None:
    units = [[i] for i in range(1, 14)]
    _, all_of_it = scores(family, "hierarchical_leave_one_out", units, keep=1.0, branch=3)
    _, plain = scores(family, "leave_one_out", units)
    torch.testing.assert_close(all_of_it.total, plain.total, rtol=1e-5, atol=1e-6)


def test_hierarchical_refines_what_matters(gpt2: LoadedModel) -> None:
    """By hand: groups' falls, the largest taken apart, the others shared out."""
    units = [[i] for i in range(1, 13)]
    _, found = scores(gpt2, "hierarchical_leave_one_out", units, keep=1, branch=4)
    groups = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    _, coarse = scores(gpt2, "leave_one_out", groups)
    _, fine = scores(gpt2, "leave_one_out", units)
    best = max(range(3), key=lambda k: abs(float(per_unit(coarse, groups)[k])))
    for k, group in enumerate(groups):
        torch.testing.assert_close(found.total[group], (fine if k == best else coarse).total[group])
    assert found.details["levels"] == [{"groups": 3, "refined": 1}, {"groups": 4, "refined": 0}]


def test_levels_of_the_text_come_first(gpt2: LoadedModel) -> None:
    paragraphs = [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12, 13]]
    run = Run(gpt2, PROMPT, ANSWER, objective("logprob"), units=UNITS, levels=[paragraphs])
    assert hierarchy(run, 8) == [[[0, 1, 2], [3, 4]], [[0], [1], [2], [3], [4]]]
    run.levels = []
    assert hierarchy(run, 2) == [[[0, 1, 2, 3], [4]], [[0, 1], [2, 3], [4]], [[0], [1], [2], [3], [4]]]


def test_hierarchical_with_a_guide_leaves_out_at_the_last_level_alone(gpt2: LoadedModel) -> None:
    units = [[i] for i in range(1, 13)]
    groups = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    run, found = scores(gpt2, "hierarchical_leave_one_out", units, keep=1, branch=4, guide="saliency")
    _, guide = scores(gpt2, "saliency", units)
    _, exact = scores(gpt2, "leave_one_out", units)
    best = max(groups, key=lambda g: float(guide.total[g].sum()))
    torch.testing.assert_close(found.total[best], exact.total[best], rtol=1e-4, atol=1e-5)
    rest = [i for g in groups if g is not best for i in g]
    assert float(found.total[rest].abs().max()) <= float(found.total[best].abs().min()) + 1e-9
    assert run.forwards == 4 + 1 + 1  # the removals, the original, the guide
    assert found.details["levels"] == [{"groups": 3, "refined": 1}, {"groups": 4, "refined": 0}]


def test_explain_finds_the_levels(tiny: Callable[..., LoadedModel]) -> None:
    text = "\n\n".join(f"One is {k}. Two is {k}." for k in range(6))
    trace = explain(
        tiny(),
        text,
        " Paris",
        method="hierarchical_leave_one_out",
        parameters={"keep": 2},
        unit="sentence",
        raw=True,
        trust=False,
    )
    assert trace.details["levels"] == [{"groups": 6, "refined": 2}, {"groups": 4, "refined": 0}]


def test_guided_measures_what_the_guide_names(family: LoadedModel) -> None:
    units = [[i] for i in range(1, 13)]
    run, found = scores(family, "guided_leave_one_out", units, guide="ifr", budget=4)
    _, guide = scores(family, "ifr", units)
    _, exact = scores(family, "leave_one_out", units)
    first = sorted(range(12), key=lambda u: -float(guide.total[u + 1]))[:4]
    assert found.details["measured_units"] == sorted(first)
    named = [u + 1 for u in first]
    torch.testing.assert_close(found.total[named], exact.total[named], rtol=1e-4, atol=1e-5)
    rest = [i for i in range(1, 13) if i not in named]
    assert float(found.total[rest].abs().max()) <= float(found.total[named].abs().min()) + 1e-12
    assert run.forwards <= 4 + 3


def test_reagent_moves_importance_as_it_says() -> None:
    logits = torch.log(torch.tensor([[0.25, 0.25, 0.5]], dtype=torch.float64))
    after = update(logits, torch.tensor([True, False, False]), torch.tensor([[0.6]], dtype=torch.float64)).exp()[0]
    raised = torch.tensor([0.25 * 2, 0.25 / 2, 0.5 / 2], dtype=torch.float64)  # exp(atanh 0.6) = 2
    torch.testing.assert_close(after, raised / raised.sum())
    z = torch.tensor([[1.0, 3.0, 2.0], [5.0, 1.0, 0.0]])
    assert ranks(z, torch.tensor([2, 0])).tolist() == [2, 1]


def test_reagent_ends_when_it_has_enough(gpt2: LoadedModel) -> None:
    _, loose = scores(gpt2, "reagent", steps=40, rank=400)
    assert loose.details == {"steps": 8, "enough": True, "original": pytest.approx(loose.details["original"])}
    _, strict = scores(gpt2, "reagent", steps=20, rank=1, top=0.2)
    assert strict.details["steps"] == 20
    assert float(strict.total[: len(PROMPT)].sum()) == pytest.approx(1)
    assert (strict.total >= 0).all()


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("shapley_sampling", {"permutations": 3}, "an even number of at least 2"),
        ("kernel_shap", {"samples": 0}, "samples should be a whole number of at least 2, given 0"),
        ("lime", {"samples": 1}, "samples should be a whole number of at least 2, given 1"),
        ("lime", {"kernel_width": 0}, "kernel_width should be above 0"),
        ("context_cite", {"alpha": -1}, "alpha should be 0 or more"),
        ("context_cite", {"ablations": 0}, "at least 2, given 0"),
        ("hierarchical_leave_one_out", {"keep": 0}, "keep should be a share from 0 to 1"),
        ("hierarchical_leave_one_out", {"branch": 1}, "branch should be a whole number of at least 2"),
        ("guided_leave_one_out", {"guide": "lime"}, "the guide 'lime' is a what-if method itself"),
        ("guided_leave_one_out", {"budget": 0}, "budget should be a number of units of at least 1"),
        ("reagent", {"share": 1.5}, "share should be a share between 0 and 1"),
        ("reagent", {"steps": 0}, "given 0"),
    ],
)
def test_bad_parameters_say_what_is_expected(gpt2: LoadedModel, name: str, parameters: dict, sentence: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(OptionError, match=sentence):
        scores(gpt2, name, **parameters)


def test_shapley_of_the_whole_prompt_needs_something_to_stay(gpt2: LoadedModel) -> None:
    with pytest.raises(InputError, match="leaves nothing of the prompt"):
        scores(gpt2, "kernel_shap", [[i] for i in range(len(PROMPT))], samples=8)
    _, found = scores(gpt2, "kernel_shap", [[i] for i in range(len(PROMPT))], samples=8, replace="pad")
    assert found.total.isfinite().all()


def test_elimination_is_leave_one_out_in_rounds(family: LoadedModel) -> None:
    """By hand: plain leave-one-out of each shortened prompt, and the mean over the rounds that a unit was in."""
    places = list(range(1, 13))
    run, found = scores(family, "elimination", [[i] for i in places], shares=[0.25, 0.25])

    def value(gone: set[int]) -> torch.Tensor:
        row = [t for i, t in enumerate(PROMPT) if i not in gone]
        with torch.no_grad():
            logits = family.network(torch.tensor([row + ANSWER]), use_cache=False).logits[0]
        return torch.log_softmax(logits[len(row) - 1 : -1], -1)[torch.arange(len(ANSWER)), ANSWER].double()

    falls: dict[int, list[torch.Tensor]] = {i: [] for i in places}
    gone: set[int] = set()
    for k in range(3):
        whole = value(gone)
        for i in places:
            if i not in gone:
                falls[i].append(whole - value(gone | {i}))
        mean = {i: float(torch.stack(f).mean(0).sum()) for i, f in falls.items()}
        gone = set(sorted(places, key=lambda i: -mean[i])[: 3 * (k + 1)])
    expected = torch.stack([torch.stack(falls[i]).mean(0) for i in places], 1)  # [targets, units]
    assert found.matrix is not None
    torch.testing.assert_close(found.matrix[:, places].double(), expected, rtol=1e-4, atol=1e-5)
    assert found.details["rounds"] == [{"units": n, "measured": n, "guide": None} for n in (12, 9, 6)]
    assert run.forwards >= 12 + 9 + 6


def test_elimination_with_guides_measures_what_they_name(gpt2: LoadedModel) -> None:
    units = [[i] for i in range(1, 13)]
    _, found = scores(gpt2, "elimination", units, shares=[0.25], exact=[4, 0], guides=["gim:times_input=false", "ifr"])
    assert found.details["rounds"] == [
        {"units": 12, "measured": 4, "guide": "gim:times_input=false"},
        {"units": 9, "measured": 0, "guide": "ifr"},
    ]
    guided = scores(gpt2, "guided_leave_one_out", units, guide="gim:times_input=false", budget=4)[1].total[1:13]
    first = guided.argsort(descending=True)[:3]
    torch.testing.assert_close(
        found.total[1:13][first], guided[first]
    )  # what went after the first round keeps its score


def test_elimination_keeps_a_guide_that_is_not_asked_again(gpt2: LoadedModel) -> None:
    units = [[i] for i in range(1, 13)]
    run, found = scores(gpt2, "elimination", units, shares=[0.25], exact=[4, 3], guides=["saliency", None])
    asked, _ = scores(gpt2, "elimination", units, shares=[0.25], exact=[4, 3], guides=["saliency"])
    assert [r["guide"] for r in found.details["rounds"]] == ["saliency", None]
    assert run.backwards < asked.backwards
    assert [r["measured"] for r in found.details["rounds"]] == [4, 3]


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"shares": []}, "shares should be numbers above 0"),
        ({"shares": [0.6, 0.5]}, "add up to less than 1"),
        ({"exact": 2}, "needs guides"),
        ({"exact": -1}, "at least 0"),
        ({"exact": [1, 1, 1]}, "at most one for each of 2 rounds"),
        ({"exact": 2, "guides": "lime"}, "a what-if method itself"),
        ({"exact": 2, "guides": "lyme"}, "method"),
        ({"exact": 2, "guides": "gim:heat=3"}, "no parameter 'heat'"),
        ({"exact": 2, "guides": "gim:heat"}, "should look like"),
    ],
)
def test_elimination_says_what_is_expected(gpt2: LoadedModel, parameters: dict, sentence: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(OptionError, match=sentence):
        scores(gpt2, "elimination", **parameters)


def test_a_lost_run_costs_shapley_sampling_one_order(tiny, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """The other orders of the two units that it would have measured stand; the run is named."""
    real = ablate.effects

    def effects(*args, **kwargs):  # type: ignore[no-untyped-def]
        found = real(*args, **kwargs)
        found[2 * len(UNITS) + 1] = torch.nan  # the third order's second run
        return found

    model = tiny("llama", torch.float64)
    whole = method("shapley_sampling")(Run(model, PROMPT, ANSWER, objective("logprob"), units=UNITS), permutations=4)
    monkeypatch.setattr(ablate, "effects", effects)
    found = method("shapley_sampling")(Run(model, PROMPT, ANSWER, objective("logprob"), units=UNITS), permutations=4)
    assert found.details["ablations_not_finite"] == [2 * len(UNITS) + 1]
    assert "not_finite" not in found.details
    touched = [u for u, tokens in enumerate(UNITS) if float((found.total - whole.total)[tokens].abs().sum()) > 1e-9]
    assert len(touched) == 2
    assert found.total[: len(PROMPT)].isfinite().all()
