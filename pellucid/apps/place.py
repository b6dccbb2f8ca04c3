"""Where an answer stands in a context: as it is, but for marks and case, or where most of its words do.

    place("clara voss.", "It was designed by Clara Voss.")        # Place("normalised", 19, 29, 1.0)

A written answer need not be a part of the context. First it is looked for as it is; then word by word, as SQuAD's score
compares (Rajpurkar et al. 2016, arXiv:1606.05250): without case, marks and articles; Chinese by character. Else the
stretch of the context is taken whose words have the largest F1 with the answer's. It is chosen without words that the
question holds too, unless nothing is left: "The bridge was designed by Clara Voss" answers "Who designed the bridge?"
with the name. What is told, and has to be ``LEAST``, is the stretch's F1 with all of the answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

HOWS = ("exact", "normalised", "overlap", "none")
#: An overlap with a smaller F1 is no place.
LEAST = 0.3
#: A stretch is at most so many times as many words as the answer.
LONGEST = 2

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_HAN}]|[^\W{_HAN}]+")
_ARTICLES = frozenset({"a", "an", "the"})
#: Words that are everywhere: a stretch that shares no other with the answer is no place of it.
_LITTLE = (
    "of in on at to by for from with and or but is was are were be been it its this that these he she they his her "
    "their as not no had has have which who when 的 了 在 是 和 有 不 也 他 她 它 这 那"
)
_COMMON = frozenset(_LITTLE.split())

#: (word, start, end)
Word = tuple[str, int, int]


@dataclass(frozen=True)
class Place:
    """``how``: one of ``HOWS``; ``start`` to ``end`` in characters of the context, None where there is no place;
    ``overlap``: the F1 of the words there with the answer's, 1 for the whole answer."""

    how: str
    start: int | None
    end: int | None
    overlap: float


def place(answer: str, context: str, question: str = "") -> Place:
    """Where ``answer`` stands in ``context``: its first occurrence, or what is nearest."""
    bare = answer.strip()
    at = context.find(bare) if bare else -1
    while at >= 0:
        if not (_inside(context, at) or _inside(context, at + len(bare))):
            return Place("exact", at, at + len(bare), 1.0)
        at = context.find(bare, at + 1)
    words, there = _words(answer), _words(context)
    names = [w for w, _, _ in there]
    wanted = [w for w, _, _ in words]
    for k in range(len(there) - len(wanted) + 1 if wanted else 0):
        if names[k : k + len(wanted)] == wanted:
            return Place("normalised", there[k][1], there[k + len(wanted) - 1][2], 1.0)
    asked = {w for w, _, _ in _words(question)}
    told = [w for w in wanted if w not in asked]
    span = _best(told, [w for w in there if w[0] not in asked]) if told else _best(wanted, there)
    if span is not None:
        some = [w for w, a, b in there if span[0] <= a and b <= span[1]]
        f1 = 2 * (Counter(some) & Counter(wanted)).total() / (len(some) + len(wanted))
        if f1 >= LEAST:
            return Place("overlap", *span, f1)
    return Place("none", None, None, 0.0)


def _inside(text: str, at: int) -> bool:
    """Is a place within a word?"""
    return any(m.start() < at < m.end() for m in _WORD.finditer(text, max(at - 1, 0), at + 1))


def _words(text: str) -> list[Word]:
    found = [(unicodedata.normalize("NFKC", m[0]).casefold(), m.start(), m.end()) for m in _WORD.finditer(text)]
    return [w for w in found if w[0] not in _ARTICLES]


def _best(wanted: list[str], there: list[Word]) -> tuple[int, int] | None:
    """Characters of the stretch of words with the largest F1, None where they have no telling word in common; the
    first of equals, and the shortest."""
    need, best = Counter(wanted), 0.0
    span: tuple[int, int] | None = None
    for first, (word, _, _) in enumerate(there):
        if word not in need:  # the best stretch begins and ends with a word that counts
            continue
        left, common, telling = need.copy(), 0, False
        for last in range(first, min(first + LONGEST * len(wanted), len(there))):
            if left[there[last][0]] > 0:
                left[there[last][0]] -= 1
                common += 1
                telling = telling or there[last][0] not in _COMMON
                f1 = 2 * common / (last - first + 1 + len(wanted))
                if telling and f1 > best:
                    best, span = f1, (there[first][1], there[last][2])
    return span
