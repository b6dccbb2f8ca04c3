"""How long short requests take on this machine: two numbers, measured when the model is there, and what it learns.

    pace = Pace.measured(loaded)
    pace.seconds([step, other])       # expected of these steps in one batch
    pace.learn(expected, took)

A pass costs a part that does not depend on its tokens (the weights come from memory) and a part a token. From that the
lane of short requests knows how long one that comes now would wait, and refuses one that would be answered later than
``Settings.patience`` times what it takes itself: better told to come again at once than answered late. And from it the
other lanes' turns are cut (``desk``), so that they are short beside a short request, on any machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.serve.jobs import Step

if TYPE_CHECKING:
    from pellucid.models.load import LoadedModel

TYPICAL = 64  # tokens of a short request
WORTH, RATE = 1.4, 0.2
_FEW, _TIMES = 8, 3


@dataclass
class Pace:
    """``fixed`` seconds a pass and ``token`` seconds a token, as measured. What requests took since, over what these
    say: ``alone``, where nobody computed in between, and ``scale``, all of them."""

    fixed: float = 0.02
    token: float = 0.001
    alone: float = 1.0
    scale: float = 1.0

    @classmethod
    def measured(cls, loaded: LoadedModel) -> Pace:
        """From some passes over any tokens; of a model that does not continue a text, a guess."""
        import torch

        if loaded.kind != "causal":
            return cls()

        def seconds(tokens: int) -> float:
            ids = torch.ones(1, min(tokens, loaded.context or tokens), dtype=torch.long, device=loaded.device)
            taken = []
            for _ in range(_TIMES):
                began = time.perf_counter()
                with torch.no_grad():
                    float(loaded.network(input_ids=ids, use_cache=False, logits_to_keep=1).logits.sum())
                taken.append(time.perf_counter() - began)
            return min(taken)

        few, more = seconds(_FEW), seconds(TYPICAL)
        each = max(more - few, 0.0) / (TYPICAL - _FEW)
        return cls(max(few - _FEW * each, 1e-4), max(each, 1e-6))

    @property
    def typical(self) -> float:
        """Seconds of a pass over ``TYPICAL`` tokens, with nobody else there."""
        return self.fixed + TYPICAL * self.token

    def seconds(self, steps: Sequence[Step]) -> float:
        """Of one batch, by ``fixed`` and ``token``: a pass over the prompts, then one token a row and pass."""
        rows, longest = len(steps), max(s.size for s in steps)
        passes = max(s.passes for s in steps)
        once = self.fixed + self.token * rows * longest
        return once + passes * (self.fixed + self.token * rows)

    def together(self, steps: Sequence[Step], more: Step) -> bool:
        """Is it worth while to let ``more`` run with these? Where the weights' part is most of a pass, it costs next to
        nothing; where the tokens' part is, all would wait for it."""
        return self.seconds([*steps, more]) <= WORTH * self.seconds(steps)

    def learn(self, expected: float, took: float, *, alone: bool) -> None:
        """A batch that should have taken so long took so long."""
        ratio = min(max(took / max(expected, 1e-6), 0.2), 20.0)
        self.scale += RATE * (ratio - self.scale)
        if alone:  # quickly down, slowly up: what it can take, not what it takes while others load the machine
            self.alone += (RATE if ratio < self.alone else RATE / 20) * (ratio - self.alone)
