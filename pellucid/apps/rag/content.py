"""What a text is about: its content words, in order, so that two texts can be compared without a model.

    content("The bridge was opened")      # ["bridg", "open"]
    content("这座桥建成了")                  # ["桥", "建", "成"]
    keywords("When was the bridge opened?")  # ["bridge", "opened"]

English as BM25 cuts it (``terms``: stems, no stop words); Chinese by characters without those that only join, because
word cutters cut the same words differently in different neighbours, and a comparison must not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from pellucid.apps.rag.terms import Terms, default_rule

HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_HAN = re.compile(rf"[{HAN}]")
#: Characters that join others, point or count, and name nothing.
JOINING = frozenset(
    "的了是在和与或也就都而及着吗呢吧啊把被这那个为以于其之有座该位由从到至将已曾并则所很它他她们什么哪谁几"
)
#: A Han character weighs half a word: most Chinese words have two.
WORD, CHARACTER = 2, 1


@cache
def _terms(rule: str) -> Terms:
    return Terms(rule)


def content(text: str) -> list[str]:
    """Content words of ``text`` in order, repetitions included. Raises ``MissingExtraError``."""
    found = [(start, term) for term, start, _ in _terms("bigrams").spans(_HAN.sub(" ", text))]
    found += [(m.start(), m[0]) for m in _HAN.finditer(text) if m[0] not in JOINING]
    return [term for _, term in sorted(found)]


def keywords(text: str) -> list[str]:
    """The content words as they are written, each once; Chinese in words where jieba is installed."""
    found: list[str] = []
    end = 0
    for _, a, b in sorted(_terms(default_rule()).spans(text), key=lambda s: (s[1], -s[2])):
        word = text[a:b]
        if a >= end and (word.isascii() or not all(c in JOINING for c in word)):
            found.append(word)
            end = b
    return list(dict.fromkeys(found))


def weight(terms: Iterable[str]) -> int:
    """How much the terms hold, in half words."""
    return sum(CHARACTER if _HAN.match(t) else WORD for t in terms)


def overlap(a: Iterable[str], b: Iterable[str]) -> float:
    """Share of the smaller text's terms that the other has, 0 to 1."""
    left, right = set(a), set(b)
    small = min(weight(left), weight(right))
    return weight(left & right) / small if small else 0.0
