"""How likely a model holds given tokens to be: the one primitive below perplexity, label words and halves of texts.

    nats(loaded, [Scored((5, 8, 2), 2)])         # [array([-ln p(8 | 5), -ln p(2 | 5, 8)])]

Rows are read in batches, filled up at the right, where no token that counts looks: so nothing is masked. The logits
of all positions at once, [rows, length, vocabulary], would be the largest thing in memory by far (Gemma: 262,144 a
token), so the head is run on a few positions at a time: the network runs once, what its body put out is kept, and for
each chunk the network runs its head (and whatever its family does behind it, such as a cap) on some of it. So no
family need be known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pellucid.errors import ContextError, InputError, ModelError, NumericError
from pellucid.models.align import Span
from pellucid.models.encode import encode
from pellucid.models.load import LoadedModel
from pellucid.models.pieces import read
from pellucid.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

#: Tokens of a batch, with what is filled up; a longer row is a batch of its own.
BATCH_TOKENS = 4096
#: Logits in memory at once: 128 MB in float32.
CHUNK_LOGITS = 2**25


@dataclass(frozen=True)
class Scored:
    """Token ids, of which the last ``count`` are scored, each given all before it (so at most all but the first)."""

    ids: tuple[int, ...]
    count: int


@dataclass(frozen=True)
class Tokens:
    """A text as a model reads it: ``lead`` is what its tokenizer puts before (a beginning-of-text token, or nothing),
    then ``ids`` with the characters ``spans`` that each stands for; spans tile the text."""

    lead: tuple[int, ...]
    ids: tuple[int, ...]
    spans: tuple[Span, ...]


def lead(loaded: LoadedModel) -> tuple[int, ...]:
    """What the tokenizer puts before a text: its beginning-of-text token, if it puts one."""
    found = []
    for token in encode(loaded, "a", raw=True).tokens:
        if token.start is not None:
            break
        found.append(token.id)
    return tuple(found)


def tokens(loaded: LoadedModel, text: str, before: tuple[int, ...] | None = None) -> Tokens:
    """Tokens of ``text``; control tokens written in it are read as text. ``before``: the ``lead``, where it is
    known."""
    with _unlimited(loaded.tokenizer):
        ids, spans = read(loaded.tokenizer, text)
    return Tokens(lead(loaded) if before is None else before, tuple(ids), tuple(spans))


def check_causal(loaded: LoadedModel, what: str) -> None:
    """Raise ``ModelError`` for a model that does not go on with a text."""
    if loaded.kind != "causal":
        raise ModelError(f"{what} needs a causal language model, and '{loaded.name}' is of the kind '{loaded.kind}'")


def nats(
    loaded: LoadedModel, rows: Sequence[Scored], *, stage: str = "reading", progress: Progress = silent
) -> list[npt.NDArray[np.float64]]:
    """-ln p of the scored tokens of each row [count], in the order of ``rows``.

    Raises ``ContextError`` for a row that is longer than the model reads, ``NumericError`` where a probability is no
    number or nothing, ``ModelError`` for a model that is not causal.
    """
    check_causal(loaded, "how likely a text is")
    for row in rows:
        if not 1 <= row.count < len(row.ids):
            raise InputError(f"of {len(row.ids)} tokens {row.count} cannot be scored: the first has nothing before it")
        if loaded.context is not None and len(row.ids) - 1 > loaded.context:
            raise ContextError(
                f"{len(row.ids)} tokens do not fit the {loaded.context} that '{loaded.name}' reads: give a shorter text"
            )
    found: list[npt.NDArray[np.float64]] = [np.empty(0)] * len(rows)
    total, done = sum(len(r.ids) for r in rows), 0
    progress(stage, 0, total)
    for batch in _batches(rows):
        for k, values in zip(batch, _read(loaded, [rows[k] for k in batch]), strict=True):
            found[k] = values
        done += sum(len(rows[k].ids) for k in batch)
        progress(stage, done, total)
    return found


def _batches(rows: Sequence[Scored]) -> Iterator[list[int]]:
    """Numbers of rows that are read together: of like length, so that little is filled up, and with like parts
    scored, so that the head runs on little else."""
    order = sorted(range(len(rows)), key=lambda k: (len(rows[k].ids), rows[k].count), reverse=True)
    batch: list[int] = []
    for k in order:
        if batch:
            first = rows[batch[0]]
            full = (len(batch) + 1) * len(first.ids) > BATCH_TOKENS
            skipped = len(first.ids) - first.count, len(rows[k].ids) - rows[k].count
            if full or abs(skipped[0] - skipped[1]) > len(first.ids) // 4:
                yield batch
                batch = []
        batch.append(k)
    if batch:
        yield batch


def _read(loaded: LoadedModel, rows: Sequence[Scored]) -> list[npt.NDArray[np.float64]]:
    """One batch: a pass over all but the last token of each row, and the head where the next token is scored."""
    import torch

    lengths = [len(r.ids) - 1 for r in rows]
    most = max(lengths)
    fed = torch.zeros(len(rows), most, dtype=torch.long)  # [rows, length]
    targets = torch.zeros_like(fed)
    for k, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        ids = torch.tensor(row.ids)
        fed[k, :length], targets[k, :length] = ids[:-1], ids[1:]
    start = min(length - row.count for row, length in zip(rows, lengths, strict=True))
    device = loaded.device
    found = torch.empty(len(rows), most - start, dtype=torch.float64)  # [rows, positions]
    inputs = {"input_ids": fed.to(device), "attention_mask": torch.ones_like(fed).to(device)}
    with torch.no_grad():
        for at, logits in _logits(loaded.network, inputs, start, most):
            wide = logits if logits.dtype == torch.float64 else logits.float()  # [rows, chunk, vocabulary]
            wanted = targets[:, at : at + wide.shape[1]].to(wide.device)
            loss = torch.nn.functional.cross_entropy(wide.flatten(0, 1), wanted.flatten(), reduction="none")
            found[:, at - start : at - start + wide.shape[1]] = loss.view(wanted.shape).cpu().double()
    out = [
        found[k, length - row.count - start : length - start].numpy().copy()
        for k, (row, length) in enumerate(zip(rows, lengths, strict=True))
    ]
    if not all(np.isfinite(v).all() for v in out):
        raise NumericError(
            f"'{loaded.name}' gives a token of the text no finite probability: load it with dtype='float32', or look "
            "for weights that are no numbers"
        )
    return out


def _logits(network: Any, inputs: dict[str, Tensor], start: int, end: int) -> Iterator[tuple[int, Tensor]]:
    """(position, logits [rows, chunk, vocabulary]) from ``start`` to ``end``, some positions at a time."""
    body, head = network.base_model, network.get_output_embeddings()
    if body is network or head is None:  # a network that is not made of a body and a head
        yield start, network(**inputs, use_cache=False).logits[:, start:end]
        return
    vocabulary = int(network.config.get_text_config().vocab_size)
    step = max(1, CHUNK_LOGITS // (len(inputs["input_ids"]) * vocabulary))
    kept: list[Any] = []

    def narrow(module: Any, given: tuple[Any, ...]) -> Any:
        return (given[0][:, at : at + size], *given[1:])

    for at in range(start, end, step):
        size = min(step, end - at)
        with ExitStack() as hooks:
            hooks.callback(head.register_forward_pre_hook(narrow).remove)
            if kept:
                hooks.enter_context(_answering(body, kept[0]))
            else:
                hooks.callback(body.register_forward_hook(lambda m, given, out: kept.append(out)).remove)
            logits: Tensor = network(**inputs, use_cache=False).logits
        yield at, logits


@contextmanager
def _answering(module: Any, out: Any) -> Iterator[None]:
    """While open, ``module`` puts out what it put out before."""
    own = module.__dict__.get("forward")
    module.forward = lambda *given, **named: out
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:  # one that was put there by whoever spread the model over devices
            module.forward = own


@contextmanager
def _unlimited(tokenizer: Any) -> Iterator[None]:
    """While open, the tokenizer does not warn of long texts: they are read in windows."""
    before = tokenizer.model_max_length
    tokenizer.model_max_length = 10**12
    try:
        yield
    finally:
        tokenizer.model_max_length = before
