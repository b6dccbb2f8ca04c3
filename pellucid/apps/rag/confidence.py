"""How far to trust an answer from passages, by evidence rather than by what the model says of itself.

    sure = confidence(me, question, asked, texts, answer, evidence, sentences)
    sure.value; sure.gain; sure.relevance; sure.support

Four numbers come for little: how much likelier the passages make the answer (``gain``), how likely it is with them
(``logprob``), the share of it that rests on something retrieved (``support``), and how much likelier the nearest of
them makes the question (``relevance``, as in the mode likelihood of that room). Sampled answers add their agreement
(``consistency``). ``value`` joins the first four by a logistic regression (L2, C = 1)
whose weights were fitted on tuning paragraphs; docs/decisions.md has the figures, docs/leaderboard.md how well it is
calibrated on others. The model's own rating stands beside, and has no part in it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pellucid.apps.rag.citations import Evidence
from pellucid.apps.rag.cited import Confidence, Sentence
from pellucid.apps.rag.prompt import Asked
from pellucid.apps.speaker import Decoding, Messages, Speaker
from pellucid.errors import OptionError
from pellucid.progress import Progress, silent
from pellucid.relevance.prompts import wording
from pellucid.trace.segments import words

#: Of the logistic regression: (intercept, gain, logprob, support, relevance).
WEIGHTS = (-3.51, 0.73, 1.16, 0.40, 0.89)
CALIBRATION = (
    "49 answers of smollm2-135m-instruct and gemma3-270m on XQuAD's first 24 English paragraphs, 6 of them right"
)
#: How other answers are drawn.
SAMPLING = "top_p:0.9+temperature:0.7"
RATING = {
    "en": "{content}\n\nAnswer: {answer}\n\nFrom 1 to 10, how sure is it that this answer is right? "
    "Reply with a number.",
    "zh": "{content}\n\n回答：{answer}\n\n这个回答正确的把握有多大？请用 1 到 10 的一个数字回答。",
}
_NUMBER = re.compile(r"(?<!\d)(10|[1-9])(?!\d)")


def confidence(
    me: Speaker,
    question: str,
    asked: Asked,
    texts: Sequence[str],
    answer: str,
    evidence: Evidence,
    sentences: Sequence[Sentence],
    *,
    decoding: Decoding | None = None,
    samples: int = 0,
    verbal: bool = False,
    progress: Progress = silent,
) -> Confidence:
    """The numbers of one answer. Raises ``OptionError`` for a negative number of ``samples``."""
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 0:
        raise OptionError(f"samples should be a whole number, at least 0, given {samples!r}")
    tokens = max(len(evidence.gain), 1)
    inside = sum(s.tokens for s in sentences)
    found = Confidence(
        value=0.0,
        gain=float(evidence.gain.sum()) / tokens,
        logprob=float(evidence.drops.logprobs.sum()) / tokens,
        support=sum(s.tokens for s in sentences if s.supported) / max(inside, 1),
        relevance=max(relevances(me, question, texts, asked.language, progress=progress)),
        consistency=_consistency(me, asked.messages, answer, samples, decoding, progress) if samples else None,
        verbal=_rating(me, asked, answer) if verbal else None,
        calibration=CALIBRATION,
    )
    return replace(found, value=joined(found))


def joined(c: Confidence) -> float:
    """The calibrated probability that the answer is right."""
    x = (1.0, c.gain, c.logprob, c.support, c.relevance or 0.0)
    z = sum(w * v for w, v in zip(WEIGHTS, x, strict=True))
    return 1 / (1 + math.exp(-min(max(z, -700.0), 700.0)))


def relevances(
    me: Speaker, question: str, texts: Sequence[str], language: str, *, progress: Progress = silent
) -> list[float]:
    """How much likelier each text makes the question than no text does [texts], nats a token of the question."""
    frame = wording("likelihood", language)
    prompts: list[Messages] = [[{"role": "user", "content": frame.user.replace("{text}", t)}] for t in texts]
    prompts.append([{"role": "user", "content": frame.bare}])
    rows = me.logprobs(prompts, [question] * len(prompts), progress=progress)
    mean = [sum(r) / max(len(r), 1) for r in rows]
    return [m - mean[-1] for m in mean[:-1]]


def overlap(a: str, b: str) -> float:
    """F1 of two texts' words (characters in Chinese), 0 to 1; 1 where both have none."""
    left, right = (Counter(t[i:j].casefold() for i, j in words(t) if any(c.isalnum() for c in t[i:j])) for t in (a, b))
    common = sum((left & right).values())
    every = sum(left.values()) + sum(right.values())
    return 2 * common / every if every else 1.0


def _consistency(
    me: Speaker, messages: Messages, answer: str, samples: int, decoding: Decoding | None, progress: Progress
) -> float:
    """Mean overlap of ``samples`` drawn answers with this one."""
    base = decoding or Decoding()
    found = []
    for k in range(samples):
        progress("sampling answers", k, samples)
        found.append(overlap(answer, me.write(messages, replace(base, strategy=SAMPLING, seed=base.seed + k)).text))
    progress("sampling answers", samples, samples)
    return sum(found) / samples


def _rating(me: Speaker, asked: Asked, answer: str) -> int | None:
    content = RATING[asked.language].format(content=asked.messages[-1]["content"], answer=answer)
    said = me.write([*asked.messages[:-1], {"role": "user", "content": content}], Decoding(max_new_tokens=8)).text
    match = _NUMBER.search(said)
    return int(match[1]) if match else None
