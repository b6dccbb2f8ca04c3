"""The loss of supervised fine-tuning: as in training, over the tokens that are learned alone.

    learner = Completions(network)      # the network itself, or the one inside peft's wrapper
    nll, extra = learner.of(chats.batch(0))

A micro-batch is cut to its own longest row, and the head is applied where something is asked for: what is neither read
nor learned costs nothing.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pellucid.lab.data.batches import IGNORE
from pellucid.lab.training.loss import PLAIN_HEADS, Learner, head_nll


class Completions(Learner):
    """(nll, extra) as ``Learner`` gives them, from batches that are padded behind their rows' ends.

    The network is given no mask: a causal network does not see what stands behind a token anyway, and a place that may
    see nothing at all (padding further from the text than a sliding window reaches) has a gradient that is no number.
    """

    def __init__(self, network: Any) -> None:
        super().__init__(network)
        # Adapters never are at the head, so that it stays what it was.
        self.plain = network.config.model_type in PLAIN_HEADS

    def forward(
        self, inputs: Tensor, targets: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Inputs, targets, positions and mask [rows, length]; the summed negative log-likelihood in nats."""
        if mask is not None:
            longest = max(1, int(mask.sum(1).max()))
            inputs, targets = inputs[:, :longest], targets[:, :longest]
            positions = None if positions is None else positions[:, :longest]
        if not self.plain or getattr(self.network.config, "num_experts", None):  # experts' losses: the parent's affair
            return super().forward(inputs, targets, positions)
        states = self.network.base_model(inputs, position_ids=positions, use_cache=False).last_hidden_state
        asked = targets != IGNORE
        nll = head_nll(self.network.get_output_embeddings(), states[asked], targets[asked])
        return nll, nll.new_zeros(())
