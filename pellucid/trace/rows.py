"""Attention whose backward pass takes many rows at once.

    with attention(network, rows.NAME): ...

The fused kernels have no batching rule for their backward, and the plain implementation's batched one spends half its
time on copies and on the half of the attention matrix that the causal mask left at zero. This one keeps the
probabilities of the forward pass, and pulls back all rows together, in blocks of queries that stop at the diagonal.
Beyond ``KEPT`` tokens it keeps none, works in such blocks forwards too, and makes each block's probabilities again on
the way back (as Dao et al. 2022, FlashAttention, arXiv:2205.14135): memory grows with the tokens, not their square.
It is registered with transformers' own ``AttentionInterface`` when it is first used, under a name of its own.

With P = softmax(s Q K^T + mask), O = P V, and dO given:
    dV = P^T dO,  dP = dO V^T,  dS = P (dP - sum_j P dP),  dQ = s dS K,  dK = s dS^T Q.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NAME = "pellucid_rows"
KEPT = 1024  # tokens up to which probabilities are kept
_BLOCK = 72  # queries at a time: small enough to skip most of the empty half, large enough for full products


def usable(network: Any) -> bool:
    """Can this network's attention be computed here? Not with capped scores (Gemma 2), sinks (gpt-oss), or a mask of
    each head's own (the lab's ALiBi and relative bias)."""
    config = network.config.get_text_config()
    capped = getattr(config, "attn_logit_softcapping", None)
    return capped is None and config.model_type not in ("gpt_oss",) and not getattr(config, "biased", False)


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


#: (first query, end, keys) to [heads, queries, keys] twice: the probabilities, and those that the softmax's Jacobian is
#: taken at (the same, unless the rule has a temperature).
Weights = Callable[[int, int, int], tuple[Tensor, Tensor]]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float, rule: Rule = EXACT) -> Tensor:
    """Attention's output [1, heads, tokens, width], with a backward pass for many rows that follows ``rule``.

    q [1, heads, tokens, width]; k, v [1, key heads, keys, width]; mask [1, 1, tokens, keys], added to scores.
    """
    out: Tensor
    if max(q.shape[2], k.shape[2]) <= KEPT:
        out = _Attention.apply(q, k, v, mask, scaling, rule)[0]  # type: ignore[no-untyped-call]
    else:
        out = _BlockAttention.apply(q, k, v, mask, scaling, rule, _is_causal(mask))  # type: ignore[no-untyped-call]
    return out


def _is_causal(mask: Tensor | None) -> bool:
    """Does this mask hide all that is above the diagonal?"""
    if mask is None or mask.shape[-2] != mask.shape[-1]:
        return False
    return not bool((mask > torch.finfo(mask.dtype).min / 2).triu(1).any())


def _softmax(scores: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.softmax(scores, -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(dtype)


def _weights(q: Tensor, k: Tensor, mask: Tensor | None, scaling: float, rule: Rule) -> Weights:
    """Probabilities made when they are asked for, from q [heads, tokens, width] and k [key heads, keys, width]."""
    heads = k.shape[0]

    def of(start: int, end: int, seen: int) -> tuple[Tensor, Tensor]:
        some = q[:, start:end].unflatten(0, (heads, -1)).flatten(1, 2)  # [key heads, group * queries, width]
        scores = (some @ k[:, :seen].mT * scaling).view(q.shape[0], end - start, seen)
        if mask is not None:
            scores = scores + mask[0, 0, start:end, :seen]
        p = _softmax(scores, q.dtype)
        return p, p if rule.temperature == 1 else _softmax(scores / rule.temperature, q.dtype)

    return of


class _Attention(torch.autograd.Function):
    """Plain attention; probabilities are outputs so that they can be saved for the backward pass."""

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float, rule: Rule) -> Any:
        p, softer = _weights(q[0], k[0], mask, scaling, rule)(0, q.shape[2], k.shape[2])
        return _mixed(p, v[0])[None], p[None], softer[None]

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
        p, softer, q, k, v = ctx.saved_tensors
        found = _Backward.apply(p, softer, None, q, k, v, gradients[0], ctx.scaling, ctx.causal, ctx.rule)  # type: ignore[no-untyped-call]
        return (*found, None, None, None)


class _BlockAttention(torch.autograd.Function):
    """The same without the probabilities."""

    @staticmethod
    def forward(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float, rule: Rule, causal: bool
    ) -> Tensor:
        weights, tokens = _weights(q[0], k[0], mask, scaling, EXACT), q.shape[2]
        out = q.new_empty(*q.shape[:3], v.shape[-1])
        for start in range(0, tokens, _BLOCK):
            end = min(start + _BLOCK, tokens)
            seen = end if causal else k.shape[2]
            out[0, :, start:end] = _mixed(weights(start, end, seen)[0], v[0, :, :seen])
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        q, k, v, mask, ctx.scaling, ctx.rule, ctx.causal = inputs
        ctx.save_for_backward(mask, q, k, v)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        mask, q, k, v = ctx.saved_tensors
        found = _Backward.apply(None, None, mask, q, k, v, gradients[0], ctx.scaling, ctx.causal, ctx.rule)  # type: ignore[no-untyped-call]
        return (*found, None, None, None, None)


def _mixed(p: Tensor, v: Tensor) -> Tensor:
    """Values [key heads, keys, width] mixed by p [heads, queries, keys]: [heads, queries, width]."""
    mixed: Tensor = p.unflatten(0, (v.shape[0], -1)).flatten(1, 2) @ v
    return mixed.view(p.shape[0], p.shape[1], v.shape[-1])


class _Backward(torch.autograd.Function):
    """The formulas above, with a batching rule that hands all rows to one call."""

    @staticmethod
    def forward(
        p: Tensor | None,
        softer: Tensor | None,
        mask: Tensor | None,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        scaling: float,
        causal: bool,
        rule: Rule,
    ) -> Any:
        weights = _kept(p, softer, mask, q, k, scaling, rule)
        return _gradients(weights, q[0], k[0], v[0], out, scaling, causal, rule)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing: there is no third derivative here."""

    @staticmethod
    def vmap(
        info: Any,
        dims: Any,
        p: Tensor | None,
        softer: Tensor | None,
        mask: Tensor | None,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        scaling: float,
        causal: bool,
        rule: Rule,
    ) -> tuple[Any, Any]:
        rows = out.movedim(dims[6], 0)[:, 0]  # [rows, heads, tokens, width]
        weights = _kept(p, softer, mask, q, k, scaling, rule)
        found = _gradients(weights, q[0], k[0], v[0], rows, scaling, causal, rule)
        return tuple(g[:, None] for g in found), (0, 0, 0)


