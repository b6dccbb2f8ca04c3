"""The targets' logits of a causal network, and nothing else of what it could put out.

target_logits(network, 16, input_ids=ids)      # [batch, 16, vocabulary]
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import ModelError
from pellucid.trace.layers import decoder_layers, tail_mlp


def wide(t: Tensor) -> Tensor:
    """In float32, or wider where it was."""
    return t.to(torch.promote_types(t.dtype, torch.float32))


def cache_name(network: Any) -> str:
    """What this network calls the keys and values of what stands before: ``cache`` from transformers 5.24 on. The lab's
    takes either, and its output has the one that transformers' has."""
    from transformers.modeling_outputs import CausalLMOutputWithPast

    known = inspect.signature(network.forward).parameters
    named = "cache" in known and "cache" in CausalLMOutputWithPast.__dataclass_fields__
    return "cache" if named else "past_key_values"


def target_logits(network: Any, targets: int, **inputs: Tensor) -> Tensor:
    """Logits [batch, targets, vocabulary] that predict the last ``targets`` tokens, in float32 or wider.

    The head runs on those positions alone where the model can be told so (every family that is tested can).
    """
    given = next(iter(inputs.values()))
    length = given.shape[1]
    if targets >= length:
        raise ModelError(f"{targets} answer tokens in {length}: there is no token to predict the first one from")
    positions = torch.arange(length - targets - 1, length - 1, device=given.device)
    return wide(_at(network, positions, use_cache=False, **inputs))


def _at(network: Any, positions: Tensor, **inputs: Any) -> Tensor:
    """Logits [batch, positions, vocabulary]."""
    found: Tensor
    if "logits_to_keep" in inspect.signature(network.forward).parameters:
        found = network(**inputs, logits_to_keep=positions).logits
    else:
        found = network(**inputs).logits[:, positions]
    return found


def continued_logits(
    network: Any, prompts: Sequence[Sequence[int]], answer: Sequence[int], *, start: int = 0, before: Any = None
) -> list[Tensor]:
    """For each prompt its answer's logits [targets, vocabulary], by one batch, without gradients.

    ``before`` holds the keys and values [prompts] of the first ``start`` tokens, in which all prompts agree. Rows of
    different lengths are filled up at the end, where the causal mask hides it.
    """
    lengths = [len(p) - start for p in prompts]
    *fed, fill = answer  # the last token predicts nothing that counts; it fills the ends of shorter rows
    longest = max(lengths) + len(fed)
    rows = [[*p[start:], *fed, *[fill] * (longest - len(fed) - n)] for p, n in zip(prompts, lengths, strict=True)]
    ids = torch.tensor(rows, device=network.get_input_embeddings().weight.device)  # [rows, longest]
    low = min(lengths) - 1  # the first position that predicts an answer's token, in the shortest row
    options: dict[str, Any] = {} if before is None else {cache_name(network): before}
    keep = torch.arange(low, longest, device=ids.device)
    layers = decoder_layers(network)
    with torch.no_grad(), tail_mlp(layers[-1] if layers else None, longest - low):  # the last MLP is read nowhere else
        logits = _at(network, keep, input_ids=ids, use_cache=before is not None, **options)
    return [wide(logits[k, n - 1 - low : n - 1 - low + len(answer)]) for k, n in enumerate(lengths)]
