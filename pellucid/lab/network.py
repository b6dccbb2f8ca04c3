"""The lab's own language model: one decoder whose every part is chosen by ``LabConfig``.

    network = LabForCausalLM(LabConfig(vocab_size=65, positions="alibi"))
    network(input_ids=ids).logits            # [rows, tokens, vocabulary]

It is an ordinary transformers model: caches, ``generate``, ``save_pretrained``, ``Trainer`` and all of Pellucid take it
as any other. ``register()`` tells transformers' Auto classes about it, which loading does when it meets one.
x = x + attention(norm(x)); x = x + feed_forward(norm(x)); a last norm; the head.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from pellucid.errors import InputError
from pellucid.lab.blocks import masks
from pellucid.lab.blocks.attention import Attention
from pellucid.lab.blocks.experts import Experts
from pellucid.lab.blocks.feedforward import feed_forward
from pellucid.lab.blocks.positions import Alibi, RelativeBias, Rotary, sinusoids
from pellucid.lab.configuration import LabConfig

#: What outputs call the keys and values: ``past_key_values`` until transformers changed it.
CACHE = "cache" if "cache" in {f.name for f in fields(CausalLMOutputWithPast)} else "past_key_values"


def norm(config: Any) -> nn.Module:
    """LayerNorm (Ba et al. 2016, arXiv:1607.06450) or RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467)."""
    if config.norm == "layernorm":
        return nn.LayerNorm(config.hidden_size, eps=config.norm_eps, elementwise_affine=config.norm_weight)
    return nn.RMSNorm(config.hidden_size, eps=config.norm_eps, elementwise_affine=config.norm_weight)


class Layer(GradientCheckpointingLayer):
    """One decoder layer, norms before its two halves."""

    def __init__(self, config: Any, index: int) -> None:
        super().__init__()
        self.input_layernorm = norm(config)
        self.self_attn = Attention(config, index)
        self.post_attention_layernorm = norm(config)
        self.mlp = feed_forward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden_states: Tensor, **others: Any) -> Tensor:
        """[rows, tokens, width] to the same."""
        h, _ = self.self_attn(self.input_layernorm(hidden_states), **others)
        hidden_states = hidden_states + self.dropout(h)
        out: Tensor = hidden_states + self.dropout(self.mlp(self.post_attention_layernorm(hidden_states)))
        return out


class LabPreTrained(PreTrainedModel):
    """What both classes below have in common: names for transformers, and how weights start."""

    config_class = LabConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["Layer"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Normal with ``initializer_range``; maps into the residual stream narrower by sqrt(2 layers) (GPT-2), or 0."""
        from transformers import initialization as init

        std = self.config.initializer_range
        last = std / (2 * self.config.num_hidden_layers) ** 0.5
        if isinstance(module, Attention | Experts) or hasattr(module, "fc2") or hasattr(module, "down_proj"):
            for name in ("o_proj", "fc2", "down_proj", "down"):
                out: Any = getattr(module, name, None)
                if out is not None:
                    weight: Any = getattr(out, "weight", out)  # the experts' is a bare parameter
                    init.normal_(weight, 0.0, 0.0 if self.config.zero_init else last)
            if isinstance(module, Experts):
                init.normal_(module.up, 0.0, std)
        elif isinstance(module, nn.Linear | nn.Embedding):
            init.normal_(module.weight, 0.0, std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
            if module.weight is not None:
                init.ones_(module.weight)
            shift: Any = getattr(module, "bias", None)
            if shift is not None:
                init.zeros_(shift)


class LabModel(LabPreTrained):
    """The decoder without its head."""

    def __init__(self, config: LabConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.positions == "learned":
            self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        if config.positions == "t5":
            self.relative_bias = RelativeBias(config)
        self.rotary = Rotary(config) if config.positions == "rope" else None
        self.alibi = Alibi(config) if config.positions == "alibi" else None
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList([Layer(config, i) for i in range(config.num_hidden_layers)])
        self.norm = norm(config)
        self.gradient_checkpointing = False
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: Tensor | None = None,  # [rows, tokens]
        attention_mask: Tensor | None = None,  # [rows, tokens so far]
        position_ids: Tensor | None = None,  # [rows, tokens]
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,  # [rows, tokens, width]
        use_cache: bool | None = None,
        cache: Any = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **others: Any,
    ) -> BaseModelOutputWithPast:
        """The last norm's output [rows, tokens, width], and what else was asked for."""
        from transformers import DynamicCache

        cache = past_key_values if cache is None else cache
        if (input_ids is None) == (inputs_embeds is None):
            raise InputError("expected input_ids or inputs_embeds, and not both")
        h: Tensor = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if self.gradient_checkpointing and self.training:
            use_cache = False  # layers are run again on the way back: they would write into it twice
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)
        seen = 0 if cache is None else int(cache.get_seq_length())
        if position_ids is None:
            position_ids = torch.arange(seen, seen + h.shape[1], device=h.device)[None]
        shared = {"cache": cache, "rotary": None}
        if self.rotary is not None:
            shared["rotary"] = self.rotary(position_ids, h.dtype)
        if self.config.biased:
            make = self.relative_bias if self.alibi is None else self.alibi
            bias = make(h.shape[1], seen + h.shape[1], h.device).to(h.dtype)
            shared["attention_mask"] = masks.biased(self.config, bias, attention_mask, position_ids)
        else:
            shared["attention_mask"] = masks.causal(self.config, h, attention_mask, cache, position_ids)
        h = self.dropout(self._placed(h * self.config.embedding_scale, position_ids))

        states: list[Tensor] = []
        weights: list[Tensor] = []
        hooks = []
        if self.config.output_attentions if output_attentions is None else output_attentions:
            hooks = [m.register_forward_hook(lambda _m, _i, out: weights.append(out[1])) for m in self._attentions()]
        keep = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        try:
            for layer in self.layers:
                if keep:
                    states.append(h)
                h = layer(h, **shared)
        finally:
            for hook in hooks:
                hook.remove()
        h = self.norm(h)
        return BaseModelOutputWithPast(
            last_hidden_state=h,
            **{CACHE: cache if use_cache else None},
            hidden_states=(*states, h) if keep else None,
            attentions=tuple(weights) if hooks else None,
        )

    def _attentions(self) -> list[Attention]:
        return [m for m in self.layers.modules() if isinstance(m, Attention)]

    def _placed(self, h: Tensor, positions: Tensor) -> Tensor:
        """Embeddings [rows, tokens, width] with absolute positions added, where the configuration has them."""
        if self.config.positions == "sinusoidal":
            return h + sinusoids(positions, self.config.hidden_size, h.dtype)
        if self.config.positions != "learned":
            return h
        if h.device.type == "cpu" and int(positions.max()) >= self.config.max_position_embeddings:
            raise InputError(
                f"learned positions end at {self.config.max_position_embeddings} tokens, and the text reaches "
                f"{int(positions.max()) + 1}: shorten it, or train with a longer context or positions='rope'"
            )
        placed: Tensor = h + self.embed_positions(positions)
        return placed


