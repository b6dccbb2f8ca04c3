"""Backward by layer: many exact gradients at the price of one, in the memory of one layer.

    tape = Tape.record(network, embeddings, targets)
    tape.backward(cotangents, rows=4)

The forward pass keeps each decoder layer's input and nothing else. The backward pass goes from the top: each layer is
run once more on its kept input, which builds its graph alone, and all rows (one a target) are pulled back through it,
``rows`` at a time, as batched vector-Jacobian products. This is gradient checkpointing (Chen et al. 2016,
arXiv:1604.06174) turned inside out: the recomputation is paid once for all rows, not once a backward pass.

The head is cut off too. Each target's number depends on its own hidden state alone, so one backward pass through the
vocabulary gives every row's start, where batching it would cost rows times targets times vocabulary. For the same
reason the last layer's MLP runs at the targets' positions only: nothing reads it elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

Found = TypeVar("Found")
Hook = Callable[[int, int], None]
#: ``(layer, first row, gradients [rows, 1, tokens, width], the layer's input [1, tokens, width])``
Seen = Callable[[int, int, Tensor, Tensor], None]


class NoTapeError(Exception):
    """This network does not run its layers one after the other on one hidden state: use the whole graph."""


@dataclass
class LayerInput:
    """What a layer was called with, so that it can be called again on copies of it."""

    module: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def hidden(self) -> Tensor:
        """The hidden states that came in [1, tokens, width]."""
        h: Tensor = self.args[0] if self.args else self.kwargs["hidden_states"]
        return h

    def __call__(self) -> Tensor:
        """The layer's output, on the very tensors that it was called with."""
        return _first(self.module(*self.args, **self.kwargs))

    def run(self, copies: int) -> Tensor:
        """The layer's output on ``copies`` copies of its input [copies, tokens, width]."""
        many = self.hidden.expand(copies, -1, -1)
        if self.args:
            return _first(self.module(many, *self.args[1:], **self.kwargs))
        return _first(self.module(**{**self.kwargs, "hidden_states": many}))


def _first(out: Any) -> Tensor:
    h: Tensor = out[0] if isinstance(out, tuple) else out
    return h


