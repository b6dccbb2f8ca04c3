"""LIME: a linear model of what ablations do, fitted near the whole prompt.

    pellucid explain --method lime --param samples=256 --param kernel_width=0.25 "..."

Random ablations z (a number of units to take away, uniformly from 1 to all but one, then which) are weighted by
exp(-D(z)^2 / kernel_width^2) with D the cosine distance to the whole prompt, 1 - sqrt(share that stays), and
argmin_b,phi sum_z w(z) (s(z) - b - z . phi)^2 + ridge |phi|^2 is solved; score_u = phi_u. The whole prompt is one of
the samples. ``details["r2"]`` is the weighted share of the variance that the linear model explains. One forward pass a
sample.

``ridge_penalty`` is the ridge above. ``replace``: what stands for a unit that goes: nothing (``remove``), ``pad``,
``neutral``, ``sample`` or a token.

Ribeiro, Singh, Guestrin 2016, "Why Should I Trust You?" (arXiv:1602.04938).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.errors import OptionError
from pellucid.trace.methods import Method
from pellucid.trace.methods.smoothgrad import check_samples

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pellucid.trace.engine import Run, Scores

    Floats = npt.NDArray[np.float64]


def ridge(z: Floats, y: Floats, weights: Floats, penalty: float) -> tuple[Floats, Floats]:
    """Weighted ridge regression of ``y`` [samples, outputs] on ``z`` [samples, units]; the intercept is free.

    (phi [units, outputs], intercept [outputs]).
    """
    import numpy as np

    share = weights / weights.sum()
    centre_z, centre_y = share @ z, share @ y
    zc, yc = z - centre_z, y - centre_y
    gram = (zc * weights[:, None]).T @ zc + penalty * np.eye(z.shape[1])
    phi = np.linalg.solve(gram, (zc * weights[:, None]).T @ yc)
    return phi, centre_y - centre_z @ phi


def lime(run: Run, *, samples: int, kernel_width: float, ridge_penalty: float, replace: str | int) -> Scores:
    """Coefficients of a local, weighted linear model."""
    import numpy as np
    import torch

    from pellucid.trace.ablate import effects, original, token_scores

    check_samples(samples, least=2)
    for name, value in (("kernel_width", kernel_width), ("ridge_penalty", ridge_penalty)):
        if not value > 0:
            raise OptionError(f"{name} should be above 0, given {value}")
    units, random = len(run.units), np.random.default_rng(run.seed)
    masks = np.ones((samples, units), dtype=bool)
    for mask in masks[1:]:
        count = int(random.integers(1, max(units, 2)))
        mask[random.choice(units, count, replace=False)] = False
    y = np.concatenate([original(run).numpy()[None], effects(run, masks[1:], replace=replace, stage="samples").numpy()])
    good = np.isfinite(y).all(1)
    z, y = masks[good].astype(float), y[good]
    distance = 1 - np.sqrt(z.mean(1))
    weights = np.exp(-((distance / kernel_width) ** 2))
    phi, intercept = ridge(z, y, weights, ridge_penalty)
    left = ((y - z @ phi - intercept).sum(1) ** 2 * weights).sum()
    spread = ((y.sum(1) - np.average(y.sum(1), weights=weights)) ** 2 * weights).sum()
    details = {"r2": 1 - float(left / spread) if spread > 0 else None, "intercept": float(intercept.sum())}
    if not good.all():
        details["ablations_not_finite"] = np.flatnonzero(~good).tolist()
    return token_scores(run, torch.tensor(phi).T, details)


METHOD = Method(
    name="lime",
    description="a linear model of random ablations, weighted by their nearness to the whole prompt",
    paper="Ribeiro et al. 2016, arXiv:1602.04938",
    formula="argmin_phi sum_z exp(-D(z)^2 / width^2) (s(z) - b - z . phi)^2 + ridge |phi|^2",
    cost="samples forwards",
    signed=True,
    ranks="signed",
    needs="forward",
    function=lime,
    parameters={"samples": 256, "kernel_width": 0.25, "ridge_penalty": 0.01, "replace": "remove"},
)
