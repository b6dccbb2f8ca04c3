"""Documents: text files, folders, JSON Lines, Hub datasets, or the Python standard library that is on every machine.

    from pellucid.lab.data.sources import documents
    for d in documents(["book.txt", "corpus/", "stdlib"]): print(d.name, len(d.text))

A file is one document, a line of a .jsonl file is one, a row of a dataset is one. Files must be UTF-8 text.
"""

from __future__ import annotations

import hashlib
import json
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import InputError, MissingExtraError, OptionError

STDLIB = "stdlib"
HUB = "hub:"
#: Endings read as text when they lie in a folder; a file that is named itself may have any.
TEXT = (".txt", ".md", ".rst", ".py", ".tex", ".html", ".xml", ".csv", ".tsv", ".c", ".h", ".js", ".json", ".jsonl")


@dataclass(frozen=True)
class Document:
    """A text, and where it came from."""

    name: str
    text: str


def documents(sources: Sequence[str], *, field: str = "text") -> Iterator[Document]:
    """The documents of all sources, in order; ``field`` is where a JSON line or a dataset's row keeps its text.

    Sources: a file, a folder (its text files, in the order of their paths), ``hub:NAME`` or ``hub:NAME:SPLIT``
    (streamed; extra ``lab``), ``stdlib``. Raises ``InputError`` for what cannot be read, is empty, or is no text.
    """
    if not sources:
        raise OptionError("no data was given: expected a file, a folder, hub:NAME or stdlib")
    for source in sources:
        if source.startswith(HUB):
            yield from _hub(source, field)
            continue
        found = False
        for path in files(source):
            for document in _file(path, field):
                if document.text.strip():
                    found = True
                    yield document
        if not found:
            raise InputError(f"{source} is empty: expected some text")


def files(source: str) -> list[Path]:
    """The files that a source stands for, in the order of their paths. Raises ``InputError`` where there are none."""
    if source == STDLIB:
        root = Path(sysconfig.get_paths()["stdlib"])
        # The library itself: neither what was installed beside it nor its own tests' odd encodings.
        skip = ("site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__")
        return sorted(p for p in root.rglob("*.py") if not set(p.relative_to(root).parts) & set(skip))
    path = Path(source)
    if path.is_dir():
        found = sorted(
            p
            for p in path.rglob("*")
            if p.is_file()
            and p.suffix.lower() in TEXT
            and not any(part.startswith(".") for part in p.relative_to(path).parts)
        )
        if not found:
            raise InputError(f"the folder {source} holds no text files ({', '.join(TEXT)})")
        return found
    if not path.is_file():
        raise InputError(f"there is no file or folder {source} to take text from")
    return [path]


def fingerprint(sources: Sequence[str]) -> dict[str, str]:
    """SHA-256 of each source's files' contents (of a Hub dataset: of its name): has the data changed since?"""
    found = {}
    for source in sources:
        digest = hashlib.sha256(source.encode() if source.startswith(HUB) else b"")
        for path in [] if source.startswith(HUB) else files(source):
            digest.update(path.read_bytes())
        found[source] = digest.hexdigest()
    return found


def read(path: Path) -> str:
    """A UTF-8 text, line breaks as they are. Raises ``InputError``."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from None
    if b"\0" in data[:65536]:
        raise InputError(f"{path} is a binary file: expected UTF-8 text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise InputError(
            f"{path} is not UTF-8: byte 0x{data[e.start]:02x} at {e.start} cannot be read; convert it, e.g. with iconv"
        ) from None


def _file(path: Path, field: str) -> Iterator[Document]:
    text = read(path)
    if path.suffix.lower() != ".jsonl":
        yield Document(str(path), text)
        return
    for number, line in enumerate(text.split("\n"), 1):  # not at U+2028, which may stand in a string
        if line.strip():
            yield Document(f"{path}:{number}", _text(_json(line, path, number), field, f"{path}, line {number}"))


def _json(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as e:
        raise InputError(f"{path}, line {number} is not JSON: {e.msg}") from None


def _text(row: Any, field: str, where: str) -> str:
    if not isinstance(row, dict) or not isinstance(row.get(field), str):
        there = ", ".join(row) if isinstance(row, dict) else type(row).__name__
        raise InputError(f"{where} has no text in the field '{field}' (there is: {there}); name it with --field")
    text: str = row[field]
    return text


def _hub(source: str, field: str) -> Iterator[Document]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise MissingExtraError(f"{source} needs the package datasets: pip install 'pellucid[lab]'") from None
    name, _, split = source.removeprefix(HUB).partition(":")
    try:
        rows = load_dataset(name, split=split or "train", streaming=True)
    except Exception as e:  # the package's own errors have no common base
        raise InputError(f"the dataset {name} cannot be read: {(str(e).splitlines() or [''])[0]}") from e
    for number, row in enumerate(rows):
        yield Document(f"{source}:{number}", _text(row, field, f"{source}, row {number}"))
