"""Bootstrap intervals: how far a number may lie from what other documents, prompts or examples would have given.

    from pellucid.lab.evaluation.bootstrap import of_mean
    of_mean([0.0, 1.0, 1.0, 1.0])          # Estimate(value=0.75, low=0.25, high=1.0, units=4)

Units (documents, prompts, examples) are drawn with replacement, as many as there are, ``RESAMPLES`` times; the
interval is from the 2.5th to the 97.5th percentile of the number over these (the percentile interval; Efron and
Tibshirani 1993, An Introduction to the Bootstrap, chapter 13). Texts of one unit stay together, because they are
alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
LEVEL = 0.95
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % interval (None where fewer than two units, or no value, leave it open), and how many units
    it comes from."""

    value: float | None
    low: float | None
    high: float | None
    units: int


def of_mean(values: Sequence[float], *, seed: int = 0) -> Estimate:
    """The mean of one number a unit."""
    column = np.asarray(values, dtype=np.float64)[:, None]
    pairs = np.concatenate([column, np.ones_like(column)], axis=1)  # [units, 2]
    return of_sums(pairs, ratio, seed=seed)


def ratio(sums: Numbers) -> Numbers:
    """First column over second: sums [..., 2] to [...]; NaN for 0 / 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Numbers = sums[..., 0] / sums[..., 1]
    return found


def of_sums(parts: npt.ArrayLike, formula: Callable[[Numbers], Numbers], *, seed: int = 0) -> Estimate:
    """A number that ``formula`` makes of sums over all units: of ``parts`` [units, columns] to a value, and of many
    sums [resamples, columns] to [resamples]. Ratios of sums and corpus metrics (BLEU's counts, a confusion table) are
    such.
    """
    table = np.asarray(parts, dtype=np.float64)  # [units, columns]
    units = len(table)
    if units == 0:
        return Estimate(None, None, None, 0)
    value = float(formula(table.sum(axis=0)))
    if units == 1:
        return Estimate(_known(value), None, None, 1)
    sums = np.empty((RESAMPLES, table.shape[1]))
    for k, drawn in enumerate(_draws(units, seed)):
        sums[k] = np.bincount(drawn, minlength=units) @ table
    return Estimate(_known(value), *_interval(formula(sums)), units)


def of_groups(groups: Sequence[Sequence[float]], statistic: Callable[[Numbers], float], *, seed: int = 0) -> Estimate:
    """A statistic of all numbers together (a quantile, a spread), where each unit brings some: units are drawn
    whole."""
    arrays = [np.asarray(g, dtype=np.float64) for g in groups]
    if sum(map(len, arrays)) == 0:
        return Estimate(None, None, None, len(arrays))
    value = float(statistic(np.concatenate(arrays)))
    if len(arrays) == 1:
        return Estimate(_known(value), None, None, 1)
    found = np.full(RESAMPLES, math.nan)
    for k, drawn in enumerate(_draws(len(arrays), seed)):
        numbers = np.concatenate([arrays[i] for i in drawn])
        if len(numbers):
            found[k] = statistic(numbers)
    return Estimate(_known(value), *_interval(found), len(arrays))


def _draws(units: int, seed: int) -> Sequence[npt.NDArray[np.int64]]:
    """The units of each resample; the same for the same number of units and seed, so that measures of the same units
    are resampled alike."""
    random = np.random.default_rng(seed)
    return [random.integers(0, units, size=units) for _ in range(RESAMPLES)]


def _interval(values: Numbers) -> tuple[float | None, float | None]:
    known = values[np.isfinite(values)]
    if not len(known):
        return None, None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
