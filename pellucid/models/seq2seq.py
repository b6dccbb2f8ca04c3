"""Encoder-decoder models: the languages they are told, what frames their source, what their decoder starts from.

    loaded = speaking(loaded, source_language="eng_Latn", target_language="fra_Latn")     # NLLB, M2M100, mBART
    source_frame(loaded)       # ids that the tokenizer puts before and after a source
    decoder_start(loaded)      # ids that the decoder is fed before the answer: constants, not explained

A decoder is fed its start token first, then, where the model is made so, one more that says the language (NLLB, M2M100,
mBART-50) or that the text begins (BART): transformers' ``forced_bos_token_id``. Neither is a token of the answer.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pellucid.errors import ModelError, OptionError
from pellucid.models.align import Span
from pellucid.models.pieces import read

if TYPE_CHECKING:
    from pellucid.models.load import LoadedModel

_CODE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}")  # en_XX (mBART), eng_Latn (NLLB)
_MARK = re.compile(r">>[^<>\s]+<<[ ]?")  # Marian's, at the beginning of a source


def speaking(loaded: LoadedModel, source_language: str | None, target_language: str | None) -> LoadedModel:
    """The same model, told which languages to read and write; None leaves what its files say.

    Raises ``OptionError`` for a language that the tokenizer does not know, or a model that cannot be told any.
    """
    if source_language is None and target_language is None:
        return loaded
    given = {"source_language": source_language, "target_language": target_language}
    if loaded.kind != "seq2seq" or not _multilingual(loaded.tokenizer):
        named = next(name for name, value in given.items() if value is not None)
        hint = (
            ": begin the source with the mark of the target language, like >>fra<<"
            if getattr(loaded.tokenizer, "supported_language_codes", None)
            else ": leave the option out"
        )
        raise OptionError(f"'{loaded.name}' takes no {named}, its tokenizer knows no languages to choose from{hint}")
    for name, value in given.items():
        if value is not None:
            _language_id(loaded.tokenizer, name, value)
    return replace(
        loaded,
        source_language=source_language or loaded.source_language,
        target_language=target_language or loaded.target_language,
    )


def source_frame(loaded: LoadedModel) -> tuple[list[int], list[int]]:
    """Ids that the tokenizer puts before a source and after it (language codes, the end of the text)."""
    tokenizer: Any = loaded.tokenizer
    with _languages(loaded):
        framed = tokenizer("a")["input_ids"]
        return _around(list(framed), list(tokenizer("a", add_special_tokens=False)["input_ids"]))


def instruction(loaded: LoadedModel, text: str) -> int:
    """How many characters at the beginning of a source tell the model what to do: Marian's ``>>fra<<``, or a task that
    the model's configuration lists ("translate English to German: ")."""
    if getattr(loaded.tokenizer, "supported_language_codes", None):
        mark = _MARK.match(text)
        return 0 if mark is None else mark.end()
    tasks = getattr(loaded.network.config, "task_specific_params", None) or {}
    prefixes = [str(t.get("prefix") or "") for t in tasks.values() if isinstance(t, dict)]
    return max((len(p) for p in prefixes if text.startswith(p)), default=0)


def decoder_start(loaded: LoadedModel) -> list[int]:
    """Ids that the decoder is fed before the answer. Raises ``OptionError`` where it needs to be told a language,
    ``ModelError`` where the model's configuration names no start."""
    tokenizer: Any = loaded.tokenizer
    start = _configured(loaded, "decoder_start_token_id", "bos_token_id")
    if start is None:
        raise ModelError(
            f"the configuration of '{loaded.name}' names no token that its decoder starts from: expected "
            "decoder_start_token_id"
        )
    languages = _known(tokenizer) if _multilingual(tokenizer) else {}
    target = loaded.target_language or (getattr(tokenizer, "tgt_lang", None) if languages else None)
    forced = _configured(loaded, "forced_bos_token_id")
    if loaded.target_language is None and forced is not None:
        return [start, forced]
    if target is not None:
        language = _language_id(tokenizer, "target_language", target)
        # mBART's first models start from the language itself.
        return [language] if start in languages.values() else [start, language]
    if start in languages.values():
        return [start]
    if languages:
        raise OptionError(
            f"'{loaded.name}' writes several languages: say which with target_language, one of {_listed(languages)}"
        )
    with _languages(loaded):
        framed = list(tokenizer(text_target="a")["input_ids"])
        plain = list(tokenizer(text_target="a", add_special_tokens=False)["input_ids"])
    return [start, *(i for i in _around(framed, plain)[0] if i != start)]


def read_target(loaded: LoadedModel, text: str) -> tuple[list[int], list[Span]]:
    """Ids and spans of an answer, by the target's tokenizer; without start, language and end."""
    tokenizer: Any = loaded.tokenizer
    if not hasattr(tokenizer, "spm_target"):  # all others read source and target alike, but for the frame
        return read(tokenizer, text)
    tokenizer._switch_to_target_mode()
    try:
        return read(tokenizer, text)
    finally:
        tokenizer._switch_to_input_mode()


def _configured(loaded: LoadedModel, *names: str) -> int | None:
    """The first of these that the model's generation settings or its configuration have."""
    for name in names:
        for place in (loaded.network.generation_config, loaded.network.config):
            value = getattr(place, name, None)
            if value is not None:
                return int(value[0] if isinstance(value, list) else value)
    return None


def _around(framed: list[int], plain: list[int]) -> tuple[list[int], list[int]]:
    for k in range(len(framed) - len(plain) + 1):
        if framed[k : k + len(plain)] == plain:
            return framed[:k], framed[k + len(plain) :]
    return [], []


def _multilingual(tokenizer: Any) -> bool:
    return getattr(tokenizer, "src_lang", None) is not None and bool(_known(tokenizer))


def _known(tokenizer: Any) -> dict[str, int]:
    """Languages that the tokenizer has tokens for, by name."""
    listed = getattr(tokenizer, "lang_code_to_id", None)  # M2M100, mBART
    if listed:
        return {str(name): int(i) for name, i in listed.items()}
    tokens = {t.content: i for i, t in tokenizer.added_tokens_decoder.items()}  # NLLB
    return {name: int(i) for name, i in tokens.items() if _CODE.fullmatch(name)}


def _language_id(tokenizer: Any, option: str, name: str) -> int:
    known = _known(tokenizer)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise OptionError(f"unknown {option} '{name}': expected one of {_listed(known)}.{hint}")
    return known[name]


def _listed(languages: dict[str, int]) -> str:
    names = sorted(languages)
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:12])} and {len(names) - 12} more"


@contextmanager
def _languages(loaded: LoadedModel) -> Iterator[None]:
    """The tokenizer with the source language that was asked for; it keeps one, so it is put back."""
    tokenizer: Any = loaded.tokenizer
    if loaded.source_language is None:
        yield
        return
    before = tokenizer.src_lang
    tokenizer.src_lang = loaded.source_language
    try:
        yield
    finally:
        tokenizer.src_lang = before
