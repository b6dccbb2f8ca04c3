"""What many questions begin with runs once, and its keys and values serve all of them.

    beginning = Beginning.of(loaded, ids)                           # None: a model that keeps something else
    network(input_ids=rows, **beginning.cache(len(rows)))           # rows are what follows
    shared_logits(loaded, prompt, answers, allowed=1 << 30)         # a list of [targets, vocabulary]

In the likelihood and answer modes the text comes before the query, so that one pass over a text serves all queries;
each adds its own few tokens. Many texts share what the chat template puts before them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.models.load import LoadedModel
from pellucid.relevance.head import narrowed
from pellucid.trace.inside import precision as running
from pellucid.trace.logits import cache_name, wide

#: Rows that continue one prompt together, at most.
ROWS = 64


@dataclass(frozen=True, eq=False)
class Beginning:
    """``length`` tokens, and each layer's keys and values of them [1, heads, length, width]."""

    length: int
    kept: list[tuple[Tensor, Tensor]]
    name: str

    @classmethod
    def of(cls, loaded: LoadedModel, ids: Sequence[int], *, precision: str = "full") -> Beginning | None:
        """One pass over ``ids``, without gradients. None for a model that keeps something else than keys and values."""
        from transformers import DynamicCache

        network: Any = loaded.network
        name = cache_name(network)
        whole = DynamicCache()  # without a configuration every layer keeps all, those with a sliding window too
        with torch.no_grad(), running(network, precision), narrowed(network, torch.zeros(1, 1, dtype=torch.long)):
            network(input_ids=torch.tensor([list(ids)], device=loaded.device), use_cache=True, **{name: whole})
        layers: list[Any] = list(whole.layers)
        plain = [getattr(k, "keys", None) is not None and k.keys.shape[-2] == len(ids) for k in layers]
        if not plain or not all(plain):
            return None
        return cls(len(ids), [(k.keys, k.values) for k in layers], name)

    def cache(self, rows: int) -> dict[str, Any]:
        """What a pass over what follows is given: a cache of its own that ``rows`` rows append to."""
        from transformers import DynamicCache

        cache = DynamicCache()
        for k, (keys, values) in enumerate(self.kept):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), k)
        return {self.name: cache, "use_cache": True}

    @property
    def row(self) -> int:
        """Bytes that a row's own copy takes: appending makes one."""
        return 2 * sum(k.nbytes + v.nbytes for k, v in self.kept)


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
    network: Any = loaded.network
    beginning = Beginning.of(loaded, prompt[:-1], precision=precision)
    if beginning is None:
        return None
    most = max(1, min(ROWS, allowed // max(beginning.row, 1)))
    order = sorted(range(len(answers)), key=lambda i: len(answers[i]))
    found: list[Tensor] = [torch.empty(0)] * len(answers)
    with torch.no_grad(), running(network, precision):
        for begin in range(0, len(order), most):
            report(begin)
            group = order[begin : begin + most]
            longest = max(len(answers[i]) for i in group)
            fed = [[prompt[-1], *answers[i][:-1]] for i in group]
            rows = torch.tensor([f + [f[-1]] * (longest - len(f)) for f in fed], device=loaded.device)
            logits = wide(network(input_ids=rows, **beginning.cache(len(group))).logits)
            for k, i in enumerate(group):
                found[i] = logits[k, : len(answers[i])]
    report(len(answers))
    return found
