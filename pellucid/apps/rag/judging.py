"""A model's own judgement of two sentences: do they contradict each other, agree, or neither?

    judge(me, "The bridge opened in 1932.", "The bridge opened in 1950.")["contradicts"]     # a probability

Label words, weighed by how likely the model is to answer with each (``labelwords``), calibrated against the first
sentence beside itself and beside one about nothing: what the model says of those two pairs it would say of any. Six
short answers to three prompts, so nine forward passes a pair. docs/retrieval.md says how often it is right.
"""

from __future__ import annotations

from pellucid.apps.labelwords import LabelWords
from pellucid.apps.speaker import Speaker
from pellucid.progress import Progress, silent
from pellucid.relevance.prompts import language_of

LABELS = ("contradicts", "agrees", "unrelated")
WORDS = {"en": LABELS, "zh": ("矛盾", "一致", "无关")}
PROMPT = {
    "en": "First: {first}\nSecond: {second}\n\nDo the two statements contradict each other, do they agree, or are they "
    "unrelated? Answer with one word: contradicts, agrees or unrelated.",
    "zh": "第一句：{first}\n第二句：{second}\n\n这两句话互相矛盾、一致，还是无关？只回答一个词：矛盾、一致或无关。",
}
NEUTRAL = {"en": "It was an ordinary day, and nothing much happened.", "zh": "这是平常的一天，没有发生什么事情。"}
CONTRADICTS = LABELS[0]


def judge(me: Speaker, first: str, second: str, *, progress: Progress = silent) -> dict[str, float]:
    """Probability of each of ``LABELS``."""
    language = language_of(first, second)

    def filled(a: str, b: str) -> str:
        head, tail = PROMPT[language].split("{second}")
        return head.replace("{first}", a) + b + tail

    neutral = [filled(first, first), filled(first, NEUTRAL[language])]
    choice = LabelWords(me, WORDS[language], instruction="{text}", neutral=neutral)
    scores = choice.weigh(filled(first, second), progress=progress)
    return {label: s.prob for label, s in zip(LABELS, scores, strict=True)}
