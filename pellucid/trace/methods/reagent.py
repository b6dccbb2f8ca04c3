"""ReAGent: importance that is learned by replacing tokens with what the model might have read there instead.

    pellucid explain --method reagent --param steps=100 "..."

All units start equal. Each step draws a random set of units, a share ``share`` of them, replaces their tokens by tokens
drawn from the model's own predictions at those places, and moves importances in logit space: with the change
d = p(answer) - p(answer after replacement) in [-1, 1], logit(importance) grows by log((1 + d) / (1 - d)) / 2 for the
replaced units and shrinks by as much for the others; importances add up to 1. It ends when keeping the ``top`` share of
units alone keeps every target among the model's ``rank`` likeliest tokens, or after ``steps``. p(answer) is the
geometric mean over the explained targets. ``details["steps"]`` and ``details["enough"]`` say how it ended.

Zhao & Shan 2024, "ReAGent: A Model-agnostic Feature Attribution Method for Generative Language Models"
(arXiv:2402.00794). There a masked language model (RoBERTa) proposes the replacements; here the model itself does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pellucid.errors import OptionError
from pellucid.trace.methods import Method
from pellucid.trace.methods.smoothgrad import check_samples

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.trace.engine import Run, Scores

_BATCH = 8  # steps between two looks at whether it is enough


def update(logits: Tensor, replaced: Tensor, change: Tensor) -> Tensor:
    """``logits`` of the importances [..., units] after one replacement of the units in ``replaced`` [units] changed the
    probability by ``change`` [..., 1] in [-1, 1]; importances add up to 1 again."""
    import torch

    move = torch.atanh(change.clamp(-1 + 1e-6, 1 - 1e-6))
    return torch.log_softmax(logits + torch.where(replaced, move, -move), -1)


def ranks(logits: Tensor, ids: Tensor) -> Tensor:
    """Each target's place among all tokens, 1 the likeliest [targets]."""
    return 1 + (logits > logits.gather(-1, ids[:, None])).sum(-1).to(logits.dtype)


def reagent(run: Run, *, steps: int, share: float, top: float, rank: int) -> Scores:
    """Importances after random replacements."""
    import numpy as np
    import torch

    from pellucid.trace.ablate import effects, original, sampled, token_scores
    from pellucid.trace.engine import Scores
    from pellucid.trace.objective import OBJECTIVES

    check_samples(steps)
    for name, value in (("share", share), ("top", top)):
        if not 0 < value < 1:
            raise OptionError(f"{name} should be a share between 0 and 1, given {value}")
    check_samples(rank)
    units, random = len(run.units), np.random.default_rng(run.seed)
    draw = torch.Generator().manual_seed(run.seed)
    logprob = OBJECTIVES["logprob"].function  # its own measure is probability, whatever is explained
    whole = original(run, measure=logprob)  # [selected]
    logits = torch.full((len(run.selected) + 1, units), -math.log(units), dtype=torch.float64)
    done, enough = 0, False
    while done < steps and not enough:
        put = sampled(run, draw)
        masks = np.ones((min(_BATCH, steps - done), units), dtype=bool)
        for mask in masks:
            mask[random.choice(units, max(1, round(share * units)), replace=False)] = False
        for mask, value in zip(
            masks, effects(run, masks, replace=put, measure=logprob, stage="replacing"), strict=True
        ):
            before = torch.cat([whole, whole.mean(0, keepdim=True)]).exp()
            after = torch.cat([value, value.mean(0, keepdim=True)]).exp()
            logits = update(logits, torch.tensor(~mask), (before - after)[:, None])
        done += len(masks)
        best = np.zeros((1, units), dtype=bool)
        best[0, logits[-1].argsort(descending=True)[: max(1, round(top * units))].numpy()] = True
        enough = bool((effects(run, best, replace=put, measure=ranks, stage="looking") <= rank).all())
    importance = logits.exp()
    found = token_scores(run, importance[:-1], {"steps": done, "enough": enough})
    total = token_scores(run, importance[-1:].expand(len(run.selected), -1) / len(run.selected)).total
    return Scores(total, found.matrix, found.measured, found.details)


METHOD = Method(
    name="reagent",
    description="importance learned from random replacements by the model's own tokens",
    paper="Zhao & Shan 2024, arXiv:2402.00794",
    formula="logit w_u += +- atanh(p(answer) - p(answer after replacement))",
    cost="steps forwards",
    signed=False,
    needs="forward",
    kinds=("causal",),
    function=reagent,
    parameters={"steps": 96, "share": 0.3, "top": 0.7, "rank": 3},
)
