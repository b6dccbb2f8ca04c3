"""One process or several: what ``torchrun`` and ``accelerate launch`` tell each of theirs.

    torchrun --nproc-per-node 2 -m pellucid lab train --preset char-tiny --data book.txt --out runs/two

Both set RANK, WORLD_SIZE and LOCAL_RANK; without them this is the only process. Gradients are averaged by DDP, or
weights spread by FSDP (``fully_shard``); both are PyTorch's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class World:
    """This process's place among ``size``, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Is this the one that writes and reports?"""
        return self.rank == 0

    def total(self, value: float) -> float:
        """The sum of a number over all processes."""
        if self.size == 1:
            return value
        held = torch.tensor(value, dtype=torch.float64, device=self.device if self.device.type == "cuda" else "cpu")
        torch.distributed.all_reduce(held)
        return float(held)

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            torch.distributed.barrier()


@contextmanager
def join(device: str = "auto") -> Iterator[World]:
    """The world of this process, left in order whatever happens."""
    from pellucid.models.load import resolve_device

    size, rank, local = (int(os.environ.get(n, d)) for n, d in (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0)))
    place = torch.device(resolve_device(device))
    if size == 1:
        yield World(0, 1, place)
        return
    if place.type == "cuda":
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    torch.distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield World(rank, size, place)
    finally:
        torch.distributed.destroy_process_group()


def spread(learner: nn.Module, world: World, kind: str) -> nn.Module:
    """``learner`` as it runs in this process: itself alone, or under DDP, or with its weights spread by FSDP."""
    if world.size == 1:
        return learner
    if kind == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        from pellucid.lab.training.layers import layers

        mesh = init_device_mesh(world.device.type, (world.size,))
        for layer in layers(learner):
            fully_shard(layer, mesh=mesh)
        fully_shard(learner, mesh=mesh)
        return learner
    return nn.parallel.DistributedDataParallel(
        learner, device_ids=[world.device.index] if world.device.type == "cuda" else None
    )


def quiet(runner: Any, last: bool) -> AbstractContextManager[Any]:
    """No exchange of gradients in here, but for the last micro-batch of a step."""
    if isinstance(runner, nn.parallel.DistributedDataParallel) and not last:
        return runner.no_sync()
    if hasattr(runner, "set_requires_gradient_sync"):
        runner.set_requires_gradient_sync(last)
    return nullcontext()


def gathered(network: nn.Module) -> dict[str, Tensor] | None:
    """The weights of a network that FSDP spread, put together in every process; None of one that is whole."""
    state = network.state_dict()
    if not any(hasattr(w, "full_tensor") for w in state.values()):
        return None
    return {n: whole(w) for n, w in state.items()}


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's state as one process alone would have it; under FSDP every process must ask."""
    state = optimiser.state_dict()
    return {**state, "state": {p: {n: whole(v) for n, v in held.items()} for p, held in state["state"].items()}}


def set_optimiser_state(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put back what ``optimiser_state`` gave: each process takes its part where the weight is spread."""
    optimiser.load_state_dict(state)
    for group in optimiser.param_groups:
        for weight in group["params"]:
            if hasattr(weight, "full_tensor"):
                held = optimiser.state[weight]
                held.update({n: _spread_as(v, weight) for n, v in held.items() if v.shape == weight.shape})


def _spread_as(value: Tensor, weight: Any) -> Tensor:
    from torch.distributed.tensor import distribute_tensor

    found: Tensor = distribute_tensor(value, weight.device_mesh, weight.placements)
    return found


def whole(value: Any) -> Tensor:
    """A tensor that FSDP spread, put together again; others as they are."""
    full: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full
