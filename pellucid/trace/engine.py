"""The engine: one forward pass over prompt and answer, and as many backward passes as are asked for.

    run = Run(loaded, prompt_ids, target_ids, objective("logprob"))
    scores = method("saliency")(run)

The answer is known, so one forward pass with it in place (teacher forcing) serves all of its tokens: the causal mask
makes each target's gradient with respect to later tokens exactly zero. The head is applied to the target positions
only. A whole answer is one backward pass; the matrix is a batched vector-Jacobian product over the same graph.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import ModelError
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent
from pellucid.trace.inside import attention, checkpointing, precision
from pellucid.trace.memory import Plan, Shape, plan
from pellucid.trace.objective import Objective

#: ``(gradient [rows, tokens, width], embeddings [tokens, width]) -> [rows, tokens]``
FromGradient = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Scores:
    """What a method gives: ``total`` [tokens], and ``matrix`` [targets, tokens] where it was asked for.

    ``tokens`` are prompt and answer; rows of targets that were not selected are NaN.
    """

    total: Tensor
    matrix: Tensor | None


class Run:
    """One prompt and one answer inside one model.

    - ``selected``: the targets that are explained (indices), all by default.
    - ``per_token``: is the matrix wanted?
    - ``allowed``: bytes that may be added.

    After a method has run, ``logits`` [targets, vocabulary] are there for statistics, ``forwards`` and ``backwards``
    count the sequences that passed, and ``plan`` and ``precision`` say how.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        prompt: Sequence[int],
        answer: Sequence[int],
        objective: Objective,
        *,
        selected: Sequence[int] | None = None,
        per_token: bool = False,
        precision: str = "full",
        allowed: int = 1 << 62,
        progress: Progress = silent,
    ) -> None:
        self.loaded = loaded
        self.prompt_length, self.targets = len(prompt), len(answer)
        self.ids = torch.tensor([[*prompt, *answer]], device=loaded.device)  # [1, tokens]
        self.objective = objective
        self.selected = list(range(self.targets)) if selected is None else list(selected)
        self.per_token = per_token
        self.precision = precision
        self.progress = progress
        self.forwards = self.backwards = 0
        self.logits: Tensor | None = None
        self.plan: Plan = plan(
            Shape.of(loaded.network),
            tokens=self.ids.shape[1],
            targets=self.targets,
            rows=len(self.selected) if per_token else 1,
            allowed=allowed,
            device=loaded.device.type,
        )

    def from_gradient(self, function: FromGradient) -> Scores:
        """Scores from gradients at the input embeddings: one forward pass, one backward pass a row.

        With the matrix, the whole answer's gradient is the sum of the rows' gradients, and costs no pass of its own.
        """
        network: Any = self.loaded.network
        with ExitStack() as changes:
            changes.enter_context(attention(network, self.plan.attention))
            changes.enter_context(checkpointing(network, self.plan.checkpoint))
            embeddings = network.get_input_embeddings()(self.ids).detach()  # [1, tokens, width]
            x = embeddings.requires_grad_(True)
            with precision(network, self.precision) as self.precision:
                values = self._values(x)  # [targets]
            plain = embeddings.detach()[0].to(torch.promote_types(embeddings.dtype, torch.float32))
            if not self.per_token:
                gradient = self._backward(values[self.selected].sum(), x)  # [tokens, width]
                return Scores(function(gradient[None], plain)[0], None)
            total = torch.zeros_like(plain)
            matrix = torch.full((self.targets, plain.shape[0]), torch.nan, dtype=plain.dtype, device=plain.device)
            for rows, gradients in self._rows(values, x):
                matrix[rows] = function(gradients, plain)
                total += gradients.sum(0)
            return Scores(function(total[None], plain)[0], matrix)

    def _values(self, x: Tensor) -> Tensor:
        """The objective of each target, from embeddings ``x`` [1, tokens, width]."""
        self.progress("forward", 0, 1)
        logits = target_logits(self.loaded.network, self.targets, inputs_embeds=x)[0]  # [targets, vocabulary]
        self.forwards += 1
        self.logits = logits.detach()
        self.progress("forward", 1, 1)
        return self.objective.function(logits, self.ids[0, self.prompt_length :])

    def _backward(self, value: Tensor, x: Tensor) -> Tensor:
        self.progress("backward", 0, 1)
        (gradient,) = torch.autograd.grad(value, x)
        self.backwards += 1
        self.progress("backward", 1, 1)
        return _wide(gradient[0])

    def _rows(self, values: Tensor, x: Tensor) -> Iterator[tuple[list[int], Tensor]]:
        """Gradients of the selected targets, some at a time: (targets, [rows, tokens, width])."""
        done, count = 0, len(self.selected)
        self.progress("backward", 0, count)
        for first in range(0, count, self.plan.chunk):
            rows = self.selected[first : first + self.plan.chunk]
            keep = first + len(rows) < count
            if self.plan.attention is None:  # one row; the model's attention may have no batching rule
                (gradient,) = torch.autograd.grad(values[rows[0]], x, retain_graph=keep)
                gradient = gradient[None]
            else:
                unit = torch.zeros(len(rows), self.targets, dtype=values.dtype, device=values.device)
                unit[torch.arange(len(rows)), rows] = 1
                (gradient,) = torch.autograd.grad(values, x, unit, retain_graph=keep, is_grads_batched=True)
            done += len(rows)
            self.backwards += len(rows)
            self.progress("backward", done, count)
            yield rows, _wide(gradient[:, 0])


def _wide(t: Tensor) -> Tensor:
    return t.to(torch.promote_types(t.dtype, torch.float32))


def target_logits(network: Any, targets: int, **inputs: Tensor) -> Tensor:
    """Logits [batch, targets, vocabulary] that predict the last ``targets`` tokens, in float32 or wider.

    The head runs on those positions alone where the model can be told so (every family that is tested can).
    """
    given = next(iter(inputs.values()))
    length = given.shape[1]
    if targets >= length:
        raise ModelError(f"{targets} answer tokens in {length}: there is no token to predict the first one from")
    positions = torch.arange(length - targets - 1, length - 1, device=given.device)
    if "logits_to_keep" in inspect.signature(network.forward).parameters:
        logits = network(**inputs, use_cache=False, logits_to_keep=positions).logits
    else:
        logits = network(**inputs, use_cache=False).logits[:, positions]
    return _wide(logits)
