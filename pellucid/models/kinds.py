"""What kind of model it is: what it reads, and what it answers with.

    kind_of(network)      # "causal", "seq2seq", "classifier" or "span"

- ``causal``: continues its prompt (Llama, GPT-2, ...).
- ``seq2seq``: an encoder reads a source, a decoder writes the target (Marian, T5, BART, M2M).
- ``classifier``: one number a class, from an encoder or a decoder (``...ForSequenceClassification``).
- ``span``: a start and an end in the text it reads (``...ForQuestionAnswering``).
"""

from __future__ import annotations

from typing import Any

KINDS = ("causal", "seq2seq", "classifier", "span")
#: Those that choose an answer and do not write one.
CHOOSING = ("classifier", "span")
_HEADS = {"ForSequenceClassification": "classifier", "ForQuestionAnswering": "span"}
_AUTO = {
    "causal": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "classifier": "AutoModelForSequenceClassification",
    "span": "AutoModelForQuestionAnswering",
}


def kind_of(network: Any) -> str:
    """The kind of a network in memory, by its class."""
    return _kind([type(network).__name__], network.config)


def kind_of_config(config: Any) -> str:
    """The kind of a model on disk, by the class that its configuration names; a causal model where it names none."""
    return _kind(list(getattr(config, "architectures", None) or []), config)


def _kind(classes: list[str], config: Any) -> str:
    for name in classes:
        for head, kind in _HEADS.items():
            if name.endswith(head):
                return kind
    if getattr(config, "is_encoder_decoder", False) and not any(c.endswith("ForCausalLM") for c in classes):
        return "seq2seq"
    return "causal"


def auto_class(kind: str) -> Any:
    """transformers' class that loads this kind with its head."""
    import transformers

    return getattr(transformers, _AUTO[kind])
