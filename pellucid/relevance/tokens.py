"""Scores of a question's tokens: gradients' norms, many questions at a time, or any other method one by one.

logits, scores = token_scores(loaded, asked, mode("fill_blank"), How())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent
from pellucid.relevance.batch import gradients_of, length
from pellucid.relevance.modes import Mode, objective_of
from pellucid.relevance.question import Asked
from pellucid.trace.engine import Run
from pellucid.trace.faithful import importance
from pellucid.trace.layers import decoder_layers
from pellucid.trace.memory import Plan, Shape, whole_graph
from pellucid.trace.methods import method


@dataclass(frozen=True)
class How:
    """``method`` with ``parameters``; ``checkpointing``: True, False, or ``auto``; ``allowed`` bytes; ``precision``."""

    method: str = "saliency"
    parameters: dict[str, Any] = field(default_factory=dict)
    checkpointing: bool | str = "auto"
    allowed: int = 1 << 62
    precision: str = "full"


def token_scores(
    loaded: LoadedModel, asked: Sequence[Asked], mode: Mode, how: How, progress: Progress = silent
) -> tuple[list[Tensor], list[Tensor]]:
    """Each question's logits [targets, vocabulary], and its prompt's scores [prompt tokens], larger matters more.

    By layer, one question at a time, where the whole graph of the longest does not fit, or ``checkpointing`` asks.
    """
    objectives = [objective_of(mode, a.answer[0], a.query) for a in asked]
    longest = max(asked, key=length)
    need = whole_graph(Shape.of(loaded.network), tokens=length(longest), targets=len(longest.answer))
    by_layer = how.checkpointing is True or (how.checkpointing == "auto" and need > how.allowed)
    layered = how.method == "layered_saliency" and bool(decoder_layers(loaded.network))
    if (how.method == "saliency" or layered) and not by_layer:
        known = method(how.method)
        found = gradients_of(
            loaded,
            asked,
            objectives,
            skip=float({**known.parameters, **how.parameters}["skip"]) if layered else None,
            allowed=how.allowed,
            precision=how.precision,
            progress=progress,
        )
        return [z for z, _ in found], [scores for _, scores in found]
    chosen = method(how.method)
    logits, scores = [], []
    for k, (a, objective) in enumerate(zip(asked, objectives, strict=True)):

        def report(stage: str, done: float, total: float | None, k: int = k) -> None:
            progress("backward", k + (done / total if total else 0.0), len(asked))

        run = Run(
            loaded,
            a.prompt,
            a.answer,
            objective,
            units=[[p.index] for p in a.places],
            allowed=how.allowed,
            precision=how.precision,
            progress=report,
        )
        if how.checkpointing is True:
            run.plan = Plan(True, 1, 1, False, run.plan.bytes)
        total = chosen(run, **how.parameters).total[: len(a.prompt)]
        assert run.logits is not None
        logits.append(run.logits)
        scores.append(torch.as_tensor(importance(total.double().cpu().numpy(), chosen.ranks)))
    progress("backward", len(asked), len(asked))
    return logits, scores
