"""What a model with a head reads, and what it can answer with: one text or two in its tokenizer's frame, and classes.

    encode_parts(loaded, ("question", "Who came?"), ("context", "Ann came."))    # roles, offsets, what stands between
    labels(loaded)                                                                # ["NEGATIVE", "POSITIVE"]

The frame ([CLS], [SEP], their token types) is read off the tokenizer, by what it puts around two texts. The texts
themselves are read as ``encode`` reads them: what a user wrote is text, ``[SEP]`` too.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pellucid.errors import ContextError, InputError, ModelError
from pellucid.models.align import words
from pellucid.models.encode import Encoded, Segment, Token, check_text, encode, tokenize
from pellucid.models.load import LoadedModel

#: (role, text)
Part = tuple[str, str]
PAIR = ("first", "second")
QUESTION = ("question", "context")
_LISTED = 20  # labels in a sentence


@dataclass(frozen=True)
class Frame:
    """What a tokenizer puts around its texts: ``ids`` and their token ``types`` before the first, between two and after
    the last; ``parts`` are the texts' own types."""

    ids: tuple[tuple[int, ...], ...]
    types: tuple[tuple[int, ...], ...]
    parts: tuple[int, ...]


def frame(loaded: LoadedModel, parts: int) -> Frame:
    """The frame of one text or of two. Raises ``ModelError`` for tokenizers that do not tell theirs from a text's."""
    tokenizer: Any = loaded.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"the tokenizer of '{loaded.name}' ({type(tokenizer).__name__}) does not say what it puts around a text: a "
            "model with a tokenizer.json is needed"
        )
    out = tokenizer(*["a"] * parts, return_token_type_ids=True)
    ids: list[list[int]] = [[] for _ in range(parts + 1)]
    types: list[list[int]] = [[] for _ in range(parts + 1)]
    own, place = [0] * parts, 0
    for i, kind, owner in zip(out["input_ids"], out["token_type_ids"], out.sequence_ids(0), strict=True):
        if owner is None:
            ids[place].append(i)
            types[place].append(kind)
        else:
            own[owner], place = kind, owner + 1
    return Frame(tuple(map(tuple, ids)), tuple(map(tuple, types)), tuple(own))


def token_types(loaded: LoadedModel, ids: Sequence[int]) -> list[int] | None:
    """The token types of ``ids`` in their frame [tokens], as the tokenizer gives them; None where a model takes none.

    They follow from the ids, because no token of a text is one of the frame's.
    """
    config: Any = loaded.network.config
    kinds = getattr(config, "type_vocab_size", None) or 0
    takes = "token_type_ids" in inspect.signature(loaded.network.forward).parameters
    if kinds < 2 or not takes or "token_type_ids" not in loaded.tokenizer.model_input_names:
        return None
    for parts in (2, 1):
        f, row = frame(loaded, parts), list(ids)
        before, after = list(f.ids[0]), list(f.ids[-1])
        end = len(row) - len(after)
        if row[: len(before)] != before or row[end:] != after:
            continue
        head, tail = list(f.types[0]), list(f.types[-1])
        if parts == 1:
            return head + [f.parts[0]] * (end - len(before)) + tail
        between = list(f.ids[1])
        at = next((k for k in range(len(before), end) if between and row[k : k + len(between)] == between), None)
        if at is not None and at + len(between) <= end:
            rest = end - at - len(between)
            return head + [f.parts[0]] * (at - len(before)) + list(f.types[1]) + [f.parts[1]] * rest + tail
    return [0] * len(ids)


def longest(loaded: LoadedModel) -> int | None:
    """The most tokens that the model reads at once, None where nothing says.

    RoBERTa's positions begin behind its padding's, so that it reads two fewer than its configuration says.
    """
    limits = [] if loaded.context is None or loaded.context < 1 else [loaded.context]  # -1 is no limit
    said = getattr(loaded.tokenizer, "model_max_length", None)
    if said is not None and 0 < said < 10**9:  # tokenizers that do not know give 1e30
        limits.append(int(said))
    for module in loaded.network.modules():
        table: Any = getattr(module, "position_embeddings", None)
        if getattr(table, "padding_idx", None) is not None:
            limits.append(int(table.num_embeddings - table.padding_idx - 1))
    return min(limits, default=None)


def read_parts(loaded: LoadedModel, prompt: Any) -> tuple[Part, ...] | None:
    """The texts of a prompt with their roles, checked; None for a chat, which only a template can read.

    One text; two in a tuple or list; {"text", "text_pair"} or {"question", "context"}; or two messages with the roles
    of a pair, as a trace keeps them. Raises ``InputError``.
    """
    roles = QUESTION if loaded.kind == "span" else PAIR
    expected = (
        "a question and a context: (question, context), or {'question': ..., 'context': ...}"
        if loaded.kind == "span"
        else "a text, two texts (first, second), or {'text': ..., 'text_pair': ...}"
    )
    found: list[Any]
    if isinstance(prompt, str):
        found = [prompt]
    elif isinstance(prompt, Mapping):
        names = QUESTION if loaded.kind == "span" else ("text", "text_pair")
        if not set(prompt) <= set(names) or names[0] not in prompt:
            raise InputError(f"'{loaded.name}' reads {expected}; given the keys {', '.join(map(repr, prompt))}")
        found = [prompt[n] for n in names if n in prompt]
    elif isinstance(prompt, Sequence) and prompt and all(isinstance(m, Mapping) for m in prompt):
        if tuple(m.get("role") for m in prompt) != roles:
            if loaded.kind == "classifier":
                return None
            raise InputError(f"'{loaded.name}' reads {expected}; given messages of a chat")
        found = [m.get("content") for m in prompt]
    elif isinstance(prompt, Sequence) and not isinstance(prompt, bytes | bytearray):
        found = list(prompt)
    else:
        raise InputError(f"'{loaded.name}' reads {expected}; given {type(prompt).__name__}")
    if len(found) not in ((2,) if loaded.kind == "span" else (1, 2)):
        raise InputError(f"'{loaded.name}' reads {expected}; given {len(found)} text{'' if len(found) == 1 else 's'}")
    called = ["the prompt"] if len(found) == 1 else [f"the {r}{' text' if roles == PAIR else ''}" for r in roles]
    for name, text in zip(called, found, strict=True):
        check_text(text, name)
        if not text.strip():
            raise InputError(f"{name} is empty: expected some text")
    return tuple(zip(("user",) if len(found) == 1 else roles, found, strict=True))


