"""How the model is asked, and how its answer is read: one entry a mode.

    pellucid relevance --mode fill_blank "capital gains" --file report.txt

In the question modes the answer is the next token. With z its logits, p = softmax(z) and n the negative answer's first
token,

    degree = 1 - p_n,        what tokens are scored by: sum of p_i z_i over the ten likeliest i other than n,

p held constant: raw logits and not probabilities, so that a confident answer does not flatten the gradient. The mode
``likelihood`` reads the query as the answer to the text: with l the query's mean log-probability a token,

    degree = sigmoid(SLOPE (l(text) - l(no text) - middle)),    tokens are scored by the query's log-probability.

SLOPE and each mode's middle (nats) were read off tuning paragraphs, docs/decisions.md says which. The mode ``answer``
puts the query after the text and lets the model answer it, in one pass: the degree is the likelihood mode's, of the
query where it stands, and tokens are scored by the sum above over what the model would answer, plus l(text): a query
that asks nothing has no answer to speak of, and still is likelier for what the text says about it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import unknown
from pellucid.trace.objective import Objective, logprob

AUTO = "auto"
CANDIDATES = 10
SLOPE = 4.0


@dataclass(frozen=True)
class Mode:
    """A way to ask.

    - ``question``: a negative answer judges the text; else the query's likelihood does.
    - ``answered``: tokens are scored by what the model would answer; else by the query's likelihood.
    - ``method`` scores them where none is named; ``lifted``: by sentence too (``sentencewise``).
    - ``middle``: how much likelier a text makes a query that it is about as like as not, in nats a token.
    - ``deprecated`` says why.
    """

    name: str
    description: str
    question: bool = True
    answered: bool = True
    method: str = "saliency"
    lifted: bool = False
    middle: float = 0.0
    deprecated: str = ""


MODES: dict[str, Mode] = {
    m.name: m
    for m in (
        Mode("count", "how many words of the text are related to the query: a number, 0 for none"),
        Mode("fill_blank", "which one word of the text is most related to the query, or none"),
        Mode(
            "match_score",
            "how related text and query are: 0, 1 or 2",
            deprecated="match_score is the weakest way to ask, and kept for comparison: use auto",
        ),
        Mode(
            "likelihood",
            "how likely the query is after the text, beside how likely without one",
            question=False,
            answered=False,
            middle=0.9,
        ),
        Mode(
            "answer",
            "the query's likelihood after the text, and what the model then answers to it",
            question=False,
            method="layered_saliency",
            lifted=True,
            middle=0.75,
        ),
    )
}
#: What auto takes: (for the degree of a whole text, for the scores of its tokens), by docs/decisions.md.
AUTO_MODES = ("answer", "answer")


def mode(name: str) -> Mode:
    """The mode of that name. Raises ``OptionError``."""
    if name not in MODES:
        raise unknown("mode", name, [AUTO, *MODES])
    return MODES[name]


def modes_of(name: str) -> tuple[Mode, Mode]:
    """(for the degree, for the tokens): the same one, unless ``auto`` takes two. Raises ``OptionError``."""
    names = AUTO_MODES if name == AUTO else (name, name)
    return mode(names[0]), mode(names[1])


def answer_objective(negative: int | None, query: int) -> Objective:
    """sum_i p_i z_i over the likeliest answers i, p held constant, the ``negative`` one left out: the last target's
    number. The first ``query`` targets are the query's tokens, with their mean log-probability between them."""

    def function(logits: Tensor, ids: Tensor) -> Tensor:
        last = logits[..., -1:, :]  # [..., 1, vocabulary]
        p = torch.softmax(last.detach(), -1)
        if negative is not None:
            p[..., negative] = 0
        weights, best = p.topk(min(CANDIDATES, p.shape[-1]), -1)
        answer = (weights * last.gather(-1, best)).sum(-1)
        before = logits[..., :query, :]
        said = logprob(before, ids[:query]) / max(query, 1)
        between = torch.zeros_like(logits[..., query:-1, 0])
        return torch.cat([said, between, answer], -1)  # [..., targets]

    return Objective("relevance", "sum_i p_i z_i of the answer, and mean log p(query)", "logits", function)


QUERY_OBJECTIVE = Objective("relevance", "log p(query | text)", "nats", logprob)


def objective_of(mode: Mode, negative: int, query: int) -> Objective:
    """What tokens are scored by. ``negative`` is the negative answer's first token, for a question; ``query`` how many
    of the answer's tokens are the query's, for the mode answer."""
    if mode.question:
        return answer_objective(negative, 0)
    return answer_objective(None, query) if mode.answered else QUERY_OBJECTIVE


def question_degree(logits: Tensor, negative: int) -> tuple[float, float]:
    """(degree, its log-odds in nats) from the next token's logits [vocabulary]."""
    z = logits.double()
    others = z.clone()
    others[negative] = -math.inf
    log_odds = float(others.logsumexp(-1) - z[negative])
    return 1 / (1 + math.exp(-min(max(log_odds, -700.0), 700.0))), log_odds


def query_logprob(logits: Tensor, answer: Tensor) -> float:
    """Mean log-probability a token of the query [targets] from its logits [targets, vocabulary], in nats."""
    return float(logprob(logits.double(), answer).mean())


def query_degree(mode: Mode, given: float, bare: float) -> tuple[float, float]:
    """(degree, its log-odds in nats) from mean log-probabilities with the text and without one."""
    log_odds = SLOPE * (given - bare - mode.middle)
    return 1 / (1 + math.exp(-min(max(log_odds, -700.0), 700.0))), log_odds
