"""Layered GIM: GIM's gradient read at the stream before every layer, where what speaks for and against is still apart.

    pellucid explain --method layered_gim "..."

With h_lj the state of position j before layer l, and g_lj the objective's gradient there, by GIM's rule:

    score_j = sum_l f(h_lj . g_lj),  f(z) = z where z > 0, else ``negative`` z.

At the embeddings all ways from a token to the answer are added up, and ways for and against cancel; a token whose ways
cancel is one that the answer would feel the loss of all the same. Read at each layer, what goes on from there is
weighed for itself. ``output_temperature`` takes the objective's gradient at logits divided by it: an answer token that
the model is sure of has next to no gradient otherwise, whatever its sureness rests on. The other parameters
(``freeze_norms``, ``temperature``, ``query``, ``key``, ``value``, ``gate``, ``up``) are GIM's.

The same forward and backward pass as GIM's, with the gradients on the way read too. Ours; measured in
docs/leaderboard.md. After Edin et al. 2025, GIM (arXiv:2505.17630), and layer gradient x activation as captum has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.errors import OptionError
from pellucid.trace.methods import Method
from pellucid.trace.methods.gim import RULE, rule
from pellucid.trace.methods.input_x_gradient import dot

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.trace.engine import Run, Scores


def layered_gim(
    run: Run,
    *,
    freeze_norms: bool,
    temperature: float,
    query: float,
    key: float,
    value: float,
    gate: float,
    up: float,
    output_temperature: float,
    negative: float,
) -> Scores:
    """State times gradient before every layer, negative ones counted by a share."""
    if not 0 <= negative <= 1:
        raise OptionError(f"negative should be a share from 0 to 1, given {negative}")

    def credit(gradient: Tensor, states: Tensor) -> Tensor:
        found = dot(gradient, states)  # [rows, tokens]
        return found.clamp(min=0) + negative * found.clamp(max=0)

    backward = rule(
        run,
        freeze_norms=freeze_norms,
        temperature=temperature,
        query=query,
        key=key,
        value=value,
        gate=gate,
        up=up,
        output_temperature=output_temperature,
    )
    return run.from_states(credit, backward=backward)


METHOD = Method(
    name="layered_gim",
    description="GIM's gradient times the state, before every layer; what speaks against counts less",
    paper="ours; after Edin et al. 2025, arXiv:2505.17630",
    formula="sum_l f(h_lj . g_lj), f(z) = max(z, negative z)",
    cost="1 forward, 1 backward (1 backward a target token for the matrix)",
    signed=True,
    ranks="signed",
    needs="gradient",
    kinds=("causal",),
    function=layered_gim,
    parameters={**RULE, "output_temperature": 2.0, "negative": 0.3},
)
