"""Change how a model runs, and put everything back: attention implementation, attention function, precision,
what an embedding layer puts out.

    with attention(network, "eager"), precision(network, "fast"):
        ...
    with attending(network, function):  # function computes every attention of this network
        ...
    with instead(network.get_input_embeddings(), x):  # x stands in for the embeddings
        ...

Nothing here touches a class or a module of transformers, only this one network, and only while the context is open.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pellucid.errors import ModelError, unknown
from pellucid.models.quantization import quiet_casts

if TYPE_CHECKING:
    from torch import Tensor

PRECISIONS = ("full", "fast")
ATTENDING = "pellucid_attending"


@dataclass(frozen=True)
class Attention:
    """One call of one attention: ``query`` [batch, heads, queries, width], ``key`` and ``value`` [batch, key heads,
    keys, width] (grouped heads are not repeated), ``mask`` added to the scores or None, ``layer`` its number."""

    module: Any
    layer: int
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    scaling: float
    softcap: float | None

    def scores(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """Scores before the softmax [batch, heads, rows, keys], masked."""
        import torch

        q: Tensor = self.query[:, :, rows]
        heads, groups = self.key.shape[1], q.shape[1] // self.key.shape[1]
        s: Tensor = (q.unflatten(1, (heads, groups)) @ self.key[:, :, None].transpose(-1, -2)).flatten(
            1, 2
        ) * self.scaling
        if self.softcap is not None:
            s = torch.tanh(s / self.softcap) * self.softcap
        return s if self.mask is None else s + self.mask[:, :, rows]

    def weights(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """Attention weights [batch, heads, rows, keys], in float32 or wider."""
        import torch

        s = self.scores(rows)
        return torch.softmax(s, -1, dtype=torch.promote_types(s.dtype, torch.float32))

    def output(self, weights: Tensor) -> Tensor:
        """``weights`` [batch, heads, rows, keys] times values [batch, heads, rows, width]."""
        heads, groups = self.value.shape[1], weights.shape[1] // self.value.shape[1]
        out: Tensor = weights.to(self.value.dtype).unflatten(1, (heads, groups)) @ self.value[:, :, None]
        return out.flatten(1, 2)

    def usual(self) -> Tensor:
        """The output [batch, heads, queries, width] by torch's fused kernel, where there is no cap on the scores."""
        import torch

        if self.softcap is not None:
            return self.output(self.weights())
        grouped = self.query.shape[1] != self.key.shape[1]
        q, k = (t.to(self.value.dtype) for t in (self.query, self.key))
        mask = None if self.mask is None else self.mask.to(q.dtype)
        out: Tensor = torch.nn.functional.scaled_dot_product_attention(
            q, k, self.value, attn_mask=mask, scale=self.scaling, enable_gqa=grouped
        )
        return out


#: What computes an attention: from its inputs to [batch, heads, queries, width].
Attend = Callable[[Attention], "Tensor"]
_functions: WeakKeyDictionary[Any, Attend] = WeakKeyDictionary()  # attention module -> what stands in for it now


@contextmanager
def attention(network: Any, implementation: str | None) -> Iterator[None]:
    """Run ``network`` with one of transformers' attention implementations; None changes nothing."""
    before = network.config._attn_implementation
    if implementation is None or implementation == before:
        yield
        return
    network.set_attn_implementation(implementation)
    try:
        yield
    finally:
        network.set_attn_implementation(before)


@contextmanager
def plain_experts(network: Any) -> Iterator[None]:
    """Run a mixture of experts by transformers' loop over experts, which has rules for batched gradients: the grouped
    product, its default, has none. Other networks run as they are."""
    usual = getattr(network.config, "_experts_implementation", None)
    if usual in (None, "eager") or not network._can_set_experts_implementation():
        yield
        return
    network.set_experts_implementation("eager")
    try:
        yield
    finally:
        network.set_experts_implementation(usual)


