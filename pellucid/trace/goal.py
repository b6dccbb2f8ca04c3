"""The objective of one prompt and answer: a plain one by its name, one made to measure, or the user's own function.

    model.explain("The capital of France is", " Paris", objective=lambda logits, ids: logits.amax(-1), raw=True)

A function of one's own takes logits [targets, vocabulary] and ids [targets] and gives [targets], differentiable. With
the matrix, number i must come from row i alone, because all rows are pulled back together; that is tried out first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import OptionError
from pellucid.models.encode import Encoded
from pellucid.models.load import LoadedModel
from pellucid.trace import classify, extract
from pellucid.trace.contrast import contrast
from pellucid.trace.memory import Shape
from pellucid.trace.objective import OBJECTIVES, Function, Objective, check
from pellucid.trace.reference import Part, against_reference
from pellucid.trace.result import Span


@dataclass(frozen=True)
class Goal:
    """An objective, ``details`` of how it was made, and the forward passes that this took."""

    objective: Objective
    details: dict[str, Any] = field(default_factory=dict)
    forwards: int = 0


def make(
    objective: str | Function,
    loaded: LoadedModel,
    encoded: Encoded,
    answer: Sequence[int],
    text: str,
    *,
    span: Span | None = None,
    instead_of: str | None = None,
    without: Part | None = None,
    precision: str = "full",
    per_token: bool = False,
) -> Goal:
    """The objective of ``answer`` (its ids and text) after the prompt. Raises ``OptionError``, ``InputError``."""
    check(objective, instead_of=instead_of, without=without)
    if loaded.kind == "classifier":
        classify.check_objective(loaded, objective)
    if not isinstance(objective, str):
        choices = {"classifier": loaded.network.config.num_labels, "span": len(encoded.ids)}.get(loaded.kind)
        return Goal(custom(objective, loaded, answer, per_token=per_token, choices=choices))
    if instead_of is not None:
        if loaded.kind == "classifier":
            made, details = classify.contrast(loaded, answer, text, instead_of, span)
        elif loaded.kind == "span":
            made, details = extract.contrast(loaded, encoded, answer, text, instead_of)
        else:
            made, details = contrast(loaded, encoded, answer, text, instead_of, span)
        return Goal(made, details)
    if without is not None:
        made, details = against_reference(objective, loaded, encoded, answer, without, precision)
        return Goal(made, details, 1)
    return Goal(OBJECTIVES[objective])


def custom(
    function: Function, loaded: LoadedModel, answer: Sequence[int], *, per_token: bool, choices: int | None = None
) -> Objective:
    """A user's function as an objective, tried out on random logits [targets, vocabulary, or ``choices`` of a head].

    Raises ``OptionError`` for what it cannot be.
    """
    name = getattr(function, "__name__", type(function).__name__)
    name = "custom" if name == "<lambda>" else name
    vocabulary = Shape.of(loaded.network).vocabulary if choices is None else choices
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor(list(answer), device=loaded.device)

    def draw() -> Tensor:
        logits = torch.randn(len(answer), vocabulary, generator=generator)
        return logits.to(loaded.device, torch.promote_types(loaded.dtype, torch.float32))

    logits = draw().requires_grad_(True)
    values: Any = function(logits, ids)
    wanted = f"[targets], here ({len(answer)},)"
    if not isinstance(values, Tensor):
        raise OptionError(f"objective '{name}' should give a tensor {wanted}, and gave {type(values).__name__}")
    if tuple(values.shape) != (len(answer),) or not values.is_floating_point():
        raise OptionError(
            f"objective '{name}' should give floats {wanted}, and gave {values.dtype} {tuple(values.shape)}"
        )
    if not values.requires_grad:
        raise OptionError(f"objective '{name}' does not depend on the logits in a way that has a gradient")
    if per_token and _mixes(function, logits.detach(), draw(), ids):
        raise OptionError(
            f"objective '{name}' makes a target's number from other targets' logits too: with per_token=True each has "
            "to come from its own row; leave per_token out, or change the function"
        )
    return Objective(name, "a function of the user's own", "its own", function, raw=True)


def _mixes(function: Callable[[Tensor, Tensor], Tensor], here: Tensor, there: Tensor, ids: Tensor) -> bool:
    """Does a number change with another target's logits? Every two places differ in some binary digit, so swapping
    the rows that have a digit, for each digit both ways, tries every pair in 2 log2(targets) calls."""
    targets = torch.arange(len(ids), device=ids.device)
    with torch.no_grad():
        before = function(here, ids)
        for digit in range((len(ids) - 1).bit_length()):
            for side in (0, 1):
                other = (targets >> digit) & 1 == side
                after = function(torch.where(other[:, None], there, here), ids)
                if not torch.allclose(after[~other], before[~other], rtol=1e-5, equal_nan=True):
                    return True
    return False
