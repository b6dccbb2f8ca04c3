"""Text or messages to tokens that know where they come from: role, message, characters of the user's own text.

    encode(loaded, "What is the capital of France?")                    # the chat template, where there is one
    encode(loaded, [{"role": "user", "content": "..."}])
    encode(loaded, "The capital of France is", raw=True)

How a template is followed: it is rendered with the real contents, and once more with marks in their place; the marks
say where each content stands, and the two renderings must agree when the marks are filled in. Control tokens are then
taken only from the template's own text: what the user wrote, ``<|im_end|>`` too, is read as text. Where the user
wrote no such marker the ids are those of transformers' ``apply_chat_template``, which the tests compare.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pellucid.errors import InputError, TemplateError
from pellucid.models.align import Span, align_ids, cover, words
from pellucid.models.load import LoadedModel
from pellucid.models.pieces import read
from pellucid.models.seq2seq import instruction, read_target, source_frame

Messages = Sequence[Mapping[str, str]]
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Token:
    """One prompt token; fields as in ``pellucid.trace.result.Source``."""

    text: str
    id: int
    start: int | None
    end: int | None
    role: str
    message: int | None
    word: int


@dataclass(frozen=True)
class Encoded:
    """A prompt as the model reads it: ``rendered`` text, ``ids``, and a ``Token`` for each id."""

    text: str | None
    messages: tuple[dict[str, str], ...] | None
    rendered: str
    raw: bool
    tokens: tuple[Token, ...]

    @property
    def ids(self) -> list[int]:
        """The token ids, in order."""
        return [t.id for t in self.tokens]


@dataclass(frozen=True)
class Segment:
    """A stretch of the rendered text: of message ``message`` from its character ``offset``, or of the frame (None)."""

    text: str
    role: str
    message: int | None
    offset: int = 0


@dataclass(frozen=True)
class _Piece:
    """A token of the rendered text: id, span, and whether it is a control token of the frame."""

    id: int
    span: Span
    special: bool


def encode(
    loaded: LoadedModel,
    prompt: str | Messages,
    *,
    raw: bool = False,
    parse_special: bool = False,
    thinking: bool | None = None,
) -> Encoded:
    """Tokens of a prompt. A bare string becomes a user message where the model has a chat template and not ``raw``.

    ``parse_special`` reads control tokens in a raw prompt as such: for prompts whose template is written by hand.
    ``thinking`` goes to the template as ``enable_thinking``, for those that know the word; None leaves it out.
    Raises ``InputError`` for text that cannot be read, ``TemplateError`` for a template that cannot be followed.
    """
    text, messages = (prompt, None) if isinstance(prompt, str) else (None, _messages(prompt))
    if text is not None:
        check_text(text, "the prompt")
        if not text.strip():
            raise InputError("the prompt is empty: expected some text")
    template = getattr(loaded.tokenizer, "chat_template", None)
    if messages is not None and loaded.kind == "seq2seq":
        raise InputError(f"'{loaded.name}' is an encoder-decoder model, which reads one text: give a text, no messages")
    if messages is not None and not template:
        raise TemplateError(
            f"'{loaded.name}' has no chat template, so it cannot read messages: give one text, or a chat model"
        )
    if messages is not None and raw:
        raise InputError("raw=True and messages exclude each other: raw means one text, without a chat template")
    as_raw = raw or not template or loaded.kind == "seq2seq"
    if parse_special and not as_raw:
        raise InputError("parse_special needs raw=True: with a chat template, what the user wrote is always text")
    if as_raw:
        assert text is not None
        segments = [Segment(text, "user", None)]
    else:
        segments = follow_template(loaded, messages or ({"role": "user", "content": text or ""},), thinking)
    rendered = "".join(s.text for s in segments)
    end: list[int] = []
    if loaded.kind == "seq2seq":
        bos, end = source_frame(loaded)
    else:
        bos = _raw_prefix(loaded) if as_raw else []
    pieces = tokenize(loaded.tokenizer, segments, parse_content=parse_special)
    tokens = _tokens(loaded, segments, rendered, bos, pieces, bare=messages is None and not as_raw)
    if loaded.kind == "seq2seq":
        tokens = _as_source(loaded, rendered, tokens, end)
    if not tokens:
        raise InputError("the prompt holds no token: expected some text")
    return Encoded(text, messages, rendered, as_raw, tokens)


def encode_target(loaded: LoadedModel, prompt: Encoded, target: str) -> list[int]:
    """Ids of a given answer, as it continues the prompt.

    The rendered prompt's last stretch and the target are tokenised together, so that a blank between them falls where
    the model would have put it; where that would change the prompt's own tokens, the target is tokenised alone.
    """
    check_text(target, "the target")
    if not target:
        raise InputError("the target is empty: expected the answer to explain, or none to let the model answer")
    if loaded.kind == "seq2seq":
        given = read_target(loaded, target)[0]
        if not given:
            raise InputError(f"the target {target!r} holds no token")
        return given
    last = max((k for k, t in enumerate(prompt.tokens) if t.role == "special"), default=-1)
    tail, first = (
        prompt.ids[last + 1 :],
        all(t.start is None for t in prompt.tokens[: last + 1]) and prompt.raw,
    )
    text, _ = align_ids(loaded.tokenizer, tail)
    joint = _plain(loaded.tokenizer, text + target, first=first)[0]
    ids = joint[len(tail) :] if joint[: len(tail)] == tail else _plain(loaded.tokenizer, target, first=False)[0]
    if not ids:
        raise InputError(f"the target {target!r} holds no token")
    return ids


def check_text(text: str, what: str) -> None:
    """Raise ``InputError`` for NUL and lone surrogates, which no tokenizer reads as what they are."""
    if not isinstance(text, str):
        raise InputError(f"{what} should be text and is {type(text).__name__}")
    at = text.find("\0")
    if at >= 0:
        raise InputError(f"{what} holds a NUL character at {at}: remove it, it is no text")
    bad = re.search(r"[\ud800-\udfff]", text)
    if bad:
        raise InputError(
            f"{what} holds a lone surrogate (U+{ord(bad[0]):04X}) at {bad.start()}: it is half a character; decode the "
            "text again, or remove it"
        )


def _messages(given: Any) -> tuple[dict[str, str], ...]:
    if not isinstance(given, Sequence) or isinstance(given, (bytes, bytearray)) or not given:
        raise InputError("the prompt should be a text, or a list of messages {'role': ..., 'content': ...}, not empty")
    out = []
    for i, m in enumerate(given):
        if not isinstance(m, Mapping) or not isinstance(m.get("role"), str) or not isinstance(m.get("content"), str):
            raise InputError(f"message {i} should be {{'role': text, 'content': text}}, given {m!r}")
        if m["role"] not in ROLES:
            raise InputError(f"message {i} has role '{m['role']}': expected one of {', '.join(ROLES)}")
        check_text(m["content"], f"message {i}")
        out.append({"role": m["role"], "content": m["content"]})
    if not any(m["content"].strip() for m in out):
        raise InputError("the prompt is empty: no message holds any text")
    return tuple(out)


def follow_template(loaded: LoadedModel, messages: Messages, thinking: bool | None = None) -> list[Segment]:
    """The rendered chat, cut into the template's own text and the messages' contents.

    Raises ``TemplateError`` where the template fails, or changes contents by more than trimming blanks at their ends.
    """
    real = _render(loaded, messages, thinking)
    # Private-use characters: no template looks for them, and a content that has them gets other ones.
    used = "".join(m["content"] for m in messages)
    mark = next(chr(c) for c in range(0xF0000, 0xFFFFD) if chr(c) not in used)
    marked = _render(loaded, [{**m, "content": f"{mark}{i}{mark}"} for i, m in enumerate(messages)], thinking)
    parts = re.split(f"{mark}(\\d+){mark}", marked)
    for strip in (False, True):  # many templates trim contents
        segments: list[Segment] = []
        for k, part in enumerate(parts):
            if k % 2 == 0:
                segments.append(Segment(part, "template", None))
                continue
            content = messages[int(part)]["content"]
            kept = content.strip() if strip else content
            offset = len(content) - len(content.lstrip()) if strip else 0
            segments.append(Segment(kept, messages[int(part)]["role"], int(part), offset))
        if "".join(s.text for s in segments) == real:
            return [s for s in segments if s.text]
    raise TemplateError(
        f"the chat template of '{loaded.name}' rewrites these messages, so that their characters cannot be followed: "
        "use raw=True with the text as the model should read it"
    )


def _render(loaded: LoadedModel, messages: Messages, thinking: bool | None) -> str:
    options: dict[str, Any] = {} if thinking is None else {"enable_thinking": thinking}
    try:
        text = loaded.tokenizer.apply_chat_template(
            [dict(m) for m in messages], tokenize=False, add_generation_prompt=True, **options
        )
    except Exception as e:  # a template is a program of the model's maker, and may raise anything
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise TemplateError(f"the chat template of '{loaded.name}' refuses these messages: {reason}") from e
    return str(text)


def tokenize(tokenizer: Any, segments: list[Segment], *, parse_content: bool = False) -> list[_Piece]:
    """Tokens of the joined segments; control tokens only from the frame (and from contents with ``parse_content``).

    Contents without a marker: the tokenizer reads the whole, as transformers would. Otherwise the text is cut at the
    frame's own control tokens, which is what the tokenizer itself does first, and each stretch is read as plain text.
    """
    added = {t.content: i for i, t in tokenizer.added_tokens_decoder.items()}
    template = getattr(tokenizer, "chat_template", None)
    markers = [
        t.content for t in tokenizer.added_tokens_decoder.values() if t.special or t.content in str(template or "")
    ]
    marker = re.compile("|".join(map(re.escape, sorted(markers, key=len, reverse=True))) or r"(?!)")
    rendered = "".join(s.text for s in segments)
    contents = [s for s in segments if s.role != "template"]
    if parse_content or not any(marker.search(s.text) for s in contents):
        ids, spans = read(tokenizer, rendered, control=True)
        return [
            _Piece(i, (a, b), added.get(rendered[a:b]) == i and marker.fullmatch(rendered[a:b]) is not None)
            for i, (a, b) in zip(ids, spans, strict=True)
        ]
    if not tokenizer.is_fast and contents == segments:  # these can be told to read every marker as text
        ids, spans = read(tokenizer, rendered)
        return [_Piece(i, span, False) for i, span in zip(ids, spans, strict=True)]

    pieces: list[_Piece] = []
    begin = at = 0

    def plain(end: int) -> None:
        """Tokens of the plain stretch from ``begin`` to ``end``."""
        nonlocal begin
        ids, offsets = _plain(tokenizer, rendered[begin:end], first=begin == 0)
        pieces.extend(_Piece(i, (begin + a, begin + b), False) for i, (a, b) in zip(ids, offsets, strict=True))
        begin = end

    for segment in segments:
        for m in marker.finditer(segment.text):
            start, end = at + m.start(), at + m.end()
            if segment.role == "template":
                plain(start)
                pieces.append(_Piece(added[m[0]], (start, end), True))
                begin = end
            else:  # the tokenizer can be told to split special tokens, but not other added ones: cut those in two
                plain(start + 1)
        at += len(segment.text)
    plain(at)
    return pieces


def _plain(tokenizer: Any, text: str, *, first: bool = True) -> tuple[list[int], list[Span]]:
    """Ids and offsets of text in which nothing is a control token; ``first``: it is the beginning of the whole."""
    if not text:
        return [], []
    backend = getattr(tokenizer, "backend_tokenizer", None)  # None: a slow one
    metaspace = getattr(getattr(backend, "pre_tokenizer", None), "prepend_scheme", None)
    if not first and metaspace == "first":  # such a tokenizer would put a blank before every stretch: ask a copy
        from tokenizers import Tokenizer

        copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        copy.pre_tokenizer.prepend_scheme = "never"
        copy.encode_special_tokens = True
        e = copy.encode(text, add_special_tokens=False)
        return list(e.ids), cover([(int(a), int(b)) for a, b in e.offsets], len(text))
    return read(tokenizer, text)


def _raw_prefix(loaded: LoadedModel) -> list[int]:
    """Special tokens that the tokenizer puts before a raw text (BOS, mostly)."""
    tokenizer = loaded.tokenizer
    with_special = tokenizer("a", add_special_tokens=True)["input_ids"]
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    for k in range(len(with_special) - len(plain) + 1):
        if with_special[k : k + len(plain)] == plain:
            return list(with_special[:k])
    return []


def _as_source(loaded: LoadedModel, text: str, tokens: tuple[Token, ...], end: list[int]) -> tuple[Token, ...]:
    """A source as an encoder reads it: what tells the model its task is special, and ``end`` follows the text."""
    task, last = instruction(loaded, text), tokens[-1].word if tokens else -1
    marked = tuple(
        replace(t, role="special") if t.role == "user" and t.end is not None and t.end <= task else t for t in tokens
    )
    names = [str(loaded.tokenizer.convert_ids_to_tokens(i)) for i in end]
    return marked + tuple(
        Token(name, i, None, None, "special", None, last + 1 + k)
        for k, (i, name) in enumerate(zip(end, names, strict=True))
    )


def _tokens(
    loaded: LoadedModel,
    segments: list[Segment],
    rendered: str,
    bos: list[int],
    pieces: list[_Piece],
    *,
    bare: bool,
) -> tuple[Token, ...]:
    """Give each piece its role, message and offsets in the user's text."""
    bounds: list[tuple[int, int, Segment]] = []
    at = 0
    for segment in segments:
        bounds.append((at, at + len(segment.text), segment))
        at += len(segment.text)
    tokens = [
        Token(str(loaded.tokenizer.convert_ids_to_tokens(i)), i, None, None, "special", None, k)
        for k, i in enumerate(bos)
    ]
    numbers = words(rendered, [p.span for p in pieces])
    k = 0
    for piece, number in zip(pieces, numbers, strict=True):
        start, end = piece.span
        text = rendered[start:end]
        while k + 1 < len(bounds) and bounds[k][1] <= start:
            k += 1
        # A token across a border (two line breaks in one, say) belongs to the message that it holds text of.
        inside = [(a, b, s) for a, b, s in bounds[k : k + 3] if s.role != "template"]
        hit = next(((a, b, s) for a, b, s in inside if max(a, start) < min(b, end)), None)
        word = len(bos) + number
        if piece.special or hit is None:
            shown = text or str(loaded.tokenizer.convert_ids_to_tokens(piece.id))  # a blank that no text stands for
            tokens.append(Token(shown, piece.id, None, None, "special" if piece.special else "template", None, word))
            continue
        a, b, segment = hit
        first = segment.offset + max(start, a) - a
        last = segment.offset + min(end, b) - a
        message = None if bare else segment.message
        tokens.append(Token(text, piece.id, first, last, segment.role, message, word))
    return tuple(tokens)
