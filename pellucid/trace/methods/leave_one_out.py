"""Leave-one-out: take each unit away and see how far the answer falls.

    pellucid explain --method leave_one_out "..."

score_u = s(prompt) - s(prompt without u). Exact, and about the model as it is: no gradient, no baseline; what it
cannot see is that one of two units that say the same would do. A forward pass a unit, from the unit on: what stands
before it is shared.

``replace``: what stands in for a unit that goes: nothing (``remove``), ``pad``, ``neutral``, ``sample`` or a token.

Li, Monroe, Jurafsky 2016, "Understanding Neural Networks through Representation Erasure" (arXiv:1612.08220).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.trace.methods import Method

if TYPE_CHECKING:
    from pellucid.trace.engine import Run, Scores


def leave_one_out(run: Run, *, replace: str | int) -> Scores:
    """The fall of the objective when a unit goes."""
    import numpy as np

    from pellucid.trace.ablate import effects, original, token_scores

    kept = ~np.eye(len(run.units), dtype=bool)
    falls = original(run) - effects(run, kept, replace=replace, stage="leaving out")  # [units, selected]
    return token_scores(run, falls.T)


METHOD = Method(
    name="leave_one_out",
    description="how far the objective falls when a unit of the prompt is taken away",
    paper="Li et al. 2016, arXiv:1612.08220",
    formula="s(x) - s(x without u)",
    cost="1 forward a unit, from the unit on",
    signed=True,
    ranks="signed",
    needs="forward",
    function=leave_one_out,
    parameters={"replace": "remove"},
)
