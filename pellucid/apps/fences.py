"""The code in an answer: fenced blocks as CommonMark reads them, the one that is meant, and whether Python can read it.

    found = blocks("Here:\n```python\nprint(1)\n```\n")
    chosen(found, "python").code                         # 'print(1)'

Code is read with Python's own parser where it is Python; nothing is ever run.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

#: What the tags of fences, and people, call a language: the first is its name here.
NAMES = (
    ("python", "py", "python3", "py3"),
    ("javascript", "js", "node"),
    ("typescript", "ts"),
    ("bash", "sh", "shell", "zsh"),
    ("c++", "cpp", "cxx"),
    ("c#", "csharp", "cs"),
    ("go", "golang"),
    ("rust", "rs"),
    ("ruby", "rb"),
    ("kotlin", "kt"),
)
_OF = {name: names[0] for names in NAMES for name in names}


@dataclass(frozen=True)
class Block:
    """A fenced block: characters ``start`` to ``end`` of the answer hold its lines; ``code`` is without what its fence
    is set in by. ``tag`` is the first word behind the fence; ``closed``: its end is there."""

    code: str
    tag: str
    start: int
    end: int
    closed: bool


@dataclass(frozen=True)
class Syntax:
    """``ok``: Python's parser reads the code; None: it is not Python, and was not parsed. ``line`` (from 1) and
    ``message`` are the parser's where it does not."""

    ok: bool | None
    line: int | None = None
    message: str = ""


def language_name(text: str) -> str:
    """A language as it is called here: small letters, short forms as their name."""
    plain = text.strip().casefold()
    return _OF.get(plain, plain)


def blocks(answer: str) -> list[Block]:
    """The fenced blocks of an answer, in order."""
    from markdown_it import MarkdownIt

    # As markdown-it counts lines: \r\n and \r end one as \n does.
    lines = answer.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    begins, at = [], 0
    for line in lines:
        begins.append(at)
        at += len(line)
        at += 2 if answer[at : at + 2] == "\r\n" else 1
    begins.append(at)
    found = []
    for token in MarkdownIt("commonmark").parse(answer):
        if token.type != "fence" or token.map is None:
            continue
        first, last = token.map
        inner = token.content.count("\n") + (token.content[-1:] not in ("", "\n"))
        closed = last - first == inner + 2
        start = min(begins[first + 1], len(answer))
        end = min(begins[min(first + 1 + inner, len(lines))], len(answer))
        code = token.content.removesuffix("\n")
        found.append(Block(code, (token.info.split() or [""])[0], start, max(start, end), closed))
    return found


def chosen(found: Sequence[Block], language: str) -> Block | None:
    """The block that is meant: of those with something in them the first with the language's tag, else the first
    without a tag, else the first."""
    full = [b for b in found if b.code.strip()]
    named = [b for b in full if b.tag and language_name(b.tag) == language_name(language)]
    bare = [b for b in full if not b.tag]
    return next(iter([*named, *bare, *full]), None)


def syntax(code: str, language: str) -> Syntax:
    """Whether Python's parser (of the Python that this runs on) reads ``code``."""
    if language_name(language) != "python":
        return Syntax(None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the code that is read
            ast.parse(code)
    except SyntaxError as e:
        return Syntax(False, e.lineno, e.msg or "invalid syntax")
    except (ValueError, RecursionError, MemoryError) as e:  # a null byte; nested too deep
        return Syntax(False, None, str(e) or "nested too deep for Python's parser")
    return Syntax(True)


def says_something(code: str) -> bool:
    """Is this Python with a statement that is more than an expression? A word of prose is an expression, too."""
    if not syntax(code, "python").ok:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return any(not isinstance(node, ast.Expr) for node in ast.parse(code).body)
