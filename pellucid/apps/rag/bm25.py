"""BM25 over an index's passages (bm25s), and what each word of a question adds to a passage's score.

score(question, passage) = sum over the question's terms t of
    ln(1 + (N - n_t + 0.5) / (n_t + 0.5)) * f / (f + k1 * (1 - b + b * length / mean length))

N passages, n_t of them with t; f times t in this one; lengths in terms. Robertson and Zaragoza 2009, as Lucene has it
(Kamphuis et al. 2020), by bm25s (Lu 2024, arXiv:2407.03618). A sum, so that a word's part in it is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pellucid.apps.rag.reading import needed

K1, B, METHOD = 1.5, 0.75, "lucene"
Floats = npt.NDArray[np.float32]


def build(terms: Sequence[Sequence[str]], folder: Path) -> None:
    """Write the index of passages' terms to ``folder``."""
    library = needed("bm25s", "bm25s", "retrieval")
    index = library.BM25(k1=K1, b=B, method=METHOD)
    # Without one term in all of them the mean length is zero: a term that no question has stands in.
    corpus = [list(t) for t in terms] if any(terms) else [[""] for _ in terms]
    index.index(corpus, show_progress=False)
    index.save(folder, show_progress=False)


class Bm25:
    """A written index, in memory."""

    def __init__(self, folder: Path) -> None:
        library = needed("bm25s", "bm25s", "retrieval")
        self.index: Any = library.BM25.load(folder, load_corpus=False, show_progress=False)

    def _known(self, terms: Sequence[str]) -> list[str]:
        return [t for t in terms if t in self.index.vocab_dict]  # bm25s fails where none of them is

    def scores(self, terms: Sequence[str]) -> Floats:
        """Every passage's score [passages]; a term that comes twice counts twice."""
        known = self._known(terms)
        if not known:
            return np.zeros(int(self.index.scores["num_docs"]), dtype=np.float32)
        return np.asarray(self.index.get_scores(known), dtype=np.float32)

    def shares(self, terms: Sequence[str], row: int) -> dict[str, float]:
        """What each term adds to a passage's score, where it adds something."""
        parts = {t: float(self.scores([t])[row]) * list(terms).count(t) for t in dict.fromkeys(self._known(terms))}
        return {t: s for t, s in parts.items() if s > 0}
