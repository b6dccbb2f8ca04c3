"""What a passage says of a claim's subject, clause by clause, where the subject itself stands further up.

    told(facts("The bridge opened in 1950."), "The Brindle Bridge is old. It was painted, and opened in 1932.")
    # (..., Clause(start, end, Facts(words=("bridg", "open"), dates=(1932,), ...)))

A sentence is cut at commas and at and, but, 而, 但. Words of the claim that a clause lacks are taken over from the
subject that it goes on about: the head of its own sentence, or, where that begins with it, she, 它 or the like, the
head of the last sentence before that does not. The head begins with the sentence, or one word further: what stands
further in may be another thing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from pellucid.apps.rag.content import CHARACTER, WORD, content, weight
from pellucid.apps.rag.facts import Facts, facts
from pellucid.trace.segments import sentences

_CUT = re.compile(r",\s(?:and|but|or)?\s?|;\s?|\s(?:and|but)\s|[，；]|[而但]")
_POINTING = re.compile(r"\s*(?:(?:it|its|they|their|he|his|she|her|this|these|that)\b|[它他她该其此])", re.IGNORECASE)
#: A subject's length at most, and how far into the sentence it may begin, in half words.
HEAD, FIRST = 8, WORD


@dataclass(frozen=True)
class Clause:
    """A clause of the sentence at ``start`` to ``end`` of the passage: what it states, the subject taken over."""

    start: int
    end: int
    facts: Facts


def told(claim: Facts, passage: str) -> Iterator[Clause]:
    """Every sentence of ``passage``, whole and by clauses."""
    subject: list[str] = []
    for a, b in sentences(passage):
        text = passage[a:b]
        head = subject if _POINTING.match(text) else content(text)
        whole = facts(text)
        yield Clause(a, b, whole)
        if head is subject:
            yield Clause(a, b, completed(claim, whole, head))
        cuts = [0, *(x for m in _CUT.finditer(text) for x in m.span()), len(text)]
        parts = [(x, y) for x, y in pairwise(cuts) if text[x:y].strip()]
        for x, y in parts if len(cuts) > 2 else ():
            part = facts(text[x:y])
            if part.words:
                yield Clause(a, b, completed(claim, part, head))
        subject = head


def completed(claim: Facts, part: Facts, head: list[str]) -> Facts:
    """``part`` with the words of the claim that it lacks, where they are its subject."""
    lacking = [w for w in claim.words if w not in part.words]
    if not lacking or not _begins(head, lacking):
        return part
    return replace(part, words=(*lacking, *part.words))


def _begins(head: list[str], words: list[str]) -> bool:
    """Do ``words`` stand together at the beginning of ``head``, or one word further?"""
    if weight(words) > HEAD:
        return False
    before = 0
    for k in range(len(head)):
        if head[k : k + len(words)] == words:
            return True
        before += weight(head[k : k + 1])
        if before > FIRST + CHARACTER:
            return False
    return False
