"""Input x gradient: a first-order estimate of what each token's embedding adds to the answer.

    pellucid explain --method input_x_gradient "What is the capital of France?"

score_j = sum_k x_jk * d s / d x_jk, where s is the objective and x_j the input embedding of token j. Signed: positive
speaks for the answer. The rows of the per-token matrix add up to the whole answer's scores. One forward and one
backward pass for a whole answer.

Shrikumar et al. 2016, "Not Just a Black Box" (arXiv:1605.01713); Denil et al. 2014 (arXiv:1412.6815).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.trace.methods import Method

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.trace.engine import Run, Scores


def dot(gradient: Tensor, embeddings: Tensor) -> Tensor:
    """Sum of products over the width."""
    return (gradient * embeddings).sum(-1)  # [rows, tokens, width] * [tokens, width] -> [rows, tokens]


def input_x_gradient(run: Run) -> Scores:
    """Dot product of each input embedding with its gradient."""
    return run.from_gradient(dot)


METHOD = Method(
    name="input_x_gradient",
    description="dot product of each token's input embedding with its gradient: for (+) or against (-) the answer",
    paper="Shrikumar et al. 2016, arXiv:1605.01713",
    formula="x_j . ds/dx_j",
    cost="1 forward, 1 backward (1 backward a target token for the matrix)",
    signed=True,
    needs="gradient",
    function=input_x_gradient,
)
