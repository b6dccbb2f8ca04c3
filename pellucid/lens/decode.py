"""Decoding strategies side by side: what each says to one prompt, how likely, how varied, how long it took.

    pellucid decode "Once upon a time" --raw --strategies greedy,beam:4,top_p:0.9
    model.decode("Once upon a time", ["greedy", "beam:4"], raw=True).show()

Log-probabilities are the model's own, by one pass over what was said, so that all strategies are measured alike.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from pellucid.errors import OptionError
from pellucid.lens.beams import Tree, beams
from pellucid.lens.contrastive import contrastive
from pellucid.lens.nexttokens import check_count, forced
from pellucid.lens.results import Branch, Decoded, Decodings
from pellucid.lens.steps import check_causal, check_length, walk
from pellucid.lens.strategies import Strategy, parse
from pellucid.models.align import align_ids
from pellucid.models.encode import Messages, encode
from pellucid.models.generate import end_tokens
from pellucid.models.load import LoadedModel
from pellucid.models.vocabulary import shown
from pellucid.progress import Progress, silent
from pellucid.trace.provenance import model_info, versions


def said_by(
    loaded: LoadedModel,
    ids: Sequence[int],
    strategy: Strategy,
    *,
    steps: int,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[list[int], Tree | None]:
    """The tokens that ``strategy`` says after ``ids``, and a beam search's tree."""

    def report(done: int) -> None:
        progress(strategy.text, done, steps)

    if strategy.alone is None:
        said = []
        for k, step in enumerate(walk(loaded, ids, strategy, steps=steps, seed=seed)):
            said.append(step.token)
            report(k + 1)
        return said, None
    name, value = strategy.alone
    if name == "beam":
        tree = beams(loaded, ids, width=int(value), steps=steps, report=report)
        return tree.finals[0].ids, tree
    return contrastive(loaded, ids, alpha=value, steps=steps, report=report), None


def decode(
    loaded: LoadedModel,
    prompt: str | Messages,
    strategies: Sequence[str] = ("greedy", "beam:4", "top_p:0.9"),
    *,
    steps: int = 40,
    seed: int = 0,
    raw: bool = False,
    progress: Progress = silent,
) -> Decodings:
    """What each of ``strategies`` says to ``prompt``, at most ``steps`` tokens; draws are seeded with ``seed`` anew for
    each. Raises ``InputError``, ``OptionError``, ``ContextError``, ``ModelError``.
    """
    began = time.perf_counter()
    check_causal(loaded)
    check_count(steps, "steps")
    if isinstance(strategies, str) or not strategies:
        raise OptionError(f"strategies should be a list such as ['greedy', 'beam:4'], given {strategies!r}")
    chosen = [parse(s) for s in strategies]
    encoded = encode(loaded, prompt, raw=raw)
    ids = encoded.ids
    check_length(loaded, len(ids), steps)
    found = []
    for strategy in chosen:
        start = time.perf_counter()
        said, tree = said_by(loaded, ids, strategy, steps=steps, seed=seed, progress=progress)
        seconds = tree.seconds if tree else time.perf_counter() - start
        found.append(_decoded(loaded, ids, strategy, said, tree, seconds))
        progress(strategy.text, steps, steps)
    return Decodings(
        prompt=encoded.rendered,
        outcomes=tuple(found),
        steps=steps,
        seed=seed,
        model=model_info(loaded),
        seconds=round(time.perf_counter() - began, 4),
        versions=versions(),
    )


def _decoded(
    loaded: LoadedModel, prompt: Sequence[int], strategy: Strategy, ids: list[int], tree: Tree | None, seconds: float
) -> Decoded:
    logprobs = torch.log_softmax(forced(loaded, prompt, ids), -1)
    total = float(logprobs.gather(-1, torch.tensor(ids, device=logprobs.device)[:, None]).cpu().double().sum())
    ends = end_tokens(loaded)
    return Decoded(
        strategy=strategy.text,
        text=text_of(loaded, ids),
        ids=tuple(ids),
        tokens=len(ids),
        logprob=total / len(ids),
        total=total,
        distinct=distinct(ids),
        ended=ids[-1] in ends,
        seconds=round(seconds, 4),
        beams=tuple(text_of(loaded, f.ids) for f in tree.finals) if tree else (),
        tree=tuple(
            Branch(
                shown(loaded.tokenizer, n.id),
                n.id,
                n.parent,
                n.depth,
                n.logprob,
                n.total,
                n.kept,
                n.ended,
                n.greedy,
                n.best,
            )
            for n in tree.nodes
        )
        if tree
        else (),
    )


def text_of(loaded: LoadedModel, ids: Sequence[int]) -> str:
    """What was said, without the token that ended it."""
    ends = end_tokens(loaded)
    said = list(ids[:-1] if ids and ids[-1] in ends else ids)
    return align_ids(loaded.tokenizer, said)[0]


def distinct(ids: Sequence[int], n: int = 2) -> float:
    """Share of different ``n``-grams among all, 1 where there is none."""
    grams = [tuple(ids[k : k + n]) for k in range(len(ids) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0
