"""Text that is safe to draw: every control character becomes something that one can see.

    python -c "from pellucid.render.visible import visible; print(visible('a\\x1b[31mb'))"    # a␛[31mb

What a prompt or a model says may hold escape sequences (which could clear the screen or retitle the window),
a right-to-left override (which shows words in an order that the model did not read), or characters without
width that smuggle words past the reader. Drawing them raw would be unsafe and untrue, so each is replaced by
a sign. A line feed stays, behind the sign ``↵``; what joins emoji and Indic letters stays too.
"""

from __future__ import annotations

import unicodedata

NEWLINE = "↵"
#: Format characters that have a shape, or shape their neighbours: without them letters and emoji fall apart.
_KEPT_FORMAT = {0x200C, 0x200D, *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}


def _sign(char: str) -> str:
    code = ord(char)
    if char == "\n":
        return NEWLINE + "\n"
    if char == "\t":
        return "⇥   "
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    kind = unicodedata.category(char)
    hidden = kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and code not in _KEPT_FORMAT)
    return f"‹U+{code:04X}›" if hidden else char


def visible(text: str) -> str:
    """``text`` with each control character replaced by a sign; a line feed is ``↵`` and a line feed."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_sign(c) for c in text)


def one_line(text: str) -> str:
    """``visible`` without any line break: for names, labels and table cells."""
    return visible(text).replace("\n", "")


def label(text: str) -> str:
    """A token as a name in a list: without the blank before it; one of blanks alone as ``␣``."""
    if text and not text.strip(" "):
        return "␣" * len(text)
    return one_line(text.strip(" ")).replace("⇥   ", "⇥")