def _kept(
    p: Tensor | None, softer: Tensor | None, mask: Tensor | None, q: Tensor, k: Tensor, scaling: float, rule: Rule
) -> Weights:
    """The probabilities that were kept, or else made again."""
    if p is None or softer is None:
        return _weights(q[0], k[0], mask, scaling, rule)
    here, other = p[0], softer[0]
    return lambda start, end, seen: (here[:, start:end, :seen], other[:, start:end, :seen])


def _gradients(
    weights: Weights,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    scaling: float,
    causal: bool,
    rule: Rule,
) -> tuple[Tensor, Tensor, Tensor]:
    """dQ, dK, dV with a leading row axis, from dO ``out`` [rows, heads, tokens, width] and the probabilities P.

    ``causal``: P is zero above its diagonal, and no work is spent there.
    """
    rows, _, tokens, width = out.shape
    heads, keys = k.shape[0], k.shape[1]
    out = out.unflatten(1, (heads, -1))  # [rows, key heads, group, tokens, width]
    groups = out.shape[2]
    q = q.unflatten(0, (heads, groups))
    dq = out.new_empty(rows, heads, groups, tokens, q.shape[-1])
    dk = out.new_zeros(heads, rows, keys, k.shape[-1])
    dv = out.new_zeros(heads, rows, keys, width)
    for start in range(0, tokens, _BLOCK):
        end = min(start + _BLOCK, tokens)
        seen, size = (end if causal else keys), groups * (end - start)
        p, softer = weights(start, end, seen)
        o = out[:, :, :, start:end].transpose(0, 1).reshape(heads * rows, size, width)
        here = p.reshape(heads, 1, size, seen)
        dv[:, :, :seen] += (here.mT.expand(-1, rows, -1, -1).flatten(0, 1) @ o).unflatten(0, (heads, rows))
        ds = (o.view(heads, rows * size, width) @ v[:, :seen].mT).view(heads, rows, size, seen)
        if softer is not p:
            here = softer.reshape(heads, 1, size, seen)
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
