"""Runs of models with a head: they read a prompt and nothing else, and answer with a class or a place in it.

    run = run_class(loaded)(loaded, prompt_ids, [class_number], objective("logprob"))     # trace/runs.py

The run's tokens are the prompt alone; ``answer`` holds what the head may choose: numbers of classes (``classify``), or
positions (``extract``). The network is given the ids, and the embeddings go in where its own embedding layer puts out:
so whatever a model reads off the ids (RoBERTa its positions, a decoder with a head the last token that is no padding)
stays as it is. The whole graph is kept.

What-if runs say what is taken away by ``HOLE`` in a token's place, because a head needs to know where.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import ModelError, OptionError
from pellucid.models.encode import Encoded
from pellucid.models.heads import token_types
from pellucid.models.load import LoadedModel
from pellucid.trace.engine import Run
from pellucid.trace.inside import instead, precision
from pellucid.trace.logits import wide
from pellucid.trace.memory import Plan, Shape, whole_graph
from pellucid.trace.objective import Objective

#: Stands in a prompt's ids where a token was taken away.
HOLE = -1


@dataclass(frozen=True)
class Answered:
    """What a head said of a prompt, or was asked about: ``ids`` (classes or positions), ``spans`` the targets'
    characters in ``text``."""

    encoded: Encoded
    ids: list[int]
    text: str
    spans: list[tuple[int, int]]
    generated: bool
    details: dict[str, Any] = field(default_factory=dict)


class HeadRun(Run):
    """One prompt inside one model with a head. Subclasses say what a row of logits is, and what a hole means."""

    shares_prefix = False

    def __init__(
        self, loaded: LoadedModel, prompt: Sequence[int], answer: Sequence[int], objective: Objective, **options: Any
    ) -> None:
        config: Any = loaded.network.config
        if config.model_type == "xlnet":
            raise ModelError(
                f"'{loaded.name}' is an XLNet, which reads its tokens in another order of axes and fills texts up in "
                "front: it is not known; use another encoder"
            )
        if getattr(config, "is_encoder_decoder", False):
            raise ModelError(
                f"'{loaded.name}' ({type(loaded.network).__name__}) reads its text twice, in an encoder and a decoder: "
                "heads on one encoder or one decoder are known"
            )
        self.types = token_types(loaded, prompt)
        super().__init__(loaded, prompt, answer, objective, **options)
        self.ids = self.ids[:, : self.prompt_length]

    @property
    def choices(self) -> int:
        """How many things the head can choose from."""
        raise NotImplementedError

    def rows(self, out: Any) -> Tensor:
        """Logits [rows, targets, choices] of the network's output."""
        raise NotImplementedError

    def _planned(self, squares: int) -> Plan:
        """The whole graph. Raises ``OptionError`` where it does not fit."""
        shape = replace(Shape.of(self.loaded.network), vocabulary=self.choices)
        need = whole_graph(shape, tokens=self.prompt_length, targets=self.targets)
        if need > self.allowed:
            raise OptionError(
                f"a prompt of {self.prompt_length} tokens needs about {need / 1e9:.1f} GB, and "
                f"{self.allowed / 1e9:.1f} GB are allowed: shorten it, free memory, or give more with memory="
            )
        return Plan(False, 1, 1, False, need)

    def _logits(self, x: Tensor, *, keep: bool) -> Tensor:
        self.progress("forward", 0, 1)
        network: Any = self.loaded.network
        with instead(network.get_input_embeddings(), x):
            out = self._pass(self.ids, torch.ones_like(self.ids), self._types(1))
        logits = wide(self.rows(out)[0])  # [targets, choices]
        self.forwards += 1
        if keep:
            self.logits = logits.detach()
        self.progress("forward", 1, 1)
        return logits

    def without(self, prompt: Sequence[int], gone: set[int]) -> tuple[int, ...]:
        """A prompt with holes."""
        return tuple(HOLE if i in gone else t for i, t in enumerate(prompt))

    def _types(self, rows: int) -> Tensor | None:
        """Token types [rows, tokens] of the prompt, None where the model takes none."""
        if self.types is None:
            return None
        return torch.tensor(self.types, device=self.ids.device).expand(rows, -1)

    def _pass(self, ids: Tensor, mask: Tensor, types: Tensor | None) -> Any:
        """The network's output for ``ids`` [rows, tokens] behind ``mask``."""
        network: Any = self.loaded.network
        options: dict[str, Any] = {} if types is None else {"token_type_ids": types}
        if "use_cache" in inspect.signature(network.forward).parameters:
            options["use_cache"] = False
        return network(input_ids=ids, attention_mask=mask, return_dict=True, **options)

    def _run(self, ids: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        """Logits [rows, targets, choices] without gradients, in float32 or wider."""
        network: Any = self.loaded.network
        with torch.no_grad(), precision(network, self.precision) as self.precision:
            logits = self.rows(self._pass(ids, mask, types))
        self.forwards += len(ids)
        return wide(logits)
