"""How far texts are about queries: many to many, forward passes alone, in batches.

    degrees(loaded, ["debts", "weather"], [report, letter])      # [queries, texts], 0..1

A text over the window is read in windows, and is as much about the query as the best of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pellucid.errors import InputError
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent
from pellucid.relevance.batch import logits_of
from pellucid.relevance.modes import AUTO, Mode, modes_of, query_degree, query_logprob, question_degree
from pellucid.relevance.prompts import Wording
from pellucid.relevance.question import Asked, check_content, check_query
from pellucid.relevance.reading import Reader, Settings
from pellucid.trace.memory import budget

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """A degree 0..1, its log-odds in nats, and those less a neutral text's (the same for the likelihood mode, which
    compares with no text already)."""

    degree: float
    log_odds: float
    calibrated: float


def judged(mode: Mode, asked: Asked, logits: torch.Tensor, beside: float) -> Judged:
    """From a question's logits [read, vocabulary]; ``beside`` is the neutral text's log-odds, or the query's mean
    log-probability without a text."""
    if mode.question:
        degree, log_odds = question_degree(logits[0], asked.answer[0])
        return Judged(degree, log_odds, log_odds - beside)
    degree, log_odds = query_degree(mode, _query(asked, logits), beside)
    return Judged(degree, log_odds, log_odds)


def beside_of(mode: Mode, asked: Asked, logits: torch.Tensor) -> float:
    """What ``judged`` compares with, from the neutral question's logits."""
    if mode.question:
        return question_degree(logits[0], asked.answer[0])[1]
    return _query(asked, logits)


def _query(asked: Asked, logits: torch.Tensor) -> float:
    ids = torch.tensor(asked.answer[: asked.query], device=logits.device)
    return query_logprob(logits[: asked.query], ids)


def degrees(
    loaded: LoadedModel,
    queries: Sequence[str],
    texts: Sequence[str],
    *,
    mode: str = AUTO,
    language: str | None = None,
    template: Wording | None = None,
    window: int | None = None,
    precision: str = "full",
    memory: str | int = "auto",
    progress: Progress = silent,
) -> Floats:
    """The degree of every text for every query [queries, texts], 0..1.

    Options as in ``relevance``. Raises ``InputError`` for an empty query or text, and what ``relevance`` raises.
    """
    if isinstance(queries, str) or isinstance(texts, str):
        raise InputError("expected a list of queries and a list of texts, given one text: put it in a list")
    if not queries or not texts:
        raise InputError(f"expected at least one query and one text, given {len(queries)} and {len(texts)}")
    for q in queries:
        check_query(q)
    for t in texts:
        check_content(t)
    chosen = modes_of(mode)[0]
    allowed = budget(memory, loaded.device)
    reader = Reader(loaded, chosen, Settings(language, template, window, None))
    asked: list[Asked] = []
    owner: list[tuple[int, int]] = []
    beside: list[int] = []
    done = 0
    for i, query in enumerate(queries):
        for j, text in enumerate(texts):
            reading = reader.read(query, text)
            for a in reading.asked:
                owner.append((i, j))
                asked.append(a.said)
            # The wording follows the language of query and text, so the neutral question may differ within a query.
            asked.append(reader.neutral(query, reading.wording))
            owner.append((-1, -1))
            beside += [len(asked) - 1] * len(reading.asked)
            done += 1
            progress("encoding", done, len(queries) * len(texts))
    logits = logits_of(loaded, asked, allowed=allowed, precision=precision, progress=progress)
    found = np.zeros((len(queries), len(texts)))
    k = 0
    for n, (i, j) in enumerate(owner):
        if i < 0:
            continue
        other = beside[k]
        k += 1
        base = beside_of(chosen, asked[other], logits[other])
        found[i, j] = max(found[i, j], judged(chosen, asked[n], logits[n], base).degree)
    return found
