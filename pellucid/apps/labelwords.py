"""Label words: a model that has no classes of its own chooses among words by how likely it is to answer with each.

    words = LabelWords(speaker(model), ["positive", "negative"])
    words.weigh("A joy to watch.")          # one LabelScore a label, in the order given

A label's log-probability is the sum over all its tokens, so that labels that begin alike are told apart by what comes
after. A likely word would win by itself, and so would one that stands last in the instruction; therefore each is
measured against texts that say nothing. Zhao et al. 2021, "Calibrate Before Use" (arXiv:2102.09690):

    score(label) = log p(label | prompt(text)) - log p0(label)
    p0(label)    = mean over neutral texts n of p(label | prompt(n)) / sum over labels l of p(l | prompt(n))

and probabilities are the softmax of scores. With one neutral text that is, up to a number that is the same for all
labels, the domain-conditional PMI of Holtzman et al. 2021 (arXiv:2104.08315).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.apps.classification import LabelScore
from pellucid.apps.speaker import Speaker
from pellucid.errors import OptionError
from pellucid.progress import Progress, silent
from pellucid.relevance.prompts import language_of

#: The instruction by the text's language. docs/classify.md says which wordings were tried.
INSTRUCTIONS = {
    "en": "{text}\n\nWhich label fits this text: {labels}? Answer with the label alone.",
    "zh": "{text}\n\n哪个标签适合这段文字：{labels}？只回答标签。",
}
#: Between the labels in the instruction.
BETWEEN = {"en": ", ", "zh": "、"}
#: Texts that say nothing.
NEUTRAL = {"en": ("N/A", "[MASK]", ""), "zh": ("无", "[MASK]", "")}
TEXT, LABELS = "{text}", "{labels}"


@dataclass(frozen=True)
class Asked:
    """What the model is asked of one text: the user's message, and where the text begins in it."""

    content: str
    start: int

    @property
    def messages(self) -> list[dict[str, str]]:
        """As the speaker reads it."""
        return [{"role": "user", "content": self.content}]


def check_labels(labels: object, name: str) -> tuple[str, ...]:
    """The labels without blanks around them. Raises ``OptionError`` for what is no choice between words."""
    if labels is None:
        raise OptionError(
            f"'{name}' has no classes of its own: give the labels to choose among, such as labels=['positive', "
            "'negative']"
        )
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise OptionError(f"labels should be a list of words, such as ['positive', 'negative'], given {labels!r}")
    found: list[str] = []
    for k, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip():
            given = "an empty one" if isinstance(label, str) else f"a {type(label).__name__}"
            raise OptionError(f"label {k + 1} should be a word or a few, given {given}")
        twin = next((f for f in found if f.casefold() == label.strip().casefold()), None)
        if twin is not None:
            raise OptionError(f"the label '{twin}' is given twice (as {label!r}): each is a choice once")
        found.append(label.strip())
    if len(found) < 2:
        given = f"one, '{found[0]}'" if found else "none"
        raise OptionError(f"a choice needs two labels or more, given {given}")
    return tuple(found)


def check_instruction(instruction: object) -> str:
    """A template with ``{text}`` once and ``{labels}`` at most once. Raises ``OptionError``."""
    if not isinstance(instruction, str):
        raise OptionError(f"the instruction should be a text that holds {TEXT}, given a {type(instruction).__name__}")
    texts, lists = instruction.count(TEXT), instruction.count(LABELS)
    if texts != 1 or lists > 1:
        raise OptionError(
            f"the instruction should hold {TEXT} once and {LABELS} at most once, and holds them {texts} and {lists} "
            f"times: given {instruction!r}"
        )
    return instruction


def log_softmax(values: Sequence[float]) -> list[float]:
    """Of a few numbers, in nats."""
    most = max(values)
    whole = most + math.log(sum(math.exp(v - most) for v in values))
    return [v - whole for v in values]


class LabelWords:
    """A choice among ``labels`` by one speaker; what it thinks of neutral texts is asked once a language.

    ``instruction`` takes the place of the project's own, in every language; ``neutral`` of its neutral texts. Raises
    ``OptionError``.
    """

    def __init__(
        self,
        me: Speaker,
        labels: object,
        *,
        instruction: str | None = None,
        calibrate: bool = True,
        neutral: Sequence[str] | None = None,
    ) -> None:
        self.me, self.labels = me, check_labels(labels, me.name)
        self.own = None if instruction is None else check_instruction(instruction)
        if neutral is not None and (isinstance(neutral, str) or not neutral):
            raise OptionError(f"neutral should be a list of texts, one or more, given {neutral!r}")
        self.calibrate, self._neutral = calibrate, neutral
        self._known: dict[str, list[float]] = {}

    def instruction(self, text: str) -> str:
        """The template for this text."""
        return self.own or INSTRUCTIONS[language_of(text)]

    def neutral(self, text: str) -> tuple[str, ...]:
        """The texts that this one is measured against; none where it is not."""
        if not self.calibrate:
            return ()
        return NEUTRAL[language_of(text)] if self._neutral is None else tuple(self._neutral)

    def asked_of(self, text: str) -> Asked:
        """What is asked of this text."""
        return self.asked(text, self.instruction(text), language_of(text))

    def asked(self, text: str, template: str, language: str) -> Asked:
        """The template with text and labels in their places; braces of the text's own are left alone."""
        before, after = (part.replace(LABELS, BETWEEN[language].join(self.labels)) for part in template.split(TEXT))
        return Asked(before + text + after, len(before))

    def answer(self, label: str, asked: Asked) -> str:
        """The label as the answer is written: after a blank where a text that ends in a sign goes on in one line."""
        flat = not self.me.chats
        last = asked.content[-1:]
        return f" {label}" if flat and last.isascii() and not last.isspace() and label[0].isascii() else label

    def logprobs(
        self, texts: Sequence[str], template: str, language: str, *, progress: Progress = silent
    ) -> list[list[list[float]]]:
        """Of each label's tokens, after each text, in one call: nats [texts, labels, tokens]."""
        prompts: list[Any] = []
        answers: list[str] = []
        for text in texts:
            asked = self.asked(text, template, language)
            prompts += [asked.messages] * len(self.labels)
            answers += [self.answer(label, asked) for label in self.labels]
        flat = self.me.logprobs(prompts, answers, progress=progress)
        many = len(self.labels)
        return [flat[k * many : (k + 1) * many] for k in range(len(texts))]

    def weigh(self, text: str, *, progress: Progress = silent) -> tuple[LabelScore, ...]:
        """Each label's score for a text, by the formula above."""
        template, language = self.instruction(text), language_of(text)
        neutral = [] if language in self._known else list(self.neutral(text))
        each, *others = self.logprobs([text, *neutral], template, language, progress=progress)
        if neutral:
            rows = [log_softmax([sum(tokens) for tokens in row]) for row in others]
            means = [sum(math.exp(row[k]) for row in rows) / len(rows) for k in range(len(self.labels))]
            self._known[language] = [math.log(m) for m in means]
        known = self._known.get(language)
        sums = [sum(tokens) for tokens in each]
        scores = sums if known is None else [s - k for s, k in zip(sums, known, strict=True)]
        return tuple(
            LabelScore(
                label,
                math.exp(prob),
                scores[k],
                math.exp(plain),
                sums[k],
                sums[k] / len(each[k]),
                None if known is None else known[k],
            )
            for k, (label, prob, plain) in enumerate(
                zip(self.labels, log_softmax(scores), log_softmax(sums), strict=True)
            )
        )
