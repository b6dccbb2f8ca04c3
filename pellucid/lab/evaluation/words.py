"""Words and sentences of English and Chinese, as the measures of this room count them.

    from pellucid.lab.evaluation.words import words
    words("The cat sat. 天气很好！")       # ['the', 'cat', 'sat', '天', '气', '很', '好']

Words are in lower case and without marks; of Chinese each character is a word, so that figures do not depend on which
word splitter is installed. Sentences end at . ! ? before a blank, at 。！？； anywhere, with the quotes that close
after them, and at a line break.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CHINESE = re.compile(rf"[{_CJK}]")
_ONE = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])[\w\u0300-\u036f])+(?:['\u2019-](?:(?![{_CJK}])[\w\u0300-\u036f])+)*")
_END = re.compile(r"(?<![.!?])[.!?]+[\"'”’)\]]*(?=\s|\Z)|[。！？；]+[”’」』）]*|\n+")
_TITLES = re.compile(r"(?:^|\s)(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|[A-Z])\.\Z")


def _listed(names: str) -> list[str]:
    return names.split()


#: Words that a sentence has whatever it is about; the coherence heuristic leaves them out.
FUNCTION_WORDS = frozenset(
    _listed(
        "a an the this that these those it its he she him her his they them their we us our you your i me my and or "
        "but if then than so as of in on at to from by for with about into over under after before is are was were "
        "be been being am do does did have has had will would can could shall should may might must not no nor what "
        "which who whom whose when where why how there here all any each some such only own same too very s t don "
        "just now up out "
        "的 了 是 在 和 与 也 就 都 而 及 或 一 个 不 有 我 你 他 她 它 们 这 那 上 下 中 里 到 对 为 "
        "以 于 把 被 从 向 会 能 要 说 去 来 又 很 还 没 之 其 并 着 过 地 得 吗 呢 吧 啊"
    )
)


def words(text: str) -> list[str]:
    """Words in order, in lower case, without marks; each Chinese character is one."""
    return [w.lower() for w in _ONE.findall(text)]


def content(text: str) -> frozenset[str]:
    """The set of ``words`` that say something: all but ``FUNCTION_WORDS``."""
    return frozenset(words(text)) - FUNCTION_WORDS


def sentences(text: str) -> list[str]:
    """Sentences in order, those that hold a word; what is left at the end without a mark is one too."""
    found, start = [], 0
    for end in _END.finditer(text):
        if end[0] == "." and _TITLES.search(text[max(0, end.start() - 8) : end.end()]):
            continue
        found.append(text[start : end.end()])
        start = end.end()
    found.append(text[start:])
    return [s.strip() for s in found if _ONE.search(s)]


def chinese(texts: Sequence[str]) -> bool:
    """Are these texts Chinese (or Japanese), rather than of words with blanks between: more characters than words?"""
    joined = "\n".join(texts)
    found = _ONE.findall(joined)
    return 2 * sum(1 for w in found if _CHINESE.match(w)) > len(found)


def rule(texts: Sequence[str]) -> str:
    """How the words of these texts were found, for a note; nothing where they stand between blanks."""
    return "Chinese by character" if any(_CHINESE.search(t) for t in texts) else ""
