"""What the model is asked: one wording a mode and language, and what the user may put in its place.

    wording("fill_blank", "en").user            # '... "{query}" ...\n\n{text}'

``user`` is the user's message: the instruction with the query first, a blank line, so that the text's first character
is not merged with what stands before it, then the text. ``answer`` is the beginning of the assistant's own answer, up
to an opening quote: the very next token is the answer. ``negative`` is the answer of a model that finds nothing.
The likelihood mode turns it round: the text comes first, and the query is the answer; ``bare`` is the same without a
text. docs/decisions.md says which wordings were tried.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pellucid.errors import OptionError

LANGUAGES = ("en", "zh")
_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True)
class Wording:
    """A template: ``{query}`` and ``{text}`` once each. ``negative`` and ``neutral`` are for the question modes, where
    ``neutral`` is a text about nothing that anybody asks for; ``bare`` is for the likelihood mode."""

    user: str
    answer: str
    negative: str = ""
    neutral: str = ""
    bare: str = ""

    def filled(self, query: str, text: str) -> tuple[str, int]:
        """The user's message, and where the text begins in it."""
        before, after = self.user.split("{text}")
        parts = [p.replace("{query}", query) for p in (before, after)]
        return parts[0] + text + parts[1], len(parts[0])


_NEUTRAL = {"en": "It was an ordinary day, and nothing much happened.", "zh": "这是平常的一天，没有发生什么事情。"}

WORDINGS: dict[str, dict[str, Wording]] = {
    "count": {
        "en": Wording(
            'How many words of the text below are related to "{query}"? Answer with a number; 0 if there are none.'
            "\n\n{text}",
            'The number of related words is "',
            "0",
            _NEUTRAL["en"],
        ),
        "zh": Wording(
            "下面的文字中有多少个词与“{query}”相关？用数字回答；没有则回答0。\n\n{text}",
            "相关的词的数量是“",
            "0",
            _NEUTRAL["zh"],
        ),
    },
    "fill_blank": {
        "en": Wording(
            'Which one word of the text below is most related to "{query}"? If there is none, answer "none".\n\n{text}',
            'The most related word is "',
            "none",
            _NEUTRAL["en"],
        ),
        "zh": Wording(
            "下面的文字中哪一个词与“{query}”最相关？如果没有，回答“无”。\n\n{text}",
            "最相关的词是“",
            "无",
            _NEUTRAL["zh"],
        ),
    },
    "match_score": {
        "en": Wording(
            'How related is the text below to "{query}"? 0: not at all, 1: somewhat, 2: closely.\n\n{text}',
            'The score is "',
            "0",
            _NEUTRAL["en"],
        ),
        "zh": Wording(
            "下面的文字与“{query}”有多相关？0：无关，1：有些相关，2：密切相关。\n\n{text}",
            "分数是“",
            "0",
            _NEUTRAL["zh"],
        ),
    },
    "likelihood": {
        "en": Wording("{text}\n\nWrite a question that this text answers.", "{query}", bare="Write a question."),
        "zh": Wording("{text}\n\n写一个可以用这段文字回答的问题。", "{query}", bare="写一个问题。"),
    },
}


def language_of(*texts: str) -> str:
    """``zh`` where at least a quarter of the letters are Chinese characters, else ``en``."""
    joined = "".join(texts)
    letters = len(_LETTER.findall(joined))
    return "zh" if letters and len(_CJK.findall(joined)) >= 0.25 * letters else "en"


def wording(mode: str, language: str) -> Wording:
    """The project's own wording."""
    return WORDINGS[mode][language]


def own(template: Wording, mode: str) -> Wording:
    """The user's template, checked. Raises ``OptionError`` that says what is missing."""
    needed: dict[str, tuple[str, ...]] = {"user": ("{text}",) if mode == "likelihood" else ("{query}", "{text}")}
    needed["answer"] = ("{query}",) if mode == "likelihood" else ()
    for part, marks in needed.items():
        for mark in marks:
            count = getattr(template, part).count(mark)
            if count != 1:
                raise OptionError(
                    f"the template's {part} should hold {mark} once, and holds it {count} times: "
                    f"given {getattr(template, part)!r}"
                )
    if mode != "likelihood":
        for part in ("answer", "negative", "neutral"):
            if not getattr(template, part):
                raise OptionError(f"the template's {part} is empty: the mode {mode} needs it")
    elif not template.bare:
        raise OptionError("the template's bare is empty: the mode likelihood compares with a prompt without a text")
    return template
