"""An answer token by token, with what each was chosen from: what both of OpenAI's forms are made of.

    for piece in written(voice, job, ids, Way("temperature:1", 64, 0, (), 5)): piece.text, piece.tokens

A piece is text that is certain (no half character, nothing that a stop text may begin in) with the tokens that it is
made of. Log-probabilities are the model's own, whatever strategy drew, as OpenAI's are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pellucid.errors import ContextError
from pellucid.serve.jobs import Job
from pellucid.serve.lane import Voice

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.models.load import LoadedModel


@dataclass(frozen=True)
class Way:
    """How it is written; ``top``: how many alternatives of each token are told, None: not even its own
    log-probability."""

    strategy: str
    room: int
    seed: int
    stop: tuple[str, ...]
    top: int | None


@dataclass(frozen=True)
class Token:
    """``text`` and its ``bytes``, natural log-probability (None: nothing stood before it), and the likeliest ones
    instead."""

    text: str
    bytes: bytes
    logprob: float | None
    top: tuple[Token, ...] = ()

    @property
    def plain(self) -> dict[str, Any]:
        """As chat completions tell it."""
        return {"token": self.text, "logprob": self.logprob, "bytes": list(self.bytes)}


@dataclass
class Piece:
    """New ``text`` with its ``tokens``; the last one says how it ended (``stop`` or ``length``) and how many tokens
    were written."""

    text: str
    tokens: list[Token] = field(default_factory=list)
    end: str | None = None
    count: int = 0


def room_for(loaded: LoadedModel, prompt: int, wanted: int | None, most: int) -> int:
    """How many tokens may be written. Raises ``ContextError`` where the prompt leaves no room."""
    left = most if loaded.context is None else loaded.context - prompt
    if left < 1:
        raise ContextError(
            f"the prompt is {prompt} tokens and '{loaded.name}' reads {loaded.context} with the answer: shorten it"
        )
    if wanted is not None and wanted > left:
        raise ContextError(
            f"the prompt is {prompt} tokens and {wanted} more are asked for, and '{loaded.name}' reads "
            f"{loaded.context}: shorten the prompt, or ask for fewer"
        )
    return min(wanted or most, most, left)


def written(voice: Voice, job: Job, ids: Sequence[int], way: Way) -> Iterator[Piece]:
    """The answer in pieces."""
    from pellucid.apps.stepping import Stream
    from pellucid.lens.steps import Continued, walk
    from pellucid.lens.strategies import parse
    from pellucid.models.align import align_ids
    from pellucid.models.generate import end_tokens

    loaded = voice.loaded
    come: list[str] = []
    stream = Stream(way.stop, come.append)
    ends, end = end_tokens(loaded), "length"
    said: list[int] = []
    pending: list[Token] = []
    network = voice.kept.pop("read", None) or Continued(loaded)  # what an interrupt leaves half-read is let go
    network.rewind(ids)
    steps = walk(loaded, list(ids), parse(way.strategy), steps=way.room, seed=way.seed, network=network)
    for k, step in enumerate(steps):
        job.progress("writing", k + 1, way.room)
        if step.token in ends:
            end = "stop"
            break
        said.append(step.token)
        if way.top is not None:
            pending.append(told(loaded, step.logits, step.token, way.top))
        text, spans = align_ids(loaded.tokenizer, said)
        if stream.grow(text):
            end = "stop"
            cut = sum(start >= len(stream.text) for start, _ in spans)  # tokens of the stop text are not told
            pending = pending[: max(len(pending) - cut, 0)]
            break
        if come:
            yield Piece("".join(come), pending)
            come.clear()
            pending = []
    stream.grow(stream.text, last=True)
    voice.kept["read"] = network
    yield Piece("".join(come), pending, end, len(said))


def told(loaded: LoadedModel, logits: Tensor, token: int, top: int) -> Token:
    """A token with its log-probability by ``logits`` [vocabulary], and the ``top`` likeliest."""
    import torch

    logprobs = torch.log_softmax(logits.double(), -1)
    best = logprobs.topk(min(top, len(logprobs))) if top else None
    others = () if best is None else zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return named(loaded, token, float(logprobs[token]), tuple(named(loaded, i, x) for i, x in others))


def named(loaded: LoadedModel, token: int, logprob: float | None, top: tuple[Token, ...] = ()) -> Token:
    """With its text."""
    from pellucid.models.vocabulary import shown, spelled

    bounded = None if logprob is None else max(logprob, -9999.0)  # JSON has no infinity; OpenAI's own floor
    return Token(shown(loaded.tokenizer, token), spelled(loaded.tokenizer, token), bounded, top)


def read(loaded: LoadedModel, ids: Sequence[int], top: int) -> list[Token]:
    """The tokens of a text, each with its log-probability after those before it; the first has none."""
    import torch

    from pellucid.lens.final import Final
    from pellucid.lens.predictions import by_chunks
    from pellucid.lens.states import last_states

    found = [named(loaded, ids[0], None)]
    if len(ids) == 1:
        return found
    final = Final.of(loaded)
    states = last_states(loaded, final, ids)[:-1]
    for first, seen in by_chunks(final, states, torch.tensor(ids[1:], device=states.device), top_k=max(top, 1)):
        rows = zip(seen.logprob.tolist(), seen.best.tolist(), seen.best_ids.tolist(), strict=True)
        for k, (own, best, best_ids) in enumerate(rows, first + 1):
            others = tuple(named(loaded, i, x) for i, x in zip(best_ids[:top], best[:top], strict=True))
            found.append(named(loaded, ids[k], own, others))
    return found
