"""Does the explanation hold? The trust line: remove what scored highest, and see what becomes of the answer.

    trace = model.explain("..."); trace.trust

drop(S) = (log p(answer | prompt) - log p(answer | prompt without the tokens S)) / answer tokens, in nats. ``top_drop``
takes for S the tenth of the user's tokens that the method ranks highest, ``random_drop`` the mean over seeded random
choices of as many. This is comprehensiveness (DeYoung et al. 2020, ERASER, arXiv:1911.03429) at one size, in
log-probability, beside its random baseline.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pellucid.trace.ablate import batch_size
from pellucid.trace.engine import Run
from pellucid.trace.objective import logprob
from pellucid.trace.result import Floats, Trust

FRACTION = 0.1
RANDOM_DRAWS = 8


def trust(
    run: Run, ranking: Floats, candidates: Sequence[int], answer_logprob: float
) -> tuple[Trust | None, str | None, int]:
    """``(trust, why there is none, forward passes)``.

    ``ranking`` [prompt tokens], larger goes first; ``candidates`` are the tokens that may go; ``answer_logprob`` is
    that of the run's selected targets with the whole prompt, in nats, known from the explanation's own forward pass.
    """
    prompt, count = run.ids[0, : run.prompt_length].tolist(), len(candidates)
    removed = max(1, round(FRACTION * count))
    if count < 2:
        return None, f"not measured: the prompt has {count} token that can be removed, and two are needed", 0
    if len(prompt) == removed:
        return None, "not measured: nothing would be left of the prompt", 0
    ranked = sorted(candidates, key=lambda i: -float(ranking[i]))
    random = np.random.default_rng(run.seed)
    draws = [random.choice(candidates, removed, replace=False).tolist() for _ in range(RANDOM_DRAWS)]
    rows = [run.without(prompt, set(gone)) for gone in (ranked[:removed], *draws)]
    drops = (answer_logprob - _logprobs(run, rows)) / len(run.selected)
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
            seed=run.seed,
        ),
        None,
        len(rows),
    )


def _logprobs(run: Run, rows: Sequence[Sequence[int]]) -> Tensor:
    """log p of the selected targets after each prompt [rows], summed in float64."""
    size = batch_size(run, len(rows[0]) + run.targets)
    out = []
    for first in range(0, len(rows), size):
        run.progress("trust", first, len(rows))
        for logits in run.logits_after(rows[first : first + size]):
            own = logprob(run.readable(logits), run.answer)  # [targets]
            out.append(own[run.selected].double().sum().cpu())
    run.progress("trust", len(rows), len(rows))
    return torch.stack(out)
