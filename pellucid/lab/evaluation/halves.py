"""How well a text's second half follows from its first: the measure of coherence that asks the model itself.

    halves(loaded, ["A long text ..."]).gain

Of each text's tokens, the second half is scored twice: given the first half, and given nothing.

    gain = (sum of ln p(second half | first half) - sum of ln p(second half)) / its tokens        nats a token

It is the pointwise mutual information of the halves. Sentences that have nothing to do with each other gain nothing,
whatever their words; a text that repeats itself gains much, so it too is read beside the repetition. Both passes
score the same tokens: where the tokenizer puts no beginning-of-text token, the half's first token, which then has
nothing before it, is left out of both. A model of one's own texts is a partial judge; its gain on held-out text is
the yardstick.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.lab.evaluation.bootstrap import Estimate, of_sums, ratio
from pellucid.lab.evaluation.inputs import Document, spread
from pellucid.lab.evaluation.likelihood import Scored, check_causal, lead, nats
from pellucid.lab.evaluation.likelihood import tokens as split
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent

#: Tokens of a half at least: shorter texts are left out.
LEAST = 4


@dataclass(frozen=True)
class Halves:
    """Nats a token of second halves given the first, given nothing, and the difference; ``texts`` were long
    enough."""

    given: Estimate
    alone: Estimate
    gain: Estimate
    texts: int


def halves(
    loaded: LoadedModel,
    groups: Sequence[Sequence[str]],
    *,
    seed: int = 0,
    stage: str = "second halves",
    progress: Progress = silent,
) -> Halves:
    """Over ``groups`` of texts (a prompt's samples), which the bootstrap draws whole. Of a text longer than the
    context, what fits is read. Raises ``ModelError`` for a model that is not causal, ``NumericError``."""
    check_causal(loaded, "the likelihood of second halves")
    before = lead(loaded)
    limit = None if loaded.context is None else loaded.context + 1 - len(before)
    rows: list[Scored] = []
    owners: list[int] = []
    for number, group in enumerate(groups):
        for text in group:
            ids = split(loaded, text, before).ids if text else ()
            ids = ids[:limit]
            middle = len(ids) // 2
            if middle < LEAST:
                continue
            count = len(ids) - middle - (0 if before else 1)
            rows += [Scored((*before, *ids), count), Scored((*before, *ids[middle:]), count)]
            owners.append(number)
    values = nats(loaded, rows, stage=stage, progress=progress)
    parts = np.zeros((len(groups), 4))  # nats given the first half, nats alone, their difference, tokens
    for k, owner in enumerate(owners):
        behind, bare = math.fsum(values[2 * k]), math.fsum(values[2 * k + 1])
        parts[owner] += (behind, bare, bare - behind, len(values[2 * k]))
    parts = parts[parts[:, 3] > 0]
    given, alone, gain = (of_sums(parts[:, [column, 3]], ratio, seed=seed) for column in range(3))
    return Halves(given, alone, gain, len(owners))


def pieces(loaded: LoadedModel, documents: Sequence[Document], *, tokens: int, count: int) -> list[str]:
    """At most ``count`` pieces of ``tokens`` tokens each, evenly spaced over all documents."""
    found = []
    for document in documents:
        spans = split(loaded, document.text, ()).spans
        found += [
            document.text[spans[at][0] : spans[at + tokens - 1][1]] for at in range(0, len(spans) - tokens + 1, tokens)
        ]
    return spread(found, count)
