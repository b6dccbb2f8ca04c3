"""Which characters each piece of a tokenizer stands for, where the tokenizer itself cannot say.

    read(tokenizer, "Ｈｅｌｌｏ  world")          # ids, and spans that tile the text
    locate("Ｈｅｌｌｏ  world", ["▁Hello", "▁world"])  # [(0, 5), (5, 12)]

Tokenizers written in Python (Marian's, M2M100's) give pieces without places. Their pieces, put together, are the text
as the tokenizer normalised it, so text and pieces are compared character by character, both decomposed (NFKD, case
folded) and with every run of blanks as one. Where the two differ, because the tokenizer dropped or exchanged
characters, the nearest place where they agree again is looked for, and what lies between belongs together.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pellucid.models.align import Span, cover

_BLANK = " "
_BLANKS = "▁\u200b\ufeff"  # sentencepiece's mark; characters without width, which it reads as blanks
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_REACH = 24  # characters that a tokenizer may exchange at one place
_AGREE = 2  # characters in a row that count as agreement again


def read(tokenizer: Any, text: str, *, control: bool = False) -> tuple[list[int], list[Span]]:
    """Ids of ``text`` without the tokenizer's own frame, and spans that tile it: by the tokenizer's offsets, or by
    ``locate`` where it has none. ``control``: control tokens written in the text are read as such."""
    if not text:
        return [], []
    if getattr(tokenizer, "is_fast", False):
        out = tokenizer(text, add_special_tokens=False, split_special_tokens=not control, return_offsets_mapping=True)
        return list(out["input_ids"]), cover([(int(a), int(b)) for a, b in out["offset_mapping"]], len(text))
    pieces = tokenizer.tokenize(text, split_special_tokens=not control)
    return [int(i) for i in tokenizer.convert_tokens_to_ids(pieces)], locate(text, pieces)


def locate(text: str, pieces: Sequence[str]) -> list[Span]:
    """Spans of ``pieces`` in ``text``, in order, that tile it; one that holds nothing of the text is empty."""
    mine, theirs = _text_units(text), _piece_units(pieces)
    spans: list[Span | None] = [None] * len(pieces)

    def give(units: Sequence[tuple[str, int]], start: int, end: int) -> None:
        for _, piece in units:
            here = spans[piece]
            spans[piece] = (start, end) if here is None else (min(here[0], start), max(here[1], end))

    i = j = 0
    while i < len(theirs) and j < len(mine):
        if theirs[i][0] == mine[j][0]:
            give(theirs[i : i + 1], *mine[j][1])
            i, j = i + 1, j + 1
            continue
        skip, pass_ = _agreement(theirs, mine, i, j)
        if skip and pass_:
            give(theirs[i : i + skip], mine[j][1][0], mine[j + pass_ - 1][1][1])
        i, j = i + skip, j + pass_
    return cover(_filled(spans, pieces), len(text))


def _agreement(theirs: Sequence[tuple[str, int]], mine: Sequence[tuple[str, Span]], i: int, j: int) -> tuple[int, int]:
    """How many units of the pieces and of the text to pass until both agree again; all of both if they never do."""
    # A blank more or less is the usual case (the one before the first word), and one character that agrees settles it.
    if theirs[i][0] == _BLANK and i + 1 < len(theirs) and theirs[i + 1][0] == mine[j][0]:
        return 1, 0
    if mine[j][0] == _BLANK and j + 1 < len(mine) and mine[j + 1][0] == theirs[i][0]:
        return 0, 1
    for total in range(1, 2 * _REACH + 1):
        for skip in sorted(range(total + 1), key=lambda n: abs(2 * n - total)):  # one for one before more for less
            a, b = i + skip, j + total - skip
            if a > len(theirs) or b > len(mine):
                continue
            left, right = theirs[a : a + _AGREE], mine[b : b + _AGREE]
            ends = a + _AGREE > len(theirs) or b + _AGREE > len(mine)
            length = min(len(left), len(right)) if ends else _AGREE
            same = [u for u, _ in left[:length]] == [u for u, _ in right[:length]]
            if same and (length > 0 or (a == len(theirs) and b == len(mine))):
                return skip, total - skip
    return len(theirs) - i, len(mine) - j


def _filled(spans: list[Span | None], pieces: Sequence[str]) -> list[Span]:
    """Places for the pieces that have none: later bytes of a character share its place, others get what is left
    between their neighbours."""
    out: list[Span] = []
    for k, span in enumerate(spans):
        if span is None and out and _BYTE.fullmatch(pieces[k]) and _BYTE.fullmatch(pieces[k - 1]):
            span = out[-1]
        if span is None:
            start = out[-1][1] if out else 0
            after = next((s[0] for s in spans[k + 1 :] if s is not None), start)
            # The blank that a tokenizer puts before the first word is no part of the text.
            span = (start, start if pieces[k] == "▁" else max(start, after))
        out.append(span)
    return out


@lru_cache(maxsize=4096)
def _decomposed(character: str) -> str:
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())


def _is_blank(character: str) -> bool:
    return character.isspace() or character in _BLANKS


def _text_units(text: str) -> list[tuple[str, Span]]:
    """(decomposed character, its place), a run of blanks as one."""
    units: list[tuple[str, Span]] = []
    for at, character in enumerate(text):
        parts = _decomposed(character)
        seen = any(not _is_blank(u) for u in parts)
        for u in parts:
            if not _is_blank(u):
                units.append((u, (at, at + 1)))
            elif not units or units[-1][0] != _BLANK:
                units.append((_BLANK, (at, at + 1)))
            elif not seen:  # the blank in a free-standing accent is no more of a blank before it
                units[-1] = (_BLANK, (units[-1][1][0], at + 1))
    return units


def _piece_units(pieces: Sequence[str]) -> list[tuple[str, int]]:
    """(decomposed character, number of its piece); a character in several byte pieces is the first one's."""
    units: list[tuple[str, int]] = []
    pending, first = b"", 0
    for number, piece in enumerate(pieces):
        byte = _BYTE.fullmatch(piece)
        if byte:
            first = first if pending else number
            pending += bytes([int(byte[1], 16)])
            try:
                shown, owner = pending.decode(), first
            except UnicodeDecodeError:
                continue
            pending = b""
        else:
            shown, owner, pending = piece.removesuffix("</w>"), number, b""  # the end of a word is no character
        for u in "".join(map(_decomposed, shown)):
            blank = _is_blank(u)
            if not (blank and units and units[-1][0] == _BLANK):
                units.append((_BLANK if blank else u, owner))
    return units
