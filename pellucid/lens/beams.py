"""Beam search, with all that it kept and dropped: a tree of beginnings.

    tree = beams(loaded, ids, width=4, steps=20)
    tree.finals[0].ids; tree.nodes                 # every hypothesis, with its log-probability

The search is transformers' own ``generate``: a processor of logits that changes nothing looks on. What it sees at a
step are the beginnings that were kept and their next tokens' log-probabilities; a candidate among the 2 * width
likeliest that is not among the next step's beginnings was dropped, or ended. The greedy path, which beams may leave,
is walked on its own, so that one sees where it and the best path part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.lens.steps import walk
from pellucid.lens.strategies import parse
from pellucid.models.generate import end_tokens
from pellucid.models.load import LoadedModel


@dataclass(frozen=True)
class Hypothesis:
    """A beginning: ``ids`` after the prompt, and its log-probability in nats."""

    ids: list[int]
    logprob: float


@dataclass(frozen=True)
class Node:
    """A hypothesis in the tree. ``parent`` is its place in ``nodes`` (-1: the prompt), ``depth`` counts tokens from 1,
    ``logprob`` is the token's own, ``total`` that of the whole beginning, in nats. ``kept``: it was gone on with, or
    ended among the best; ``greedy``: it lies on the path of the likeliest tokens; ``best``: on that of the result."""

    id: int
    parent: int
    depth: int
    logprob: float
    total: float
    kept: bool
    ended: bool
    greedy: bool = False
    best: bool = False


@dataclass(frozen=True)
class Tree:
    """``finals``: what the search found, best first, with ``scores`` (log-probability a token, nats: what beams are
    ranked by at the end); ``seconds`` that the search took, without the greedy path beside it."""

    nodes: tuple[Node, ...]
    finals: tuple[Hypothesis, ...]
    scores: tuple[float, ...]
    width: int
    seconds: float


def beams(
    loaded: LoadedModel,
    ids: Sequence[int],
    *,
    width: int,
    steps: int,
    report: Callable[[int], None] = lambda done: None,
) -> Tree:
    """Beam search of ``width`` for at most ``steps`` tokens after ``ids``."""
    from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

    network: Any = loaded.network
    ends = end_tokens(loaded)
    pad = loaded.tokenizer.pad_token_id
    begin = len(ids)
    looked = _Look(begin, width, ends)

    class Watch(LogitsProcessor):
        """Looks on, and changes nothing."""

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            report(input_ids.shape[1] - begin + 1)
            looked.see(input_ids, scores)
            return scores

    options = GenerationConfig(
        max_new_tokens=steps,
        num_beams=width,
        num_return_sequences=width,
        do_sample=False,
        use_cache=True,
        early_stopping=False,
        length_penalty=1.0,
        return_dict_in_generate=True,
        output_scores=True,
        eos_token_id=sorted(ends) or None,
        pad_token_id=pad if pad is not None else (sorted(ends)[0] if ends else 0),
    )
    rows = torch.tensor([list(ids)], device=loaded.device)
    began = time.perf_counter()
    saved = network.generation_config
    with torch.no_grad():
        # generate() fills gaps of a given configuration from the model's own, so the model's steps aside meanwhile.
        network.generation_config = options
        try:
            out = network.generate(
                rows, attention_mask=torch.ones_like(rows), logits_processor=LogitsProcessorList([Watch()])
            )
        finally:
            network.generation_config = saved
    seconds = time.perf_counter() - began
    finals, scores = [], []
    values = out.sequences_scores.tolist() if width > 1 else [None]
    for sequence, score in zip(out.sequences.tolist(), values, strict=True):
        said = _until_end(sequence[begin:], ends)
        total = looked.totals[tuple(said)]
        finals.append(Hypothesis(said, total))
        scores.append(total / len(said) if score is None else float(score))
    greedy, logprobs = [], []
    for step in walk(loaded, ids, parse("greedy"), steps=steps):
        greedy.append(step.token)
        logprobs.append(float(torch.log_softmax(step.logits.cpu().double(), -1)[step.token]))
    looked.along(greedy, logprobs)
    return Tree(looked.nodes([f.ids for f in finals], greedy), tuple(finals), tuple(scores), width, seconds)


def _until_end(ids: list[int], ends: set[int]) -> list[int]:
    """Without what fills up behind the token that ended it."""
    for k, i in enumerate(ids):
        if i in ends:
            return ids[: k + 1]
    return ids


class _Look:
    """What the processor sees: beginnings as tuples of ids, with their log-probabilities."""

    def __init__(self, begin: int, width: int, ends: set[int]) -> None:
        self.begin, self.width = begin, width
        self.most = max(2, 1 + len(ends)) * width  # as many as generate() ranks at a step
        self.ends = ends
        self.own: dict[tuple[int, ...], float] = {}
        self.totals: dict[tuple[int, ...], float] = {(): 0.0}
        self.running: set[tuple[int, ...]] = set()  # the beginnings that were gone on with
        self.candidates: set[tuple[int, ...]] = set()

    def see(self, ids: Tensor, scores: Tensor) -> None:
        """``ids`` [beams, tokens] and their next tokens' log-probabilities [beams, vocabulary]."""
        rows = [tuple(r) for r in ids[:, self.begin :].tolist()]
        # A search of one beam is greedy, and its processors are given logits.
        values = torch.log_softmax(scores.cpu().double(), -1) if self.width == 1 else scores.cpu().double()
        now: dict[tuple[int, ...], float] = {}
        for row, logprobs in zip(rows, values, strict=True):
            best, tokens = logprobs.topk(min(self.most, logprobs.shape[-1]))
            for value, token in zip(best.tolist(), tokens.tolist(), strict=True):
                path = (*row, token)
                self.own[path] = value
                now[path] = self.totals[row] + value
        self.running |= set(rows)
        self.totals |= now
        self.candidates |= set(sorted(now, key=lambda c: -now[c])[: self.most])

    def along(self, ids: Sequence[int], logprobs: Sequence[float]) -> None:
        """A path of its own: the greedy one, which beams may have left."""
        for k, value in enumerate(logprobs, 1):
            path = tuple(ids[:k])
            self.own.setdefault(path, value)
            self.totals.setdefault(path, self.totals[path[:-1]] + value)
            self.candidates.add(path)

    def nodes(self, finals: Sequence[Sequence[int]], greedy: Sequence[int]) -> tuple[Node, ...]:
        """By depth, the likeliest first."""
        kept = self.running | {tuple(f[:k]) for f in finals for k in range(1, len(f) + 1)}
        order = sorted(self.candidates | (kept - {()}), key=lambda c: (len(c), -self.totals[c]))
        place = {c: k for k, c in enumerate(order)} | {(): -1}
        best = tuple(finals[0])
        return tuple(
            Node(
                id=c[-1],
                parent=place[c[:-1]],
                depth=len(c),
                logprob=self.own[c],
                total=self.totals[c],
                kept=c in kept,
                ended=c[-1] in self.ends,
                greedy=tuple(greedy[: len(c)]) == c,
                best=best[: len(c)] == c,
            )
            for c in order
        )
