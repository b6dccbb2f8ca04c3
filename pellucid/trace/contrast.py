"""Why this answer and not that one: the contrast of two answers, token by token.

    pellucid explain --objective contrast --instead-of " London" --target " Paris" --raw "The capital of France is"

For target t and the token o that would stand there instead: s = log p(t) - log p(o), both after the same words, which
is the difference of their logits z_t - z_o (the normaliser is the same). Yin and Neubig 2022, "Interpreting Language
Models with Contrastive Explanations" (arXiv:2202.10419).

Two answers of any length are aligned by their common beginning and end. What is left of the one stands against what is
left of the other, first against first; a target without a partner counts with its plain log-probability, and tokens
that both answers share contrast to nothing: their number, and its gradient, is exactly 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pellucid.errors import InputError
from pellucid.models.align import align_ids
from pellucid.models.encode import Encoded, check_text, encode_target
from pellucid.models.load import LoadedModel
from pellucid.trace.objective import RECIPES, Objective, logit, logprob
from pellucid.trace.result import Span

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Alignment:
    """``pairs`` (target, place in the other answer) whose tokens differ; ``alone``: targets without a partner;
    ``left``: places of the other answer without one."""

    pairs: tuple[tuple[int, int], ...]
    alone: tuple[int, ...]
    left: tuple[int, ...]


def align(answer: Sequence[int], other: Sequence[int]) -> Alignment:
    """Two lists of token ids by their common prefix, then their common suffix."""
    shortest = min(len(answer), len(other))
    first = next((i for i in range(shortest) if answer[i] != other[i]), shortest)
    last = next((i for i in range(shortest - first) if answer[-1 - i] != other[-1 - i]), shortest - first)
    mine, theirs = range(first, len(answer) - last), range(first, len(other) - last)
    both = min(len(mine), len(theirs))
    return Alignment(
        tuple((i, j) for i, j in zip(mine, theirs, strict=False) if answer[i] != other[j]),
        tuple(mine[both:]),
        tuple(theirs[both:]),
    )


def contrast(
    loaded: LoadedModel, encoded: Encoded, answer: Sequence[int], text: str, instead_of: str, span: Span | None
) -> tuple[Objective, dict[str, Any]]:
    """The objective of ``answer`` (its ids and text) against ``instead_of``, and what was contrasted with what.

    ``instead_of`` takes the place of ``span``, or of the whole answer. Raises ``InputError`` where no token differs, or
    none has a partner.
    """
    import torch

    check_text(instead_of, "instead_of")
    if not instead_of:
        raise InputError("instead_of is empty: expected the text to contrast the answer with")
    whole = instead_of if span is None else text[: span.start] + instead_of + text[span.end :]
    other = encode_target(loaded, encoded, whole)
    found = align(answer, other)
    if not found.pairs:
        reason = "they are the same tokens" if list(answer) == other else "the one only adds tokens to the other"
        place = "" if span is None else f"; instead_of stands in place of the span {span.text!r} alone"
        raise InputError(f"nothing to contrast between the answer {text!r} and {whole!r}: {reason}{place}")

    _, places = align_ids(loaded.tokenizer, list(answer))
    other_text, other_places = align_ids(loaded.tokenizer, other)
    against, alone = list(answer), [False] * len(answer)
    for i, j in found.pairs:
        against[i] = other[j]
    for i in found.alone:
        alone[i] = True
    other_ids, plain = torch.tensor(against), torch.tensor(alone)

    def function(logits: Tensor, ids: Tensor) -> Tensor:
        there = other_ids.to(logits.device).expand(ids.shape)
        difference = logit(logits, ids) - logit(logits, there)
        if not found.alone:
            return difference
        return torch.where(plain.to(logits.device), logprob(logits, ids), difference)

    recipe = RECIPES["contrast"]
    details = {
        "instead_of": instead_of,
        "answer": text,
        "other": whole,
        "pairs": [
            {"target": i, "text": text[slice(*places[i])], "other": other_text[slice(*other_places[j])], "id": other[j]}
            for i, j in found.pairs
        ],
        "plain_logprob": list(found.alone),
        "left_out": [other_text[slice(*other_places[j])] for j in found.left],
    }
    return Objective(recipe.name, recipe.formula, recipe.unit, function), details
