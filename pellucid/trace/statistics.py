"""What the model thought of each answer token: probability, rank, entropy, and what it might have said instead.

trace.targets[0].prob, trace.targets[0].alternatives
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pellucid.models.align import Span, words
from pellucid.trace.result import Alternative, Target

ALTERNATIVES = 5
_RULED_OUT = -5000.0  # nats; a head puts a number like -10,000 or lower where it may not choose
_ROWS = 64  # at a time: the float32 copies of 64 rows of 260,000 logits are 70 MB each


def describe(
    choice: Callable[[int], str], ids: list[int], text: str, spans: list[Span], logits: Tensor
) -> tuple[Target, ...]:
    """A ``Target`` for each id, from ``logits`` [targets, vocabulary]; ``choice`` names an id, ``spans`` are characters
    of ``text``."""
    out = []
    numbers = words(text, spans)
    for first in range(0, len(ids), _ROWS):
        rows = logits[first : first + _ROWS]
        logprobs = rows - rows.logsumexp(-1, keepdim=True)  # [rows, vocabulary]
        probs = logprobs.exp()
        # A probability of zero counts nothing (0 log 0 = 0), also where a model sets logits to minus infinity.
        entropy = (probs * -logprobs.nan_to_num(neginf=0.0)).sum(-1).clamp(min=0)
        best, best_ids = logprobs.topk(min(ALTERNATIVES, logprobs.shape[-1]), dim=-1)
        for k in range(rows.shape[0]):
            i = first + k
            own = logprobs[k, ids[i]]
            alternatives = tuple(
                Alternative(choice(int(v)), int(v), min(float(p.exp()), 1.0), min(float(p), 0.0))
                for p, v in zip(best[k], best_ids[k], strict=True)
                if float(p) > _RULED_OUT
            )
            start, end = spans[i]
            out.append(
                Target(
                    text=text[start:end],
                    id=ids[i],
                    start=start,
                    end=end,
                    prob=min(float(own.exp()), 1.0),
                    logprob=min(float(own), 0.0),
                    rank=1 + int((logprobs[k] > own).sum()),
                    entropy=float(entropy[k]),
                    alternatives=alternatives,
                    word=numbers[i],
                )
            )
    return tuple(out)
