"""The k likeliest next tokens, step by step: what the model could have said, and what it did say.

    pellucid next "The capital of France is" --raw --steps 5
    model.next_tokens("hello, how are you", steps=10, top_k=5).to_pandas()

p = softmax(z) of the model's own logits z, whatever strategy chooses from them: temperature and the like change what is
chosen, never what is shown.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import OptionError
from pellucid.lens.results import Choice, Next, NextTokens
from pellucid.lens.steps import check_causal, check_length, walk
from pellucid.lens.strategies import Strategy, parse
from pellucid.models.align import align_ids
from pellucid.models.encode import Encoded, Messages, encode
from pellucid.models.generate import end_tokens
from pellucid.models.load import LoadedModel
from pellucid.models.vocabulary import shown
from pellucid.progress import Progress, silent
from pellucid.trace.provenance import model_info, versions


def check_top_k(top_k: int, vocabulary: int) -> None:
    """Raise ``OptionError`` for a number of candidates that makes no sense."""
    if not isinstance(top_k, int) or isinstance(top_k, bool) or not 1 <= top_k <= vocabulary:
        raise OptionError(f"top_k should be from 1 to {vocabulary}, the size of the vocabulary, given {top_k!r}")


def check_count(value: int, name: str) -> None:
    """Raise ``OptionError`` for what is no number of something."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise OptionError(f"{name} should be a whole number, at least 1, given {value!r}")


def check_begin(loaded: LoadedModel, begin: Sequence[int], vocabulary: int) -> None:
    """Raise ``OptionError`` for given tokens that are none of the vocabulary, or that go on after the text's end."""
    for k in begin:
        if not isinstance(k, int) or isinstance(k, bool) or not 0 <= k < vocabulary:
            raise OptionError(f"begin should be ids of tokens, from 0 to {vocabulary - 1}, given {k!r}")
    if any(k in end_tokens(loaded) for k in begin[:-1]):
        raise OptionError("begin goes on after a token that ends the text: give the ids up to that token")


def next_tokens(
    loaded: LoadedModel,
    prompt: str | Messages,
    *,
    steps: int = 10,
    top_k: int = 5,
    strategy: str = "greedy",
    seed: int = 0,
    raw: bool = False,
    begin: Sequence[int] = (),
    progress: Progress = silent,
) -> NextTokens:
    """Up to ``steps`` next tokens with the ``top_k`` likeliest of each, from one new position a step.

    ``strategy`` chooses what is said (``lens.strategies``; beam and contrastive search first say it all, and it is read
    afterwards in one pass). ``raw``: the prompt is a text to go on with, without the chat template. ``begin``: ids of
    tokens that are said first, beside these ``steps``, and shown like the others: choose another token than the model
    did, and see how it goes on (the ids of the steps before, then that of a candidate).
    Raises ``InputError``, ``OptionError``, ``ContextError``, ``ModelError``.
    """
    began = time.perf_counter()
    asked = read(loaded, prompt, steps=steps, top_k=top_k, strategy=strategy, seed=seed, raw=raw, begin=begin)
    ids, chosen = asked.encoded.ids, asked.strategy
    tokens: list[int] = []
    found: list[Row] = []
    if chosen.alone is None:
        for k, step in enumerate(walk(loaded, ids, chosen, steps=steps, seed=seed, begin=asked.begin)):
            tokens.append(step.token)
            found.append((*described(loaded, step.logits, step.token, top_k), step.chance))
            progress("next tokens", k + 1, len(asked.begin) + steps)
    else:
        from pellucid.lens.decode import said_by

        tokens = [*asked.begin]
        if not (tokens and tokens[-1] in end_tokens(loaded)):
            tokens += said_by(loaded, [*ids, *tokens], chosen, steps=steps, seed=seed, progress=progress)[0]
        for logits, token in zip(forced(loaded, ids, tokens), tokens, strict=True):
            found.append((*described(loaded, logits, token, top_k), 1.0))
    progress("next tokens", len(asked.begin) + steps, len(asked.begin) + steps)
    return written(loaded, asked, tokens, found, began)


