"""Readers of text: plain text, Markdown, Python. What they give is the file's own text, character for character."""

from __future__ import annotations

import ast
import re
import warnings
from itertools import pairwise
from pathlib import Path

from pellucid.apps.rag.reading import Heading, Reading, decoded, line_starts, nested

_FRONT = re.compile(r"\A---[^\S\n]*\n.*?^---[^\S\n]*$", re.DOTALL | re.MULTILINE)


def plain(path: Path, data: bytes) -> Reading:
    """A text without headings."""
    return Reading(decoded(path, data))


def markdown(path: Path, data: bytes) -> Reading:
    """Markdown, as it is written; headings by CommonMark's rules (markdown-it-py), so not the # in a block of code.

    Data about the page, between two lines of --- at its beginning, is none (by those rules it would be).
    """
    from markdown_it import MarkdownIt

    text = decoded(path, data)
    front = _FRONT.match(text)
    begins, marks = line_starts(text), []
    tokens = MarkdownIt("commonmark").parse(text)
    for token, inline in pairwise(tokens):
        if token.type != "heading_open":
            continue
        first, last = token.map or (0, 0)  # a heading has one
        start, end = begins[first], begins[min(last, len(begins) - 1)]
        if front is not None and start < front.end() and token.markup in ("-", "="):
            continue
        words = "".join(t.content for t in inline.children or () if t.type in ("text", "code_inline", "softbreak"))
        marks.append((start, end, int(token.tag[1:]), words))
    return Reading(text, nested(marks))


def python(path: Path, data: bytes) -> Reading:
    """A Python file; classes, functions and methods are its headings, by their qualified names. A file that Python
    cannot parse is read as a text without headings."""
    text = decoded(path, data)
    try:
        with warnings.catch_warnings():  # "\d" in another one's string is not ours to mend
            warnings.simplefilter("ignore")
            tree = ast.parse(text.removeprefix("\ufeff"))
    except (SyntaxError, ValueError, RecursionError):
        return Reading(text)
    begins = line_starts(text)
    found: list[Heading] = []

    def walk(body: list[ast.stmt], above: str) -> None:
        for node in body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            name = f"{above}.{node.name}" if above else node.name
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            start = begins[first - 1]
            found.append(Heading(start, start, name))
            if isinstance(node, ast.ClassDef):
                walk(node.body, name)
            after = begins[min(node.end_lineno or first, len(begins) - 1)]
            found.append(Heading(after, after, above))  # what comes behind it is not its own

    walk(tree.body, "")
    # Where one ends and the next begins at once, the later word counts.
    last_at = {h.start: h for h in found}
    return Reading(text, tuple(last_at.values()))
