"""Combinations and agreement against numpy by hand and scipy; other tokenizers; prompts that differ."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import scipy.stats
from samples import sample

import pellucid
from pellucid.errors import InputError, OptionError
from pellucid.trace.aligned import aligned, ranks, shares
from pellucid.trace.combine import agreement, combine, spearman
from pellucid.trace.explain import explain
from pellucid.trace.result import Source, Trace, UnitScore

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "pellucid.trace-1.schema.json").read_text())


def scored(values: list[float], *, signed: bool = True, name: str = "a", **options: object) -> Trace:
    """The sample with these scores on the user's tokens, and 100 on the template's."""
    trace = sample("a b a 法", signed=signed, **options)  # type: ignore[arg-type]
    total = np.full(len(trace.sources), 100, dtype=np.float32)
    total[list(trace.content)] = values
    return replace(trace, total=total, method=replace(trace.method, name=name, signed=signed))


A, B = [1.0, -2.0, 3.0, 0.0], [0.5, 0.5, -4.0, 1.0]
ONE, TWO = scored(A, name="a"), scored(B, name="b")


def content(trace: Trace) -> np.ndarray:  # type: ignore[type-arg]
    return trace.total[list(trace.content)].astype(np.float64)


def rank01(x: list[float]) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(scipy.stats.rankdata(np.abs(x)) / len(x))


a, b = np.array(A), np.array(B)
BY_HAND = {
    ("mean", "sum_abs"): (a / 6 + b / 6) / 2,
    ("mean", "max_abs"): (a / 3 + b / 4) / 2,
    ("mean", "none"): (a + b) / 2,
    ("mean", "rank"): (np.array([1, -1, 1, 1]) * rank01(A) + np.array([1, 1, -1, 1]) * rank01(B)) / 2,
    ("max_abs", "none"): np.array([1.0, -2.0, -4.0, 1.0]),
    ("max_abs", "max_abs"): np.array([1 / 3, -2 / 3, 1.0, 0.25]),  # a draw goes to the first trace
    ("product", "sum_abs"): np.abs(a / 6) * np.abs(b / 6),
    ("product", "rank"): rank01(A) * rank01(B),
    ("mean_rank", "sum_abs"): (rank01(A) + rank01(B)) / 2,
    ("mean_rank", "none"): (rank01(A) + rank01(B)) / 2,
}


@pytest.mark.parametrize(("how", "normalize"), sorted(BY_HAND))
def test_combinations_by_hand(how: str, normalize: str) -> None:
    trace = combine([ONE, TWO], how=how, normalize=normalize)
    np.testing.assert_allclose(content(trace), BY_HAND[how, normalize], rtol=1e-6, atol=1e-7)
    assert trace.method.name == f"combine({how}: a, b)"
    assert trace.method.signed == (how in ("mean", "max_abs"))
    frame = [i for i in range(len(trace.sources)) if i not in trace.content]
    assert np.isnan(trace.total[frame]).all() == (normalize == "rank" or how == "mean_rank")
    assert trace.trust is None
    assert trace.trust_note == "not measured: a combination of traces"
    assert trace.cost.forward_passes == ONE.cost.forward_passes + TWO.cost.forward_passes
    data = json.loads(trace.to_json())
    jsonschema.validate(data, SCHEMA)
    assert Trace.from_dict(data).to_json() == trace.to_json()


def test_signed_only_if_all_are() -> None:
    plain = scored([1.0, 1.0, 2.0, 0.0], signed=False, name="p")
    trace = combine([ONE, plain], normalize="none")
    assert not trace.method.signed
    np.testing.assert_allclose(content(trace), (np.abs(a) + np.array([1, 1, 2, 0])) / 2)


def test_what_one_did_not_measure_is_not_combined() -> None:
    hole = scored([1.0, float("nan"), 2.0, 3.0])
    for how in ("mean", "max_abs", "product", "mean_rank"):
        found = content(combine([ONE, hole], how=how))
        assert np.isnan(found).tolist() == [False, True, False, False]
    assert combine([ONE, hole]).top(4)[-1].index == ONE.content[1]


def test_a_word_that_stands_twice_stays_two_entries() -> None:
    trace = combine([ONE, TWO], normalize="none")
    texts = [trace.sources[i].text for i in trace.content]
    assert [t.strip() for t in texts] == ["a", "b", "a", "法"]
    found = content(trace)
    assert found[0] == pytest.approx(0.75)
    assert found[2] == pytest.approx(-0.5)


def retokenized(trace: Trace, pieces: list[tuple[str, int, int, float]]) -> Trace:
    """The same prompt in other tokens, with other template tokens: two before, one after."""
    frame = [Source(t, 900 + k, None, None, "template", None, k) for k, t in enumerate("<>")]
    own = [Source(t, 700 + k, x, y, "user", 0, 2 + k) for k, (t, x, y, _) in enumerate(pieces)]
    sources = (*frame, *own, Source("!", 999, None, None, "special", None, 99))
    total = np.array([9, 9, *(s for *_, s in pieces), 9], dtype=np.float32)
    return replace(trace, sources=sources, total=total, scores=None, method=replace(trace.method, name="other"))


def test_other_tokenizers_are_aligned_by_characters() -> None:
    # "a b a 法": tokens "a", " b", " a", " 法" beside "a b", " a", and two byte pieces of " 法".
    other = retokenized(ONE, [("a b", 0, 3, 3.0), (" a", 3, 5, 8.0), (" 法", 5, 7, 1.0), (" 法", 5, 7, 0.5)])
    found = aligned([ONE, other])
    np.testing.assert_allclose(found[1][list(ONE.content)], [1.0, 2.0, 8.0, 1.5])
    frame = [i for i in range(len(ONE.sources)) if i not in ONE.content]
    assert np.isnan(found[1][frame]).all()
    back = aligned([other, ONE])[1]
    np.testing.assert_allclose(back[2:-1], [1 - 2, 3.0, 0.0, 0.0])
    # Nothing is lost or counted twice, either way.
    np.testing.assert_allclose(shares(ONE, other).sum(axis=0)[2:-1], 1)
    np.testing.assert_allclose(shares(other, ONE).sum(axis=0)[list(ONE.content)], 1)
    assert content(combine([ONE, other], normalize="none")).sum() == pytest.approx((sum(A) + 12.5) / 2)
    assert agreement([ONE, other]).entries == 4


def test_two_models_with_two_tokenizers(tiny, embedded: pellucid.Model) -> None:  # type: ignore[no-untyped-def]
    prompt = "What is the capital of France? 法国的首都 🎉"
    one = explain(tiny(), prompt, "Paris", method="input_x_gradient", trust=False)
    two = embedded.explain(prompt, "Paris", method="input_x_gradient", trust=False)
    moved = aligned([one, two])[1]
    np.testing.assert_allclose(np.nansum(moved), two.total[list(two.content)].astype(np.float64).sum(), rtol=1e-5)
    trace = combine([one, two])
    assert len(trace.total) == len(one.sources)
    assert np.isfinite(trace.total[list(trace.content)]).all()
    assert {d["model"] for d in trace.details["combined"]} == {"llama", "smollm2-135m-instruct"}


def test_units_are_combined_where_they_are_the_same() -> None:
    def with_units(trace: Trace, scores: list[float]) -> Trace:
        i, j = trace.content[0], trace.content[1]
        units = (UnitScore("word 1", "a", 0, 1, 0, (i,), scores[0]), UnitScore("word 2", "b", 2, 3, 0, (j,), scores[1]))
        return replace(trace, unit="word", units=units)

    both = [with_units(ONE, [1.0, -3.0]), with_units(TWO, [2.0, 2.0])]
    trace = combine(both)
    assert [u.score for u in trace.units] == pytest.approx([(0.25 + 0.5) / 2, (-0.75 + 0.5) / 2])
    assert combine([both[0], TWO]).units == ()
    assert agreement(both).entries == 2


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (sample("a b c 法"), r"the prompts differ: message 0 at character 4, 'c 法' and 'a 法'"),
        (sample("a b a 法!"), "message 0 at character 7, '!' and ''"),
        (sample("a b a 法", chat=False), "message 0 is by user and by nobody|the text is by nobody and by user"),
    ],
)
def test_prompts_that_differ(other: Trace, message: str) -> None:
    with pytest.raises(InputError, match=message):
        combine([other, ONE])
    with pytest.raises(InputError, match="the prompts differ"):
        agreement([ONE, other])


def test_bad_options() -> None:
    with pytest.raises(OptionError, match="unknown how 'median'"):
        combine([ONE], how="median")
    with pytest.raises(OptionError, match="unknown normalize 'z'"):
        combine([ONE], normalize="z")
    with pytest.raises(InputError, match="nothing to combine"):
        combine([])
    with pytest.raises(InputError, match="nothing to compare"):
        agreement([])
    with pytest.raises(InputError, match="top_k should be at least 1"):
        agreement([ONE], top_k=0)


def test_ranks_and_spearman_equal_scipy() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        x, y = random.integers(0, 6, (2, 12)).astype(float)
        np.testing.assert_allclose(ranks(x), scipy.stats.rankdata(x))
        if np.ptp(x) and np.ptp(y):
            assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
    hole = np.array([1.0, np.nan, 3.0, 2.0, 7.0])
    assert spearman(hole, np.array([4.0, 0.0, 1.0, 2.0, 2.5])) == pytest.approx(
        scipy.stats.spearmanr([1, 3, 2, 7], [4, 1, 2, 2.5]).statistic
    )
    assert np.isnan(spearman(np.ones(3), np.arange(3.0)))
    assert np.isnan(spearman(np.array([np.nan]), np.array([1.0])))


def test_agreement_by_hand() -> None:
    found = agreement([ONE, TWO], top_k=2)
    expected = scipy.stats.spearmanr(np.abs(A), np.abs(B)).statistic
    np.testing.assert_allclose(found.spearman, [[1, expected], [expected, 1]])
    np.testing.assert_allclose(found.overlap, [[1, 0.5], [0.5, 1]])  # {3, -2} and {-4, 1}
    assert (found.methods, found.top_k, found.entries) == (("a", "b"), 2, 4)
    assert agreement([ONE, TWO]).top_k == 4