def layer_inputs(network: Any, forward: Callable[[], Found]) -> tuple[list[LayerInput], Found]:
    """What each decoder layer is called with while ``forward`` runs, in order; and what ``forward`` gives."""
    found: list[LayerInput] = []

    def keep(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append(LayerInput(module, args, kwargs))

    with ExitStack() as hooks:
        for layer in decoder_layers(network):
            hooks.callback(layer.register_forward_pre_hook(keep, with_kwargs=True).remove)
        return found, forward()


def decoder_layers(network: Any) -> list[Any]:
    """The network's layers in the order of their definition: transformers marks them by their class."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [m for m in network.modules() if isinstance(m, GradientCheckpointingLayer)]


class Tape:
    """What one forward pass left behind.

    ``logits`` [targets, vocabulary] and ``states`` [1, targets, width], the head's input, hang together by a graph;
    so do ``states`` and ``top`` [1, tokens, width], the last layer's output, and ``bottom``, the first layer's input,
    and the embeddings. Between bottom and top there are only the layers' inputs.
    """

    logits: Tensor
    states: Tensor
    top: Tensor
    bottom: Tensor

    def __init__(self, embeddings: Tensor, tail: int) -> None:
        self.embeddings = embeddings
        self.tail = tail
        self.layers: list[LayerInput] = []
        self._previous: Tensor | None = None
        self._last: Any = None

    @classmethod
    def record(cls, network: Any, embeddings: Tensor, tail: int, forward: Callable[[], Tensor]) -> Tape:
        """Run ``forward`` (the network on ``embeddings`` [1, tokens, width]) and keep the tape; it gives the logits.

        Only the last ``tail`` positions are read by what follows. Raises ``NoTapeError`` where the network is not a
        plain stack of layers under a head.
        """
        tape = cls(embeddings, tail)
        layers, head = decoder_layers(network), network.get_output_embeddings()
        if not layers or head is None:
            raise NoTapeError
        with ExitStack() as hooks:

            def hook(handle: Any) -> None:
                hooks.callback(handle.remove)

            for layer in layers:
                hook(layer.register_forward_pre_hook(tape._before, with_kwargs=True))
                hook(layer.register_forward_hook(tape._after, with_kwargs=True))
            tape._last = layers[-1]
            hook(head.register_forward_pre_hook(tape._head))
            hooks.enter_context(tail_mlp(layers[-1], tail))
            tape.logits = forward()
        if len(tape.layers) != len(layers) or not hasattr(tape, "states"):
            raise NoTapeError
        return tape

    def _before(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        layer = LayerInput(module, args, kwargs)
        hidden = layer.hidden
        if not self.layers:
            self.bottom = hidden
        elif hidden is not self._previous:
            raise NoTapeError  # something happens between the layers that we would not see
        others = [*args[1:], *(v for k, v in kwargs.items() if k != "hidden_states")]
        if any(isinstance(v, Tensor) and v.requires_grad for v in others):
            raise NoTapeError  # a second way from the embeddings into this layer
        cut = hidden.detach()
        if args:
            args = (cut, *args[1:])
        else:
            kwargs = {**kwargs, "hidden_states": cut}
        self.layers.append(LayerInput(module, args, kwargs))
        return args, kwargs

    def _after(self, module: Any, args: Any, kwargs: Any, out: Any) -> Any:
        self._previous = _first(out)
        if module is not self._last:
            return None
        self.top = self._previous.detach().requires_grad_(True)
        return (self.top, *out[1:]) if isinstance(out, tuple) else self.top

    def _head(self, module: Any, args: tuple[Any, ...]) -> None:
        self.states = args[0]

    def start(self, gradient: Tensor, targets: list[int]) -> Tensor:
        """Cotangents at the last layer's output [len(targets), 1, tokens, width], one row a target.

        ``gradient`` [1, positions, width] is that of the sum of all targets' numbers at ``states``: its column i
        belongs to target i alone.
        """
        rows = 2  # there is a norm to pass and nothing else: more together would only leave larger holes in memory
        out = self.top.new_empty(len(targets), *self.top.shape)
        for first in range(0, len(targets), rows):
            some = targets[first : first + rows]
            one_hot = torch.zeros(len(some), 1, gradient.shape[1], 1, dtype=gradient.dtype, device=gradient.device)
            one_hot[torch.arange(len(some)), 0, some] = 1
            out[first : first + rows] = pull(self.states, self.top, one_hot * gradient)
        return out

    def backward(
        self,
        cotangents: Tensor,
        rows: int,
        changes: Callable[[], AbstractContextManager[Any]],
        step: Hook,
        seen: Seen | None = None,
    ) -> Tensor:
        """Pull ``cotangents`` [rows, 1, tokens, width] from the last layer's output down to the embeddings, in place.

        ``changes`` opens the context in which layers are run again (precision); ``step(done, total)`` is called after
        each batch of rows, ``seen`` with what came back to a layer's input. The tape can be used again: a long matrix
        goes through in groups of rows.
        """
        groups = range(0, cotangents.shape[0], rows)
        done, total = 0, len(self.layers) * len(groups)
        for depth, layer in reversed(list(enumerate(self.layers))):
            hidden = layer.hidden.requires_grad_(True)
            with (
                torch.enable_grad(),
                changes(),
                tail_mlp(layer.module if layer is self.layers[-1] else None, self.tail),
            ):
                out = layer()
            for first in groups:
                some = cotangents[first : first + rows]
                some.copy_(pull(out, hidden, some))
                if seen is not None:
                    seen(depth, first, some, hidden.detach())
                done += 1
                step(done, total)
            hidden.requires_grad_(False)
            del out
        if self.bottom is not self.embeddings:  # position embeddings, scaling
            for first in groups:
                some = cotangents[first : first + rows]
                some.copy_(pull(self.bottom, self.embeddings, some))
        return cotangents


@contextmanager
def tail_mlp(layer: Any, tail: int) -> Iterator[None]:
    """Run this layer's ``mlp`` (every family's name for it) on the last ``tail`` positions, zeros elsewhere."""
    mlp = getattr(layer, "mlp", None)
    if mlp is None:
        yield
        return
    length = 0

    def cut(module: Any, args: tuple[Any, ...]) -> Any:
        nonlocal length
        length = args[0].shape[1]
        return (args[0][:, -tail:].contiguous(), *args[1:])  # GPT-2 views it as one matrix

    def fill(module: Any, args: Any, out: Any) -> Any:
        return torch.nn.functional.pad(out, (0, 0, length - out.shape[1], 0)) if isinstance(out, Tensor) else out

    handles = [mlp.register_forward_pre_hook(cut), mlp.register_forward_hook(fill)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def pull(out: Tensor, source: Tensor, cotangents: Tensor) -> Tensor:
    """Vector-Jacobian products [rows, *source] of ``cotangents`` [rows, *out], together; the graph is kept."""
    if cotangents.shape[0] == 1:
        return torch.autograd.grad(out, source, cotangents[0], retain_graph=True)[0][None]

    def one(cotangent: Tensor) -> Tensor:
        return torch.autograd.grad(out, source, cotangent, retain_graph=True)[0]

    batched: Tensor = torch.vmap(one)(cotangents)
    return batched
