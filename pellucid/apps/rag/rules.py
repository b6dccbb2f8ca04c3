"""Do two sentences contradict each other, by what can be compared exactly: numbers, dates, and what one of them denies.

    clash("The bridge was opened in 1932.", "The bridge opened to traffic in 1950.")    # Clash("date", "1932", "1950")
    clash("The museum is not open.", "The museum is open on Sundays.")                  # Clash("denial", ...)

A rule must be sure rather than complete. Both sentences have to be about the same: the content words of one are all in
the other, in the same order (two sentences that each have words of their own may be about two things); and exactly one
kind of quantity differs. Limits and ranges are not compared; "about" allows a tenth. A sentence without a date is no
contradiction of another number's at a date. What denies must say no more than what it denies. Two names in the same
place, opposites and other wordings are not seen.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

from pellucid.apps.rag.content import weight
from pellucid.apps.rag.facts import Facts, facts
from pellucid.apps.rag.quantities import Quantity

#: Half words that two sentences share, where one says more than the other.
SHARED = 4
#: Share of the longer one's words that they share, at least; further words of what is denied, in half words.
ALIKE, FURTHER = 0.5, 4
#: How far two rough numbers may lie apart, as a share of the larger.
ROUGH = 0.1
_read = lru_cache(maxsize=4096)(facts)


@dataclass(frozen=True)
class Clash:
    """``rule``: number, date or denial; ``first``, ``second``: what stands against each other, as written."""

    rule: str
    first: str
    second: str


def clash(first: str, second: str) -> Clash | None:
    """What makes the sentences contradict each other; None where nothing does for certain. Raises
    ``MissingExtraError``."""
    return clash_of(_read(first), _read(second), first, second)


def clash_of(a: Facts, b: Facts, first: str, second: str) -> Clash | None:
    """The same of what has been read of two sentences."""
    if a.open or b.open or not _same(a, b):
        return None
    if a.denied != b.denied:
        return _denial(a, b, first, second)
    return _numbers(a, b)


def _same(a: Facts, b: Facts) -> bool:
    """One says what the other does, in order, and perhaps more."""
    left, right = set(a.words), set(b.words)
    if not left or not right or not (left <= right or right <= left):
        return False
    one, other = sorted(([w for w in a.words if w in right], [w for w in b.words if w in left]), key=len)
    rest = iter(other)
    if not all(w in rest for w in one):  # in order; a word may come twice in one of them
        return False
    shared = weight(left & right)
    return left == right or (shared >= SHARED and shared >= ALIKE * weight(left | right))


def _denial(a: Facts, b: Facts, first: str, second: str) -> Clash | None:
    says_no, says_yes = (a, b) if a.denied else (b, a)
    less, more = set(says_no.words), set(says_yes.words)
    if not less <= more or weight(more - less) > FURTHER or weight(less) < SHARED:
        return None
    if not _stated(says_no) <= _stated(says_yes):
        return None
    return Clash("denial", first, second)


def _stated(f: Facts) -> set[tuple[object, ...]]:
    return {(q.kind, q.value) for q in f.quantities} | {(d.year, d.month, d.day) for d in f.dates}


def _numbers(a: Facts, b: Facts) -> Clash | None:
    if a.dates and b.dates and len(a.dates) == len(b.dates) and all(x.differs(y) for x in a.dates for y in b.dates):
        if a.quantities or b.quantities:
            return None  # so many in one year, and so many in another
        return Clash("date", ", ".join(d.text for d in a.dates), ", ".join(d.text for d in b.dates))
    found: list[Clash] = []
    left, right = _by_kind(a), _by_kind(b)
    for kind in left.keys() & right.keys():
        one, other = left[kind], right[kind]
        if len(one) != len(other):
            return None  # a range, or a list: which belongs to which is not known
        apart = ROUGH if a.about or b.about else 1e-6
        if all(_apart(x.value, y.value, apart) for x in one for y in other):
            if a.bound or b.bound or bool(a.dates) != bool(b.dates):
                return None
            found.append(Clash("number", ", ".join(q.text for q in one), ", ".join(q.text for q in other)))
    return found[0] if len(found) == 1 else None


def _by_kind(f: Facts) -> dict[str, list[Quantity]]:
    found: dict[str, list[Quantity]] = defaultdict(list)
    for q in f.quantities:
        found[q.kind].append(q)
    return found


def _apart(x: float, y: float, share: float) -> bool:
    return abs(x - y) > share * max(abs(x), abs(y))
