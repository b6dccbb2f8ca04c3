"""Several questions in one pass: logits where each answer is, and gradients of one number a question.

    rows = logits_of(loaded, asked)                 # a list of [targets, vocabulary]
    gradients_of(loaded, asked, objectives)         # a list of ([targets, vocabulary], [prompt tokens])

Rows of one batch are filled up at the end, where the causal mask hides it. The head sees the answers' positions alone:
a hook narrows what it is given, so that no family needs to be known. Rows do not touch each other, so one backward pass
of the sum gives every row its own gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent
from pellucid.relevance.head import narrowed
from pellucid.relevance.question import Asked
from pellucid.relevance.shared import shared_logits
from pellucid.trace.inside import precision as running
from pellucid.trace.layers import decoder_layers
from pellucid.trace.logits import wide
from pellucid.trace.memory import Shape
from pellucid.trace.objective import Objective

#: Tokens that run together, at most: on two cores more is no faster.
TOKENS = {"cpu": 1024, "cuda": 32768, "mps": 4096}


def batches(loaded: LoadedModel, asked: Sequence[Asked], *, allowed: int, graph: bool) -> list[list[int]]:
    """Rows that run together: of like lengths, and of no more tokens than are quick or fit."""
    shape = Shape.of(loaded.network)
    each = (7 * shape.width + 4 * shape.mlp) * shape.size * (shape.layers if graph else 2)  # bytes a token
    most = max(1, min(TOKENS.get(loaded.device.type, 4096), allowed // max(each, 1)))
    order = sorted(range(len(asked)), key=lambda i: length(asked[i]))
    found: list[list[int]] = []
    for i in reversed(order):  # the longest first: what does not fit is seen at once
        if found and length(asked[found[-1][0]]) * (len(found[-1]) + 1) <= most:
            found[-1].append(i)
        else:
            found.append([i])
    return found


def length(asked: Asked) -> int:
    """Tokens that are fed: all but the answer's last, which predicts nothing."""
    return len(asked.prompt) + len(asked.answer) - 1


def _batch(loaded: LoadedModel, rows: Sequence[Asked]) -> tuple[Tensor, Tensor, list[int]]:
    """ids [rows, longest], the positions that predict each answer [rows, most targets], and how many count."""
    most = max(len(a.answer) for a in rows)
    longest = max(length(a) for a in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    positions = torch.zeros(len(rows), most, dtype=torch.long)
    for k, a in enumerate(rows):
        fed = [*a.prompt, *a.answer[:-1]]
        ids[k, : len(fed)] = torch.tensor(fed)
        ids[k, len(fed) :] = fed[-1]
        here = torch.arange(len(a.prompt) - 1, len(fed))
        positions[k, : len(here)] = here
    return ids.to(loaded.device), positions, [len(a.answer) for a in rows]


def logits_of(
    loaded: LoadedModel,
    asked: Sequence[Asked],
    *,
    allowed: int,
    precision: str = "full",
    progress: Progress = silent,
) -> list[Tensor]:
    """Each question's logits [targets, vocabulary], in float32 or wider, without a graph. Equal ones run once, and so
    does a prompt with several answers (``shared``)."""
    network: Any = loaded.network
    unique: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    where = [unique.setdefault((tuple(a.prompt), tuple(a.answer)), len(unique)) for a in asked]
    rows = [Asked(list(prompt), list(answer), []) for prompt, answer in unique]
    found: list[Tensor] = [torch.empty(0)] * len(rows)
    done = 0
    prompts: dict[tuple[int, ...], list[int]] = {}
    for i, row in enumerate(rows):
        prompts.setdefault(tuple(row.prompt), []).append(i)
    several = [group for prompt, group in prompts.items() if len(group) > 1 and len(prompt) > 1]
    alone = set(range(len(rows)))
    for group in several:

        def report(part: int, done: int = done) -> None:
            progress("inference", done + part, len(rows))

        answers = [rows[i].answer for i in group]
        values = shared_logits(
            loaded, rows[group[0]].prompt, answers, allowed=allowed, precision=precision, report=report
        )
        if values is None:
            break
        for i, value in zip(group, values, strict=True):
            found[i] = value
        alone -= set(group)
        done += len(group)
    single = sorted(alone)
    for batch in batches(loaded, [rows[i] for i in single], allowed=allowed, graph=False):
        progress("inference", done, len(rows))
        group = [single[i] for i in batch]
        ids, positions, counts = _batch(loaded, [rows[i] for i in group])
        with torch.no_grad(), running(network, precision), narrowed(network, positions):
            logits = wide(network(input_ids=ids, use_cache=False).logits)  # [rows, targets, vocabulary]
        for k, i in enumerate(group):
            found[i] = logits[k, : counts[k]]
        done += len(group)
    progress("inference", len(rows), len(rows))
    return [found[w] for w in where]


def gradients_of(
    loaded: LoadedModel,
    asked: Sequence[Asked],
    objectives: Sequence[Objective],
    *,
    skip: float | None = None,
    allowed: int,
    precision: str = "full",
    progress: Progress = silent,
) -> list[tuple[Tensor, Tensor]]:
    """Each question's logits [targets, vocabulary], and its prompt's scores [prompt tokens]: the norm of the gradient
    of the sum of its objective at the input embeddings; with ``skip`` gradient norm times state norm before each
    decoder layer but that lower share of them, added up (``trace.methods.layered_saliency``)."""
    network: Any = loaded.network
    found: dict[int, tuple[Tensor, Tensor]] = {}
    done = 0
    for group in batches(loaded, asked, allowed=allowed, graph=True):
        progress("inference", done, len(asked))
        ids, positions, counts = _batch(loaded, [asked[i] for i in group])
        x = network.get_input_embeddings()(ids).detach().requires_grad_(True)
        with torch.enable_grad(), running(network, precision), narrowed(network, positions):
            with states_of(network, skip) as states:
                logits = wide(network(inputs_embeds=x, use_cache=False).logits)
            own = [
                objectives[i].function(logits[k, : counts[k]], torch.tensor(asked[i].answer, device=logits.device))
                for k, i in enumerate(group)
            ]
            progress("backward", done, len(asked))
            # From the upper layers' states the backward pass goes no further down.
            gradients = torch.autograd.grad(torch.cat(own).sum(), states or [x])
        scores = torch.zeros(ids.shape, dtype=wide(x).dtype, device=x.device)
        for gradient, state in zip(gradients, states or [x], strict=True):
            length = torch.linalg.vector_norm(wide(gradient), dim=-1).to(scores.device)  # [rows, tokens]
            if states:
                length = length * torch.linalg.vector_norm(wide(state.detach()), dim=-1).to(scores.device)
            scores += length
        for k, i in enumerate(group):
            found[i] = logits[k, : counts[k]].detach(), scores[k, : len(asked[i].prompt)]
        done += len(group)
        progress("backward", done, len(asked))
    return [found[i] for i in range(len(asked))]


@contextmanager
def states_of(network: Any, skip: float | None) -> Iterator[list[Tensor]]:
    """Collect the hidden states that each decoder layer is given, but for the lower ``skip`` share; none for None."""
    states: list[Tensor] = []

    def see(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states.append(args[0] if args else kwargs["hidden_states"])

    layers = [] if skip is None else decoder_layers(network)
    hooks = [h.register_forward_pre_hook(see, with_kwargs=True) for h in layers[int((skip or 0) * len(layers)) :]]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()
