"""Guided leave-one-out: a cheap method names the units that may matter, and exact removal weighs those.

    pellucid explain --method guided_leave_one_out --param guide=ifr --param budget=24 "..."

``guide`` (any method that is no what-if method; IFR by default) ranks the units, by magnitude or sign as its scores
are read. The ``budget`` first
(a count, or a share of the units) are left out one at a time: score_u = s(prompt) - s(prompt without u), exact. The
others keep the guide's score, scaled so that the guide's and the exact magnitudes of the measured units add up to the
same, and held below the smallest measured magnitude: the guide chose not to look at them. ``details["measured_units"]``
names the exact ones. The guide's passes, and a forward pass a measured unit.

``replace``: what stands in for a unit that goes: nothing (``remove``), ``pad``, ``neutral``, ``sample`` or a token.

Ours; the exact removal of a short list is what AttriBoT (Liu et al. 2025, arXiv:2411.15102) does with groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.errors import OptionError
from pellucid.trace.methods import Method
from pellucid.trace.methods.hierarchical_leave_one_out import beneath, guide_scores, how_many

if TYPE_CHECKING:
    from pellucid.trace.engine import Run, Scores


def guided_leave_one_out(run: Run, *, guide: str, budget: float, replace: str | int) -> Scores:
    """Exact falls of the units that the guide ranks first."""
    import numpy as np

    from pellucid.trace.ablate import effects, original, token_scores

    whole = isinstance(budget, int) and not isinstance(budget, bool)
    if not (budget >= 1 if whole else isinstance(budget, float) and 0 < budget <= 1):
        raise OptionError(f"budget should be a number of units of at least 1, or a share from 0 to 1, given {budget!r}")
    size = guide_scores(run, guide)
    best = size.argsort(descending=True, stable=True)[: how_many(budget, len(run.units))].tolist()
    kept = np.ones((len(best), len(run.units)), dtype=bool)
    kept[np.arange(len(best)), best] = False
    falls = original(run) - effects(run, kept, replace=replace, stage="leaving out")  # [measured, selected]
    rest = beneath(size, set(best), falls.sum(1).abs()) / len(run.selected)
    units = rest.expand(len(run.selected), -1).clone()
    units[:, best] = falls.T
    return token_scores(run, units, {"measured_units": sorted(best), "guide": guide})


METHOD = Method(
    name="guided_leave_one_out",
    description="exact leave-one-out of the units that a cheap method ranks first",
    paper="ours; after Liu et al. 2025, arXiv:2411.15102",
    formula="s(x) - s(x without u) for the guide's first units, the guide's score below",
    cost="the guide's, and 1 forward a measured unit",
    signed=True,
    ranks="signed",
    needs="attention",
    kinds=("causal",),
    function=guided_leave_one_out,
    parameters={"guide": "ifr", "budget": 24, "replace": "remove"},
)
