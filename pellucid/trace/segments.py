"""A text in words, sentences, paragraphs or documents: ranges of characters, found by rules and not by a model.

    python -c "from pellucid.trace.segments import sentences as s; t = 'Dr. Li came. 他来了。'; print(s(t))"

Every function gives (start, end) ranges in order, without blanks at their ends; together they cover all visible
characters, but for the lines of dashes between documents. Sentences end at . ! ? before a blank and at 。！？；
anywhere, with the quotes and brackets that close after them; not after abbreviations, initials, the number of a list's
item, within decimals, or where a small letter goes on.
"""

from __future__ import annotations

import re
import warnings
from functools import cache
from itertools import pairwise
from typing import Any

Range = tuple[int, int]

_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_RUN = rf"(?:(?![{_CJK}])[\w\u0300-\u036f])+"
# A CJK character; a number with its marks; a run of letters with inner apostrophes and hyphens; or a mark alone.
_WORD = re.compile(rf"[{_CJK}]|\d+(?:[.,:]\d+)*%?|{_RUN}(?:['\u2019-]{_RUN})*|[^\w\s]")
_CLOSING = r"[\"'”’)\]}»」』）】》〉〕]*"
# A run of marks is entered at its first one alone, so that a page of "!!!!" takes no longer than a page of text.
_END = re.compile(rf"(?<![.!?])[.!?]+{_CLOSING}(?=\s|\Z|[{_CJK}])|[。！？；][。！？；!?….]*{_CLOSING}")
# A blank line, or a line break before an item of a list.
_BREAK = re.compile(r"\n[^\S\n]*\n\s*|\n(?=[^\S\n]*(?:[-*•·]|\d+[.)、])\s)")
_BEFORE = re.compile(r"(?:^|[\s(\[\"'“‘])((?:[^\W\d_]\.)*[^\W\d_]+|\d+)\Z", re.MULTILINE)


