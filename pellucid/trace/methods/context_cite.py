"""ContextCite: a sparse linear model of which units the answer needs.

    pellucid explain --method context_cite --param ablations=64 "..."

Each unit stays with probability 1/2 in each of ``ablations`` random prompts. The response is the logit of the answer's
probability, log p - log(1 - p), for the objective logprob, and the objective itself for any other. A Lasso with
intercept, on standardised columns, gives the scores: argmin (1 / 2n) |y - b - Z phi|^2 + alpha |phi|_1. One forward
pass an ablation, whatever the number of units; ``details["r2"]`` says how well the linear model fits.

The matrix fits each target's own response, with the same ablations.

``replace``: what stands in for a unit that goes: nothing (``remove``), ``pad``, ``neutral``, ``sample`` or a token.

Cohen-Wang et al. 2024, "ContextCite: Attributing Model Generation to Context" (arXiv:2409.00729).
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

_SWEEPS, _STILL = 10_000, 1e-10


def lasso(z: Floats, y: Floats, alpha: float) -> tuple[Floats, float]:
    """(phi [units], intercept) of argmin (1 / 2n) |y - b - z phi|^2 + alpha |phi|_1, by coordinate descent.

    Friedman, Hastie, Tibshirani 2010 (doi:10.18637/jss.v033.i01).
    """
    import numpy as np

    centre = z.mean(0)
    zc, rest = z - centre, y - y.mean()
    size = (zc**2).mean(0)
    phi = np.zeros(z.shape[1])
    for _ in range(_SWEEPS):
        moved = 0.0
        for j in np.flatnonzero(size):
            old = phi[j]
            pull = float(zc[:, j] @ rest) / len(y) + size[j] * old
            phi[j] = np.sign(pull) * max(abs(pull) - alpha, 0.0) / size[j]
            if phi[j] != old:
                rest = rest - zc[:, j] * (phi[j] - old)
                moved = max(moved, abs(phi[j] - old) * size[j] ** 0.5)
        if moved <= _STILL * max(float(np.abs(y).max()), 1.0):
            break
    return phi, float(y.mean() - centre @ phi)


def log_odds(logprob: Floats) -> Floats:
    """log p - log(1 - p) from log p; probabilities of 1 within rounding stay finite."""
    import numpy as np

    logprob = np.minimum(logprob, -1e-12)
    return logprob - np.log(-np.expm1(logprob))


def context_cite(run: Run, *, ablations: int, alpha: float, replace: str | int) -> Scores:
    """Lasso on random ablations."""
    import numpy as np
    import torch

    from pellucid.trace.ablate import effects, original, token_scores
    from pellucid.trace.engine import Scores

    check_samples(ablations, least=2, name="ablations")
    if not alpha >= 0:
        raise OptionError(f"alpha should be 0 or more, given {alpha}")
    units = len(run.units)
    masks = np.random.default_rng(run.seed).random((ablations, units)) < 0.5
    values = effects(run, masks, replace=replace, stage="ablations").numpy()  # [ablations, selected]
    good = np.isfinite(values).all(1)
    z, values = masks[good].astype(float), values[good]
    deviation = z.std(0)
    scale = np.where(deviation > 0, deviation, 1.0)
    respond = log_odds if run.objective.name == "logprob" else (lambda v: v)

    def fit(y: Floats) -> tuple[Floats, float]:
        phi, intercept = lasso((z - z.mean(0)) / scale, y, alpha)
        left = ((y - (z - z.mean(0)) / scale @ phi - intercept) ** 2).sum()
        spread = ((y - y.mean()) ** 2).sum()
        return phi / scale, 1 - float(left / spread) if spread > 0 else float("nan")

    whole, r2 = fit(respond(values.sum(1)))
    original(run)
    details = {"r2": r2 if r2 == r2 else None, "ablations": len(masks)}
    if not good.all():
        details["ablations_not_finite"] = np.flatnonzero(~good).tolist()
    rows = [fit(respond(v))[0] for v in values.T] if run.per_token else [whole] * len(run.selected)
    spread = token_scores(run, torch.tensor(np.stack(rows)), details)
    total = token_scores(run, torch.tensor(whole)[None].expand(len(run.selected), -1) / len(run.selected)).total
    return Scores(total, spread.matrix, spread.measured, spread.details)


METHOD = Method(
    name="context_cite",
    description="a sparse linear model of random ablations: which units the answer needs",
    paper="Cohen-Wang et al. 2024, arXiv:2409.00729",
    formula="argmin_phi |y - b - Z phi|^2 / 2n + alpha |phi|_1, y = log p/(1 - p)",
    cost="ablations forwards",
    signed=True,
    ranks="signed",
    needs="forward",
    function=context_cite,
    parameters={"ablations": 64, "alpha": 0.01, "replace": "remove"},
)
