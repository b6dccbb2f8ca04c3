"""What is explained: one number for each target token, from the logits at its position.

    pellucid explain --objective logit "The capital of France is" --target " Paris"

An objective is one entry of ``OBJECTIVES``. Its function takes logits ``[targets, vocabulary]`` (float32, or float64
when the model is) and ids ``[targets]`` and gives ``[targets]``; the whole answer's number is their sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.errors import unknown

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """``function(logits [targets, vocabulary], ids [targets]) -> [targets]``, with its formula and unit."""

    name: str
    formula: str
    unit: str
    function: Callable[[Tensor, Tensor], Tensor]


def _logit(logits: Tensor, ids: Tensor) -> Tensor:
    return logits.gather(-1, ids[:, None])[:, 0]


def _logprob(logits: Tensor, ids: Tensor) -> Tensor:
    return _logit(logits, ids) - logits.logsumexp(-1)


def _prob(logits: Tensor, ids: Tensor) -> Tensor:
    return _logprob(logits, ids).exp()


OBJECTIVES: dict[str, Objective] = {
    o.name: o
    for o in (
        Objective("logprob", "log p(t) = z_t - log sum_v exp z_v", "nats", _logprob),
        Objective("logit", "z_t", "logits", _logit),
        Objective("prob", "p(t) = exp z_t / sum_v exp z_v", "probability", _prob),
    )
}


def objective(name: str) -> Objective:
    """The objective of that name. Raises ``OptionError``."""
    if name not in OBJECTIVES:
        raise unknown("objective", name, list(OBJECTIVES))
    return OBJECTIVES[name]
