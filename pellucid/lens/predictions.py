"""What rows of logits predict, in a few passes over them: likeliest tokens, entropy, a token's log-probability and
rank.

    for first, seen in by_chunks(final, states, ids, top_k=5): seen.best, seen.entropy, seen.logprob

The head runs on some rows at a time and their logits are let go, so that memory does not grow with the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.lens.final import Final

ROWS = 128  # at a time: 128 rows of 260,000 logits are 133 MB
_BLOCK = 128


@dataclass(frozen=True, eq=False)
class Seen:
    """Of some rows: ``best`` [rows, k] log-probabilities of the likeliest tokens ``best_ids``; ``entropy`` [rows] in
    nats; of a given token in each row its ``logprob`` [rows] and ``rank`` [rows], from 1."""

    best: Tensor
    best_ids: Tensor
    entropy: Tensor
    logprob: Tensor
    rank: Tensor


def top(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` largest of each row [rows, n] and their places, largest first, as ``topk``: among the largest blocks
    alone, because each of the k lies in one of the k blocks with the largest maxima."""
    rows, n = values.shape
    blocks = n // _BLOCK
    if blocks < 4 * k:
        return values.topk(k, -1)
    whole = values[:, : blocks * _BLOCK].unflatten(1, (blocks, _BLOCK))
    which = whole.amax(-1).topk(k, -1).indices  # [rows, k]
    some = whole.gather(1, which[..., None].expand(-1, -1, _BLOCK)).flatten(1)
    places = (which[..., None] * _BLOCK + torch.arange(_BLOCK, device=values.device)).flatten(1)
    rest = torch.arange(blocks * _BLOCK, n, device=values.device).expand(rows, -1)
    best, at = torch.cat([some, values[:, blocks * _BLOCK :]], 1).topk(k, -1)
    return best, torch.cat([places, rest], 1).gather(1, at)


def seen(logits: Tensor, ids: Tensor, top_k: int, room: Tensor | None = None) -> Seen:
    """From ``logits`` [rows, vocabulary], which are used up, and a token for each row, ``ids`` [rows]. ``room`` is a
    tensor of their shape to work in: fresh memory costs more than the sums do."""
    room = torch.empty_like(logits) if room is None else room
    own = logits.gather(-1, ids[:, None])  # [rows, 1]
    best, best_ids = top(logits, top_k)
    most = best[:, :1]
    # Counted in floats, exact up to 16 million: sums of booleans take three times as long.
    rank = 1 + torch.gt(logits, own, out=room).sum(-1).long()
    # e = exp(z - m): log-probability z - m - log sum e, entropy log sum e - (sum e (z - m)) / sum e. One exponential,
    # and sums of numbers up to 1, which float32 holds well over 260,000 of them.
    below = logits.sub_(most)
    if float(below.amin()) == -torch.inf:
        below.clamp_(min=-1e4)  # where e is 0, 0 * inf would be no number
    e = torch.exp(below, out=room)
    mass = e.sum(-1, keepdim=True)
    total = most + mass.log()
    entropy = mass.log()[:, 0] - e.mul_(below).sum(-1) / mass[:, 0]
    return Seen(best - total, best_ids, entropy.clamp(min=0), (own - total)[:, 0], rank)


def by_chunks(final: Final, states: Tensor, ids: Tensor, *, top_k: int, rows: int = ROWS) -> Iterator[tuple[int, Seen]]:
    """``seen`` for normed ``states`` [positions, width], ``rows`` positions at a time: (the first position, what is
    seen)."""
    room: Tensor | None = None
    with torch.no_grad():
        for first in range(0, states.shape[0], rows):
            logits = final.logits(states[first : first + rows])
            if room is None or room.shape != logits.shape:
                room = torch.empty_like(logits)
            yield first, seen(logits, ids[first : first + rows], top_k, room)
