"""What the model is asked: one wording a mode and language, and what the user may put in its place.

    wording("fill_blank", "en").user            # '... "{query}" ...\n\n{text}'

``user`` is the user's message: the instruction with the query first, a blank line, so that the text's first character
is not merged with what stands before it, then the text. ``answer`` is the beginning of the assistant's own answer, up
to an opening quote: the very next token is the answer. ``negative`` is the answer of a model that finds nothing.
The likelihood mode turns it round: the text comes first, and the query is the answer; ``bare`` is the same without a
text. In the answer mode the query follows the text, and the model's answer to it follows the query.
docs/decisions.md says which wordings were tried.
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
    ``neutral`` is a text about nothing that anybody asks for; ``bare`` is for the likelihood and answer modes."""

    user: str
    answer: str
    negative: str = ""
    neutral: str = ""
    bare: str = ""

    def filled(self, query: str, text: str) -> tuple[str, int, int | None]:
        """The user's message, where the text begins in it, and where the query does (None: it is not in it)."""
        before, after = self.user.split("{text}")
        head = before.replace("{query}", query)
        message = head + text + after.replace("{query}", query)
        if "{query}" in before:
            return message, len(head), before.index("{query}")
        return message, len(head), len(head) + len(text) + after.index("{query}") if "{query}" in after else None


#: A text about nothing that anybody asks for.
NEUTRAL = {"en": "It was an ordinary day, and nothing much happened.", "zh": "这是平常的一天，没有发生什么事情。"}

WORDINGS: dict[str, dict[str, Wording]] = {
    "count": {
        "en": Wording(
            'How many words of the text below are related to "{query}"? Answer with a number; 0 if there are none.'
            "\n\n{text}",
            'The number of related words is "',
            "0",
            NEUTRAL["en"],
        ),
        "zh": Wording(
            "下面的文字中有多少个词与“{query}”相关？用数字回答；没有则回答0。\n\n{text}",
            "相关的词的数量是“",
            "0",
            NEUTRAL["zh"],
        ),
    },
    "fill_blank": {
        "en": Wording(
            'Which one word of the text below is most related to "{query}"? If there is none, answer "none".\n\n{text}',
            'The most related word is "',
            "none",
            NEUTRAL["en"],
        ),
        "zh": Wording(
            "下面的文字中哪一个词与“{query}”最相关？如果没有，回答“无”。\n\n{text}",
            "最相关的词是“",
            "无",
            NEUTRAL["zh"],
        ),
    },
    "match_score": {
        "en": Wording(
            'How related is the text below to "{query}"? 0: not at all, 1: somewhat, 2: closely.\n\n{text}',
            'The score is "',
            "0",
            NEUTRAL["en"],
        ),
        "zh": Wording(
            "下面的文字与“{query}”有多相关？0：无关，1：有些相关，2：密切相关。\n\n{text}",
            "分数是“",
            "0",
            NEUTRAL["zh"],
        ),
    },
    "likelihood": {
        "en": Wording("{text}\n\nWrite a question that this text answers.", "{query}", bare="Write a question."),
        "zh": Wording("{text}\n\n写一个可以用这段文字回答的问题。", "{query}", bare="写一个问题。"),
    },
    "answer": {
        "en": Wording("{text}\n\nQuestion: {query}", 'The answer is "', bare="Question: {query}"),
        "zh": Wording("{text}\n\n问题：{query}", "答案是“", bare="问题：{query}"),
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


#: What each part of a template holds, once, by mode; question modes are all alike.
_MARKS = {
    "likelihood": {"user": ("{text}",), "answer": ("{query}",), "bare": ()},
    "answer": {"user": ("{query}", "{text}"), "answer": (), "bare": ("{query}",)},
}
_QUESTION = {"user": ("{query}", "{text}"), "answer": (), "negative": (), "neutral": ()}


def own(template: Wording, mode: str) -> Wording:
    """The user's template, checked. Raises ``OptionError`` that says what is missing."""
    for part, marks in _MARKS.get(mode, _QUESTION).items():
        given = getattr(template, part)
        for mark in marks:
            if given.count(mark) != 1:
                raise OptionError(
                    f"the template's {part} should hold {mark} once, and holds it {given.count(mark)} times: "
                    f"given {given!r}"
                )
        if not given:
            raise OptionError(f"the template's {part} is empty: the mode {mode} needs it")
    if mode == "answer" and template.user.index("{query}") < template.user.index("{text}"):
        raise OptionError(f"the mode answer reads the text before the query: given {template.user!r}")
    return template
