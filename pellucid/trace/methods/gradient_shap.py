"""Gradient SHAP: integrated gradients with everything drawn at random: the place on the way, the baseline, some noise.

    pellucid explain --method gradient_shap --param samples=32 "..."

score_j = E over a ~ U(0, 1), b, e of (x_j - b_j) . ds/dx_j at b + a (x + e - b): an estimate of the expected gradients,
which are Shapley values (of the Aumann kind) against a background of baselines. Places are stratified (one in each of
``samples`` equal stretches), baselines are taken in turn. One forward and backward pass a sample.

Erion et al. 2021, "Improving performance of deep learning models with axiomatic attribution priors and expected
gradients" (arXiv:1906.10670); the sampling with noise is the SHAP library's GradientExplainer (Lundberg & Lee 2017,
arXiv:1705.07874).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.errors import OptionError
from pellucid.trace.baselines import baseline as get_baseline
from pellucid.trace.methods import Method
from pellucid.trace.methods.smoothgrad import check_samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from pellucid.trace.engine import Run, Scores


def gradient_shap(run: Run, *, samples: int, noise: float, baselines: Sequence[str | int] | str | int) -> Scores:
    """Expected gradients over baselines, places on the way and noise."""
    from dataclasses import replace

    import torch

    check_samples(samples)
    if not noise >= 0:
        raise OptionError(f"noise should be 0 or more (a share of the embeddings' range), given {noise}")
    names = [baselines] if isinstance(baselines, str | int) else list(baselines)
    if not names:
        raise OptionError("baselines is empty: expected zero, mean, pad or a token, or a list of these")
    starts = [get_baseline(run, b) for b in names]
    plain = run.embeddings
    size = noise * float(plain.max() - plain.min())
    random = torch.Generator(device="cpu").manual_seed(run.seed)
    way = torch.zeros_like(plain)

    def points() -> Iterator[tuple[float, Tensor]]:
        nonlocal way
        order = torch.randperm(samples, generator=random).tolist()  # so that no baseline keeps to one end of the way
        for k in range(samples):
            start = starts[k % len(starts)]
            a = (order[k] + float(torch.rand((), generator=random))) / samples
            e = torch.randn(plain.shape, generator=random, dtype=plain.dtype).to(plain.device) * size
            way = plain - start
            yield 1 / samples, start + a * (plain + e - start)

    def dot(gradient: Tensor, point: Tensor) -> Tensor:
        return (gradient * way).sum(-1)

    scores = run.from_points(points(), dot, count=samples)
    shares = [sum(k % len(starts) == i for k in range(samples)) / samples for i in range(len(starts))]
    ends = sum(s * run.values(b) for s, b in zip(shares, starts, strict=True))
    whole = float((run.values() - ends).double().sum())
    gap = float(scores.total.double().sum()) - whole
    return replace(scores, details={"difference": whole, "completeness_gap": gap})


METHOD = Method(
    name="gradient_shap",
    description="integrated gradients at random places of the way, over several baselines, with noise",
    paper="Erion et al. 2021, arXiv:1906.10670; Lundberg & Lee 2017, arXiv:1705.07874",
    formula="E_a,b,e (x_j - b_j) . ds/dx_j(b + a (x + e - b))",
    cost="samples + 1 + baselines forward, samples backward",
    signed=True,
    needs="gradient",
    function=gradient_shap,
    parameters={"samples": 16, "noise": 0.0, "baselines": ["zero", "mean"]},
)
