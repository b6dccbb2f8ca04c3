"""Reciprocal rank fusion: several rankings to one (Cormack, Clarke and Buettcher, SIGIR 2009).

    fused({"bm25": [7, 3, 9], "dense": [3, 5]})[0]           # (3, 1/62 + 1/61, {"bm25": 2, "dense": 1})

An item's score is the sum of 1 / (k + rank) over the rankings that hold it, ranks from 1, k = 60.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

K = 60


def fused(rankings: Mapping[str, Sequence[int]], *, k: int = K) -> list[tuple[int, float, dict[str, int]]]:
    """(item, score, its rank in each ranking that holds it), best first; of equal ones the smaller item."""
    ranks: dict[int, dict[str, int]] = {}
    for name, items in rankings.items():
        for rank, item in enumerate(items, 1):
            ranks.setdefault(item, {})[name] = rank
    scored = [(item, sum(1 / (k + r) for r in own.values()), own) for item, own in ranks.items()]
    return sorted(scored, key=lambda s: (-s[1], s[0]))