def _listed(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Short forms before a name: never a sentence's end.
_TITLES = _listed("mr mrs ms dr prof rev gen col sgt capt lt sen rep gov hon st messrs mme mlle vs cf viz e.g i.e")
# Before a number: an end where none follows ("I said no. Then").
_NUMBERED = _listed("no nos p pp fig figs eq eqs sec ch vol vols art ed eds approx al")
# Short forms that may end a sentence: it goes on where a number or a mark follows.
_SHORT = _listed(
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun etc inc ltd co corp "
    "jr sr dept univ est ave blvd rd a.m p.m b.c a.d ph.d b.a m.a"
)
# After "the U.S." a capital is most often a name ("the U.S. Senate"): only these words begin a sentence.
_PLACES = _listed("u.s u.k u.n d.c u.s.a e.u")
_STARTS = _listed(
    "a an and as at but by for he her his how i if in it its my no not on one or our she so some that the their then "
    "there these they this those to we what when where which while who why with yes you your"
)
_BLANK_LINE = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
_RULE = re.compile(r"^[^\S\n]*(?:-{3,}|={3,}|\*{3,})[^\S\n]*\r?$", re.MULTILINE)
_HEADING = re.compile(
    r"(?:\A|(?<=\n))[^\S\n]*(?:#+\s*|\*\*|[\[(【<])?(?:document|doc|passage|source|context|文档|文章|资料|段落)"
    r"\s*[#\[(（]?\s*\d+",
    re.IGNORECASE,
)


def trimmed(text: str, start: int, end: int) -> Range | None:
    """The range without blanks at its ends; None where nothing is left."""
    inner = text[start:end]
    body = inner.strip()
    if not body:
        return None
    start += len(inner) - len(inner.lstrip())
    return start, start + len(body)


def _between(text: str, cuts: list[int]) -> list[Range]:
    ranges = [trimmed(text, a, b) for a, b in pairwise(sorted({0, *cuts, len(text)}))]
    return [r for r in ranges if r is not None]


def sentences(text: str) -> list[Range]:
    """Sentences, English and Chinese. A blank line and an item of a list end one too."""
    cuts = [m.end() if m[0].strip("\n") else m.start() for m in _BREAK.finditer(text)]
    cuts += [m.start() for m in _BREAK.finditer(text)]
    cuts += [m.end() for m in _END.finditer(text) if _ends(text, m)]
    return _between(text, cuts)


def _ends(text: str, m: re.Match[str]) -> bool:
    """Do these marks end a sentence?"""
    mark = m[0]
    after = re.match(r"\s*(\S?)", text[m.end() : m.end() + 80])
    following = after[1] if after else ""
    small = following.isascii() and following.islower()
    if mark[0] in "!?":  # '"Go!" he said' goes on
        return not (small and mark[-1] not in "!?.")
    if mark[0] != ".":
        return True
    if small:
        return False
    if mark != "." or not following:  # "..." and a quotation's end; the text's own end
        return True
    before = _BEFORE.search(text[max(0, m.start() - 24) : m.start()])
    if before is None:
        return True
    word, low, number = before[1], before[1].lower(), following.isdigit() or following == "("
    if word.isdigit():  # "1. First": a list's item, where the number opens the line
        return text[text.rfind("\n", 0, m.start()) + 1 : m.start()].strip() != word
    if low in _TITLES:
        return False
    if low in _NUMBERED:
        return not number
    if low in _SHORT:
        return not number and following not in ",;:"
    if low in _PLACES:
        start = re.match(r"\s*(\w+)", text[m.end() : m.end() + 80])
        return start is not None and start[1].lower() in _STARTS
    return not (len(word) == 1 and word.isupper() and word != "I")


def paragraphs(text: str) -> list[Range]:
    """Paragraphs between blank lines; lines, where there is no blank one."""
    plain = text.replace("\r", " ")  # one character for one: offsets stay
    if _BLANK_LINE.search(plain):
        return _between(text, [m.end() for m in _BLANK_LINE.finditer(plain)])
    return _between(text, [i + 1 for i, c in enumerate(text) if c == "\n"])


def documents(text: str) -> list[Range]:
    """Documents: between lines of --- (or === or ***); else from one heading ("Document 2", "[Passage 3]", "文档 1")
    at the beginning of a line to the next, what stands before the first being one more; else the text is one."""
    rules = list(_RULE.finditer(text))
    if rules:
        edges = [0, *(x for m in rules for x in (m.start(), m.end())), len(text)]
        ranges = [trimmed(text, edges[i], edges[i + 1]) for i in range(0, len(edges), 2)]
        return [r for r in ranges if r is not None]
    return _between(text, [m.start() for m in _HEADING.finditer(text)])


def words(text: str) -> list[Range]:
    """Words and marks; runs of Chinese by jieba where it is installed, else each character by itself."""
    cut = jieba_tokenizer()
    out: list[Range] = []
    at = 0
    if cut is not None:
        for m in _HAN.finditer(text):
            out += [w.span() for w in _WORD.finditer(text, at, m.start())]
            out += [(m.start() + a, m.start() + b) for _, a, b in cut.tokenize(m[0])]
            at = m.end()
    out += [w.span() for w in _WORD.finditer(text, at)]
    return out


def word_rule(text: str) -> str | None:
    """How Chinese words in it were found: ``jieba``, ``characters``, or None where there are none."""
    if not _HAN.search(text):
        return None
    return "characters" if jieba_tokenizer() is None else "jieba"


@cache
def jieba_tokenizer() -> Any:
    """jieba's tokenizer, our own, or None where it is not installed.

    Its dictionary is read here and not by its ``initialize``, which would keep a copy in the folder for temporary
    files, and trust one that somebody else left there. What newer Pythons warn of in its source concerns its authors
    only.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import jieba
        except ImportError:
            return None
        own = jieba.Tokenizer()
        own.FREQ, own.total = own.gen_pfdict(own.get_dict_file())
    own.initialized = True
    return own
