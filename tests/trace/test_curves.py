"""Formulas of faithfulness against closed forms, plain loops and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pellucid.trace import curves


def trapezoids(values: list[float], places: tuple[float, ...]) -> float:
    return sum((places[i + 1] - places[i]) * (values[i] + values[i + 1]) / 2 for i in range(len(places) - 1))


def test_area_of_a_line_and_of_a_step() -> None:
    assert curves.area([2 - f for f in curves.GRID]) == pytest.approx(1.5)
    steps = [1.0 if f < 0.5 else 0.0 for f in curves.GRID]
    assert curves.area(steps) == pytest.approx(trapezoids(steps, curves.GRID))


def test_counts_never_reach_all_before_the_end() -> None:
    assert curves.counts(200) == [0, 2, 10, 20, 40, 100, 150, 200]
    for n in range(2, 40):
        found = curves.counts(n)
        assert found[0] == 0
        assert found[-1] == n
        assert all(1 <= k < n for k in found[1:-1])
        assert found == sorted(found)


def test_comprehensiveness_and_sufficiency_are_mean_drops() -> None:
    deletion = [0.0, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0]
    assert curves.comprehensiveness(deletion) == pytest.approx((1 + 2 + 3 + 4 + 5) / 5)
    insertion = [-7.0, -5.0, -4.0, -3.0, -2.0, -1.0, -0.5, 0.0]
    assert curves.sufficiency(insertion) == pytest.approx((5 + 4 + 3 + 2 + 1) / 5)


def test_mas_is_the_plain_area_where_scores_and_answer_fall_together() -> None:
    fall = [1 - f for f in curves.GRID]
    assert curves.aligned(fall, fall, insertion=False) == pytest.approx(curves.area(fall))
    rise = list(curves.GRID)
    assert curves.aligned(rise, rise, insertion=True) == pytest.approx(curves.area(rise))


def test_mas_charges_the_gap() -> None:
    fall, mass = [1 - f for f in curves.GRID], [(1 - f) ** 2 for f in curves.GRID]
    by_hand = [min(1.0, n + abs(n - m)) for n, m in zip(fall, mass, strict=True)]
    assert curves.aligned(fall, mass, insertion=False) == pytest.approx(trapezoids(by_hand, curves.GRID))
    rise = list(curves.GRID)
    by_hand = [max(0.0, n - abs(n - m)) for n, m in zip(rise, mass, strict=True)]
    assert curves.aligned(rise, mass, insertion=True) == pytest.approx(trapezoids(by_hand, curves.GRID))


def test_normalised_ends_at_0_and_1_and_is_cut_there() -> None:
    assert curves.normalised([0.2, 0.5, 0.9, 1.0], 0.2, 0.8) == pytest.approx([0.0, 0.5, 1.0, 1.0])
    assert curves.normalised([0.3, 0.3], 0.3, 0.3) == [0.0, 0.0]


def test_roc_area_is_the_share_of_pairs_in_order() -> None:
    random = np.random.default_rng(0)
    scores, positive = random.integers(0, 6, 40).astype(float), random.random(40) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    assert curves.roc_area(scores, positive) == pytest.approx(np.mean(pairs))
    assert math.isnan(curves.roc_area(scores, np.zeros(40, dtype=bool)))


def test_interval_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    hits = 0
    for k in range(300):
        low, high = curves.interval(random.normal(size=40).tolist(), seed=k, draws=500)
        hits += low <= 0 <= high
    assert 0.90 <= hits / 300 <= 0.98


def test_interval_is_like_scipys_and_leaves_nan_out() -> None:
    values = np.random.default_rng(2).normal(3, 2, 60).tolist()
    theirs = stats.bootstrap((values,), np.mean, method="percentile").confidence_interval
    low, high = curves.interval([*values, math.nan])
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.05)
    assert all(math.isnan(x) for x in curves.interval([1.0]))
