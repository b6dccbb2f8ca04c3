"""Many answers to one prompt: the prompt runs once, and its keys and values serve every answer.

    shared_logits(loaded, prompt, answers, allowed=1 << 30)         # a list of [targets, vocabulary]

In the likelihood mode the text comes first and the query is the answer, so that one pass over a text serves all
queries; each adds its own few tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.models.load import LoadedModel
from pellucid.relevance.head import narrowed
from pellucid.trace.inside import precision as running
from pellucid.trace.logits import cache_name, wide

#: Rows that continue one prompt together, at most.
ROWS = 64


def shared_logits(
    loaded: LoadedModel,
    prompt: Sequence[int],
    answers: Sequence[Sequence[int]],
    *,
    allowed: int,
    precision: str = "full",
    report: Callable[[int], None] = lambda done: None,
) -> list[Tensor] | None:
    """The logits that predict each of ``answers`` after ``prompt``, [targets, vocabulary] in float32 or wider, without
    gradients. ``allowed`` bytes may be taken; ``report`` is told how many answers are done. None for a model that keeps
    something else than keys and values."""
    from transformers import DynamicCache

    network: Any = loaded.network
    name = cache_name(network)
    whole = DynamicCache()  # without a configuration every layer keeps all, those with a sliding window too
    with torch.no_grad(), running(network, precision):
        ids = torch.tensor([list(prompt[:-1])], device=loaded.device)
        with narrowed(network, torch.zeros(1, 1, dtype=torch.long)):
            network(input_ids=ids, use_cache=True, **{name: whole})
        layers: list[Any] = list(whole.layers)
        plain = [getattr(k, "keys", None) is not None and k.keys.shape[-2] == len(prompt) - 1 for k in layers]
        if not plain or not all(plain):
            return None
        kept = [(k.keys, k.values) for k in layers]
        row = 2 * sum(k.nbytes + v.nbytes for k, v in kept)  # appending makes a copy
        most = max(1, min(ROWS, allowed // max(row, 1)))
        order = sorted(range(len(answers)), key=lambda i: len(answers[i]))
        found: list[Tensor] = [torch.empty(0)] * len(answers)
        for begin in range(0, len(order), most):
            report(begin)
            group = order[begin : begin + most]
            longest = max(len(answers[i]) for i in group)
            fed = [[prompt[-1], *answers[i][:-1]] for i in group]
            rows = torch.tensor([f + [f[-1]] * (longest - len(f)) for f in fed], device=loaded.device)
            cache = DynamicCache()
            for k, (keys, values) in enumerate(kept):
                cache.update(keys.expand(len(group), -1, -1, -1), values.expand(len(group), -1, -1, -1), k)
            logits = wide(network(input_ids=rows, use_cache=True, **{name: cache}).logits)
            for k, i in enumerate(group):
                found[i] = logits[k, : len(answers[i])]
    report(len(answers))
    return found
