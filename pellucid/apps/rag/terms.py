"""What BM25 counts: English stems, Chinese words, each at its characters.

    Terms("jieba").of("Resuming the training 模型训练")     # ['resum', 'train', '模型', '训练']

Small letters; words at blanks, marks, hyphens and underscores (``max_new_tokens`` is three); English stop words left
out (bm25s's list) and the others stemmed (Snowball, by PyStemmer). Chinese by jieba, with the shorter words inside a
long one beside it, so that a question that says less finds it; or, by the rule ``bigrams``, every two characters that
stand together. Japanese and Korean are bigrams under both. An index remembers its rule: a question is cut as the
passages were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from pellucid.apps.rag.chunks import CJK
from pellucid.apps.rag.reading import needed
from pellucid.errors import MissingExtraError, unknown

#: How Chinese is cut.
RULES = ("jieba", "bigrams")
_TERM = re.compile(rf"[{CJK}]+|\d+(?:[.,]\d+)+|(?:(?![{CJK}])[^\W_])+(?:['’](?:(?![{CJK}])[^\W_])+)?")
_CHARACTER = re.compile(rf"[{CJK}]")
_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
# Chinese words that say nothing of what a text is about, as "the" and "of" do not.
_PARTICLES = "的 了 是 在 和 与 或 也 就 都 而 及 着 吗 呢 吧 啊 把 被 这 那 个 为 以 于 其 之 "
_PARTICLES += "什么 怎么 怎样 如何 为什么 哪些 哪个 哪里"
PARTICLES = frozenset(_PARTICLES.split())


def default_rule() -> str:
    """``jieba`` where it is installed; its dictionary (a second) is read when Chinese is met."""
    return "jieba" if find_spec("jieba") is not None else "bigrams"


class Terms:
    """The terms of texts by one rule for Chinese. Raises ``OptionError``, ``MissingExtraError``."""

    def __init__(self, rule: str) -> None:
        if rule not in RULES:
            raise unknown("rule for Chinese words", rule, list(RULES))
        if rule == "jieba" and default_rule() != rule:
            raise MissingExtraError(
                "the index cut Chinese with jieba, which is not installed: pip install 'pellucid[rag]'"
            )
        self.rule = rule
        self.stop: frozenset[str] = frozenset(needed("bm25s.stopwords", "bm25s", "retrieval").STOPWORDS_EN_PLUS)
        self.stem: Callable[[str], str] = needed("Stemmer", "PyStemmer", "retrieval").Stemmer("english").stemWord

    def spans(self, text: str) -> Iterator[tuple[str, int, int]]:
        """(term, start, end), in order of their ends; those within a Chinese word overlap it."""
        for m in _TERM.finditer(text):
            if not _CHARACTER.match(m[0]):
                word = m[0].lower()
                if word not in self.stop:
                    yield (self.stem(word) if word.isascii() else word), *m.span()
                continue
            at = m.start()
            while at < m.end():
                chinese = _CHINESE.match(text, at, m.end())
                if chinese and self.rule == "jieba":
                    yield from self._jieba(chinese[0], at)
                    at = chinese.end()
                    continue
                if self.rule == "bigrams":
                    end = m.end()
                else:
                    following = _CHINESE.search(text, at, m.end())
                    end = following.start() if following else m.end()
                yield from _bigrams(text, at, end)
                at = end

    def of(self, text: str) -> list[str]:
        """The terms, with repetitions."""
        return [term for term, _, _ in self.spans(text)]

    def _jieba(self, text: str, at: int) -> Iterator[tuple[str, int, int]]:
        from pellucid.trace.segments import jieba_tokenizer

        tokenizer: Any = jieba_tokenizer()
        for word, start, end in tokenizer.tokenize(text, mode="search"):
            if word not in PARTICLES:
                yield word, at + start, at + end


def _bigrams(text: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Every two characters; a character that stands alone is one itself."""
    if end - start == 1:
        yield text[start:end], start, end
    for k in range(start, end - 1):
        yield text[k : k + 2], k, k + 2
