"""A token of the vocabulary as a reader would see it: its text, with no trace of the tokenizer's own spelling.

    shown(tokenizer, 11273)         # ' hello'
    shown(tokenizer, 162)           # '‹E5›': a byte that is part of a character
    spelled(tokenizer, 162)         # b'\xe5'

What stands for bytes of a character that is not whole is named by these bytes. Blanks stay blanks here; a renderer
makes them visible.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_REPLACEMENT = "\ufffd"


@cache
def byte_of() -> dict[str, int]:
    """Byte-level BPE's letters: each stands for one byte. Printable bytes of Latin-1 stand for themselves, the others
    for the letters from U+0100 on, in order (Radford et al. 2019, GPT-2)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(0x100 + k): b for k, b in enumerate(rest)}


def shown(tokenizer: Any, token: int) -> str:
    """The token's text; bytes of a part of a character as ``‹E5›‹8C›``; a token without any text by its name."""
    text = str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
    if text and _REPLACEMENT not in text:
        # Sentencepiece's decoders trim the blank that such a piece begins with.
        name = tokenizer.convert_ids_to_tokens(token)
        return " " + text if isinstance(name, str) and name.startswith("▁") and not text.startswith(" ") else text
    name = str(tokenizer.convert_ids_to_tokens(token))
    found = _bytes(name)
    return name if found is None else found.decode("utf-8", "surrogateescape").translate(_Escaped())


def spelled(tokenizer: Any, token: int) -> bytes:
    """The bytes that the token adds to a text, whole characters or not; of a token without any text its name's."""
    found = _bytes(str(tokenizer.convert_ids_to_tokens(token)))
    return shown(tokenizer, token).encode() if found is None else found


def _bytes(name: str) -> bytes | None:
    """The bytes that a vocabulary's entry stands for, None where it does not spell bytes."""
    single = _BYTE.fullmatch(name)
    if single:
        return bytes([int(single[1], 16)])
    letters = byte_of()
    return bytes(letters[c] for c in name) if name and all(c in letters for c in name) else None


class _Escaped(dict[int, str]):
    """Bytes that made no character, by their numbers."""

    def __missing__(self, code: int) -> str:
        return f"‹{code - 0xDC00:02X}›" if 0xDC80 <= code <= 0xDCFF else chr(code)
