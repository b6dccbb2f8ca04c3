"""How well a ranking finds what is wanted: precision, and whether one of the first few is right.

    average_precision(scores, wanted), hit(scores, wanted, k=3)

Equal scores are no ranking: precision is taken where a run of equal scores ends, and ``hit`` is the chance under a
random order among them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def average_precision(scores: Floats, positive: Bools) -> float:
    """sum over thresholds of (recall gained) x precision there (Manning et al. 2008, ch. 8); NaN where nothing is
    positive. Random scores give about the share of positives."""
    wanted = int(positive.sum())
    if not wanted:
        return math.nan
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(positive[order])  # [entries]
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # the last of each run of equal scores
    precision = found[ends] / (ends + 1)
    gained = np.diff(np.concatenate([[0], found[ends]])) / wanted
    return float((precision * gained).sum())


def hit(scores: Floats, positive: Bools, k: int) -> float:
    """The chance that one of the ``k`` largest is positive, equal scores in random order; NaN where nothing is."""
    if not positive.any():
        return math.nan
    if k >= len(scores):
        return 1.0
    cut = np.sort(scores)[-k]  # the k-th largest
    above, tied = scores > cut, scores == cut
    if (positive & above).any():
        return 1.0
    drawn, right = k - int(above.sum()), int((positive & tied).sum())
    wrong = int(tied.sum()) - right
    return 1.0 - math.comb(wrong, drawn) / math.comb(wrong + right, drawn)
