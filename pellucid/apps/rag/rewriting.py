"""A question that leans on the turns before it, made to stand by itself, so that a search can find something for it.

    standalone(me, [Turn("Who designed the Brindle Bridge?", "Clara Voss.")], "And when did it open?")
    # Rewritten("When did the Brindle Bridge open?", "")

The model rewrites it. What it writes is used only where it can be the same question: one line, in the question's
language, hardly longer, that keeps a word of it and brings in nothing that the conversation does not hold. Otherwise
the question is searched for as it is, with the key words of the question before it, and ``note`` says why.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.apps.rag.content import content, keywords
from pellucid.apps.speaker import Decoding, Speaker, check_text
from pellucid.progress import Progress, silent
from pellucid.relevance.prompts import language_of
from pellucid.trace.segments import words

#: How many turns the model reads, at most; key words taken over, at most; tokens that it may write.
TURNS, KEYWORDS, NEW_TOKENS = 4, 6, 48
#: A rewriting is at most this many times as long as the question, and so many words.
TIMES, MORE = 2, 12
PROMPT = {
    "en": "{turns}\nNext question: {question}\n\nWrite the next question so that it can be understood without the "
    "others: put names in place of words such as it, he or there. Reply with the question alone.",
    "zh": "{turns}\n下一个问题：{question}\n\n请改写下一个问题，使它不看前面的内容也能明白："
    "把“它”“他”“那里”等词换成所指的名称。只回答改写后的问题。",
}
TURN = {"en": "Question: {question}\nAnswer: {answer}\n", "zh": "问题：{question}\n回答：{answer}\n"}
REASONS = {
    "empty": {"en": "it was empty", "zh": "改写为空"},
    "longer": {"en": "it was much longer than the question", "zh": "改写比原问题长得多"},
    "other": {"en": "it shared no content word with the question", "zh": "改写与原问题没有共同的实词"},
    "language": {"en": "it was in another language", "zh": "改写换了语言"},
    "window": {"en": "it does not fit the model's window", "zh": "放不进模型的窗口"},
    "new": {"en": "it brought in words that nobody had said", "zh": "改写引入了对话中没有的词"},
}
NOTE = {
    "en": "The model's rewriting of the question was not used ({why}): the question was searched for with the key "
    "words of the one before it.",
    "zh": "未采用模型对问题的改写（{why}）：检索时在问题后附上了上一个问题的关键词。",
}
_LABEL = re.compile(
    r"^\s*(?:(?:next |rewritten |standalone )?question|下一个问题|改写后的问题|问题)\s*[:：]\s*", re.IGNORECASE
)
_QUOTES = "\"'“”‘’「」 "


@dataclass(frozen=True)
class Turn:
    """A question that was asked (as it was searched for, where that is known), and the answer to it."""

    question: str
    answer: str


@dataclass(frozen=True)
class Rewritten:
    """``question`` to search for; ``note``: why the model's own was not used, empty where it was."""

    question: str
    note: str = ""


def standalone(
    me: Speaker, turns: Sequence[Turn], question: str, *, decoding: Decoding | None = None, progress: Progress = silent
) -> Rewritten:
    """``question`` without what it leans on. Without turns it is left as it is, and no model is asked. Raises
    ``OptionError`` for an empty question."""
    check_text(question, "the question")
    if not turns:
        return Rewritten(question)
    language = language_of(question)
    how = decoding or Decoding(max_new_tokens=NEW_TOKENS)
    recent = list(turns[-TURNS:])
    messages = _messages(recent, question, language)
    while len(recent) > 1 and me.context is not None and me.count(messages) + how.max_new_tokens > me.context:
        recent.pop(0)
        messages = _messages(recent, question, language)
    reason: str | None = "window"
    written = ""
    if me.context is None or me.count(messages) < me.context:
        written = _line(me.write(messages, how, progress=progress).text)
        reason = unusable(written, question, turns)
    if reason is None:
        return Rewritten(written)
    return Rewritten(with_keywords(question, turns[-1].question), NOTE[language].format(why=REASONS[reason][language]))


def unusable(written: str, question: str, turns: Sequence[Turn]) -> str | None:
    """Why a rewriting cannot be ``question`` (a key of ``REASONS``); None where it can."""
    if not written.strip():
        return "empty"
    if language_of(written) != language_of(question):
        return "language"
    if len(words(written)) > TIMES * len(words(question)) + MORE:
        return "longer"
    asked, new = set(content(question)), set(content(written))
    if asked and not asked & new:
        return "other"
    known = asked.union(*(content(f"{t.question} {t.answer}") for t in turns))
    if 2 * len(new - known) > len(new):
        return "new"
    return None


def with_keywords(question: str, last: str) -> str:
    """``question`` and, in brackets, the key words of the ``last`` one that it does not hold."""
    held = set(content(question))
    found = [w for w in keywords(last) if not set(content(w)) <= held][:KEYWORDS]
    if not found:
        return question
    return f"{question}（{' '.join(found)}）" if language_of(question) == "zh" else f"{question} ({' '.join(found)})"


def _messages(turns: Sequence[Turn], question: str, language: str) -> list[dict[str, str]]:
    before = "".join(
        TURN[language].replace("{question}", t.question).replace("{answer}", " ".join(t.answer.split())) for t in turns
    )
    head, tail = PROMPT[language].split("{question}")
    return [{"role": "user", "content": head.replace("{turns}", before) + question + tail}]


def _line(text: str) -> str:
    """The first line that says something, without a label and quotes."""
    line = next((x for x in text.splitlines() if x.strip()), "")
    return _LABEL.sub("", line).strip(_QUOTES)
