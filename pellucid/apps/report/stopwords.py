"""Function words of English and Chinese, from two libraries (the extra ``report``).

    stop_words() and "the" in stop_words()

English is ``bm25s``'s list of 179 words, Chinese ``stopwordsiso``'s of 794. The other way round both hold words that
say something: ``keys`` and ``old`` here, ``问题`` and ``伟大`` there (docs/decisions.md).
"""

from __future__ import annotations

from functools import cache

#: How to have them.
EXTRA = "pip install 'pellucid[report]'"


@cache
def stop_words() -> frozenset[str] | None:
    """Both languages' lists, casefolded, apostrophes straight; None where a library is not installed."""
    try:
        from bm25s.stopwords import STOPWORDS_EN_PLUS
        from stopwordsiso import stopwords
    except ImportError:
        return None
    return frozenset(folded(w) for w in (*STOPWORDS_EN_PLUS, *stopwords("zh")))


def folded(word: str) -> str:
    """A word as the lists and the report's types have it."""
    return word.casefold().replace("\u2019", "'")
