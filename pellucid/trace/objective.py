"""What is explained: one number for each target token, from the logits at its position.

    pellucid explain --objective margin "The capital of France is" --target " Paris"

An objective's function takes logits ``[targets, vocabulary]`` (float32, or float64 when the model is) and ids
``[targets]`` and gives ``[targets]``; the whole answer's number is their sum (or mean: ``reduce``). ``OBJECTIVES`` need
nothing else. ``RECIPES`` need another answer (``instead_of``) or a part of the prompt (``without``), and are made for
one prompt and answer by ``pellucid.trace.goal``; so is a function of the user's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pellucid.errors import OptionError, unknown

if TYPE_CHECKING:
    from torch import Tensor

#: ``(logits [targets, vocabulary], ids [targets]) -> [targets]``
Function = Callable[["Tensor", "Tensor"], "Tensor"]

REDUCTIONS = ("sum", "mean")


@dataclass(frozen=True)
class Objective:
    """``function(logits [targets, vocabulary], ids [targets]) -> [targets]``, with its formula and unit.

    Number i is of row i alone: the matrix rests on it. The built-in ones take leading dimensions (a batch) too.
    """

    name: str
    formula: str
    unit: str
    function: Function
    raw: bool = False  # a function of what the head puts out, not of logits whose softmax is the model's distribution


@dataclass(frozen=True)
class Recipe:
    """An objective that is made for one prompt and answer: ``needs`` is the option that it cannot do without."""

    name: str
    formula: str
    unit: str
    needs: str
    paper: str


def logit(logits: Tensor, ids: Tensor) -> Tensor:
    """The token's own logit [..., targets]."""
    return logits.gather(-1, ids[..., None])[..., 0]


def logprob(logits: Tensor, ids: Tensor) -> Tensor:
    """The token's log-probability in nats [..., targets]."""
    return logit(logits, ids) - logits.logsumexp(-1)


def _prob(logits: Tensor, ids: Tensor) -> Tensor:
    return logprob(logits, ids).exp()


def _entropy(logits: Tensor, ids: Tensor) -> Tensor:
    logprobs = logits.log_softmax(-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def _cross_entropy(logits: Tensor, ids: Tensor) -> Tensor:
    return -logprob(logits, ids)


def _margin(logits: Tensor, ids: Tensor) -> Tensor:
    others = logits.scatter(-1, ids[..., None], float("-inf"))
    return logit(logits, ids) - others.amax(-1)


def _log_odds(logits: Tensor, ids: Tensor) -> Tensor:
    others = logits.scatter(-1, ids[..., None], float("-inf"))
    return logit(logits, ids) - others.logsumexp(-1)


OBJECTIVES: dict[str, Objective] = {
    o.name: o
    for o in (
        Objective("logprob", "log p(t) = z_t - log sum_v exp z_v", "nats", logprob),
        Objective("logit", "z_t", "logits", logit),
        Objective("prob", "p(t) = exp z_t / sum_v exp z_v", "probability", _prob),
        Objective("margin", "z_t - max_{v != t} z_v", "logits", _margin),
        Objective("log_odds", "log p(t) - log(1 - p(t)) = z_t - log sum_{v != t} exp z_v", "nats", _log_odds),
        Objective("entropy", "- sum_v p(v) log p(v)", "nats", _entropy),
        Objective("cross_entropy", "- log p(t)", "nats", _cross_entropy),
    )
}

RECIPES: dict[str, Recipe] = {
    r.name: r
    for r in (
        Recipe(
            "contrast",
            "log p(t) - log p(other) = z_t - z_other",
            "nats",
            "instead_of",
            "Yin, Neubig 2022, arXiv:2202.10419",
        ),
        Recipe(
            "kl",
            "KL(p(. | prompt) || p(. | without the part))",
            "nats",
            "without",
            "Sarti et al. 2024, arXiv:2310.01188",
        ),
        Recipe(
            "pcxmi",
            "log p(t | prompt) - log p(t | without the part)",
            "nats",
            "without",
            "Fernandes et al. 2021, arXiv:2105.03482",
        ),
    )
}


def check(
    name: str | Callable[..., Any], *, instead_of: object = None, without: object = None, reduce: str = "sum"
) -> None:
    """Raise ``OptionError`` for what no model is needed to know: an unknown name, a missing or useless option."""
    if reduce not in REDUCTIONS:
        raise unknown("reduce", reduce, list(REDUCTIONS))
    if not isinstance(name, str) and not callable(name):
        raise OptionError(f"objective should be a name or a function of logits and ids, given {name!r}")
    known = [*OBJECTIVES, *RECIPES]
    if isinstance(name, str) and name not in known:
        raise unknown("objective", name, known)
    recipe = RECIPES.get(name) if isinstance(name, str) else None
    for option, value in (("instead_of", instead_of), ("without", without)):
        needed = recipe is not None and recipe.needs == option
        if needed and value is None:
            what = "the answer to contrast with" if option == "instead_of" else "the part of the prompt to do without"
            raise OptionError(f"objective '{name}' needs {option}: {what}")
        if value is not None and not needed:
            users = " or ".join(f"'{r.name}'" for r in RECIPES.values() if r.needs == option)
            own = f"'{name}'" if isinstance(name, str) else "a function of your own"
            raise OptionError(f"{option} belongs to objective {users}, and the objective is {own}")


def objective(name: str) -> Objective:
    """The objective of that name, where it needs no more than logits. Raises ``OptionError``."""
    if name in RECIPES:
        raise OptionError(f"objective '{name}' is made for one prompt and answer, and needs {RECIPES[name].needs}")
    if name not in OBJECTIVES:
        raise unknown("objective", name, [*OBJECTIVES, *RECIPES])
    return OBJECTIVES[name]


def scaled(objective: Objective, factor: float) -> Objective:
    """The objective times ``factor``: 1 / targets makes the sum over them a mean."""
    function = objective.function
    return replace(objective, function=lambda logits, ids: function(logits, ids) * factor)
