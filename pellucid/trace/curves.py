"""Numbers that say how well a ranking holds, from what the model said as parts of its input went: formulas alone.

    drops = [whole - x for x in deletion]; comprehensiveness(drops)

A deletion curve is the value when the best share f of the candidates is gone, an insertion curve the value when all
but the best share f are gone. Values are the objective's, a mean over the explained targets, in its own unit.

- comprehensiveness: mean over f in ``FRACTIONS`` of value(whole) - deletion(f); sufficiency: of value(whole) -
  insertion(f). DeYoung et al. 2020, ERASER (arXiv:1911.03429).
- area under a curve: trapezoids over f from 0 to 1. In probability, exp(mean log p), these are RISE's deletion and
  insertion scores: Petsiuk et al. 2018 (arXiv:1806.07421).
- MAS, magnitude aligned scoring: Walker et al. 2024 (arXiv:2310.01538). With n(f) the curve brought to 0..1 (nothing
  left .. whole) and m(f) the share of the scores' magnitude that is still there, the penalty is |n - m|: the area under
  min(1, n + |n - m|) for deletion, max(0, n - |n - m|) for insertion.
- linear datamodelling score: Spearman's rank correlation of the sums of the scores that random ablations keep with the
  values under them (``combine.spearman``). Park et al. 2023, TRAK (arXiv:2303.14186).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pellucid.trace.aligned import ranks

Floats = npt.NDArray[np.floating]

#: Shares at which comprehensiveness and sufficiency are taken.
FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5)
#: Where the curves are sampled.
GRID = (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 0.75, 1.0)


def counts(candidates: int) -> list[int]:
    """How many candidates each share of ``GRID`` is: rounded, at least one above 0, and all of them only at 1."""
    most = max(candidates - 1, 1)
    return [0, *(min(max(1, round(f * candidates)), most) for f in GRID[1:-1]), candidates]


def at_fractions(curve: Sequence[float]) -> list[float]:
    """The values of a curve on ``GRID`` at ``FRACTIONS``."""
    return [curve[GRID.index(f)] for f in FRACTIONS]


def area(curve: Sequence[float]) -> float:
    """Area under values on ``GRID``, by trapezoids."""
    steps = zip(GRID[:-1], GRID[1:], curve[:-1], curve[1:], strict=True)
    return float(sum((b - a) * (y + z) / 2 for a, b, y, z in steps))


def comprehensiveness(deletion: Sequence[float]) -> float:
    """value(whole) - value without the best, mean over ``FRACTIONS``; a deletion curve begins with the whole."""
    return float(np.mean([deletion[0] - value for value in at_fractions(deletion)]))


def sufficiency(insertion: Sequence[float]) -> float:
    """value(whole) - value of the best alone, mean over ``FRACTIONS``; an insertion curve ends with the whole."""
    return float(np.mean([insertion[-1] - value for value in at_fractions(insertion)]))


def normalised(curve: Sequence[float], nothing: float, whole: float) -> list[float]:
    """The curve brought to 0 (nothing left) .. 1 (whole), cut off there; 0 where both ends are equal."""
    way = whole - nothing
    return [float(min(max((y - nothing) / way, 0.0), 1.0)) if way else 0.0 for y in curve]


def aligned(curve: Sequence[float], mass: Sequence[float], *, insertion: bool) -> float:
    """MAS of a normalised curve; ``mass`` is the share of the scores' magnitude still there at each point."""
    penalty = [abs(n - m) for n, m in zip(curve, mass, strict=True)]
    if insertion:
        return area([max(0.0, n - p) for n, p in zip(curve, penalty, strict=True)])
    return area([min(1.0, n + p) for n, p in zip(curve, penalty, strict=True)])


def roc_area(scores: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the chance that a positive entry outranks a negative one; NaN where one is missing."""
    wanted, others = int(positive.sum()), int((~positive).sum())
    if not wanted or not others:
        return math.nan
    return float(ranks(scores)[positive].sum() - wanted * (wanted + 1) / 2) / (wanted * others)


def interval(values: Sequence[float], *, seed: int = 0, draws: int = 2000, level: float = 0.95) -> tuple[float, float]:
    """Bootstrap interval of the mean: percentiles of means of samples drawn with replacement (Efron 1979). NaN values
    are left out; NaN for both ends where fewer than two are left."""
    x = np.asarray([v for v in values if math.isfinite(v)], dtype=np.float64)
    if len(x) < 2:
        return math.nan, math.nan
    random = np.random.default_rng(seed)
    means = x[random.integers(0, len(x), (draws, len(x)))].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
