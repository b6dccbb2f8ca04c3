"""DeepLIFT (rescale): differences from a baseline, passed back through the network by finite differences.

    pellucid explain --method deeplift --param baseline=mean "..."

Input and baseline run side by side, and the backward pass uses multipliers m = (change of output) / (change of input)
in place of derivatives: score_j = m_j . (x_j - b_j), with one forward and one backward pass of twice the size. Scores
of all tokens, prompt and answer, add up to s(x) - s(b); ``details["completeness_gap"]`` says how nearly. A baseline of
zeros is singular for RMSNorm (its slope there is 1 / sqrt(eps), once a norm): the gap then shows that nothing holds.

``baseline`` and ``walk`` as in integrated gradients.

The rules, each complete by itself (a bar is the mean of both runs):

- linear maps: as in a gradient. Activations: m = (f(x) - f(b)) / (x - b), the derivative where both are the same.
- products (gate times up, weights times values, queries times keys): d(uv) = mean(v) du + mean(u) dv.
- softmax: its Jacobian, averaged on the straight way between both runs' scores (by exponential, sum and quotient it
  would be complete too, but the quotient overflows where the runs differ much: 1e19 on a real prompt).
- RMSNorm and LayerNorm: x times r(mean x^2), a product whose second factor is a rescaled function of a square.
- the objective, from the logits: the mean of its gradient between both runs' logits.

Shrikumar, Greenside, Kundaje 2017, "Learning Important Features Through Propagating Activation Differences"
(arXiv:1704.02685). Transformers are not in the paper; its rescale rule is kept for every function of one variable, and
products go half and half.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.errors import ModelError
from pellucid.trace.anatomy import mlps, norm_epsilon, norm_weight, norms
from pellucid.trace.baselines import baseline as get_baseline
from pellucid.trace.differences import from_differences
from pellucid.trace.inside import Attention, attending
from pellucid.trace.methods import Method
from pellucid.trace.methods.integrated_gradients import quadrature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pellucid.trace.engine import Run, Scores

_NEAR = 1e-6  # differences below this (relative) are derivatives: the quotient would be rounding
_POINTS = 32  # between both runs' logits
_SOFTMAX_POINTS = 12  # between both runs' attention scores


class _Elementwise(torch.autograd.Function):
    """y = f(x) with the quotient of differences between row 0 (input) and row 1 (baseline) for a derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, derivative: Tensor) -> Tensor:
        ctx.save_for_backward(x, y, derivative)
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, y, derivative = ctx.saved_tensors
        dx, dy = x[:1] - x[1:], y[:1] - y[1:]
        near = dx.abs() <= _NEAR * torch.maximum(x[:1].abs(), x[1:].abs()).clamp(min=1e-3)
        m = torch.where(near, derivative[:1], dy / torch.where(near, torch.ones_like(dx), dx))
        return gradients[0] * m, None, None


def elementwise(function: Callable[[Tensor], Tensor], x: Tensor, out: Tensor | None = None) -> Tensor:
    """``function`` of ``x`` [2, ...] under the rescale rule; ``out`` where it is known already."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        y = function(leaf)
        (derivative,) = torch.autograd.grad(y.sum(), leaf)
    found: Tensor = _Elementwise.apply(x, y.detach() if out is None else out.detach(), derivative)  # type: ignore[no-untyped-call]
    return found


def halves(u: Tensor, v: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A product of ``u`` and ``v`` [2, ...], bilinear in both: value as it is, gradients with the other's mean."""
    mean_u, mean_v = u.detach().mean(0, keepdim=True).expand_as(u), v.detach().mean(0, keepdim=True).expand_as(v)
    passed = product(u, mean_v) + product(mean_u, v)
    return product(u.detach(), v.detach()) + passed - passed.detach()


