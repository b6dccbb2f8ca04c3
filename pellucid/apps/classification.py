"""A text's class, with the explanation: plain data.

found = model.classify("A joy to watch.", labels=["positive", "negative"])
found.label; found.confidence; found["negative"].prob; found.traces[0]; found.save("mood.html")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pellucid.lens.plain import Result
from pellucid.trace.result import ModelInfo, Trace


@dataclass(frozen=True)
class LabelScore:
    """A class and what speaks for it.

    ``prob`` is its probability: of the softmax of ``score`` s over all classes, or a sigmoid of its own; NaN for a
    regression. ``score`` is a head's logit, or of label words their log-probability, calibrated where that was asked
    for (nats). ``plain_prob`` is the probability without calibration. Of label words: ``logprob`` is the sum over the
    label's tokens, ``mean_logprob`` their mean (nats a token), ``neutral`` the log of the probability that it has after
    texts that say nothing (nats); None where there is none.
    """

    label: str
    prob: float
    score: float
    plain_prob: float
    logprob: float | None = None
    mean_logprob: float | None = None
    neutral: float | None = None


@dataclass(frozen=True)
class Agreed:
    """How far the traces agree on which words mattered, by magnitude: ``spearman`` and ``overlap`` [methods, methods]
    as in ``pellucid.trace.combine.Agreement``; the overlap is of the ``top_k`` largest of ``entries``."""

    methods: tuple[str, ...]
    spearman: tuple[tuple[float, ...], ...]
    overlap: tuple[tuple[float, ...], ...]
    top_k: int
    entries: int


@dataclass(frozen=True)
class Classification(Result):
    """The class of a text (of a pair: ``text`` and ``second``), every class's score, and why.

    ``kind`` says how classes are chosen: ``words`` (label words of a language model), ``softmax``, ``sigmoid`` (each
    class by itself: ``chosen`` holds all that are likelier than not) or ``value`` (a regression, which has no
    probabilities: ``confidence`` is None). ``label`` is the likeliest class, ``confidence`` its probability.
    ``explained`` are the classes that the ``traces`` are about, one trace a method, each with the text's words for
    units; ``against`` is the class that they are contrasted with, None for none. ``start`` is where the text begins in
    the prompt that was explained. ``instruction`` and ``neutral`` are those of label words.
    """

    SCHEMA: ClassVar[str] = "pellucid.classification/1"

    model: ModelInfo
    text: str
    second: str | None
    kind: str
    label: str
    confidence: float | None
    chosen: tuple[str, ...]
    scores: tuple[LabelScore, ...]
    explained: tuple[str, ...]
    against: str | None
    traces: tuple[Trace, ...]
    agreement: Agreed | None
    start: int
    instruction: str | None
    neutral: tuple[str, ...]
    seconds: float

    @property
    def probabilities(self) -> dict[str, float]:
        """By class, in the order of ``scores``."""
        return {s.label: s.prob for s in self.scores}

    def __getitem__(self, label: str) -> LabelScore:
        for s in self.scores:
            if s.label == label:
                return s
        raise KeyError(f"{label!r}: there are {', '.join(s.label for s in self.scores)}")

    def rows(self) -> list[dict[str, Any]]:
        """One row a class."""
        return [
            {
                "label": s.label,
                "chosen": s.label in self.chosen,
                "prob": s.prob,
                "score": s.score,
                "plain_prob": s.plain_prob,
                "logprob": s.logprob,
                "mean_logprob": s.mean_logprob,
                "neutral": s.neutral,
            }
            for s in self.scores
        ]
