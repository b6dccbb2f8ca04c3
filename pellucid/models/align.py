"""Token ids to characters: which stretch of a text each token stands for.

    align_ids(tokenizer, ids)        # ids that a model generated: text and spans
    cover(offsets, length)           # a tokenizer's offsets, without the gaps that trimming leaves

Spans count Unicode code points. Tokens that hold only part of a character's bytes share the span of that character.
"""

from __future__ import annotations

import re
from typing import Any

Span = tuple[int, int]

# A character has at most four bytes; more pending pieces than that are bytes that no text has.
_MAX_PENDING = 8
_REPLACEMENT = "�"


def cover(offsets: list[Span], length: int) -> list[Span]:
    """Offsets that tile ``0..length``: what a tokenizer trims (leading blanks, mostly) goes to the token after it.

    Spans that overlap are pieces of one character (the first may hold a blank before it): all get their union.
    """
    tiled: list[Span] = []
    group = 0  # where the tokens of the current character begin
    for start, end in offsets:
        reached = tiled[-1][1] if tiled else 0
        if start < reached and tiled:
            union = (tiled[-1][0], max(reached, end))
            tiled[group:] = [union] * (len(tiled) - group + 1)
            continue
        group = len(tiled)
        tiled.append((min(start, reached), max(end, reached)))
    if tiled and tiled[-1][1] < length:  # blanks at the very end belong to the last token
        tiled[group:] = [(tiled[-1][0], length)] * (len(tiled) - group)
    return tiled


def align_ids(tokenizer: Any, ids: list[int]) -> tuple[str, list[Span]]:
    """The text of generated ``ids``, and each token's span in it: ``text[start:end]``.

    Decodes in a window that moves on whenever the text so far is whole, so the cost is linear; the window's first
    part keeps the context that some decoders need to know whether a blank belongs in front.
    """
    text, spans = "", []
    window = whole = 0  # ids before `whole` are in `text`; `window` is where decoding begins
    for i in range(len(ids)):
        before = _decode(tokenizer, ids[window:whole])
        now = _decode(tokenizer, ids[window : i + 1])
        pending = i + 1 - whole
        if now.endswith(_REPLACEMENT) and pending < _MAX_PENDING and i + 1 < len(ids):
            continue
        new = now[len(before) :]
        spans += [(len(text), len(text) + len(new))] * pending
        text += new
        window, whole = whole, i + 1
    # Decoders that trim the blanks at the ends of what they are given lose some at the windows' borders.
    entire = _decode(tokenizer, ids)
    return (text, spans) if text == entire else _align_by_beginnings(tokenizer, ids, entire)


def _align_by_beginnings(tokenizer: Any, ids: list[int], text: str) -> tuple[str, list[Span]]:
    """As ``align_ids``, from the texts of the first 1, 2, 3, ... ids; quadratic."""
    spans: list[Span] = []
    reached = 0
    for i in range(len(ids)):
        now = _decode(tokenizer, ids[: i + 1]) if i + 1 < len(ids) else text
        # How far this beginning agrees with the whole: not into half a character, nor past what comes later.
        end = next((k for k, (a, b) in enumerate(zip(now, text, strict=False)) if a != b), min(len(now), len(text)))
        spans.append((reached, max(end, reached)))
        reached = max(end, reached)
    for i in range(len(ids) - 2, -1, -1):  # a token of part of a character goes with the one that ends it
        if spans[i][0] == spans[i][1] and _decode(tokenizer, ids[i : i + 1]).endswith(_REPLACEMENT):
            spans[i] = spans[i + 1]
    return text, spans


def _decode(tokenizer: Any, ids: list[int]) -> str:
    if not ids:
        return ""
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# A CJK character alone; or a run of letters, digits and combining marks with inner apostrophes; or a mark alone.
_RUN = rf"(?:(?![{_CJK}])[\w\u0300-\u036f])+"
_WORD = re.compile(rf"[{_CJK}]|{_RUN}(?:['\u2019]{_RUN})*|[^\w\s]")


def words(text: str, spans: list[Span]) -> list[int]:
    """For each token the number of the word that it belongs to, counted from 0 in order of the tokens.

    A token goes with the word that its first visible character lies in; a token of blanks alone, or one that begins
    a new word, opens a new number. CJK characters are words of their own here.
    """
    owner = [-1] * len(text)
    for k, m in enumerate(_WORD.finditer(text)):
        for at in range(m.start(), m.end()):
            owner[at] = k
    numbers: list[int] = []
    last: int | None = None
    for start, end in spans:
        word = next((owner[at] for at in range(start, min(end, len(text))) if owner[at] >= 0), None)
        if word is None or word != last or not numbers:
            numbers.append(numbers[-1] + 1 if numbers else 0)
        else:
            numbers.append(numbers[-1])
        last = word
    return numbers
