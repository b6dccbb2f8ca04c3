"""A lab model with the parts and weights of a transformers model: Llama, Qwen 3, GPT-2.

    from pellucid.lab.like import like
    twin = like(transformers_network)      # the same logits

One entry a family: which parts it is made of, and where its weights are called otherwise. What this shows is that the
lab's blocks are the published ones; it also starts a lab run from such a model's weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pellucid.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.lab.network import LabForCausalLM

#: A weight of theirs to those of ours.
Renamed = Callable[[str, "Tensor"], "dict[str, Tensor]"]

#: The words of activations in transformers, and ours: (alone, in a gated network).
_ACTIVATIONS = {"silu": ("silu", "swiglu"), "gelu": ("gelu", "geglu"), "gelu_new": ("gelu_tanh", None)}


@dataclass(frozen=True)
class Family:
    """``parts``: keywords of ``LabConfig`` from their configuration; ``weights``: how theirs are called here."""

    parts: Callable[[Any], dict[str, Any]]
    weights: Renamed


def _llama(c: Any) -> dict[str, Any]:
    return {
        "hidden_size": c.hidden_size,
        "num_hidden_layers": c.num_hidden_layers,
        "num_attention_heads": c.num_attention_heads,
        "num_key_value_heads": c.num_key_value_heads,
        "head_dim": c.head_dim,
        "intermediate_size": c.intermediate_size,
        "max_position_embeddings": c.max_position_embeddings,
        "rope_parameters": dict(c.rope_parameters),
        "norm_eps": c.rms_norm_eps,
        "feed_forward": _ACTIVATIONS[c.hidden_act][1],
        "attention_bias": c.attention_bias,
        "mlp_bias": getattr(c, "mlp_bias", False),
    }


def _gpt2(c: Any) -> dict[str, Any]:
    return {
        "hidden_size": c.n_embd,
        "num_hidden_layers": c.n_layer,
        "num_attention_heads": c.n_head,
        "intermediate_size": c.n_inner or 4 * c.n_embd,
        "max_position_embeddings": c.n_positions,
        "positions": "learned",
        "norm": "layernorm",
        "norm_eps": c.layer_norm_epsilon,
        "feed_forward": _ACTIVATIONS[c.activation_function][0],
        "attention_bias": True,
        "mlp_bias": True,
    }


_GPT2_NAMES = (
    ("transformer.wte.", "model.embed_tokens."),
    ("transformer.wpe.", "model.embed_positions."),
    ("transformer.ln_f.", "model.norm."),
    ("transformer.h.", "model.layers."),
    (".ln_1.", ".input_layernorm."),
    (".ln_2.", ".post_attention_layernorm."),
    (".attn.c_proj.", ".self_attn.o_proj."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
)


def _gpt2_weights(name: str, weight: Tensor) -> dict[str, Tensor]:
    for theirs, ours in _GPT2_NAMES:
        name = name.replace(theirs, ours)
    if ".c_attn." in name:  # queries, keys and values side by side
        return {
            name.replace(".attn.c_attn.", f".self_attn.{part}_proj."): some.T if some.ndim == 2 else some
            for part, some in zip("qkv", weight.chunk(3, -1), strict=True)
        }
    linear = weight.ndim == 2 and name.startswith("model.layers.")
    return {name: weight.T if linear else weight}  # Conv1D keeps [in, out]


def _same(name: str, weight: Tensor) -> dict[str, Tensor]:
    return {name: weight}


FAMILIES: dict[str, Family] = {
    "llama": Family(_llama, _same),
    "qwen3": Family(lambda c: {**_llama(c), "qk_norm": True}, _same),
    "gpt2": Family(_gpt2, _gpt2_weights),
}


def like(network: Any) -> LabForCausalLM:
    """A lab model with ``network``'s parts and a copy of its weights, in evaluation mode.

    Raises ``ModelError`` for a family that is not in ``FAMILIES``, or one of its options that has no part here.
    """
    from pellucid.lab.configuration import LabConfig
    from pellucid.lab.network import LabForCausalLM

    c = network.config
    family = FAMILIES.get(c.model_type)
    if family is None:
        raise ModelError(f"the lab has no parts like {c.model_type}'s: it has those of {', '.join(FAMILIES)}")
    if c.model_type == "qwen3" and c.use_sliding_window:
        raise ModelError("this qwen3 has a sliding window in some layers only, which the lab's layers cannot")
    parts = family.parts(c)
    if parts["feed_forward"] is None:
        raise ModelError(f"the lab has no feed-forward network with the activation of this {c.model_type}")
    shared = {"vocab_size": c.vocab_size, "tie_word_embeddings": c.tie_word_embeddings}
    special = {n: getattr(c, n) for n in ("bos_token_id", "eos_token_id", "pad_token_id")}
    twin = LabForCausalLM(LabConfig(**parts, **shared, **special))
    twin.to(network.dtype)
    weights: dict[str, Tensor] = {}
    for name, weight in network.state_dict().items():
        weights |= family.weights(name, weight)
    twin.load_state_dict(weights)
    twin.train(False)
    return twin