@contextmanager
def attending(network: Any, function: Attend) -> Iterator[None]:
    """Let ``function`` compute every attention of ``network``, through transformers' own ``AttentionInterface``.

    Raises ``ModelError`` for models whose attention takes more than query, key, value and a cap (gpt-oss's sinks).
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    if network.config.get_text_config().model_type in ("gpt_oss",):
        raise ModelError(
            "this method reads attention weights, and gpt-oss models have attention sinks that it does not know: "
            "use a gradient or what-if method"
        )
    AttentionInterface.register(ATTENDING, _attend)
    AttentionMaskInterface.register(ATTENDING, ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    before = {m: _functions[m] for m in network.modules() if m in _functions}
    for m in network.modules():
        if getattr(m, "layer_idx", None) is not None:
            _functions[m] = function
    try:
        with attention(network, ATTENDING):
            yield
    finally:
        for m in network.modules():
            _functions.pop(m, None)
        _functions.update(before)


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """The interface's signature; the output goes back as [batch, queries, heads, width]."""
    scaling = options.get("scaling")
    out = _functions[module](
        Attention(
            module,
            int(module.layer_idx),
            query,
            key,
            value,
            attention_mask,
            query.shape[-1] ** -0.5 if scaling is None else float(scaling),
            options.get("softcap"),
        )
    )
    return out.transpose(1, 2).contiguous(), None


def native_bfloat16(device: Any) -> bool:
    """Does the hardware multiply bfloat16 itself (Ampere and later GPUs; x86 CPUs with AVX-512 BF16 or AMX)?"""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.get_device_capability(device) >= (8, 0))
    if device.type == "cpu":
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # no public name for either
        return any(bool(getattr(torch.cpu, p, bool)()) for p in probes) and quicker_bfloat16()
    return False


@cache
def quicker_bfloat16() -> bool:
    """Is a product in bfloat16 quicker on this CPU than in float32? Tried once, in some milliseconds: virtual machines
    report the instructions, and may take half as long again with them (docs/decisions.md)."""
    import torch

    def seconds(dtype: torch.dtype) -> float:
        rows, weight = torch.ones(256, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype)
        taken = []
        for _ in range(6):
            began = time.perf_counter()
            torch.nn.functional.linear(rows, weight)
            taken.append(time.perf_counter() - began)
        return min(taken)

    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        return seconds(torch.bfloat16) < 0.8 * seconds(torch.float32)


@contextmanager
def precision(network: Any, name: str) -> Iterator[str]:
    """``fast``: matrix products in bfloat16 by autocast, where the hardware has it; sums and scores stay float32.

    Yields what is in force, ``full`` where fast would not be faster: no native bfloat16, or a model that is in half
    precision already.
    """
    import torch

    if name not in PRECISIONS:
        raise unknown("precision", name, list(PRECISIONS))
    device = network.get_input_embeddings().weight.device
    if name == "full" or network.dtype != torch.float32 or not native_bfloat16(device):
        with quiet_casts():
            yield "full"
        return
    with torch.autocast(device.type, torch.bfloat16):
        yield "fast"


@contextmanager
def instead(table: Any, x: Tensor | None, first: int = 0) -> Iterator[None]:
    """While it is open, ``table`` puts out ``x`` [rows, tokens, width] from its position ``first`` on, and its own
    before and after (start tokens; what a model with windows fills up at the end). None changes nothing."""
    if x is None:
        yield
        return
    import torch

    put = 0

    def output(module: Any, given: Any, out: Tensor) -> Tensor:
        nonlocal put
        put += 1
        end = first + x.shape[1]
        return torch.cat([out[:, :first], x.to(out.device, out.dtype), out[:, end:]], 1)

    hook = table.register_forward_hook(output)
    try:
        yield
    finally:
        hook.remove()
    if put != 1:
        raise ModelError(
            f"this model asked its embedding layer {put} times where once was expected, so that its input cannot be "
            "explained"
        )
