"""Characters as one sees them: several code points that are drawn as one shape.

    from pellucid.render.graphemes import clusters
    clusters("e\\u0301👍🏽🇫🇷")          # three

A family emoji is people with joiners between them, a flag is two letters, an accent may be a code point of
its own. Cutting one apart, by colour or by a line break, would draw something that nobody wrote. This is the
part of Unicode's rule (UAX 29) that matters here, without a table to keep up to date.
"""

from __future__ import annotations

import unicodedata

_JOINERS = ("\u200c", "\u200d")


def _flag_letter(char: str) -> bool:
    return 0x1F1E6 <= ord(char) <= 0x1F1FF


def joins(before: str, char: str) -> bool:
    """Whether ``char`` is drawn as part of the cluster ``before``."""
    if not before or before[-1] in "\n\r\t ":
        return False
    if char.isascii():
        return False
    return (
        char in _JOINERS
        or (before[-1] == "\u200d" and ord(char) >= 0x2000)  # emoji join; a letter after a joiner stays itself
        or unicodedata.category(char) in ("Mn", "Me", "Mc")
        or 0x1F3FB <= ord(char) <= 0x1F3FF  # skin tones
        or (_flag_letter(char) and len(before) == 1 and _flag_letter(before))
    )


def clusters(text: str) -> list[str]:
    """``text`` cut into what is drawn as one."""
    out: list[str] = []
    for char in text:
        if out and joins(out[-1], char):
            out[-1] += char
        else:
            out.append(char)
    return out