class LabForCausalLM(LabPreTrained, GenerationMixin):
    """The decoder and the map to the vocabulary."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: LabConfig) -> None:
        super().__init__(config)
        self.model = LabModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: Tensor | None = None,  # [rows, tokens]
        labels: Tensor | None = None,  # [rows, tokens], the same as the inputs: shifted here, as in all of transformers
        logits_to_keep: int | Tensor = 0,
        past_key_values: Any = None,
        cache: Any = None,
        num_items_in_batch: Any = None,
        **others: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [rows, tokens, vocabulary] of the last ``logits_to_keep`` positions (0: of all); with ``labels`` the
        loss."""
        others.pop("return_dict", None)
        out = self.model(input_ids, past_key_values=past_key_values, cache=cache, **others)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(out.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.vocab_size, num_items_in_batch=num_items_in_batch
            )
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            **{CACHE: getattr(out, CACHE)},
            hidden_states=out.hidden_states,
            attentions=out.attentions,
        )


def register() -> None:
    """Tell transformers' Auto classes about the model type ``pellucid`` (again does no harm)."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    AutoConfig.register("pellucid", LabConfig, exist_ok=True)
    AutoModel.register(LabConfig, LabModel, exist_ok=True)
    AutoModelForCausalLM.register(LabConfig, LabForCausalLM, exist_ok=True)
