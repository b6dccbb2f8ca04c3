"""A tokenizer for the lab: characters, byte pairs learned from the data, or one that exists.

    from pellucid.lab.data.tokenizers import characters
    characters(["To be, or not to be"]).encode("be not")

Each is an ordinary transformers tokenizer, saved with the model. ``<|end|>`` ends a document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pellucid.errors import InputError, OptionError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END = "<|end|>"
UNKNOWN = "\ufffd"
#: What ``make`` knows by name; anything else is a model's name.
KINDS = ("characters", "bytepairs")
PIECE = 1 << 16  # characters that are encoded at once


def characters(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Every character that occurs is a token; others become U+FFFD."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    seen: set[str] = set()
    for text in texts:
        seen.update(text)
    vocabulary = {c: i for i, c in enumerate(sorted(seen - {UNKNOWN}))}
    for special in (UNKNOWN, END):
        vocabulary[special] = len(vocabulary)
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    return _wrap(made)


def byte_pairs(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """Byte-level byte pairs (Sennrich et al. 2015, arXiv:1508.07909) with ``size`` tokens, learned from ``texts``.

    Raises ``OptionError`` for a size that does not hold the 256 bytes and the end of a document.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if size < 257:
        raise OptionError(f"a byte-pair vocabulary needs 257 tokens for the bytes and {END} alone, given {size}")
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return _wrap(made)


def _wrap(made: Any) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    unknown = {"unk_token": UNKNOWN} if made.token_to_id(UNKNOWN) is not None else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False, **unknown
    )


def existing(name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of any model that Pellucid loads. Raises ``ModelError``, ``InputError``."""
    from pellucid.models.load import load_model

    found = load_model(name, device="cpu").tokenizer
    if found.eos_token_id is None:
        raise InputError(f"the tokenizer of {name} has no token that ends a text, which would keep documents apart")
    return found


def make(kind: str, texts: Iterable[str], *, vocab_size: int) -> PreTrainedTokenizerFast:
    """By name: ``characters``, ``bytepairs``, or a model whose tokenizer is taken as it is."""
    if kind == "characters":
        return characters(texts)
    return byte_pairs(texts, vocab_size) if kind == "bytepairs" else existing(kind)


def encode(tokenizer: Any, text: str) -> Iterator[list[int]]:
    """Token ids of a text without special tokens, in pieces; cut where a line begins with something to see, so that no
    token would have crossed the cut."""
    start = 0
    while start < len(text):
        end = min(start + PIECE, len(text))
        while end < len(text) and not (text[end - 1] == "\n" and not text[end].isspace()):
            end += 1
        yield tokenizer.backend_tokenizer.encode(text[start:end], add_special_tokens=False).ids
        start = end
