"""One token after another: the keys and values of what stands before are kept, so that each step feeds one position.

    for step in walk(loaded, ids, parse("top_p:0.9"), steps=10, seed=0):
        step.logits, step.token                # [vocabulary], what was chosen

The loop is ``generate``'s own for strategies that choose one token at a time, with every step's logits in the open; the
tests compare the two. Beams are ``lens.beams``'s affair, contrastive search ``lens.contrastive``'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import ContextError, ModelError, NumericError
from pellucid.lens.strategies import Strategy
from pellucid.models.generate import end_tokens
from pellucid.models.load import LoadedModel
from pellucid.trace.logits import cache_name, wide


@dataclass(frozen=True, eq=False)
class Step:
    """``logits`` [vocabulary] as the model gave them, in float32 or wider; ``token``, what was chosen from them, and
    the probability that it was chosen with (of strategies that do not draw 1; 0 for a given token that they would not
    have chosen)."""

    logits: Tensor
    token: int
    chance: float


def check_causal(loaded: LoadedModel) -> None:
    """Raise ``ModelError`` for a model that does not continue a text."""
    if loaded.kind != "causal":
        raise ModelError(
            f"this needs a model that continues a text, and '{loaded.name}' is of the kind '{loaded.kind}'"
        )


def check_length(loaded: LoadedModel, tokens: int, steps: int) -> None:
    """Raise ``ContextError`` where prompt and steps do not fit."""
    if loaded.context is not None and tokens + steps > loaded.context:
        raise ContextError(
            f"the prompt is {tokens} tokens and {steps} more are asked for, and '{loaded.name}' reads "
            f"{loaded.context}: shorten the prompt, or ask for fewer steps"
        )


def finite(logits: Tensor, loaded: LoadedModel) -> Tensor:
    """``logits``, of which some may be minus infinity. Raises ``NumericError`` where one is no number."""
    if bool(torch.isnan(logits).any()):
        raise NumericError(
            f"logits came out as NaN (model '{loaded.name}' in {str(loaded.dtype).removeprefix('torch.')}): the "
            "weights may hold such values, or float16 is too narrow for it; try dtype='float32'"
        )
    return logits


class Continued:
    """A network that remembers: ``feed`` gives the next token's logits after what was fed so far (``ids``)."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.ids: list[int] = []
        self._name = cache_name(loaded.network)
        self._kept: Any = None

    def rewind(self, ids: Sequence[int]) -> int:
        """Forget all but what ``ids`` begins with, so that it can be read on from there: how many tokens are kept,
        fewer than ``ids``. A network whose layers do not keep every token's keys and values (sliding windows, states)
        forgets all."""
        common = 0
        while common < min(len(self.ids), len(ids) - 1) and self.ids[common] == ids[common]:
            common += 1
        if common < len(self.ids):
            layers: list[Any] = list(getattr(self._kept, "layers", None) or [])
            whole = bool(layers) and all(
                getattr(k, "keys", None) is not None and k.keys.ndim == 4 and k.keys.shape[2] == len(self.ids)
                for k in layers
            )
            if whole and common:
                self._kept.crop(common - len(self.ids))  # negative: by how much, in every release
            else:
                self._kept, common = None, 0
        self.ids = list(ids[:common])
        return common

    def feed(self, ids: Sequence[int]) -> Tensor:
        """Logits [vocabulary] after ``ids``, in float32 or wider."""
        network: Any = self.loaded.network
        given: dict[str, Any] = {} if self._kept is None else {self._name: self._kept}
        rows = torch.tensor([list(ids)], device=self.loaded.device)
        self._kept, before, self.ids = None, self.ids, []  # until the pass is whole, nothing is known
        with torch.no_grad():
            out = network(input_ids=rows, use_cache=True, logits_to_keep=1, **given)
        kept = getattr(out, self._name, None)
        self._kept = out.past_key_values if kept is None else kept
        self.ids = [*before, *ids]
        return finite(wide(out.logits[0, -1]), self.loaded)


def choose(
    logits: Tensor,
    said: Sequence[int],
    processors: Sequence[Any],
    draws: bool,
    generator: torch.Generator,
    given: int | None = None,
) -> tuple[int, float]:
    """The next token by ``logits`` [vocabulary] after the ids ``said``, and the probability of choosing it; ``given``:
    it is this one, whatever would have been chosen."""
    scores = logits[None]
    for process in processors:
        scores = process(torch.tensor([said], device=logits.device), scores)
    if draws:
        p = torch.softmax(scores[0], -1)
        if not bool(torch.isfinite(p).all()):
            raise NumericError(
                "the strategy leaves no probabilities to draw from: a number in it, such as the temperature, is too "
                "small or too large"
            )
        token = int(torch.multinomial(p, 1, generator=generator)) if given is None else given
        return token, float(p[token])
    own = int(scores[0].argmax())
    return (own, 1.0) if given is None else (given, float(given == own))


def walk(
    loaded: LoadedModel,
    ids: Sequence[int],
    strategy: Strategy,
    *,
    steps: int,
    seed: int = 0,
    begin: Sequence[int] = (),
    network: Continued | None = None,
) -> Iterator[Step]:
    """Steps after the prompt ``ids``, until one ends the text, or ``steps`` are done. The tokens ``begin`` are given,
    and come first, beside these ``steps``. Draws come from a random state of their own, seeded with ``seed``.
    ``network`` has read a beginning of ``ids`` already, and reads on."""
    ends = end_tokens(loaded)
    processors = strategy.processors()
    generator = torch.Generator(device=loaded.device).manual_seed(seed)
    network = Continued(loaded) if network is None else network
    said, fed = list(ids), list(ids[len(network.ids) :])
    for k in range(len(begin) + steps):
        logits = network.feed(fed)
        given = begin[k] if k < len(begin) else None
        token, chance = choose(logits, said, processors, strategy.draws, generator, given)
        yield Step(logits, token, chance)
        if token in ends:
            return
        said.append(token)
        fed = [token]
