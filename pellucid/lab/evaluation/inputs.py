"""What is read before a model is loaded: held-out documents, prompts, references, and the rows of task files.

    documents(Path("held-out.txt"))        # [Document("held-out.txt", "...")]
    prompts(Path("prompts.txt"))           # one a line, or {"prompt": ...} a line of a .jsonl

Everything that is wrong with a file is said here, in one sentence with the file and the line.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import InputError


@dataclass(frozen=True)
class Document:
    """A held-out text, and what it is called."""

    name: str
    text: str


def text_of(path: Path) -> str:
    """A UTF-8 text, line breaks as they are. Raises ``InputError`` for a file that cannot be read, is not text
    (another encoding, binary), or is empty."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from None
    if b"\0" in data[:4096]:
        raise InputError(f"{path} is not a text file (it holds zero bytes): expected UTF-8 text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise InputError(
            f"{path} is not UTF-8: byte 0x{data[e.start]:02x} at {e.start} cannot be read; convert it, e.g. with iconv"
        ) from None
    if not text.strip():
        raise InputError(f"{path} is empty: expected some text")
    return text


def lines_of(path: Path) -> list[str]:
    """The lines of a text, counted as editors count them: other marks (U+2028, form feeds) are part of a line."""
    lines = [line.removesuffix("\r") for line in text_of(path).split("\n")]
    while not lines[-1]:
        lines.pop()
    return lines


def json_lines(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The ``columns`` of each line of a JSONL file; numbers are taken as texts. Raises ``InputError`` for a line that
    is not an object, or lacks one."""
    rows: list[dict[str, str]] = []
    for number, line in enumerate(lines_of(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as e:
            raise InputError(f"{path}, line {number}, is not JSON: {e.msg}; expected one object a line") from None
        if not isinstance(row, dict):
            raise InputError(
                f"{path}, line {number}, holds {type(row).__name__}: expected an object with {_named(columns)}"
            )
        for column in columns:
            if column not in row:
                raise InputError(
                    f"{path}, line {number}, has no '{column}': expected an object with {_named(columns)}, given "
                    f"{', '.join(map(repr, row)) or 'an empty one'}"
                )
            if isinstance(row[column], bool) or not isinstance(row[column], str | int | float):
                raise InputError(
                    f"{path}, line {number}: '{column}' should be a text, and is {json.dumps(row[column])[:40]}"
                )
        rows.append({c: str(row[c]) for c in columns})
    return rows


def tab_lines(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The same of a file with columns between tabs and no head line."""
    rows = []
    for number, line in enumerate(lines_of(path), 1):
        if not line.strip():
            continue
        parts = line.split("\t")
        if len(parts) != len(columns):
            raise InputError(
                f"{path}, line {number}, has {len(parts)} column{'s' * (len(parts) != 1)}: expected "
                f"{'<TAB>'.join(columns)}"
            )
        rows.append(dict(zip(columns, parts, strict=True)))
    return rows


def table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """``json_lines`` or ``tab_lines``, by the file's ending."""
    return json_lines(path, columns) if path.suffix.lower() in (".jsonl", ".json") else tab_lines(path, columns)


def documents(path: Path) -> list[Document]:
    """A text file is one document; of a .jsonl each line's ``text`` is one; a folder is its .txt, .md and .jsonl files.
    Raises ``InputError``."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in (".txt", ".md", ".jsonl"))
        if not files:
            raise InputError(f"the folder {path} holds no .txt, .md or .jsonl file: expected held-out text")
        return [d for p in files for d in documents(p)]
    if path.suffix.lower() != ".jsonl":
        return [Document(path.name, text_of(path))]
    found = [Document(f"{path.name}:{k}", row["text"]) for k, row in enumerate(json_lines(path, ["text"]), 1)]
    return [d for d in found if d.text.strip()]


def prompts(path: Path) -> list[str]:
    r"""One prompt a line, in which ``\n`` stands for a line break; or the ``prompt`` of each line of a .jsonl."""
    if path.suffix.lower() == ".jsonl":
        found = [row["prompt"] for row in json_lines(path, ["prompt"])]
    else:
        found = [line.replace("\\n", "\n") for line in lines_of(path) if line.strip()]
    if not all(p.strip() for p in found):
        raise InputError(f"a prompt of {path} is empty: expected some text in each")
    return found


def references(path: Path, prompts: int) -> list[str]:
    r"""One reference a prompt, a line each (``\n`` is a line break), or the ``reference`` of each line of a .jsonl.

    Raises ``InputError`` where their count is not that of the ``prompts``, or one is empty.
    """
    if path.suffix.lower() == ".jsonl":
        found = [row["reference"] for row in json_lines(path, ["reference"])]
    else:
        found = [line.replace("\\n", "\n") for line in lines_of(path)]
    if len(found) != prompts:
        raise InputError(
            f"{path} holds {len(found)} reference{'s' * (len(found) != 1)} and there {'are' if prompts != 1 else 'is'} "
            f"{prompts} prompt{'s' * (prompts != 1)}: expected one reference a prompt, in the same order"
        )
    empty = next((k for k, text in enumerate(found, 1) if not text.strip()), None)
    if empty is not None:
        raise InputError(f"reference {empty} of {path} is empty: expected some text in each")
    return found


def spread(rows: Sequence[Any], limit: int | None) -> list[Any]:
    """At most ``limit`` rows, evenly spaced: files are often sorted, by label or by subject."""
    if limit is None or limit >= len(rows):
        return list(rows)
    return [rows[k * len(rows) // limit] for k in range(limit)]


def _named(columns: Sequence[str]) -> str:
    return " and ".join(f"'{c}'" for c in columns)
