"""Which tokens a step reads: blocks of a packed array in an order that depends on the seed and the step alone.

    blocks = Blocks(part, rows=12, length=64, seed=0)
    blocks.batch(41)                       # the same whenever it is asked for

A run that goes on after a stop sees exactly the batches that it would have seen. An epoch cuts the array into blocks at
a random offset and goes through them in a random order, so that each token is read once an epoch, at changing places in
its block. This is the one place where targets are shifted: ``targets`` holds what follows each of ``inputs``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pellucid.errors import InputError
from pellucid.lab.data.packed import Part

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

IGNORE = -100  # a target that nothing is asked of


@dataclass(frozen=True)
class Batch:
    """``inputs``, ``targets``, ``positions`` [rows, length]; positions are None where they just count on.

    ``mask`` [rows, length] is 0 at padding, None where there is none.
    """

    inputs: Tensor
    targets: Tensor
    positions: Tensor | None = None
    mask: Tensor | None = None

    @property
    def count(self) -> int:
        """How many targets are asked for."""
        return int((self.targets != IGNORE).sum())

    def to(self, device: Any) -> Batch:
        """The same on a device."""
        moved = [None if t is None else t.to(device, non_blocking=True) for t in self._tensors()]
        return Batch(*moved)  # type: ignore[arg-type]

    def _tensors(self) -> tuple[Tensor | None, ...]:
        return self.inputs, self.targets, self.positions, self.mask

    def part(self, index: int, of: int) -> Batch:
        """One of ``of`` equal shares of the rows."""
        rows = self.inputs.shape[0] // of
        some = slice(index * rows, (index + 1) * rows)
        return Batch(*[None if t is None else t[some] for t in self._tensors()])  # type: ignore[arg-type]


class Batches(Protocol):
    """Where training takes its batches from."""

    rows: int

    def batch(self, step: int) -> Batch:
        """All rows of a step, of every micro-batch and process."""
        ...


class Blocks:
    """Batches of ``rows`` blocks of ``length`` tokens.

    ``isolate``: within a block, tokens see their own document alone, positions restart with each, and a document's last
    token is not asked what the next one begins with. Raises ``InputError`` for a text shorter than a block.
    """

    def __init__(
        self, part: Part, *, rows: int, length: int, seed: int = 0, isolate: bool = False, name: str = "the text"
    ) -> None:
        if len(part.tokens) < length + 1:
            raise InputError(
                f"{name} has {len(part.tokens):,} tokens, and one block needs {length + 1:,}: give more text, or a "
                "shorter context"
            )
        self.part, self.rows, self.length, self.seed, self.isolate = part, rows, length, seed, isolate
        # One fewer than would fit, so that any offset leaves as many.
        self.blocks = max(1, (len(part.tokens) - 1) // length - 1)
        self._epoch: tuple[int, int, np.ndarray[Any, Any]] | None = None

    def batch(self, step: int) -> Batch:
        """The batch of a step (from 0)."""
        first = step * self.rows
        return self.at([self._start(i) for i in range(first, first + self.rows)])

    def _start(self, index: int) -> int:
        import numpy as np

        epoch, place = divmod(index, self.blocks)
        if self._epoch is None or self._epoch[0] != epoch:
            random = np.random.default_rng((self.seed, epoch))
            room = len(self.part.tokens) - 1 - self.blocks * self.length
            offset = int(random.integers(0, min(room, self.length) + 1))
            self._epoch = (epoch, offset, random.permutation(self.blocks))
        return self._epoch[1] + int(self._epoch[2][place]) * self.length

    def at(self, starts: list[int]) -> Batch:
        """The blocks that begin at ``starts``."""
        import numpy as np
        import torch

        span = np.asarray(starts)[:, None] + np.arange(self.length + 1)  # [rows, length + 1]
        tokens = torch.from_numpy(self.part.tokens[span].astype("int64"))
        inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].clone()
        if not self.isolate:
            return Batch(inputs, targets)
        document = np.searchsorted(self.part.ends, span, side="right")  # [rows, length + 1]
        begins = np.concatenate(([0], self.part.ends))[document]
        positions = span - np.maximum(begins, np.asarray(starts)[:, None])
        targets[torch.from_numpy(document[:, 1:] != document[:, :-1])] = IGNORE
        return Batch(inputs, targets, torch.from_numpy(positions[:, :-1].copy()))


def consecutive(part: Part, *, length: int, rows: int) -> Iterator[Batch]:
    """A whole part in consecutive blocks, each token but the first a target once; the last block may be padded."""
    import numpy as np
    import torch

    tokens, total = part.tokens, len(part.tokens) - 1
    for start in range(0, total, length * rows):
        some = tokens[start : start + length * rows + 1].astype("int64")
        count = -(-(len(some) - 1) // length)
        room = count * length
        inputs = np.zeros(room, dtype="int64")
        targets = np.full(room, IGNORE, dtype="int64")
        inputs[: len(some) - 1], targets[: len(some) - 1] = some[:-1], some[1:]
        yield Batch(torch.from_numpy(inputs).view(count, length), torch.from_numpy(targets).view(count, length))
