"""Several requests in one batch: next tokens of many prompts, surprisal of many texts, as each would come out alone.

    asked = [nexttokens.read(loaded, p, steps=5, top_k=5, strategy="greedy", seed=0, raw=False) for p in prompts]
    next_tokens_together(loaded, asked)          # list[NextTokens], in the order of the prompts

Prompts of different lengths are filled up at their beginnings, behind a mask and with positions of their own, so that
all of them end, and go on, in the same column. Texts whose every token is read are filled up at their ends, where the
causal mask hides it. A server waits for the weights to come from memory once a batch instead of once a request.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.lens import nexttokens, surprisal
from pellucid.lens.final import Final
from pellucid.lens.nexttokens import Row, described
from pellucid.lens.results import NextTokens, Surprisal
from pellucid.lens.steps import choose, finite
from pellucid.models.generate import end_tokens
from pellucid.models.load import LoadedModel
from pellucid.trace.logits import cache_name, wide


def can_batch(loaded: LoadedModel) -> bool:
    """Can rows be filled up at their beginnings? Only where the network takes positions."""
    return "position_ids" in inspect.signature(loaded.network.forward).parameters


def next_tokens_together(loaded: LoadedModel, asked: Sequence[nexttokens.Asked]) -> list[NextTokens]:
    """``next_tokens`` of each, in one batch; strategies that are no processors of logits (beams, contrastive search)
    cannot be among them. Raises ``NumericError``."""
    began = time.perf_counter()
    ends, device = end_tokens(loaded), loaded.device
    lengths = [len(a.encoded.ids) for a in asked]
    longest = max(lengths)
    fill = loaded.tokenizer.pad_token_id or 0
    ids = torch.tensor([[fill] * (longest - len(a.encoded.ids)) + a.encoded.ids for a in asked], device=device)
    mask = torch.tensor([[0] * (longest - n) + [1] * n for n in lengths], device=device)  # [rows, longest]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    processors = [a.strategy.processors() for a in asked]
    draws = [torch.Generator(device=device).manual_seed(a.seed) for a in asked]
    said: list[list[int]] = [[] for _ in asked]
    found: list[list[Row]] = [[] for _ in asked]
    active = [True] * len(asked)
    network: Any = loaded.network
    name, kept = cache_name(network), None
    for _ in range(max(len(a.begin) + a.steps for a in asked)):
        given: dict[str, Any] = {} if kept is None else {name: kept}
        with torch.no_grad():
            out = network(
                input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1, **given
            )
        own = getattr(out, name, None)
        kept = out.past_key_values if own is None else own
        logits = wide(out.logits[:, -1])  # [rows, vocabulary]
        fed = [fill] * len(asked)
        for k, a in enumerate(asked):
            if not active[k]:
                continue
            row = finite(logits[k], loaded)
            at = len(said[k])
            fixed = a.begin[at] if at < len(a.begin) else None
            token, chance = choose(row, [*a.encoded.ids, *said[k]], processors[k], a.strategy.draws, draws[k], fixed)
            said[k].append(token)
            found[k].append((*described(loaded, row, token, a.top_k), chance))
            fed[k] = token
            active[k] = token not in ends and len(said[k]) < len(a.begin) + a.steps
        if not any(active):
            break
        ids = torch.tensor(fed, device=device)[:, None]
        mask = torch.cat([mask, mask.new_ones(len(asked), 1)], 1)
        positions = positions[:, -1:] + 1
    return [nexttokens.written(loaded, a, s, f, began) for a, s, f in zip(asked, said, found, strict=True)]


def surprisal_together(loaded: LoadedModel, asked: Sequence[surprisal.Asked]) -> list[Surprisal]:
    """``surprisal`` of each text, in one batch; each must fit one window. Raises ``NumericError``, ``ModelError``."""
    began = time.perf_counter()
    final = Final.of(loaded)
    rows = [[*a.lead, *a.ids] for a in asked]
    longest, fill = max(map(len, rows)), loaded.tokenizer.pad_token_id or 0
    ids = torch.tensor([r + [fill] * (longest - len(r)) for r in rows], device=loaded.device)
    kept: list[Tensor] = []
    hook = final.norm.register_forward_hook(lambda module, given, out: kept.append(out))
    try:
        with torch.no_grad():
            out = loaded.network(input_ids=ids, use_cache=False, logits_to_keep=1)
    finally:
        hook.remove()
    finite(out.logits, loaded)
    found = []
    for a, states, row in zip(asked, kept[-1], rows, strict=True):
        lists = surprisal.Lists.empty(len(a.ids))
        for _ in surprisal.weighed(loaded, final, a, states[: len(row)], a.windows[0], lists):
            pass
        found.append(surprisal.result(loaded, a, lists, began))
    return found
