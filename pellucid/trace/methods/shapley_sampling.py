"""Shapley values by sampling: what each unit adds, on average over the orders in which units come in.

    pellucid explain --method shapley_sampling --param permutations=20 "..."

score_u = mean over permutations of s(units up to and with u) - s(units before u). Permutations come in pairs, one the
other's reverse (antithetic), which takes out much of the variance. Every permutation's contributions add up to
s(prompt) - s(no unit), so the scores do. ``details["standard_error"]`` is each unit's, from the pairs. A forward pass a
unit and permutation; those that begin late in the prompt are shorter.

``replace``: what stands in for a unit that goes: nothing (``remove``), ``pad``, ``neutral``, ``sample`` or a token.

Castro, Gomez, Tejada 2009 (doi:10.1016/j.cor.2008.04.004); antithetic pairs: Mitchell et al. 2022 (arXiv:2104.12199).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.errors import OptionError
from pellucid.trace.methods import Method

if TYPE_CHECKING:
    from pellucid.trace.engine import Run, Scores


def shapley_sampling(run: Run, *, permutations: int, replace: str | int) -> Scores:
    """Mean marginal contributions over antithetic permutations."""
    import numpy as np
    import torch

    from pellucid.trace.ablate import effects, original, token_scores

    if not isinstance(permutations, int) or isinstance(permutations, bool) or permutations < 2 or permutations % 2:
        raise OptionError(
            f"permutations should be an even number of at least 2 (they go in pairs), given {permutations!r}"
        )
    units, random = len(run.units), np.random.default_rng(run.seed)
    orders = []
    for _ in range(permutations // 2):
        order = random.permutation(units)
        orders += [order, order[::-1]]
    kept = np.zeros((permutations, units, units), dtype=bool)  # [permutation, how many are in, unit]
    for p, order in enumerate(orders):
        for k in range(units):
            kept[p, k, order[:k]] = True
    values = effects(run, kept.reshape(-1, units), replace=replace, stage="permutations")
    lost = (~values.isfinite().all(-1)).nonzero()[:, 0].tolist()
    values = values.unflatten(0, (permutations, units))  # [permutation, how many are in, selected]
    values = torch.cat([values, original(run).expand(permutations, 1, -1)], 1)
    steps = values[:, 1:] - values[:, :-1]
    found = torch.empty(permutations, units, steps.shape[2], dtype=steps.dtype)
    for p, order in enumerate(orders):
        found[p, order.copy()] = steps[p]
    # A unit that a lost run would have measured goes by its other orders; with none left its score is lost.
    found[~found.isfinite()] = torch.nan
    pairs = found.sum(-1).unflatten(0, (-1, 2)).mean(1)  # [pairs, units], the whole answer's
    error = (pairs.std(0) / len(pairs) ** 0.5).tolist() if len(pairs) > 1 else None
    details = {"standard_error": error, "none": float(values[0, 0].sum())}
    if lost:
        details["ablations_not_finite"] = lost
    return token_scores(run, found.nanmean(0).T, details)


METHOD = Method(
    name="shapley_sampling",
    description="what a unit adds, mean over random orders of coming in, with its standard error",
    paper="Castro et al. 2009, doi:10.1016/j.cor.2008.04.004; Mitchell et al. 2022, arXiv:2104.12199",
    formula="mean_p s(before u, and u) - s(before u)",
    cost="permutations forwards a unit",
    signed=True,
    ranks="signed",
    needs="forward",
    function=shapley_sampling,
    parameters={"permutations": 10, "replace": "remove"},
)
