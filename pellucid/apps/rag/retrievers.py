"""Ways to find passages: words in common, vectors near each other, or both.

    RETRIEVERS["hybrid"](knowledge, "How do I resume training?", 5, None)

To add one: a function (index, query, k, allowed) -> hits, best first, and a line in ``RETRIEVERS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pellucid.apps.rag.bm25 import Bm25
from pellucid.apps.rag.dense import Embedder
from pellucid.apps.rag.fusion import fused
from pellucid.apps.rag.terms import Terms

#: Which passages may be found [passages]; None: all.
Allowed = npt.NDArray[np.bool_] | None
#: How far down each ranking is read for the hybrid: this, or ten times what is asked for.
DEPTH = 100


class Index(Protocol):
    """What a retriever asks of an index. Passages are numbered 0 to n - 1."""

    @property
    def terms(self) -> Terms:
        """How texts are cut into terms."""
        ...

    @property
    def bm25(self) -> Bm25:
        """Word statistics."""
        ...

    @property
    def vectors(self) -> npt.NDArray[np.float32]:
        """[passages, width]; raises ``OptionError`` where the index has none."""
        ...

    @property
    def embedder(self) -> Embedder:
        """What made the vectors."""
        ...


@dataclass(frozen=True)
class Hit:
    """Passage ``row``, larger scores first; ``ranks`` as in ``Found``."""

    row: int
    score: float
    ranks: dict[str, int] = field(default_factory=dict)


def best(scores: npt.NDArray[np.float32], k: int, allowed: Allowed) -> list[Hit]:
    """The ``k`` largest scores above zero; of equal ones the earlier passage."""
    if allowed is not None:
        scores = np.where(allowed, scores, np.float32(0))
    order = np.argsort(-scores, kind="stable")[:k]
    return [Hit(int(i), float(scores[i])) for i in order if scores[i] > 0]


def by_words(index: Index, query: str, k: int, allowed: Allowed) -> list[Hit]:
    """BM25."""
    return best(index.bm25.scores(index.terms.of(query)), k, allowed)


def by_vectors(index: Index, query: str, k: int, allowed: Allowed) -> list[Hit]:
    """The cosine of question and passage."""
    vectors = index.vectors
    return best(vectors @ index.embedder.query(query), k, allowed)


def by_both(index: Index, query: str, k: int, allowed: Allowed) -> list[Hit]:
    """Reciprocal rank fusion of both."""
    depth = max(DEPTH, 10 * k)
    rankings = {name: [h.row for h in RETRIEVERS[name](index, query, depth, allowed)] for name in ("bm25", "dense")}
    return [Hit(row, score, ranks) for row, score, ranks in fused(rankings)[:k]]


Retriever = Callable[[Index, str, int, Allowed], list[Hit]]
RETRIEVERS: dict[str, Retriever] = {"bm25": by_words, "dense": by_vectors, "hybrid": by_both}
#: Those that need an index with vectors.
DENSE = ("dense", "hybrid")
