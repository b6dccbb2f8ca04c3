"""The logit lens: what each layer would say if the model ended there.

    pellucid lens "The capital of France is" --raw --html lens.html
    model.logit_lens("The capital of France is", raw=True).show()

nostalgebraist 2020: the hidden state after each layer goes through the final norm and the head, as if no layer
followed; p = softmax(head(norm(h))). Of attention and MLP the same is done with what each adds to the stream. The
tuned lens (``lens.tuned``) first maps the state by an affine map that was trained for its layer.

The answer of a position is what the model itself predicts there (``of="predicted"``), or the token that follows in the
text (``of="next"``). ``lead`` is the first layer in which the answer is the likeliest token, ``settled`` the first
from which on it stays so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pellucid.errors import OptionError, unknown
from pellucid.lens.final import Final
from pellucid.lens.layers import KINDS, streams_of
from pellucid.lens.predictions import by_chunks
from pellucid.lens.results import Cell, Column, LogitLens
from pellucid.lens.steps import check_causal, check_length
from pellucid.models.encode import Messages, encode
from pellucid.models.load import LoadedModel
from pellucid.models.vocabulary import shown
from pellucid.progress import Progress, silent
from pellucid.trace.layers import decoder_layers
from pellucid.trace.provenance import model_info, versions

if TYPE_CHECKING:
    from pellucid.lens.tuned import TunedLens

ANSWERS = ("predicted", "next")


def check_layers(layers: Sequence[int] | None, count: int, *, first: int = 0) -> list[int]:
    """The layers asked for, all where None. Raises ``OptionError`` for one that does not exist."""
    if layers is None:
        return list(range(first, count + 1))
    chosen = list(layers)
    for n in chosen:
        if not isinstance(n, int) or isinstance(n, bool) or not first <= n <= count:
            raise OptionError(f"there is no layer {n!r}: this model has layers {first} to {count}")
    if not chosen:
        raise OptionError(f"layers should name at least one of {first} to {count}, given none")
    return sorted(set(chosen))


def logit_lens(
    loaded: LoadedModel,
    prompt: str | Messages,
    *,
    kind: str = "residual",
    of: str = "predicted",
    layers: Sequence[int] | None = None,
    last: int | None = None,
    tuned: TunedLens | None = None,
    raw: bool = False,
    precision: str = "full",
    progress: Progress = silent,
) -> LogitLens:
    """A grid of layers and positions: of ``layers`` alone, and of the ``last`` positions (all where None).

    Raises ``InputError``, ``OptionError``, ``ContextError``, ``ModelError``.
    """
    began = time.perf_counter()
    check_causal(loaded)
    if kind not in KINDS:
        raise unknown("kind", kind, list(KINDS))
    if of not in ANSWERS:
        raise unknown("answer", of, list(ANSWERS))
    if tuned is not None and kind != "residual":
        raise OptionError(f"a tuned lens reads the residual stream, and kind is '{kind}': leave one of the two out")
    if last is not None and (not isinstance(last, int) or last < 1):
        raise OptionError(f"last should be a number of positions, at least 1, given {last!r}")
    count = len(decoder_layers(loaded.network))
    chosen = check_layers(layers, count, first=0 if kind == "residual" else 1)
    if tuned is not None:
        tuned.check(loaded)
    encoded = encode(loaded, prompt, raw=raw)
    ids = encoded.ids
    check_length(loaded, len(ids), 0)
    final = Final.of(loaded)
    positions = list(range(max(len(ids) - last, 0) if last else 0, len(ids)))
    progress("forward", 0, 1)
    streams = streams_of(
        loaded,
        ids,
        kinds=[*{kind, "residual"}],
        layers=sorted({*chosen, count}),
        positions=positions,
        precision=precision,
    )
    order = {n: k for k, n in enumerate(sorted({*chosen, count}))}
    progress("forward", 1, 1)
    answers, known = _answers(final, streams["residual"][-1], ids, positions, of)
    cells: list[list[Cell]] = [[] for _ in positions]
    names: dict[int, str] = {}
    for k, layer in enumerate(chosen):
        states = streams[kind][order[layer]]
        if tuned is not None and layer < count:
            states = tuned(layer, states)
        with torch.no_grad():
            normed = final.norm(states)
        for first, seen in by_chunks(final, normed, answers, top_k=1):
            rows = zip(
                seen.best[:, 0].exp().tolist(),
                seen.best_ids[:, 0].tolist(),
                seen.entropy.tolist(),
                seen.logprob.exp().tolist(),
                seen.rank.tolist(),
                strict=True,
            )
            for at, (p, i, entropy, q, rank) in enumerate(rows, first):
                if i not in names:
                    names[i] = shown(loaded.tokenizer, i)
                read = (min(q, 1.0), int(rank)) if known[at] else (None, None)
                cells[at].append(Cell(names[i], i, min(p, 1.0), entropy, *read))
            progress("layers", k + (first + len(seen.rank)) / len(positions), len(chosen))
    return LogitLens(
        prompt=encoded.rendered,
        kind=kind,
        of=of,
        layers=tuple(chosen),
        columns=tuple(
            _column(loaded, at, encoded.tokens[p].text, int(answers[at]) if known[at] else None, p, chosen, cells[at])
            for at, p in enumerate(positions)
        ),
        tuned=None if tuned is None else tuned.name,
        model=model_info(loaded),
        seconds=round(time.perf_counter() - began, 4),
        versions=versions(),
    )


def _answers(
    final: Final, states: Tensor, ids: Sequence[int], positions: Sequence[int], of: str
) -> tuple[Tensor, list[bool]]:
    """The answer's id at each position, and whether it is known."""
    if of == "next":
        follow = [ids[p + 1] if p + 1 < len(ids) else 0 for p in positions]
        return torch.tensor(follow, device=states.device), [p + 1 < len(ids) for p in positions]
    with torch.no_grad():
        normed = final.norm(states)
    any_id = torch.zeros(len(positions), dtype=torch.long, device=states.device)
    return torch.cat([s.best_ids[:, 0] for _, s in by_chunks(final, normed, any_id, top_k=1)]), [True] * len(positions)


def _column(
    loaded: LoadedModel, at: int, text: str, answer: int | None, position: int, layers: Sequence[int], cells: list[Cell]
) -> Column:
    leads = [answer is not None and c.answer_rank == 1 for c in cells]
    lead = next((n for n, first in zip(layers, leads, strict=True) if first), None)
    settled = next((n for k, n in enumerate(layers) if all(leads[k:])), None)
    name = None if answer is None else shown(loaded.tokenizer, answer)
    return Column(position, text, name, answer, lead, settled, tuple(cells))
