"""Attention whose backward pass takes many rows at once.

    with attention(network, rows.NAME): ...

The fused kernels have no batching rule for their backward, and the plain implementation's batched one spends half its
time on copies and on the half of the attention matrix that the causal mask left at zero. This one keeps the
probabilities of the forward pass, and pulls back all rows together, in blocks of queries that stop at the diagonal.
It is registered with transformers' own ``AttentionInterface`` when it is first used, under a name of its own.

With P = softmax(s Q K^T + mask), O = P V, and dO given:
    dV = P^T dO,  dP = dO V^T,  dS = P (dP - sum_j P dP),  dQ = s dS K,  dK = s dS^T Q.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NAME = "pellucid_rows"
_BLOCK = 72  # queries at a time: small enough to skip most of the empty half, large enough for full products


def usable(network: Any) -> bool:
    """Can this network's attention be computed here? Not with capped scores (Gemma 2) or sinks (gpt-oss)."""
    config = network.config.get_text_config()
    capped = getattr(config, "attn_logit_softcapping", None)
    return capped is None and config.model_type not in ("gpt_oss",)


def register() -> None:
    """Make ``NAME`` known to transformers (again does no harm)."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["eager"])


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """The interface's signature: query [1, heads, tokens, width], key and value [1, key heads, tokens, width]."""
    scaling = options.get("scaling")
    if scaling is None:
        scaling = query.shape[-1] ** -0.5
    # Under autocast queries and keys come out of the rotary embedding wider than values.
    q, k, v = (t.to(value.dtype).contiguous() for t in (query, key, value))
    return attend(q, k, v, attention_mask, scaling).transpose(1, 2).contiguous(), None


@dataclass(frozen=True)
class Rule:
    """Changes to the backward pass alone: the softmax's Jacobian taken at ``temperature`` (its probabilities are those
    of the scores divided by it), and factors on the gradients of query, key and value."""

    temperature: float = 1.0
    query: float = 1.0
    key: float = 1.0
    value: float = 1.0


EXACT = Rule()


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float, rule: Rule = EXACT) -> Tensor:
    """Attention's output [1, heads, tokens, width], with a backward pass for many rows that follows ``rule``."""
    out: Tensor = _Attention.apply(q, k, v, mask, scaling, rule)[0]  # type: ignore[no-untyped-call]
    return out


class _Attention(torch.autograd.Function):
    """Plain attention; probabilities are outputs so that they can be saved for the backward pass: the true ones, and
    those that the softmax's Jacobian is taken at (the same, unless the rule has a temperature)."""

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float, rule: Rule) -> Any:
        heads, groups = k.shape[1], q.shape[1] // k.shape[1]
        scores = q.unflatten(1, (heads, groups)) @ k[:, :, None].transpose(-1, -2) * scaling
        scores = scores.flatten(1, 2)
        if mask is not None:
            scores = scores + mask
        wide = torch.promote_types(scores.dtype, torch.float32)
        p = torch.softmax(scores, -1, dtype=wide).to(q.dtype)
        softer = p if rule.temperature == 1 else torch.softmax(scores / rule.temperature, -1, dtype=wide).to(q.dtype)
        return (p.unflatten(1, (heads, groups)) @ v[:, :, None]).flatten(1, 2), p, softer

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        q, k, v, _, ctx.scaling, ctx.rule = inputs
        ctx.mark_non_differentiable(output[1], output[2])
        ctx.save_for_backward(output[1], output[2], q, k, v)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        if not hasattr(ctx, "causal"):  # the same for every batch of rows that comes back through here
            p = ctx.saved_tensors[0]
            ctx.causal = p.shape[-2] == p.shape[-1] and not bool(p.triu(1).any())
        found = _Backward.apply(*ctx.saved_tensors, gradients[0], ctx.scaling, ctx.causal, ctx.rule)  # type: ignore[no-untyped-call]
        return (*found, None, None, None)


class _Backward(torch.autograd.Function):
    """The formulas above, with a batching rule that hands all rows to one call."""

    @staticmethod
    def forward(
        p: Tensor,
        softer: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        scaling: float,
        causal: bool,
        rule: Rule,
    ) -> Any:
        return _gradients(p[0], softer[0], q[0], k[0], v[0], out, scaling, causal, rule)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing: there is no third derivative here."""

    @staticmethod
    def vmap(
        info: Any,
        dims: Any,
        p: Tensor,
        softer: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        scaling: float,
        causal: bool,
        rule: Rule,
    ) -> tuple[Any, Any]:
        rows = out.movedim(dims[5], 0)[:, 0]  # [rows, heads, tokens, width]
        found = _gradients(p[0], softer[0], q[0], k[0], v[0], rows, scaling, causal, rule)
        return tuple(g[:, None] for g in found), (0, 0, 0)


def _gradients(
    p: Tensor,
    softer: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    scaling: float,
    causal: bool,
    rule: Rule,
) -> tuple[Tensor, Tensor, Tensor]:
    """dQ, dK, dV with a leading row axis, from dO ``out`` [rows, heads, tokens, width] and P [heads, tokens, keys].

    ``causal``: P is zero above its diagonal, and no work is spent there.
    """
    rows, _, tokens, width = out.shape
    heads, keys = k.shape[0], k.shape[1]
    out = out.unflatten(1, (heads, -1))  # [rows, key heads, group, tokens, width]
    groups = out.shape[2]
    p, softer, q = (t.unflatten(0, (heads, groups)) for t in (p, softer, q))
    dq = out.new_empty(rows, heads, groups, tokens, q.shape[-1])
    dk = out.new_zeros(heads, rows, keys, k.shape[-1])
    dv = out.new_zeros(heads, rows, keys, width)
    for start in range(0, tokens, _BLOCK):
        end = min(start + _BLOCK, tokens)
        seen, size = (end if causal else keys), groups * (end - start)
        o = out[:, :, :, start:end].transpose(0, 1).reshape(heads * rows, size, width)
        here = p[:, :, start:end, :seen].reshape(heads, 1, size, seen)
        dv[:, :, :seen] += (here.mT.expand(-1, rows, -1, -1).flatten(0, 1) @ o).unflatten(0, (heads, rows))
        ds = (o.view(heads, rows * size, width) @ v[:, :seen].mT).view(heads, rows, size, seen)
        if rule.temperature != 1:
            here = softer[:, :, start:end, :seen].reshape(heads, 1, size, seen)
        ds.mul_(here)
        ds.addcmul_(here, ds.sum(-1, keepdim=True), value=-1).mul_(scaling)
        back = ds.view(heads, rows * size, seen) @ k[:, :seen]
        dq[:, :, :, start:end] = back.view(heads, rows, groups, end - start, -1).transpose(0, 1)
        queries = q[:, :, start:end].reshape(heads, 1, size, -1).expand(-1, rows, -1, -1).flatten(0, 1)
        dk[:, :, :seen] += (ds.view(heads * rows, size, seen).mT @ queries).unflatten(0, (heads, rows))
    for gradient, factor in ((dq, rule.query), (dk, rule.key), (dv, rule.value)):
        if factor != 1:
            gradient.mul_(factor)
    return dq.flatten(1, 2), dk.transpose(0, 1), dv.transpose(0, 1)
