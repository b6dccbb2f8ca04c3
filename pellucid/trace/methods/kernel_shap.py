"""KernelSHAP: Shapley values as the weighted linear fit to what ablations do.

    pellucid explain --method kernel_shap --param samples=256 "..."

The scores phi minimise sum_z w(z) (s(z) - s(none) - z . phi)^2 over ablations z, under sum_u phi_u = s(prompt) -
s(none), which holds exactly. w(z) = (d - 1) / (C(d, |z|) |z| (d - |z|)) for d units of which |z| stay. Where all 2^d -
2 ablations fit into ``samples`` they are all run and the values are exact; else sizes are drawn by their weight, sets
within a size at random, each with its complement. ``details["exact"]`` says which, ``details["r2"]`` how well the fit
explains what was measured (weighted). One forward pass an ablation.

``replace``: what stands in for a unit that goes: nothing (``remove``), ``pad``, ``neutral``, ``sample`` or a token.

Lundberg & Lee 2017, "A Unified Approach to Interpreting Model Predictions" (arXiv:1705.07874); pairs: Covert & Lee
2021 (arXiv:2012.01536).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pellucid.trace.methods import Method
from pellucid.trace.methods.smoothgrad import check_samples

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pellucid.trace.engine import Run, Scores


def kernel_weight(units: int, kept: int) -> float:
    """The Shapley kernel of one ablation that keeps ``kept`` of ``units`` (neither none nor all)."""
    return (units - 1) / (math.comb(units, kept) * kept * (units - kept))


def ablations(units: int, samples: int, random: np.random.Generator) -> tuple[npt.NDArray[np.bool_], list[float], bool]:
    """(masks [ablations, units], their weights, are these all there are?)."""
    import numpy as np

    if units <= 20 and 2**units - 2 <= samples:
        numbers = np.arange(1, 2**units - 1)
        masks = (numbers[:, None] >> np.arange(units)) & 1 == 1
        return masks, [kernel_weight(units, int(m.sum())) for m in masks], True
    sizes = np.arange(1, units)
    share = 1 / (sizes * (units - sizes))  # kernel weight times the number of sets of that size, up to a factor
    drawn = np.zeros((samples // 2 * 2, units), dtype=bool)
    for k in range(samples // 2):
        size = int(random.choice(sizes, p=share / share.sum()))
        drawn[2 * k, random.choice(units, size, replace=False)] = True
        drawn[2 * k + 1] = ~drawn[2 * k]
    return drawn, [1.0] * len(drawn), False  # drawn by their weight: each counts the same


def kernel_shap(run: Run, *, samples: int, replace: str | int) -> Scores:
    """Shapley values by constrained weighted least squares."""
    import numpy as np
    import torch

    from pellucid.trace.ablate import effects, original, token_scores

    check_samples(samples, least=2)
    units = len(run.units)
    whole = original(run).numpy()
    ends = effects(run, np.zeros((1, units), dtype=bool), replace=replace, stage="ends").numpy()[0]
    if units == 1:
        return token_scores(run, torch.tensor(whole - ends)[:, None], {"exact": True, "r2": 1.0})
    masks, weights, exact = ablations(units, samples, np.random.default_rng(run.seed))
    y = effects(run, masks, replace=replace, stage="ablations").numpy() - ends  # [ablations, selected]
    good = np.isfinite(y).all(1)
    z, w = masks[good].astype(float), np.asarray(weights)[good]
    y = y[good]
    # Least squares under the sum constraint, by its Lagrange equations.
    gram = np.zeros((units + 1, units + 1))
    gram[:units, :units] = (z * w[:, None]).T @ z
    gram[:units, units] = gram[units, :units] = 1
    right = np.concatenate([(z * w[:, None]).T @ y, (whole - ends)[None]])
    phi = np.linalg.lstsq(gram, right, rcond=None)[0][:units]  # [units, selected]; fewest squares where too few ran
    total, fitted = y.sum(1), (z @ phi).sum(1)
    spread = float((w * (total - np.average(total, weights=w)) ** 2).sum())
    r2 = 1 - float((w * (total - fitted) ** 2).sum()) / spread if spread > 0 else None
    details = {"exact": exact and bool(good.all()), "r2": r2, "none": float(ends.sum()), "ablations": len(masks)}
    if not good.all():
        details["ablations_not_finite"] = np.flatnonzero(~good).tolist()
    return token_scores(run, torch.tensor(phi).T, details)


METHOD = Method(
    name="kernel_shap",
    description="Shapley values by a weighted linear fit to random ablations",
    paper="Lundberg & Lee 2017, arXiv:1705.07874; Covert & Lee 2021, arXiv:2012.01536",
    formula="argmin_phi sum_z w(z) (s(z) - s(none) - z . phi)^2, sum phi = s(x) - s(none)",
    cost="samples forwards",
    signed=True,
    ranks="signed",
    needs="forward",
    function=kernel_shap,
    parameters={"samples": 256, "replace": "remove"},
)
