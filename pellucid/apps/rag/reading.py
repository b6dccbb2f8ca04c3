"""A file as it was read: its text, and the headings in it, at the characters where they stand.

    reading = textual.markdown(Path("notes.md"), data)
    reading.text[reading.headings[0].start : reading.headings[0].end]

Also what the readers share: bytes to text, an optional package or the sentence that names its extra.
"""

from __future__ import annotations

import codecs
import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import InputError, MissingExtraError

#: Marks at a file's beginning that name its encoding; UTF-32's begins with UTF-16's.
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Heading:
    """What a stretch of the text, up to the next heading, stands under: ``text`` names it with those that it stands
    under itself ("Tuning > Data"). ``start`` to ``end`` are the heading's own characters (none for a PDF's page)."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Reading:
    """A document's text and its headings, in order."""

    text: str
    headings: tuple[Heading, ...] = ()


def decoded(path: Path, data: bytes) -> str:
    """UTF-8, or what a byte order mark says; line breaks as they are. Raises ``InputError`` that names the byte."""
    encoding = next((name for mark, name in BOMS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as e:
        name = encoding.removesuffix("-sig").upper()
        raise InputError(
            f"{path} is not {name}: byte 0x{data[e.start]:02x} at {e.start} cannot be read; convert it, e.g. with iconv"
        ) from None
    if "\0" in text:
        raise InputError(f"{path} is a binary file (it holds a NUL at {text.index(chr(0))}): expected text")
    return text


def line_starts(text: str) -> list[int]:
    """Where each line begins, and the text's end."""
    return [0, *(m.end() for m in _LINE.finditer(text)), len(text)]


def nested(marks: Sequence[tuple[int, int, int, str]]) -> tuple[Heading, ...]:
    """Headings (start, end, level, text) with what they stand under: a smaller level stands above."""
    above: list[tuple[int, str]] = []
    found = []
    for start, end, level, text in marks:
        above = [*((k, t) for k, t in above if k < level), (level, " ".join(text.split()))]
        found.append(Heading(start, end, " > ".join(t for _, t in above if t)))
    return tuple(found)


def needed(module: str, package: str, what: str, extra: str = "rag") -> Any:
    """The module. Raises ``MissingExtraError`` that names package and extra."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtraError(
            f"{what} needs the package {package}, which is not installed: pip install 'pellucid[{extra}]'"
        ) from None
