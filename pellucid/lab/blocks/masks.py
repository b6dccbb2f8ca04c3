"""Which token may see which: causal, a sliding window, padding, and documents packed into one row.

    masks.causal(config, embeddings, attention_mask, cache, positions)

Where positions are no bias, transformers makes the mask that the chosen attention kernel wants (none at all for a
plain causal one, blocks for FlexAttention, booleans for SDPA). Where they are, the bias and the mask become one tensor
of numbers, which eager and SDPA attention take.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import OptionError

#: Kernels that add a tensor of numbers to the scores. What attribution registers while it looks inside does so too.
_NO_BIAS = ("flash_attention_2", "flash_attention_3", "flex_attention")


def causal(config: Any, embeddings: Tensor, mask: Tensor | None, cache: Any, positions: Tensor) -> Any:
    """transformers' mask for ``embeddings`` [rows, tokens, width]; ``mask`` [rows, tokens so far] is 0 at padding.

    ``positions`` [rows, tokens] that restart within a row, with neither mask nor cache, tell documents apart.
    """
    from transformers import masking_utils

    name = "create_causal_mask" if config.sliding_window is None else "create_sliding_window_causal_mask"
    make = getattr(masking_utils, name)
    seen = 0 if cache is None else cache.get_seq_length()
    given = {
        "config": config,
        "attention_mask": mask,
        "position_ids": positions,
        "cache": cache,
        "past_key_values": cache,  # transformers before 5.20
        "inputs_embeds": embeddings,
        "input_embeds": embeddings,  # transformers 5.0
        "cache_position": torch.arange(seen, seen + embeddings.shape[1], device=embeddings.device),  # and this
    }
    known = inspect.signature(inspect.unwrap(make)).parameters
    if "cache" in known:
        given.pop("past_key_values")
    return make(**{k: v for k, v in given.items() if k in known})


def biased(config: Any, bias: Tensor, mask: Tensor | None, positions: Tensor) -> Tensor:
    """``bias`` [1, heads, tokens, keys] with the lowest number where a query may not look [rows, heads, tokens, keys].

    Raises ``OptionError`` where the attention kernel takes no such tensor.
    """
    kernel = config._attn_implementation
    if kernel in _NO_BIAS:
        raise OptionError(f"{kernel} takes no bias on scores, which positions={config.positions!r} needs: use sdpa")
    from pellucid.lab.blocks.positions import distances

    queries, keys = bias.shape[-2:]
    far = distances(queries, keys, bias.device)
    allowed = far >= 0  # [tokens, keys]
    if config.sliding_window is not None:
        allowed = allowed & (far < config.sliding_window)
    allowed = allowed[None, None]
    if mask is not None and mask.ndim == 2:
        allowed = allowed & mask[:, None, None, :].bool()
    elif queries == keys and queries > 1:
        document = (positions.diff(dim=-1, prepend=positions[:, :1] - 1) != 1).cumsum(-1)  # [rows, tokens]
        allowed = allowed & (document[:, None, :, None] == document[:, None, None, :])
    return bias.masked_fill(~allowed, torch.finfo(bias.dtype).min)


def fitted(mask: Tensor, keys: int) -> Tensor:
    """The mask's last ``keys`` columns: a sliding cache has let go of the others. A static one has room to come."""
    missing = keys - mask.shape[-1]
    if missing <= 0:
        return mask[..., -keys:]
    return torch.nn.functional.pad(mask, (0, missing), value=torch.finfo(mask.dtype).min)
