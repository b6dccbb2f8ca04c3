"""Tiny random models of each family, and a small byte-level tokenizer trained here on a few lines."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

LINES = [
    "The capital of France is Paris, and the capital of Spain is Madrid.",
    "What is the capital of France? Tell me in one word, please.",
    "法国的首都是巴黎。天气对农业的影响很大。",
    "system user assistant You are helpful.",
]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMMING_TEMPLATE = TEMPLATE.replace("m['content'] }}", "m['content'] | trim }}")


def chat_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Byte-level BPE over ``LINES`` with ChatML's control tokens."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    t.train_from_iterator(LINES, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=t, bos_token="<|endoftext|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    fast.chat_template = template
    return fast


def _llama(vocabulary: int) -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            initializer_range=0.2,
            bos_token_id=0,
            eos_token_id=2,
        )
    )


def _qwen3(vocabulary: int) -> PreTrainedModel:
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=128,
            initializer_range=0.2,
            bos_token_id=0,
            eos_token_id=2,
        )
    )


def _gemma3(vocabulary: int) -> PreTrainedModel:
    return Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=128,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention"],
            query_pre_attn_scalar=8,
            final_logit_softcapping=20.0,
            initializer_range=0.2,
            bos_token_id=0,
            eos_token_id=2,
            pad_token_id=2,
        )
    )


def _gpt2(vocabulary: int) -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=128,
            initializer_range=0.2,
            bos_token_id=0,
            eos_token_id=2,
        )
    )


def _neox(vocabulary: int) -> PreTrainedModel:
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=128,
            initializer_range=0.2,
            bos_token_id=0,
            eos_token_id=2,
        )
    )


def _of(
    network: type[PreTrainedModel], config: type[PreTrainedConfig], **options: object
) -> Callable[[int], PreTrainedModel]:
    """The sizes that the families below share, and ``options`` over them.

    Experts run by transformers' plain loop, the one implementation that knows float64.
    """

    def make(vocabulary: int) -> PreTrainedModel:
        sizes = {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128,
            "initializer_range": 0.2,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "pad_token_id": 2,
            "tie_word_embeddings": False,
        }
        made = network._from_config(
            config(vocab_size=vocabulary, **{**sizes, **options}), experts_implementation="eager"
        )
        for name, weight in made.named_parameters():
            if name.endswith("bias"):  # zeros as they come, which would hide a bias that is left out
                torch.nn.init.normal_(weight, std=0.2)
        return made

    return make


FAMILIES: dict[str, Callable[[int], PreTrainedModel]] = {
    "llama": _llama,
    "qwen3": _qwen3,
    "gemma3": _gemma3,
    "gpt2": _gpt2,
    "gpt_neox": _neox,
    "mistral": _of(MistralForCausalLM, MistralConfig, sliding_window=6),
    "qwen2": _of(Qwen2ForCausalLM, Qwen2Config, tie_word_embeddings=True),
    "phi": _of(PhiForCausalLM, PhiConfig, partial_rotary_factor=0.5),
    "phi3": _of(Phi3ForCausalLM, Phi3Config),
    "gemma2": _of(
        Gemma2ForCausalLM,
        Gemma2Config,
        head_dim=8,
        sliding_window=6,
        layer_types=["sliding_attention", "full_attention"],
        query_pre_attn_scalar=8,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=20.0,
        tie_word_embeddings=True,
    ),
    "olmo2": _of(Olmo2ForCausalLM, Olmo2Config),
    "mixtral": _of(MixtralForCausalLM, MixtralConfig, num_local_experts=4, num_experts_per_tok=2),
}
