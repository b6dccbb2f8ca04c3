"""What the model expects after each token of a text, so that the last position and the earlier ones can be seen alike.

    model.expectations("The capital of France is Paris.", top_k=3).show()

One pass: every position predicts its own next token; that the last one is used to go on is all that sets it apart.
"""

from __future__ import annotations

import time

import torch

from pellucid.lens.final import Final
from pellucid.lens.nexttokens import check_top_k
from pellucid.lens.predictions import by_chunks
from pellucid.lens.results import Expected, Position, Positions
from pellucid.lens.states import last_states
from pellucid.lens.steps import check_causal, check_length
from pellucid.models.encode import Messages, encode
from pellucid.models.load import LoadedModel
from pellucid.models.vocabulary import shown
from pellucid.progress import Progress, silent
from pellucid.trace.provenance import model_info, versions


def positions(
    loaded: LoadedModel,
    prompt: str | Messages,
    *,
    top_k: int = 5,
    raw: bool = False,
    precision: str = "full",
    progress: Progress = silent,
) -> Positions:
    """The ``top_k`` likeliest next tokens at every position. Raises ``InputError``, ``OptionError``, ``ContextError``,
    ``ModelError``."""
    began = time.perf_counter()
    check_causal(loaded)
    check_top_k(top_k, int(loaded.network.config.get_text_config().vocab_size))
    encoded = encode(loaded, prompt, raw=raw)
    ids = encoded.ids
    check_length(loaded, len(ids), 0)
    final = Final.of(loaded)
    states = last_states(loaded, final, ids, precision=precision)
    targets = torch.tensor([*ids[1:], 0], device=states.device)
    names: dict[int, str] = {}

    def name(i: int) -> str:
        if i not in names:
            names[i] = shown(loaded.tokenizer, i)
        return names[i]

    found: list[Position] = []
    for first, seen in by_chunks(final, states, targets, top_k=top_k):
        progress("positions", first, len(ids))
        best = seen.best.exp().tolist()
        for k in range(len(best)):
            at = first + k
            last = at + 1 == len(ids)
            choices = tuple(
                Expected(name(i), i, min(p, 1.0)) for i, p in zip(seen.best_ids[k].tolist(), best[k], strict=True)
            )
            found.append(
                Position(
                    position=at,
                    text=encoded.tokens[at].text,
                    choices=choices,
                    entropy=float(seen.entropy[k]),
                    next=None if last else name(ids[at + 1]),
                    next_id=None if last else ids[at + 1],
                    next_prob=None if last else min(float(seen.logprob[k].exp()), 1.0),
                    next_rank=None if last else int(seen.rank[k]),
                )
            )
    progress("positions", len(ids), len(ids))
    return Positions(
        prompt=encoded.rendered,
        positions=tuple(found),
        top_k=top_k,
        model=model_info(loaded),
        seconds=round(time.perf_counter() - began, 4),
        versions=versions(),
    )
