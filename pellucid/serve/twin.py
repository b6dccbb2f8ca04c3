"""The same network once more, over the same weights: so that what one request hooks or exchanges in it, another does
not see.

    other = twin(network)                       # its own modules and settings; the weights are the same memory
    with stops(other, pause):                   # pause() after every layer, forward and backward
        ...

An explanation changes how a network runs while it lasts (``trace/inside.py``), and hands the device on in the middle.
Whoever computes then must not find those changes: each lane has a twin.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any


def twin(network: Any) -> Any:
    """A copy of the modules and the configuration; parameters and buffers are shared, not copied."""
    return copy.deepcopy(network, {id(t): t for t in chain(network.parameters(), network.buffers())})


@contextmanager
def stops(network: Any, pause: Callable[[], None]) -> Iterator[None]:
    """Call ``pause`` after each layer of a forward pass, and when its gradient comes back. It may raise, which ends the
    pass. A layer is a member of a list of modules (every family of transformers keeps its layers so)."""
    import torch

    def after(module: Any, given: Any, out: Any) -> None:
        pause()
        states = out[0] if isinstance(out, tuple) else out
        if isinstance(states, torch.Tensor) and states.requires_grad:
            states.register_hook(back)

    def back(gradient: Any) -> None:
        pause()

    lists = [m for m in network.modules() if isinstance(m, torch.nn.ModuleList)]
    hooks = [layer.register_forward_hook(after) for members in lists for layer in members]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