def encode_head(loaded: LoadedModel, prompt: Any, *, raw: bool = False, parse_special: bool = False) -> Encoded:
    """Tokens of what a classifier reads: one text or two in their frame, or a chat in the model's template.

    Raises ``InputError``, ``ContextError`` where it is longer than the model reads, ``TemplateError``.
    """
    parts = read_parts(loaded, prompt)
    if parse_special and parts is not None:
        raise InputError(
            f"parse_special does nothing for '{loaded.name}': what is given to a classifier is always text"
        )
    encoded = encode(loaded, prompt, raw=raw) if parts is None else encode_parts(loaded, *parts)
    limit = longest(loaded)
    if limit is not None and len(encoded.ids) > limit:
        raise ContextError(
            f"the prompt's {len(encoded.ids)} tokens do not fit the {limit} that '{loaded.name}' can read: shorten it "
            f"by at least {len(encoded.ids) - limit} tokens, or explain it in pieces"
        )
    return encoded


def encode_parts(loaded: LoadedModel, *parts: Part) -> Encoded:
    """One text or two (role, text) in the tokenizer's frame; a pair's tokens carry their text's number as message."""
    return framed(loaded, parts, [part_tokens(loaded, text, role, k) for k, (role, text) in enumerate(parts)])


def part_tokens(loaded: LoadedModel, text: str, role: str, number: int) -> list[Token]:
    """Tokens of one text, without a frame; the words count from 0."""
    with _unlimited(loaded.tokenizer):
        pieces = tokenize(loaded.tokenizer, [Segment(text, role, number)])
    numbers = words(text, [p.span for p in pieces])
    out = []
    for piece, word in zip(pieces, numbers, strict=True):
        start, end = piece.span
        shown = text[start:end] or str(loaded.tokenizer.convert_ids_to_tokens(piece.id))
        out.append(Token(shown, piece.id, start, end, role, number, word))
    return out


def framed(loaded: LoadedModel, parts: Sequence[Part], tokens: Sequence[Sequence[Token]]) -> Encoded:
    """``tokens`` of each text (all of them, or a window's) in the tokenizer's frame."""
    around = frame(loaded, len(parts)).ids
    out: list[Token] = []
    texts: list[str] = []

    def special(ids: tuple[int, ...]) -> None:
        for i in ids:
            name = str(loaded.tokenizer.convert_ids_to_tokens(i))
            texts.append(name)
            out.append(Token(name, i, None, None, "special", None, out[-1].word + 1 if out else 0))

    special(around[0])
    for k, ((role, text), own) in enumerate(zip(parts, tokens, strict=True)):
        base = (out[-1].word + 1 if out else 0) - (own[0].word if own else 0)
        message = k if len(parts) > 1 else None
        out += [Token(t.text, t.id, t.start, t.end, role, message, base + t.word) for t in own]
        if own:
            texts.append(text[own[0].start : own[-1].end])
        special(around[k + 1])
    if not any(t.start is not None for t in out):
        raise InputError("the prompt holds no token: expected some text")
    messages = tuple({"role": role, "content": text} for role, text in parts) if len(parts) > 1 else None
    return Encoded(parts[0][1] if len(parts) == 1 else None, messages, " ".join(texts), True, tuple(out))


@contextmanager
def _unlimited(tokenizer: Any) -> Iterator[None]:
    """While open, the tokenizer does not warn of long texts: what is too long is our own affair."""
    before = tokenizer.model_max_length
    tokenizer.model_max_length = 10**12
    try:
        yield
    finally:
        tokenizer.model_max_length = before


def labels(loaded: LoadedModel) -> list[str]:
    """The names of a classifier's classes, by number."""
    config: Any = loaded.network.config
    return [str(config.id2label.get(i, f"LABEL_{i}")) for i in range(int(config.num_labels))]


def find_label(loaded: LoadedModel, label: str) -> int:
    """The number of a class, by its name. Raises ``InputError`` with the names, and the nearest."""
    known = labels(loaded)
    if not isinstance(label, str):
        raise InputError(f"a class should be a name, one of {_few(known)}; given {label!r}")
    if label in known:
        return known.index(label)
    near = difflib.get_close_matches(label.casefold(), [k.casefold() for k in known], n=1, cutoff=0.4)
    hint = f". Did you mean '{next(k for k in known if k.casefold() == near[0])}'?" if near else ""
    raise InputError(f"'{loaded.name}' has no class '{label}': expected one of {_few(known)}{hint}")


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown}, ... ({len(names)} in all)"


def problem(loaded: LoadedModel) -> str:
    """How a classifier's numbers are read: ``softmax`` over classes that exclude each other, a ``sigmoid`` for each
    class by itself, or as plain ``value`` s (a regression). The rule is that of transformers' pipelines."""
    config: Any = loaded.network.config
    said = getattr(config, "problem_type", None)
    if said == "regression":
        return "value"
    return "sigmoid" if said == "multi_label_classification" or config.num_labels == 1 else "softmax"
