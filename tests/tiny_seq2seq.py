"""Tiny random encoder-decoder models of each family, with tokenizers trained here on a few lines."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from pellucid.models.load import LoadedModel
from pellucid.models.seq2seq import speaking

LINES = [
    "The house is small and the garden is green.",
    "We saw an old tree behind the house, did we?",
    "Das Haus ist klein und der Garten ist grün.",
    "Wir sahen einen alten Baum hinter dem Haus.",
    "这座房子很小。花园是绿色的。",
    "naïve café très Zürich",
]
SOURCE = "The house is small."
TARGET = "Das Haus ist klein."


def spm(vocabulary: int = 160, lines: list[str] = LINES, **options: object) -> bytes:
    """A sentencepiece model (unigram, nmt_nfkc) as bytes."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 10),
        model_writer=out,
        vocab_size=vocabulary,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return out.getvalue()


def pieces(model: bytes) -> list[str]:
    """Its vocabulary without control tokens."""
    sp = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [p for p in (sp.id_to_piece(i) for i in range(sp.get_piece_size())) if p not in ("<unk>", "<s>", "</s>")]


def marian_tokenizer(
    folder: Path, source: bytes | None = None, target: bytes | None = None, marks: tuple[str, ...] = ()
) -> MarianTokenizer:
    """Written in Python, without offsets: source and target sentencepiece, one vocabulary, padding last."""
    source = source or spm()
    target = target or source
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "source.spm").write_bytes(source)
    (folder / "target.spm").write_bytes(target)
    names = ["</s>", "<unk>", *marks, *dict.fromkeys([*pieces(source), *pieces(target)]), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({n: i for i, n in enumerate(names)}), encoding="utf-8")
    return MarianTokenizer(
        str(folder / "source.spm"),
        str(folder / "target.spm"),
        str(folder / "vocab.json"),
        source_lang="en",
        target_lang="de",
    )


def m2m_tokenizer(folder: Path) -> M2M100Tokenizer:
    """Written in Python, with a hundred languages."""
    model = spm()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sentencepiece.bpe.model").write_bytes(model)
    names = ["<s>", "<pad>", "</s>", "<unk>", *pieces(model)]
    (folder / "vocab.json").write_text(json.dumps({n: i for i, n in enumerate(names)}), encoding="utf-8")
    return M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model"))


def t5_tokenizer() -> PreTrainedTokenizerFast:
    """Unigram pieces as T5's, the end after the text."""
    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    t.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    t.train_from_iterator(LINES * 5, trainer)
    t.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=t, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def bart_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, begin and end around the text."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    t.train_from_iterator(LINES, trainer)
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=t, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


_SHAPE = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 64,
    "init_std": 0.3,
    "dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
}


def marian(vocabulary: int, **options: object) -> PreTrainedModel:
    """Scaled embeddings, sinusoids, starts from padding, which no answer may hold."""
    pad = vocabulary - 1
    network = MarianMTModel(
        MarianConfig(
            vocab_size=vocabulary,
            pad_token_id=pad,
            eos_token_id=0,
            decoder_start_token_id=pad,
            forced_eos_token_id=None,
            scale_embedding=True,
            **{**_SHAPE, **options},
        )
    )
    network.generation_config.bad_words_ids = [[pad]]
    return network


def t5(vocabulary: int, **options: object) -> PreTrainedModel:
    """Relative positions; a gated MLP."""
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=vocabulary,
            feed_forward_proj="gated-gelu",
            initializer_factor=1.0,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
            dropout_rate=0.0,
            tie_word_embeddings=False,
            **{**shape, **options},
        )
    )


def bart(vocabulary: int, **options: object) -> PreTrainedModel:
    """Learned positions; the answer begins with <s>."""
    network = BartForConditionalGeneration(
        BartConfig(
            vocab_size=vocabulary,
            bos_token_id=0,
            pad_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=2,
            forced_eos_token_id=None,
            scale_embedding=True,
            **{**_SHAPE, **options},
        )
    )
    network.generation_config.forced_bos_token_id = 0
    return network


def m2m(vocabulary: int, **options: object) -> PreTrainedModel:
    """Scaled embeddings, positions that count what is not padding; the answer begins with its language."""
    return M2M100ForConditionalGeneration(
        M2M100Config(
            vocab_size=vocabulary,
            bos_token_id=0,
            pad_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=2,
            scale_embedding=True,
            **{**_SHAPE, **options},
        )
    )


def make(name: str, folder: Path, dtype: torch.dtype = torch.float64) -> LoadedModel:
    """A tiny random model of a family; M2M100 reads English and writes German."""
    network, tokenizer = FAMILIES[name]
    torch.manual_seed(7)
    reads = tokenizer(folder)
    size = max([len(reads) - 1, *(getattr(reads, "lang_code_to_id", None) or {}).values()]) + 1
    loaded = LoadedModel.wrap(network(size).to(dtype), reads, name=name)
    return speaking(loaded, "en", "de") if name == "m2m100" else loaded


#: Family: (makes a model of that vocabulary, makes its tokenizer in a folder).
FAMILIES: dict[str, tuple[Callable[..., PreTrainedModel], Callable[[Path], object]]] = {
    "marian": (marian, marian_tokenizer),
    "t5": (t5, lambda folder: t5_tokenizer()),
    "bart": (bart, lambda folder: bart_tokenizer()),
    "m2m100": (m2m, m2m_tokenizer),
}