class _Softmax(torch.autograd.Function):
    """Softmax over the last axis of [2, ...], with its Jacobian averaged on the straight way between both rows."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        ctx.save_for_backward(scores)
        return torch.softmax(scores, -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (scores,) = ctx.saved_tensors
        g, out = gradients[0][:1], torch.zeros_like(gradients[0][:1])
        for a, w in quadrature("gauss_legendre", _SOFTMAX_POINTS):
            p = torch.softmax(scores[1:] + a * (scores[:1] - scores[1:]), -1)
            out += w * p * (g - (p * g).sum(-1, keepdim=True))
        return torch.cat([out, torch.zeros_like(out)])


def softmax(scores: Tensor) -> Tensor:
    """Softmax over the last axis of [2, ...] with multipliers for gradients."""
    found: Tensor = _Softmax.apply(scores)  # type: ignore[no-untyped-call]
    return found


def attention_output(a: Attention) -> Tensor:
    """Attention [2, heads, tokens, width] with multipliers for gradients."""
    if a.softcap is not None:
        raise ModelError(
            "DeepLIFT does not know attention with capped scores (Gemma 2): use integrated_gradients, "
            "input_x_gradient, ifr or leave_one_out"
        )
    groups = a.query.shape[1] // a.key.shape[1]
    key, value = (t.repeat_interleave(groups, 1) for t in (a.key, a.value))
    scores = halves(a.query, key, lambda q, k: q @ k.mT) * a.scaling
    if a.mask is not None:
        scores = scores + a.mask
    return halves(softmax(scores), value, torch.matmul)


def normed(norm: Any, x: Tensor, out: Tensor) -> Tensor:
    """A norm's output for ``x`` [2, tokens, width] with multipliers for gradients."""
    layer = isinstance(norm, torch.nn.LayerNorm)
    centred = x - x.mean(-1, keepdim=True) if layer else x
    eps = norm_epsilon(norm)
    square = halves(centred, centred, torch.mul).mean(-1, keepdim=True)
    scaled = halves(centred, elementwise(lambda s: torch.rsqrt(s + eps), square), torch.mul)
    found = scaled * norm_weight(norm, x.dtype) + (norm.bias if layer and norm.bias is not None else 0)
    if not torch.allclose(found.detach().to(out.dtype), out.detach(), rtol=1e-3, atol=1e-3):
        raise ModelError(
            f"DeepLIFT does not know the norm {type(norm).__name__}: it is neither LayerNorm nor RMSNorm as written "
            "here; use integrated_gradients"
        )
    return found.to(out.dtype)


@contextmanager
def multipliers(network: Any) -> Iterator[None]:
    """While open, the network's gradients are DeepLIFT's multipliers; it takes batches of (input, baseline) alone."""
    parts = mlps(network)
    with ExitStack() as stack:
        stack.enter_context(attending(network, attention_output))
        for n in norms(network):
            stack.callback(n.register_forward_hook(lambda m, args, out: normed(m, args[0], out)).remove)
        for part in parts:
            _mlp(stack, part)
        yield


def _mlp(stack: ExitStack, part: Any) -> None:
    kept: dict[str, Tensor] = {}
    inside = False

    def activate(module: Any, args: Any, out: Tensor) -> Tensor | None:
        nonlocal inside
        if inside:
            return None
        inside = True
        try:
            kept["gate"] = elementwise(module, args[0], out)
        finally:
            inside = False
        return kept["gate"]

    stack.callback(part.activation.register_forward_hook(activate).remove)
    if part.product is None:
        return

    def keep(module: Any, args: Any, out: Tensor) -> None:
        kept["up"] = part.of(out)[1]

    def multiply(module: Any, args: Any) -> Any:
        return (halves(kept.pop("gate"), kept.pop("up"), torch.mul), *args[1:])

    stack.callback(part.factor.register_forward_hook(keep).remove)
    stack.callback(part.product.register_forward_pre_hook(multiply).remove)


def deeplift(run: Run, *, baseline: str | int, walk: str) -> Scores:
    """Rescaled differences from the baseline."""
    start = get_baseline(run, baseline, walk)
    return from_differences(run, start, multipliers, quadrature("gauss_legendre", _POINTS))


METHOD = Method(
    name="deeplift",
    description="differences from a baseline, passed back by quotients of differences instead of derivatives",
    paper="Shrikumar et al. 2017, arXiv:1704.02685",
    formula="(x_j - b_j) . m_j, m = change of output / change of input",
    cost="2 forward, 2 backward (2 backward a target token for the matrix); the whole graph is kept",
    signed=True,
    needs="gradient",
    kinds=("causal",),
    function=deeplift,
    parameters={"baseline": "mean", "walk": "all"},
)
