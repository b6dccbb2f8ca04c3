"""What is minimised: the sum of the targets' negative log-likelihoods, divided once by how many there are.

    learner = Learner(network)
    nll, extra = learner(batch)          # a sum in nats; the experts' losses, a mean over tokens

Sums, not means: the gradient of several micro-batches, or of several processes, is then that of one large batch,
whatever share of each is padding. The head is applied to stretches of targets, each run again on the way back, so that
logits of a large vocabulary never exist all at once.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pellucid.lab.blocks.experts import routings
from pellucid.lab.data.batches import IGNORE, Batch

#: Families whose logits are nothing but ``lm_head(last hidden state)``.
PLAIN_HEADS = ("pellucid", "llama", "qwen2", "qwen3", "mistral", "gpt2", "gemma", "gemma3_text")
LOGITS = 1 << 24  # numbers of logits that may exist at once


def nll_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of negative log-likelihoods in nats; logits [targets, vocabulary], targets [targets]."""
    return nn.functional.cross_entropy(logits.float(), targets, ignore_index=IGNORE, reduction="sum")


def head_nll(head: nn.Module, states: Tensor, targets: Tensor) -> Tensor:
    """The same from the head's inputs [targets, width], in stretches where the logits would be many."""
    vocabulary = int(cast("Tensor", head.weight).shape[0])
    size = max(1, LOGITS // vocabulary)
    if len(states) <= size:
        return nll_sum(head(states), targets)
    total = states.new_zeros((), dtype=torch.float32)
    for some, wanted in zip(states.split(size), targets.split(size), strict=True):
        total = total + checkpoint(lambda s, w: nll_sum(head(s), w), some, wanted, use_reentrant=False)
    return total


class Learner(nn.Module):
    """A network and its loss as one module, so that what spreads a model over processes sees one forward pass."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.plain = network.config.model_type in PLAIN_HEADS and not hasattr(network, "peft_config")

    def forward(
        self, inputs: Tensor, targets: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(nll, extra): the summed negative log-likelihood in nats, and the experts' weighted losses."""
        given: dict[str, Any] = {"input_ids": inputs, "use_cache": False}
        if positions is not None:
            given["position_ids"] = positions
        if mask is not None:
            given["attention_mask"] = mask
        if self.plain:
            states = self.network.base_model(**given).last_hidden_state
            nll = head_nll(self.network.get_output_embeddings(), states.flatten(0, 1), targets.flatten())
        else:
            nll = nll_sum(self.network(**given).logits.flatten(0, 1), targets.flatten())
        extra = nll.new_zeros(())
        c = self.network.config
        for r in routings(self.network):
            extra = extra + c.router_aux_loss_coef * r.balance + c.router_z_loss_coef * r.z
        return nll, extra

    def of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The same for a batch."""
        found: tuple[Tensor, Tensor] = self(batch.inputs, batch.targets, batch.positions, batch.mask)
        return found
