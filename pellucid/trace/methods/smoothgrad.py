"""SmoothGrad: saliency, averaged over noisy copies of the input.

    pellucid explain --method smoothgrad --param samples=16 --param noise=0.15 "..."

score_j = mean over samples of || ds/dx_j at x + e ||_2, e ~ N(0, (noise * r)^2), where r is the range (largest less
smallest number) of the input's embeddings. One forward and backward pass a sample.


Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise" (arXiv:1706.03825).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.errors import OptionError
from pellucid.trace.methods import Method
from pellucid.trace.methods.saliency import norm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from pellucid.trace.engine import Run, Scores


def check_samples(samples: int, *, least: int = 1, name: str = "samples") -> None:
    """Raise ``OptionError`` unless the parameter ``name`` is a whole number of at least ``least``."""
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < least:
        raise OptionError(f"{name} should be a whole number of at least {least}, given {samples!r}")


def smoothgrad(run: Run, *, samples: int, noise: float) -> Scores:
    """Mean norm of the gradient at noisy copies of the input."""
    import torch

    check_samples(samples)
    if not noise >= 0:
        raise OptionError(f"noise should be 0 or more (a share of the embeddings' range), given {noise}")
    plain = run.embeddings
    size = noise * float(plain.max() - plain.min())
    random = torch.Generator(device="cpu").manual_seed(run.seed)

    def points() -> Iterator[tuple[float, Tensor]]:
        for _ in range(samples):
            e = torch.randn(plain.shape, generator=random, dtype=plain.dtype)
            yield 1 / samples, plain + size * e.to(plain.device)

    scores = run.from_points(points(), norm, count=samples)
    run.values()
    return scores


METHOD = Method(
    name="smoothgrad",
    description="saliency averaged over noisy copies of the input",
    paper="Smilkov et al. 2017, arXiv:1706.03825",
    formula="mean_e ||ds/dx_j(x + e)||_2",
    cost="samples + 1 forward, samples backward",
    signed=False,
    needs="gradient",
    function=smoothgrad,
    parameters={"samples": 16, "noise": 0.15},
)
