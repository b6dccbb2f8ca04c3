"""The reader of HTML: what a page says, block by block, with h1 to h6 as headings (beautifulsoup4)."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from pellucid.apps.rag.reading import BOMS, Reading, decoded, needed, nested
from pellucid.errors import InputError

#: Not part of what a reader sees.
UNSEEN = frozenset({"script", "style", "template", "noscript", "head", "svg", "iframe", "object", "select", "textarea"})
_APART = "p h1 h2 h3 h4 h5 h6 ul ol dl pre table blockquote section article header footer nav aside main figure form "
_APART += "fieldset details"
_LINES = "div li dt dd tr br hr caption figcaption summary address"
#: Have a blank line about them; stand in lines of their own.
APART, LINES = frozenset(_APART.split()), frozenset(_LINES.split())
CELLS = frozenset({"td", "th"})
_BLANKS = re.compile(r"[^\S\xa0]+")


class _Page:
    """The text so far; breaks are kept back until something follows."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self.waiting = ""  # "\n", "\n\n", " " or "\t" that stands before the next word
        self.marks: list[tuple[int, int, int, str]] = []

    def brk(self, mark: str) -> None:
        """A break: the greater one of what waits and this."""
        order = ("", " ", "\t", "\n", "\n\n")
        if self.length and order.index(mark) > order.index(self.waiting):
            self.waiting = mark

    def add(self, text: str) -> None:
        """Put a text, with what waits before it."""
        for piece in (self.waiting, text):
            self.parts.append(piece)
            self.length += len(piece)
        self.waiting = ""

    def say(self, text: str) -> None:
        """A text whose blanks count as one."""
        words = _BLANKS.sub(" ", text)
        if words[:1] == " ":
            self.brk(" ")
        if words.strip(" "):
            self.add(words.strip(" "))
            if words[-1] == " ":
                self.brk(" ")


def html(path: Path, data: bytes) -> Reading:
    """A page's visible text. Bytes are UTF-8, or what a byte order mark or the page itself declares."""
    library = needed("bs4", "beautifulsoup4", f"reading {path}")
    with warnings.catch_warnings():  # of pages that look like XML, or like a file's name
        warnings.simplefilter("ignore")
        try:
            soup = library.BeautifulSoup(_text(path, data), "html.parser")
        except library.ParserRejectedMarkup as e:
            raise InputError(f"{path} cannot be read as HTML: {(str(e).splitlines() or [''])[0]}") from None
    page = _Page()
    opened: list[tuple[int, int]] = []  # of headings: level, start
    # A stack and no recursion: pages may be nested deeper than Python's calls.
    todo: list[tuple[Any, bool, bool]] = [(soup, True, False)]  # node, entering, within <pre>
    while todo:
        node, entering, kept = todo.pop()
        name = node.name
        if name is None:
            if type(node) is library.NavigableString or type(node) is library.CData:
                _say(page, str(node), kept)
            continue
        if name in UNSEEN:
            continue
        if entering:
            page.brk("\t" if name in CELLS else _break(name))
            if _level(name):
                opened.append((_level(name), page.length + len(page.waiting)))
            inner = kept or name == "pre"
            todo.append((node, False, kept))
            todo += [(child, True, inner) for child in reversed(node.contents)]
            continue
        if _level(name) and opened:
            level, start = opened.pop()
            words = "".join(page.parts)[start:] if page.length > start else ""
            if words.strip():
                page.marks.append((start, page.length, level, words))
        page.brk("\t" if name in CELLS else _break(name))
    return Reading("".join(page.parts), nested(sorted(page.marks)))


def _say(page: _Page, text: str, kept: bool) -> None:
    if not kept:
        page.say(text)
    elif text:
        page.add(text)


def _break(name: str) -> str:
    return "\n\n" if name in APART else "\n" if name in LINES else ""


def _level(name: str) -> int:
    return int(name[1]) if re.fullmatch("h[1-6]", name) else 0


def _text(path: Path, data: bytes) -> str:
    """The page's source."""
    if any(data.startswith(mark) for mark, _ in BOMS):
        return decoded(path, data)
    try:
        return decoded(path, data)
    except InputError:
        detector = needed("bs4.dammit", "beautifulsoup4", f"reading {path}").EncodingDetector
        declared = detector.find_declared_encoding(data, is_html=True)
        if declared is None:
            raise
        try:
            return data.decode(declared).replace("\0", "\ufffd")
        except (LookupError, UnicodeDecodeError):
            raise InputError(
                f"{path} declares its encoding as {declared} and cannot be read by it: convert it to UTF-8"
            ) from None
