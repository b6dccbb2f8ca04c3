"""Does the explanation hold? The trust line: remove what scored highest, and see what becomes of the answer.

    trace = model.explain("..."); trace.trust

drop(S) = (log p(answer | prompt) - log p(answer | prompt without the tokens S)) / answer tokens, in nats. ``top_drop``
takes for S the tenth of the user's tokens with the largest scores by magnitude, ``random_drop`` the mean over seeded
random choices of as many. This is comprehensiveness (DeYoung et al. 2020, ERASER, arXiv:1911.03429) at one size, in
log-probability, beside its random baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent
from pellucid.trace.engine import target_logits
from pellucid.trace.inside import precision as in_precision
from pellucid.trace.memory import Shape
from pellucid.trace.result import Floats, Trust

FRACTION = 0.1
RANDOM_DRAWS = 8


def trust(
    loaded: LoadedModel,
    prompt: Sequence[int],
    answer: Sequence[int],
    selected: Sequence[int],
    scores: Floats,
    candidates: Sequence[int],
    answer_logprob: float,
    *,
    seed: int,
    allowed: int,
    precision: str = "full",
    progress: Progress = silent,
    logits_after: Callable[[list[list[int]]], list[Tensor]] | None = None,
    without: Callable[[Sequence[int], set[int]], tuple[int, ...]] | None = None,
) -> tuple[Trust | None, str | None, int]:
    """``(trust, why there is none, forward passes)``.

    ``scores`` [prompt tokens]; ``candidates`` are the tokens that may go; ``answer_logprob`` is that of the
    ``selected`` targets with the whole prompt, in nats, known from the explanation's own forward pass.
    ``logits_after`` gives the targets' logits for a batch of prompts, for kinds of model that are not causal
    (``Run.logits_after``), and ``without`` how these name a prompt with tokens taken away (``Run.without``).
    """
    count = len(candidates)
    removed = max(1, round(FRACTION * count))
    if count < 2:
        return None, f"not measured: the prompt has {count} token that can be removed, and two are needed", 0
    size = np.nan_to_num(np.abs(scores), nan=0.0)  # what a method could not measure is not among its best
    ranked = sorted(candidates, key=lambda i: -float(size[i]))
    random = np.random.default_rng(seed)
    draws = [sorted(random.choice(candidates, removed, replace=False).tolist()) for _ in range(RANDOM_DRAWS)]
    removals = [ranked[:removed], *draws]
    if len(prompt) == removed:
        return None, "not measured: nothing would be left of the prompt", 0
    rows = [[t for i, t in enumerate(prompt) if i not in set(gone)] for gone in removals]
    if without is not None:
        rows = [list(without(prompt, set(gone))) for gone in removals]
    with in_precision(loaded.network, precision):
        logprobs = _logprobs(loaded, rows, answer, selected, allowed, progress, logits_after)
    drops = (answer_logprob - logprobs) / len(selected)
    top, others = float(drops[0]), drops[1:]
    mean = float(others.mean())
    return (
        Trust(
            fraction=FRACTION,
            candidates=count,
            removed=removed,
            top_drop=top,
            random_drop=mean,
            random_drops=tuple(float(d) for d in others),
            ratio=top / mean if mean > 0 else None,
            seed=seed,
        ),
        None,
        len(rows),
    )


def _logprobs(
    loaded: LoadedModel,
    rows: list[list[int]],
    answer: Sequence[int],
    selected: Sequence[int],
    allowed: int,
    progress: Progress,
    logits_after: Callable[[list[list[int]]], list[Tensor]] | None,
) -> Tensor:
    """log p of the selected answer tokens [rows], in float64; all rows are of one length, so nothing is padded."""
    shape, tokens = Shape.of(loaded.network), len(rows[0]) + len(answer)
    each = tokens * (8 * shape.width + 4 * shape.mlp) * shape.size + 4 * len(answer) * shape.vocabulary * 4
    batch = int(max(1, min(len(rows), allowed // each)))
    goal = torch.tensor(list(answer), device=loaded.device)
    out = []
    for first in range(0, len(rows), batch):
        progress("trust", first, len(rows))
        with torch.no_grad():
            some = rows[first : first + batch]
            if logits_after is not None:
                logits = torch.stack(logits_after(some))
            else:
                ids = torch.tensor([[*row, *answer] for row in some], device=loaded.device)  # [batch, tokens]
                logits = target_logits(loaded.network, len(answer), input_ids=ids)
        own = logits.gather(-1, goal.expand(logits.shape[0], -1)[..., None])[..., 0]
        logprob = own - logits.logsumexp(-1)  # [batch, targets]
        out.append(logprob[:, list(selected)].double().sum(-1).cpu())
    progress("trust", len(rows), len(rows))
    return torch.cat(out)
