"""What a part of the prompt changes: objectives against the same model without that part.

    pellucid explain --objective pcxmi --without "It is in Brazil." "It is in Brazil. Which language do they speak?"

One forward pass over the prompt without the part's tokens gives reference distributions q_i, one a target, which are
constants from then on. ``kl``: KL(p_i || q_i) = sum_v p_i(v) (log p_i(v) - log q_i(v)), how far the part moves the
whole distribution (as in Sarti et al. 2024, PECoRe, arXiv:2310.01188). ``pcxmi``: log p_i(t) - log q_i(t), what it does
for the answer's own token: pointwise conditional cross-mutual information (Fernandes et al. 2021, arXiv:2105.03482).
The gradient of ``pcxmi`` is that of ``logprob``; its value is what differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pellucid.errors import InputError
from pellucid.models.encode import Encoded
from pellucid.models.load import LoadedModel
from pellucid.trace.objective import OBJECTIVES, RECIPES, Objective, logprob
from pellucid.trace.spans import nearest

if TYPE_CHECKING:
    from torch import Tensor

#: Text of the prompt; (start, end) in characters of a bare prompt; (message, start, end).
Part = str | tuple[int, int] | tuple[int, int, int]


def texts(encoded: Encoded) -> list[tuple[int | None, str]]:
    """(message, text) of everything that the user wrote; the message is None for a bare prompt."""
    if encoded.messages is None:
        return [(None, encoded.text or "")]
    return [(i, m["content"]) for i, m in enumerate(encoded.messages)]


def find_part(encoded: Encoded, part: Part) -> tuple[list[int], str]:
    """Tokens (indices) that overlap a part of what the user wrote, and the part's text. Raises ``InputError``."""
    written = texts(encoded)
    if isinstance(part, str):
        if not part:
            raise InputError("without is empty: expected a part of the prompt")
        found = [(m, i) for m, text in written for i in range(len(text)) if text.startswith(part, i)]
        if not found:
            raise InputError(f"without: {part!r} is not in the prompt{nearest(part, [t for _, t in written])}")
        if len(found) > 1:
            raise InputError(
                f"without: {part!r} stands {len(found)} times in the prompt: give more of the text around the one that "
                "you mean, or its (start, end) in characters"
            )
        message, start = found[0]
        end = start + len(part)
    else:
        message, start, end = (None, *part) if len(part) == 2 else part
        if message is None and encoded.messages is not None:
            if len(encoded.messages) > 1:
                raise InputError(f"without: {part} needs (message, start, end): the prompt has several messages")
            message = 0
        text = dict(written).get(message)
        if text is None or not 0 <= start < end <= len(text):
            long = "" if text is None else f" of {len(text)} characters"
            raise InputError(f"without: {part} is not within the prompt{long}")
    tokens = [
        i
        for i, t in enumerate(encoded.tokens)
        if t.start is not None and t.end is not None and t.message == message and t.start < end and t.end > start
    ]
    if not tokens:
        raise InputError(f"without: {part!r} covers no token of the prompt")
    if len(tokens) == len(encoded.tokens):
        raise InputError("without: nothing would be left of the prompt; leave out a part of it")
    return tokens, dict(written)[message][start:end]


def against_reference(
    name: str, loaded: LoadedModel, encoded: Encoded, answer: Sequence[int], part: Part, precision: str
) -> tuple[Objective, dict[str, Any]]:
    """The objective ``kl`` or ``pcxmi`` for one prompt and answer, and what was left out. One forward pass."""
    from pellucid.trace.runs import run_class

    gone, text = find_part(encoded, part)
    left = set(gone)
    run = run_class(loaded)(loaded, encoded.ids, answer, OBJECTIVES["logprob"], precision=precision)
    goal = run.answer
    there = run.readable(run.logits_after([run.without(encoded.ids, left)])[0])
    reference = there.log_softmax(-1)
    own = reference.gather(-1, goal[:, None])[:, 0]  # log q_i(t) [targets]

    def kl(logits: Tensor, ids: Tensor) -> Tensor:
        logprobs = logits.log_softmax(-1)
        return (logprobs.exp() * (logprobs - reference)).sum(-1)

    def pcxmi(logits: Tensor, ids: Tensor) -> Tensor:
        return logprob(logits, ids) - own

    recipe = RECIPES[name]
    details = {"without": text, "removed_tokens": gone, "reference_logprobs": own.double().tolist()}
    return Objective(name, recipe.formula, recipe.unit, kl if name == "kl" else pcxmi), details
