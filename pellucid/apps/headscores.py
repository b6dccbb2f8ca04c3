"""Every class of a classifier's head with its probability: one forward pass.

kind, scores = head_scores(loaded, "A joy to watch.")
"""

from __future__ import annotations

from typing import Any

import torch

from pellucid.apps.classification import LabelScore
from pellucid.models.heads import encode_head, labels, problem
from pellucid.models.load import LoadedModel
from pellucid.trace.classify import ClassifierRun
from pellucid.trace.objective import OBJECTIVES


def head_scores(loaded: LoadedModel, prompt: Any) -> tuple[str, tuple[LabelScore, ...]]:
    """How the numbers are read (``models.heads.problem``), and each class: softmax over all, a sigmoid of its own, or
    a value without a probability (NaN). Raises ``InputError``, ``ContextError``."""
    ids = encode_head(loaded, prompt).ids
    z = ClassifierRun(loaded, ids, [0], OBJECTIVES["logit"]).logits_after([ids])[0][0].double()  # [classes]
    how = problem(loaded)
    if how == "value":
        probs = torch.full_like(z, float("nan"))
    else:
        probs = z.softmax(-1) if how == "softmax" else z.sigmoid()
    return how, tuple(
        LabelScore(name, float(p), float(x), float(p))
        for name, p, x in zip(labels(loaded), probs.tolist(), z.tolist(), strict=True)
    )
