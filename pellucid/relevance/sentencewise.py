"""Each token's score times the square of its sentence's mean: what answers a query stands in a sentence about it.

tokens = by_sentence(text, tokens)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pellucid.relevance.result import Part
from pellucid.trace.segments import sentences


def by_sentence(text: str, tokens: Sequence[Part]) -> tuple[Part, ...]:
    """Tokens whose scores are multiplied by (the mean score of their sentence / the text's mean)^2, so that the unit
    stays and a text of one sentence keeps its scores. Scores that are None stay so, and count for no mean."""
    known = [t.score for t in tokens if t.score is not None]
    whole = float(np.mean(known)) if known else 0.0
    if not whole:
        return tuple(tokens)
    owner = sentence_of([(t.start, t.end) for t in tokens], sentences(text)).tolist()
    of: dict[int, list[float]] = {}
    for t, k in zip(tokens, owner, strict=True):
        if t.score is not None:
            of.setdefault(k, []).append(t.score)
    factor = {k: (float(np.mean(v)) / whole) ** 2 for k, v in of.items()}
    return tuple(
        t if t.score is None else replace(t, score=t.score * factor[k]) for t, k in zip(tokens, owner, strict=True)
    )


def sentence_of(tokens: Sequence[tuple[int, int]], parts: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """The sentence of each token [tokens]: the one that its last character stands in, or follows."""
    at = np.searchsorted([a for a, _ in parts], [b - 1 for _, b in tokens], side="right") - 1
    return np.asarray(np.clip(at, 0, None), dtype=np.int64)
