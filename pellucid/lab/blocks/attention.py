"""Attention: multi-head, grouped-query and multi-query, by any kernel that transformers knows.

    LabConfig(num_attention_heads=8, num_key_value_heads=2)   # grouped: each key serves four queries

softmax(Q K^T / sqrt(head width) + mask) V (Vaswani et al. 2017, arXiv:1706.03762), with fewer key-value heads than
heads as Ainslie et al. 2023 (arXiv:2305.13245). The kernel is ``config._attn_implementation``: ``sdpa`` (flash where
the device has it), ``eager``, ``flex_attention`` (CUDA), or one that attribution puts there for a while.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pellucid.lab.blocks.masks import fitted
from pellucid.lab.blocks.positions import rotate


def eager(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor]:
    """The formula, step by step: the output [rows, tokens, heads, head width] and the weights.

    query [rows, heads, tokens, head width]; key, value [rows, key-value heads, keys, head width].
    """
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
    scores = query @ key.mT * options["scaling"]  # [rows, heads, tokens, keys]
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.softmax(scores, -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(query.dtype)
    mixed = nn.functional.dropout(weights, options.get("dropout", 0.0), module.training) @ value
    return mixed.transpose(1, 2).contiguous(), weights


class Attention(nn.Module):
    """One layer's attention; see the module's docstring. Biases and QK-norm by configuration."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer
        self.head_dim = config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = config.head_dim**-0.5
        self.is_causal = True
        self.sliding_window = config.sliding_window
        width, inner = config.hidden_size, config.num_attention_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(width, inner, bias=config.attention_bias)
        self.k_proj = nn.Linear(width, keys, bias=config.attention_bias)
        self.v_proj = nn.Linear(width, keys, bias=config.attention_bias)
        self.o_proj = nn.Linear(inner, width, bias=config.attention_bias)
        if config.qk_norm:  # of each head's own numbers (Henry et al. 2020, arXiv:2010.04245; Qwen 3)
            self.q_norm = nn.RMSNorm(config.head_dim, eps=config.norm_eps, elementwise_affine=config.norm_weight)
            self.k_norm = nn.RMSNorm(config.head_dim, eps=config.norm_eps, elementwise_affine=config.norm_weight)

    def forward(
        self,
        hidden_states: Tensor,  # [rows, tokens, width]
        rotary: tuple[Tensor, Tensor] | None = None,
        attention_mask: Any = None,
        cache: Any = None,
        **others: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """What is added to the residual stream [rows, tokens, width], and the weights where the kernel tells them."""
        heads = (*hidden_states.shape[:-1], -1, self.head_dim)
        q, k, v = (m(hidden_states).view(heads) for m in (self.q_proj, self.k_proj, self.v_proj))
        if self.config.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # [rows, heads, tokens, head width]
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        if self.config.biased and attention_mask is not None:
            attention_mask = fitted(attention_mask, k.shape[2])
        dropout = self.config.attention_dropout if self.training else 0.0
        out, weights = self._kernel()(
            self, q, k, v, attention_mask, dropout=dropout, scaling=self.scaling, sliding_window=self.sliding_window
        )
        return self.o_proj(out.reshape(*hidden_states.shape[:-1], -1)), weights

    def _kernel(self) -> Any:
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        name = self.config._attn_implementation
        return eager if name == "eager" else ALL_ATTENTION_FUNCTIONS[name]
