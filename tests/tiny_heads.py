"""Tiny random models with a head, as encoders and as decoders, and small tokenizers written out here.

The vocabularies are lists, because training one gives equal pairs in no fixed order, and with them other models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from pellucid.models.load import LoadedModel

LABELS = ("NEGATIVE", "NEUTRAL", "POSITIVE")
_WORDS = (
    "the film was good bad dull great and not so very ann ben came at noon left who what when house capital of france"
)
_MERGES = ["t h", "th e", "Ġ the", "a n", "an d", "Ġ and", "o o", "oo d", "Ġ g", "Ġg ood", "Ġ w", "a s", "Ġw as", "i l"]


def bert_tokenizer(words: list[str] | None = None) -> PreTrainedTokenizerFast:
    """WordPiece in lower case of some words and of letters (or whole ``words`` alone), with BERT's frame and types."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if words is None:
        letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
        pieces = [*special, *letters, *(f"##{c}" for c in letters), *_WORDS.split(), "##ing", "##s", "法", "国"]
        t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(dict.fromkeys(pieces))}, unk_token="[UNK]"))
    else:
        t = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*special, *words])}, unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(s, t.token_to_id(s)) for s in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=t,
        **{f"{s.strip('[]').lower()}_token": s for s in special},
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _byte_level(special: list[str]) -> Tokenizer:
    merges = [tuple(m.split()) for m in _MERGES]
    pieces = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    t = Tokenizer(models.BPE({w: i for i, w in enumerate(pieces)}, merges))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    return t


def roberta_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with RoBERTa's frame: two marks between texts, no token types."""
    t = _byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=False)
    names = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=t,
        **{f"{k}_token": v for k, v in names.items()},
        model_input_names=["input_ids", "attention_mask"],
    )


def decoder_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE that puts nothing around a text, with the ids of the causal models' control tokens."""
    return PreTrainedTokenizerFast(
        tokenizer_object=_byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        model_input_names=["input_ids", "attention_mask"],
    )


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "bert": bert_tokenizer,
    "distilbert": bert_tokenizer,
    "roberta": roberta_tokenizer,
    "gpt2": decoder_tokenizer,
    "llama": decoder_tokenizer,
}
_PREFIX = {"bert": "Bert", "distilbert": "DistilBert", "roberta": "Roberta", "gpt2": "GPT2", "llama": "Llama"}
_HEADS = {"classifier": "ForSequenceClassification", "span": "ForQuestionAnswering"}


def config(family: str, vocabulary: int, **options: Any) -> Any:
    """A small configuration of a family."""
    common: dict[str, Any] = {"vocab_size": vocabulary, "initializer_range": 0.3}
    sizes: dict[str, Any] = {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
    }
    own: dict[str, dict[str, Any]] = {
        "bert": {**sizes, "pad_token_id": 0},
        "distilbert": {
            "dim": 24,
            "hidden_dim": 40,
            "n_layers": 2,
            "n_heads": 4,
            "max_position_embeddings": 128,
            "pad_token_id": 0,
        },
        "roberta": {**sizes, "max_position_embeddings": 130, "type_vocab_size": 1, "pad_token_id": 1},
        "gpt2": {
            "n_embd": 24,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 128,
            "pad_token_id": 2,
            "bos_token_id": 0,
            "eos_token_id": 2,
        },
        "llama": {**sizes, "num_key_value_heads": 2, "pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 2},
    }
    return getattr(transformers, f"{_PREFIX[family]}Config")(**{**common, **own[family], **options})


def with_head(family: str, kind: str = "classifier", *, seed: int = 7, **options: Any) -> LoadedModel:
    """A tiny random model in float64, with ``LABELS`` for classes where nothing else is said."""
    tokenizer = TOKENIZERS[family]()
    if kind == "classifier" and "num_labels" not in options:
        options.setdefault("id2label", dict(enumerate(LABELS)))
        options.setdefault("label2id", {n: i for i, n in enumerate(LABELS)})
    torch.manual_seed(seed)
    made: PreTrainedModel = getattr(transformers, f"{_PREFIX[family]}{_HEADS[kind]}")(
        config(family, len(tokenizer), **options)
    )
    return LoadedModel.wrap(made.double(), tokenizer, name=f"{family}-{kind}")
