"""Several questions in one pass: logits where each answer is, and gradients of one number a question.

    rows = logits_of(loaded, asked)                 # a list of [read, vocabulary]
    gradients_of(loaded, asked, objectives)         # a list of ([read, vocabulary], [prompt tokens])

Rows of one batch are filled up at the end, where the causal mask hides it. The head sees the positions that are read
alone (``Asked.read``): a hook narrows what it is given, so that no family needs to be known. Rows do not touch each
other, so one backward pass of the sum gives every row its own gradient. What all questions begin with, the template's
own words mostly, runs once (``shared``): nothing of it depends on the texts, and nothing in it is scored.
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
from pellucid.relevance.shared import Beginning, shared_logits
from pellucid.trace.inside import precision as running
from pellucid.trace.layers import decoder_layers
from pellucid.trace.logits import wide
from pellucid.trace.memory import Shape
from pellucid.trace.objective import Objective

#: Tokens that run together, at most: on two cores more is no faster.
TOKENS = {"cpu": 1024, "cuda": 32768, "mps": 4096}
#: What a pass costs beside its tokens, in tokens: less filling up is worth no more passes than that.
PASS = 64
#: A common beginning is a pass of its own: worth it from so many questions and so many tokens on.
SHARING, SHARED = 4, 8


def beginning_of(
    loaded: LoadedModel, asked: Sequence[Asked], precision: str, *, scored: bool = False
) -> Beginning | None:
    """What all questions begin with, where running it once pays; no token of a text where these are ``scored``."""
    if len(asked) < SHARING:
        return None
    first = asked[0].prompt
    common = min(len(a.prompt) for a in asked) - 1  # the last token predicts the answer
    if scored:
        common = min([common, *(a.places[0].index for a in asked if a.places)])
    for a in asked:
        common = next((k for k in range(common) if a.prompt[k] != first[k]), common)
    return Beginning.of(loaded, first[:common], precision=precision) if common >= SHARED else None


def batches(
    loaded: LoadedModel, asked: Sequence[Asked], *, allowed: int, graph: bool, common: int = 0
) -> list[list[int]]:
    """Rows that run together: so that the tokens that run, those that fill up shorter rows too, and ``PASS`` for each
    batch are fewest; no more of them at once than are quick or fit. Each row's ``common`` first ones do not run."""
    shape = Shape.of(loaded.network)
    each = (7 * shape.width + 4 * shape.mlp) * shape.size * (shape.layers if graph else 2)  # bytes a token
    most = max(1, min(TOKENS.get(loaded.device.type, 4096), allowed // max(each, 1)))
    order = sorted(range(len(asked)), key=lambda i: -length(asked[i]))
    sizes = [length(asked[i]) - common for i in order]
    # Best cuts of the sorted rows: what a batch ending before row j costs least, and where it begins.
    cost, begins = [0] + [0] * len(order), [0] * (len(order) + 1)
    for j in range(1, len(order) + 1):
        ways = [(cost[j - 1] + PASS + sizes[j - 1], j - 1)]  # a row alone runs, however long
        for i in range(j - 2, -1, -1):
            if sizes[i] * (j - i) > most:
                break
            ways.append((cost[i] + PASS + sizes[i] * (j - i), i))
        cost[j], begins[j] = min(ways)
    found: list[list[int]] = []
    end = len(order)
    while end:
        found.append(order[begins[end] : end])
        end = begins[end]
    return found[::-1]  # the longest first: what does not fit is seen at once


def length(asked: Asked) -> int:
    """Tokens that are fed: all but the answer's last, which predicts nothing."""
    return len(asked.prompt) + len(asked.answer) - 1


def _batch(loaded: LoadedModel, rows: Sequence[Asked], common: int) -> tuple[Tensor, Tensor, list[int]]:
    """ids [rows, longest] without the ``common`` first ones, the positions in them that are read [rows, most], and how
    many of these count."""
    reads = [a.read for a in rows]
    most = max(len(r) for r in reads)
    longest = max(length(a) for a in rows) - common
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    positions = torch.zeros(len(rows), most, dtype=torch.long)
    for k, (a, read) in enumerate(zip(rows, reads, strict=True)):
        fed = [*a.prompt, *a.answer[:-1]][common:]
        ids[k, : len(fed)] = torch.tensor(fed)
        ids[k, len(fed) :] = fed[-1]
        positions[k, : len(read)] = torch.tensor(read) + len(a.prompt) - 1 - common
    return ids.to(loaded.device), positions, [len(r) for r in reads]


def logits_of(
    loaded: LoadedModel,
    asked: Sequence[Asked],
    *,
    allowed: int,
    precision: str = "full",
    progress: Progress = silent,
) -> list[Tensor]:
    """Each question's logits [read, vocabulary], in float32 or wider, without a graph. Equal ones run once, and so does
    a prompt with several answers (``shared``)."""
    network: Any = loaded.network
    unique: dict[tuple[tuple[int, ...], tuple[int, ...], int], int] = {}
    where = [unique.setdefault((tuple(a.prompt), tuple(a.answer), a.query), len(unique)) for a in asked]
    rows = [Asked(list(prompt), list(answer), [], query) for prompt, answer, query in unique]
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
            found[i] = value[rows[i].read]
        alone -= set(group)
        done += len(group)
    single = sorted(alone)
    beginning = beginning_of(loaded, [rows[i] for i in single], precision)
    common = beginning.length if beginning else 0
    for batch in batches(loaded, [rows[i] for i in single], allowed=allowed, graph=False, common=common):
        progress("inference", done, len(rows))
        group = [single[i] for i in batch]
        ids, positions, counts = _batch(loaded, [rows[i] for i in group], common)
        with torch.no_grad(), running(network, precision), narrowed(network, positions):
            logits = wide(network(input_ids=ids, **_after(beginning, len(group))).logits)  # [rows, read, vocabulary]
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
    """Each question's logits [read, vocabulary], and its prompt's scores [prompt tokens]: the norm of the gradient of
    the sum of its objective at the input embeddings; with ``skip`` gradient norm times state norm before each decoder
    layer but that lower share of them, added up (``trace.methods.layered_saliency``). Tokens that all questions have
    in common before their texts are not scored: 0."""
    network: Any = loaded.network
    found: dict[int, tuple[Tensor, Tensor]] = {}
    done = 0
    beginning = beginning_of(loaded, asked, precision, scored=True)
    common = beginning.length if beginning else 0
    for group in batches(loaded, asked, allowed=allowed, graph=True, common=common):
        progress("inference", done, len(asked))
        ids, positions, counts = _batch(loaded, [asked[i] for i in group], common)
        x = network.get_input_embeddings()(ids).detach().requires_grad_(True)
        with torch.enable_grad(), running(network, precision), narrowed(network, positions):
            with states_of(network, skip) as states:
                logits = wide(network(inputs_embeds=x, **_after(beginning, len(group))).logits)
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
            own_scores = scores[k, : len(asked[i].prompt) - common]
            found[i] = logits[k, : counts[k]].detach(), torch.cat([own_scores.new_zeros(common), own_scores])
        done += len(group)
        progress("backward", done, len(asked))
    return [found[i] for i in range(len(asked))]


def _after(beginning: Beginning | None, rows: int) -> dict[str, Any]:
    """What a pass is given beside its tokens."""
    return {"use_cache": False} if beginning is None else beginning.cache(rows)


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
