"""What a sentence states that can be compared exactly: its quantities with their units, its dates, what it denies.

    facts("The tower is 1.2 km from the gate.").quantities    # (Quantity(1200.0, "metre", "1.2 km"),)
    facts("桥于1932年5月建成。").dates                           # (Date(1932, 5, None, "1932年5月"),)
    facts("It does not open on Sundays.").denied              # True

Units of one kind are brought to one (km and metres; hours and minutes; 万 and thousands). A number that is no quantity
(``float32``, ``v1.2``, ``GPT-2``) is left among the words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pellucid.apps.rag.content import HAN, content
from pellucid.apps.rag.quantities import Quantity, quantities

_MONTHS = "january february march april may june july august september october november december"
MONTHS = _MONTHS.split()
_MONTH = "|".join(f"{m}|{m[:3]}\\.?" for m in MONTHS)
_DAY = r"(?P<d>[0-3]?\d)(?:st|nd|rd|th)?"
_DATES = [
    re.compile(p, re.IGNORECASE)
    for p in (
        r"(?<![\d-])(?P<y>1\d{3}|20\d\d|21\d\d)-(?P<m>[01]?\d)-(?P<d>[0-3]?\d)(?![\d-])",
        rf"\b{_DAY}\s+(?:of\s+)?(?P<m>{_MONTH})\b(?:,?\s+(?P<y>1\d{{3}}|2[01]\d\d)\b)?",
        rf"\b(?P<m>{_MONTH})\s+{_DAY}\b(?!\d)(?:,?\s+(?P<y>1\d{{3}}|2[01]\d\d)\b)?",
        rf"\b(?P<m>{_MONTH}),?\s+(?P<y>1\d{{3}}|2[01]\d\d)\b",
        r"(?P<y>(?<!\d)\d{4})\s*年(?:\s*(?P<m>[01]?\d)\s*月(?:\s*(?P<d>[0-3]?\d)\s*[日号])?)?",
        r"(?<!\d)(?P<m>[01]?\d)\s*月\s*(?P<d>[0-3]?\d)\s*[日号]",
        r"\b(?:in|since|until|during|year|circa)\s+(?P<y>1\d{3}|20\d\d|21\d\d)\b(?![.,:]\d|%)",
        r"\b(?:from|by|before|after|of|to|and)\s+(?P<y>1\d{3}|20\d\d|21\d\d)(?=\s*(?:[,.;:)!?](?!\d)|$))",
    )
]
# Words with a "no" in them that deny nothing.
_HARMLESS = re.compile(
    r"\bnot (?:only|just|necessarily|least)\b|\bno (?:doubt|matter)\b|不过|不仅|不但|不只|不论|不管|无论|不同|不断|"
    r"不久|不少|非常|未来|除非|无数|不得不|是不是|有没有|不一定|无疑|不锈|非洲",
    re.IGNORECASE,
)
_DENIALS = re.compile(
    r"\bno (?:longer|more)\b|\b(?:not|never|no|cannot|without|neither|nor|none|nobody|nothing)\b|"
    r"\b(?:ca|wo|sha)n['’]t\b|n['’]t\b|没有|不是|并非|从未|从不|毫无|尚未|并未|并不|[不没未无非]",
    re.IGNORECASE,
)
_OPEN = re.compile(r"[?？]\s*$|\b(?:may|might|could|perhaps|possibly|would)\b|可能|也许|或许|大概", re.IGNORECASE)
_ROUGH = re.compile(
    r"\b(?:more|less|fewer|greater|larger|higher|lower) than\b|\b(?:at least|at most|up to|over|under|above|below|"
    r"between|minimum|maximum)\b|至少|至多|最多|最少|超过|不足|以上|以下|多于|少于",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"\b(?:about|around|roughly|approximately|nearly|almost|some|circa)\b|[约近]|左右|大约|多(?=[人个年米])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Date:
    """A date or a part of one; None where it is not said."""

    year: int | None
    month: int | None
    day: int | None
    text: str

    def differs(self, other: Date) -> bool:
        """Is something said in both, and not the same?"""
        pairs = ((self.year, other.year), (self.month, other.month), (self.day, other.day))
        return any(a is not None and b is not None and a != b for a, b in pairs)


@dataclass(frozen=True)
class Facts:
    """``words``: content words in order without quantities, dates and denials; ``denied``: an odd number of denials;
    ``bound``: numbers are limits (more than, at least); ``about``: they are rough; ``open``: a question, or something
    that may be."""

    words: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    dates: tuple[Date, ...]
    denied: bool
    bound: bool
    about: bool
    open: bool


def facts(sentence: str) -> Facts:
    """What ``sentence`` states. Raises ``MissingExtraError``."""
    rest, dates = sentence, []
    for date, start, end in _dates(sentence):
        dates.append(date)
        rest = _blank(rest, start, end)
    counted = quantities(rest)
    for q in counted:
        rest = _blank(rest, q.start, q.start + len(q.text))
    bare = _HARMLESS.sub(lambda m: " " * len(m[0]), rest)
    denials = list(_DENIALS.finditer(bare))
    for m in denials:
        rest = _blank(rest, *m.span())
    return Facts(
        words=tuple(content(rest)),
        quantities=counted,
        dates=tuple(dates),
        denied=len(denials) % 2 == 1,
        bound=bool(_ROUGH.search(sentence)),
        about=bool(_ABOUT.search(sentence)),
        open=bool(_OPEN.search(_month_may(sentence, dates))),
    )


def _blank(text: str, start: int, end: int) -> str:
    return text[:start] + " " * (end - start) + text[end:]


def _month_may(sentence: str, dates: list[Date]) -> str:
    """The sentence without its dates: May is a month there, and no "may"."""
    for date in dates:
        sentence = sentence.replace(date.text, " ")
    return re.sub(r"(?<=[a-z,] )May\b", " ", sentence)


def _dates(text: str) -> Iterator[tuple[Date, int, int]]:
    taken: list[tuple[int, int]] = []
    for pattern in _DATES:
        for m in pattern.finditer(text):
            parts = m.groupdict()
            start, end = min(m.start(k) for k, v in parts.items() if v), m.end()
            if any(start < b and a < end for a, b in taken):
                continue
            month, day = _month(parts.get("m")), _number(parts.get("d"))
            if (month is not None and not 1 <= month <= 12) or (day is not None and not 1 <= day <= 31):
                continue
            taken.append((start, end))
            yield Date(_number(parts.get("y")), month, day, text[start:end]), start, end


def _number(text: str | None) -> int | None:
    return int(text) if text else None


def _month(text: str | None) -> int | None:
    if not text:
        return None
    if text.isdigit():
        return int(text)
    return next(k for k, name in enumerate(MONTHS, 1) if name.startswith(text.rstrip(".").lower()))


def names(sentence: str) -> list[str]:
    """Words that name someone or something: with a capital or a digit within a sentence (its first word's capital says
    nothing), and Latin words among Chinese."""
    found = []
    chinese = re.search(rf"[{HAN}]", sentence) is not None
    for m in re.finditer(r"(?<![A-Za-z0-9])[A-Za-z\u00c0-\u024f][\w\u00c0-\u024f]*(?:[-'’][A-Za-z]\w*)*", sentence):
        word = re.sub(r"['’]s$", "", re.split(rf"[{HAN}]", m[0])[0])
        first = not re.search(r"\w", sentence[: m.start()])
        if chinese or word[1:] != word[1:].lower() or (word[0].isupper() and not first and word != "I"):
            found.append(word)
    return list(dict.fromkeys(found))
