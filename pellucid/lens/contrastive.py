"""Contrastive search: of the likeliest tokens, the one whose hidden state is least like any that came before.

    contrastive(loaded, ids, alpha=0.6, steps=40)

Su et al. 2022, "A Contrastive Framework for Neural Text Generation": of the ``TOP`` likeliest v the one with the
largest (1 - alpha) p(v) - alpha max_j cos(h_v, h_j), h the last hidden state (what the head is given), j over all that
stands before. A step is one pass over the candidates, on the keys and values of what stands before.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.models.generate import end_tokens
from pellucid.models.load import LoadedModel
from pellucid.trace.logits import cache_name, wide

TOP = 4


def contrastive(
    loaded: LoadedModel,
    ids: Sequence[int],
    *,
    alpha: float,
    steps: int,
    top: int = TOP,
    report: Callable[[int], None] = lambda done: None,
) -> list[int]:
    """The tokens that it chooses, at most ``steps``, the one that ended it too."""
    network: Any = loaded.network
    name, ends = cache_name(network), end_tokens(loaded)
    head = network.get_output_embeddings()
    said: list[int] = []
    states: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda module, given: states.append(given[0]))

    def run(rows: Tensor, kept: Any) -> tuple[Tensor, Any, Tensor]:
        """(logits [rows, tokens, vocabulary], cache, the head's input [rows, tokens, width])."""
        states.clear()
        out = network(input_ids=rows, use_cache=True, **({} if kept is None else {name: kept}))
        held = getattr(out, name, None)
        return wide(out.logits), out.past_key_values if held is None else held, wide(states[-1])

    try:
        with torch.no_grad():
            logits, kept, before = run(torch.tensor([list(ids)], device=loaded.device), None)
            row = logits[0, -1]
            before = torch.nn.functional.normalize(before[0], dim=-1)  # [tokens, width]
            for k in range(steps):
                p, candidates = torch.softmax(row, -1).topk(min(top, row.shape[-1]))
                # Every candidate appends to a copy of its own: what is not taken must leave no trace.
                copies = copy.deepcopy(kept)
                copies.batch_repeat_interleave(len(candidates))
                logits, copies, found = run(candidates[:, None], copies)
                found = torch.nn.functional.normalize(found[:, 0], dim=-1)  # [candidates, width]
                score = (1 - alpha) * p - alpha * (found @ before.T).amax(-1)
                best = int(score.argmax())
                said.append(int(candidates[best]))
                report(k + 1)
                if said[-1] in ends:
                    break
                copies.batch_select_indices(torch.tensor([best], device=loaded.device))
                row, kept, before = logits[best, -1], copies, torch.cat([before, found[best : best + 1]])
    finally:
        hook.remove()
    return said
