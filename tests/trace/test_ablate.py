"""What-if runs against whole runs of each shortened prompt, without cache or batches, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.errors import InputError, OptionError
from pellucid.models.load import LoadedModel
from pellucid.trace import ablate
from pellucid.trace.engine import Run
from pellucid.trace.methods import method
from pellucid.trace.objective import objective

PROMPT, ANSWER = [5, 80, 33, 120, 64, 9, 200, 41, 3, 77, 60, 61, 62, 15], [17, 99, 150]
UNITS = [[1], [2, 3, 4], [6], [7, 9], [10, 11, 12, 13]]


def make(model: LoadedModel, units: list[list[int]] | None = None, **options: object) -> Run:
    return Run(model, PROMPT, ANSWER, objective("logprob"), units=units or UNITS, **options)  # type: ignore[arg-type]


def plain(model: LoadedModel, prompt: list[int]) -> torch.Tensor:
    """Log-probabilities of the answer's tokens after ``prompt`` [targets], in one ordinary pass."""
    with torch.no_grad():
        logits = model.network(torch.tensor([prompt + ANSWER]), use_cache=False).logits[0]
    rows = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
    return rows[torch.arange(len(ANSWER)), ANSWER].double()


def without(gone: list[int], put: list[int] | None = None) -> list[int]:
    if put is None:
        return [t for i, t in enumerate(PROMPT) if i not in gone]
    return [put[i] if i in gone else t for i, t in enumerate(PROMPT)]


@pytest.mark.parametrize("tokens", [1, 40, 10_000])
def test_effects_are_whole_runs(family: LoadedModel, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the batches; windows, learned positions and grouped heads included."""
    monkeypatch.setitem(ablate._TOKENS, "cpu", tokens)
    run = make(family)
    random = np.random.default_rng(0)
    kept = np.concatenate([random.random((12, len(UNITS))) < 0.6, ~np.eye(5, dtype=bool), np.ones((1, 5), bool)])
    found = ablate.effects(run, kept)
    for mask, row in zip(kept, found, strict=True):
        gone = [i for u, stays in zip(UNITS, mask, strict=True) if not stays for i in u]
        torch.testing.assert_close(row, plain(family, without(gone)), rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(ablate.original(run), plain(family, PROMPT), rtol=2e-6, atol=2e-6)
    assert run.logits is not None
    assert run.logits.shape[0] == len(ANSWER)


@pytest.mark.parametrize("replace", ["pad", "neutral", "sample", 44])
def test_replacing_keeps_places(family: LoadedModel, replace: str | int) -> None:
    run = make(family, seed=3)
    put = ablate.replacements(make(family, seed=3), replace)
    assert put is not None
    assert len(put) == len(PROMPT)
    expected = {"pad": family.tokenizer.pad_token_id, 44: 44}
    if replace in expected:
        assert set(put) == {expected[replace]}
    kept = ~np.eye(len(UNITS), dtype=bool)
    for unit, row in zip(UNITS, ablate.effects(run, kept, replace=replace), strict=True):
        torch.testing.assert_close(row, plain(family, without(unit, put)), rtol=2e-6, atol=2e-6)


def test_sampled_tokens_follow_the_models_predictions(tiny) -> None:  # type: ignore[no-untyped-def]
    """By frequency over many draws, at one place; and one seed draws the same."""
    model = tiny("llama", torch.float64)
    run = make(model)
    random = torch.Generator().manual_seed(0)
    draws = torch.tensor([ablate.sampled(run, random) for _ in range(1500)])
    with torch.no_grad():
        p = torch.softmax(model.network(torch.tensor([PROMPT])).logits[0, 4], -1)
    best = int(p.argmax())
    share, error = float((draws[:, 5] == best).double().mean()), float((p[best] * (1 - p[best]) / 1500).sqrt())
    assert abs(share - float(p[best])) < 4 * error
    assert (draws[:, 0] == PROMPT[0]).all()
    assert ablate.replacements(make(model, seed=5), "sample") == ablate.replacements(make(model, seed=5), "sample")


def test_equal_ablations_run_once(tiny) -> None:  # type: ignore[no-untyped-def]
    run = make(tiny("llama"))
    found = ablate.effects(run, [[True, False, True, True, True]] * 7)
    assert run.forwards == 2  # the original and one
    assert (found == found[0]).all()


def test_leave_one_out_by_brute_force(family: LoadedModel) -> None:
    run = make(family, per_token=True, selected=[0, 2])
    found = method("leave_one_out")(run)
    falls = torch.stack([plain(family, PROMPT) - plain(family, without(u)) for u in UNITS])[:, [0, 2]]
    assert found.matrix is not None
    for u, fall in zip(UNITS, falls, strict=True):
        torch.testing.assert_close(found.matrix[[0, 2]][:, u].sum(1), fall, rtol=1e-4, atol=4e-6)
        torch.testing.assert_close(found.total[u].sum(), fall.sum(), rtol=1e-4, atol=4e-6)
        assert len({float(x) for x in found.total[u]}) == 1, "a unit's score is shared equally"
    assert found.matrix[1].isnan().all()
    assert found.matrix[:, len(PROMPT) :].isnan().all()
    measured = [i for u in UNITS for i in u]
    assert found.measured is not None
    assert found.measured.nonzero()[:, 0].tolist() == sorted(measured)


def test_a_nan_stays_with_its_ablation(tiny, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    model = tiny("llama")
    forward = model.network.forward

    def poisoned(*args, **kwargs):  # type: ignore[no-untyped-def]
        out = forward(*args, **kwargs)
        ids = kwargs["input_ids"]
        rows = (ids == 200).sum(1) == 0  # where token 200, unit 2, is missing
        if ids.shape[1] > 8:
            out.logits[rows] = torch.nan
        return out

    monkeypatch.setattr(model.network, "forward", poisoned)
    monkeypatch.setitem(ablate._TOKENS, "cpu", 1)
    monkeypatch.setattr(ablate._Original, "prefix", lambda *a: None)
    run = make(model)
    ablate.original(run)
    run.shared["original"].cache = None
    found = method("leave_one_out")(run)
    assert found.details["not_finite"] == [2]
    assert found.total[6].isnan()
    assert found.total[[i for i in range(len(PROMPT)) if i != 6]].isfinite().all()


def test_nothing_left_is_refused(tiny) -> None:  # type: ignore[no-untyped-def]
    run = make(tiny("llama"), [list(range(len(PROMPT)))])
    with pytest.raises(InputError, match="ablation 1 of 1 leaves nothing of the prompt"):
        method("leave_one_out")(run)


@pytest.mark.parametrize(
    ("replace", "sentence"),
    [("noise", "unknown replacement 'noise': expected one of remove"), (9999, "the token 9999 is")],
)
def test_unknown_replacements(tiny, replace: str | int, sentence: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError, match=sentence):
        method("leave_one_out")(make(tiny("llama")), replace=replace)


def test_an_interrupt_passes_through(tiny) -> None:  # type: ignore[no-untyped-def]
    def stop(stage: str, done: float, total: float | None) -> None:
        if stage == "leaving out":
            raise KeyboardInterrupt

    model = tiny("llama")
    with pytest.raises(KeyboardInterrupt):
        method("leave_one_out")(make(model, progress=stop))
    assert torch.isfinite(model.network(torch.tensor([PROMPT])).logits).all()