#: Of a step: the likeliest tokens, the token that was taken, the entropy in nats, the probability of taking it.
Row = tuple[Sequence[Choice], Choice, float, float]


@dataclass(frozen=True, eq=False)
class Asked:
    """A prompt as the model reads it, and what is wanted of it, checked."""

    encoded: Encoded
    steps: int
    top_k: int
    strategy: Strategy
    seed: int
    begin: tuple[int, ...] = ()


def read(
    loaded: LoadedModel,
    prompt: str | Messages,
    *,
    steps: int,
    top_k: int,
    strategy: str,
    seed: int = 0,
    raw: bool = False,
    begin: Sequence[int] = (),
) -> Asked:
    """Check and encode; raises as ``next_tokens`` does."""
    check_causal(loaded)
    check_count(steps, "steps")
    chosen = parse(strategy)
    vocabulary = int(loaded.network.config.get_text_config().vocab_size)
    check_top_k(top_k, vocabulary)
    check_begin(loaded, begin, vocabulary)
    encoded = encode(loaded, prompt, raw=raw)
    check_length(loaded, len(encoded.ids), len(begin) + steps)
    return Asked(encoded, steps, top_k, chosen, seed, tuple(begin))


def written(loaded: LoadedModel, asked: Asked, tokens: Sequence[int], found: Sequence[Row], began: float) -> NextTokens:
    """The result of ``tokens`` that were taken, with what was ``found`` at each step."""
    text, spans = align_ids(loaded.tokenizer, list(tokens))
    total, out = 0.0, []
    for k, ((choices, own, entropy, chance), (start, _)) in enumerate(zip(found, spans, strict=True)):
        total += own.logprob
        out.append(Next(k + 1, text[:start], tuple(choices), own, chance, entropy, total))
    return NextTokens(
        prompt=asked.encoded.rendered,
        text=text,
        steps=tuple(out),
        ended=bool(tokens) and tokens[-1] in end_tokens(loaded),
        top_k=asked.top_k,
        strategy=asked.strategy.text,
        seed=asked.seed,
        model=model_info(loaded),
        seconds=round(time.perf_counter() - began, 4),
        versions=versions(),
    )


def forced(loaded: LoadedModel, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
    """Logits [answer, vocabulary] that predict each token of ``answer``, in one pass."""
    from pellucid.trace.logits import target_logits

    ids = torch.tensor([[*prompt, *answer]], device=loaded.device)
    with torch.no_grad():
        return target_logits(loaded.network, len(answer), input_ids=ids)[0]


def described(loaded: LoadedModel, logits: Tensor, token: int, top_k: int) -> tuple[list[Choice], Choice, float]:
    """(the ``top_k`` likeliest, the token that was taken, the entropy in nats) from ``logits`` [vocabulary]."""
    logprobs = torch.log_softmax(logits, -1)
    probs = logprobs.exp()
    entropy = float((probs * -logprobs.nan_to_num(neginf=0.0)).sum().clamp(min=0))
    best, ids = logprobs.topk(min(top_k, logprobs.shape[-1]))
    choices, mass = [], 0.0
    for rank, (l, i) in enumerate(zip(best.tolist(), ids.tolist(), strict=True), 1):  # noqa: E741
        mass = min(mass + math.exp(l), 1.0)
        choices.append(Choice(shown(loaded.tokenizer, i), i, math.exp(l), l, float(logits[i]), mass, rank))
    for c in choices:
        if c.id == token:
            return choices, c, entropy
    own = float(logprobs[token])
    above = logprobs > own
    rank = 1 + int(above.sum())
    mass = min(float(probs[above].sum()) + math.exp(own), 1.0)
    return (
        choices,
        Choice(shown(loaded.tokenizer, token), token, math.exp(own), own, float(logits[token]), mass, rank),
        entropy,
    )
