"""Saliency: how strongly each token's embedding moves the answer.

    pellucid explain --method saliency "What is the capital of France?"

score_j = || d s / d x_j ||_2, where s is the objective and x_j the input embedding of token j. Never negative: it
says how much a token matters, not in which direction. One forward and one backward pass for a whole answer.

Simonyan, Vedaldi, Zisserman 2014, "Deep Inside Convolutional Networks" (arXiv:1312.6034), with the L2 norm that Li
et al. 2016, "Visualizing and Understanding Neural Models in NLP" (arXiv:1506.01066), use for word embeddings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pellucid.trace.methods import Method

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.trace.engine import Run, Scores


def norm(gradient: Tensor, embeddings: Tensor) -> Tensor:
    """L2 norm over the width."""
    length: Tensor = torch.linalg.vector_norm(gradient, dim=-1)  # [rows, tokens, width] -> [rows, tokens]
    return length


def saliency(run: Run) -> Scores:
    """L2 norm of the gradient with respect to each input embedding."""
    return run.from_gradient(norm)


METHOD = Method(
    name="saliency",
    description="L2 norm of the gradient at each token's input embedding: how much it matters",
    paper="Simonyan et al. 2014, arXiv:1312.6034; Li et al. 2016, arXiv:1506.01066",
    formula="||ds/dx_j||_2",
    cost="1 forward, 1 backward (1 backward a target token for the matrix)",
    signed=False,
    needs="gradient",
    function=saliency,
)
