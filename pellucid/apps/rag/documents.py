"""Files to documents: which there are, and one reader a kind.

    read(path, path.read_bytes())                 # Reading: text and headings
    files(["docs", "notes.txt"])                  # those that can be read, in the order of their paths

To add a kind: a function (path, bytes) -> ``Reading`` that raises ``InputError`` in one sentence, and a line in
``READERS``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.apps.rag.portable import pdf
from pellucid.apps.rag.reading import Reading
from pellucid.apps.rag.textual import markdown, plain, python
from pellucid.apps.rag.webpages import html
from pellucid.errors import InputError

Reader = Callable[[Path, bytes], Reading]
READERS: dict[str, Reader] = {
    ".txt": plain,
    ".md": markdown,
    ".html": html,
    ".htm": html,
    ".pdf": pdf,
    ".py": python,
}
#: The file by which an index's folder is known.
MANIFEST = "pellucid-index.json"


@dataclass(frozen=True)
class Files:
    """What some paths stand for: ``found`` can be read by their endings; ``refused`` were named themselves and cannot;
    ``ignored`` files lie in the folders and are of other kinds."""

    found: tuple[Path, ...]
    refused: tuple[Path, ...]
    ignored: int


def files(paths: Sequence[Path]) -> Files:
    """The files that paths (files or folders) stand for, each once. Hidden ones, indexes, and links to folders are
    passed over; a path that is not there is no error here."""
    found: dict[Path, None] = {}
    refused: list[Path] = []
    ignored = 0
    for path in paths:
        if path.is_file():
            if path.suffix.lower() in READERS:
                found[path] = None
            else:
                refused.append(path)
            continue
        for file in _below(path):
            if file.suffix.lower() in READERS:
                found[file] = None
            else:
                ignored += 1
    return Files(tuple(found), tuple(refused), ignored)


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        if MANIFEST in names:
            folders.clear()
            continue
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__pycache__")
        for name in sorted(names):
            file = Path(place) / name
            if not name.startswith(".") and file.is_file():
                yield file


def load(path: Path) -> bytes:
    """The file's bytes. Raises ``InputError``."""
    try:
        return path.read_bytes()
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from None


def read(path: Path, data: bytes) -> Reading:
    """The document in ``data``, by ``path``'s ending. Raises ``InputError`` for what holds no text that can be read."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        given = f"'{path.suffix}'" if path.suffix else "no ending"
        raise InputError(f"{path} cannot be read: expected a file that ends in {', '.join(READERS)}, got {given}")
    if not data:
        raise InputError(f"{path} is empty")
    reading = reader(path, data)
    if not reading.text.strip():
        raise InputError(f"{path} holds no text")
    return reading
