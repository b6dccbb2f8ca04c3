"""The language model head on a few positions alone: a hook narrows what it is given, so that no family need be known.

with narrowed(network, positions):
    network(input_ids=ids).logits               # [rows, targets, vocabulary]
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from pellucid.errors import ModelError


@contextmanager
def narrowed(network: Any, positions: Tensor) -> Iterator[None]:
    """The head is given the hidden states at ``positions`` [rows, targets] alone."""
    head = network.get_output_embeddings()
    if head is None:
        raise ModelError("this model has no language model head, and relevance reads what it would say next")

    def narrow(module: Any, given: tuple[Any, ...]) -> Any:
        states = given[0]
        index = positions.to(states.device)[..., None].expand(-1, -1, states.shape[-1])
        return (states.gather(1, index), *given[1:])

    hook = head.register_forward_pre_hook(narrow)
    try:
        yield
    finally:
        hook.remove()
