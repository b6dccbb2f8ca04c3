"""An index on disk: generations that are whole, and one file that says which of them holds.

    kb/pellucid-index.json            the manifest: schema, generation, how passages, terms and vectors were made
    kb/generation-000003/             passages.sqlite (documents, passages, vectors), bm25/ (bm25s's arrays)

A writer makes a new generation beside the old one and then replaces the manifest in one step. Killed at any moment
before, it leaves the old index; what it had begun is swept by the next writer. Readers need no lock and may read from
a medium that cannot be written. One writer at a time.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import filelock

from pellucid.apps.rag.documents import MANIFEST
from pellucid.errors import InputError, OutputError, SchemaError

SCHEMA = "pellucid.knowledge/1"
DATABASE, WORDS, LOCK, PREFIX = "passages.sqlite", "bm25", ".lock", "generation-"
TABLES = """
CREATE TABLE collections (name TEXT PRIMARY KEY, description TEXT NOT NULL);
CREATE TABLE documents (
  id INTEGER PRIMARY KEY, collection TEXT NOT NULL, name TEXT NOT NULL, path BLOB NOT NULL, digest TEXT NOT NULL,
  text TEXT NOT NULL, UNIQUE (collection, path), UNIQUE (collection, name)
);
CREATE TABLE passages (
  id TEXT PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents (id), number INTEGER NOT NULL,
  "start" INTEGER NOT NULL, "end" INTEGER NOT NULL, heading TEXT NOT NULL, terms TEXT NOT NULL, vector BLOB
);
CREATE INDEX passages_document ON passages (document);
"""
#: The order of passages in every array: the same however the index came to be.
ORDER = "FROM passages p JOIN documents d ON p.document = d.id ORDER BY d.collection, d.name, p.number"


@dataclass(frozen=True)
class Manifest:
    """How an index was made. ``chinese``: the rule of ``terms.Terms``; ``embedding``: what made the vectors, None where
    there are none; ``retriever``: what a search uses that names none."""

    generation: str
    version: str
    size: int
    overlap: int
    chinese: str
    retriever: str
    embedding: str | None = None
    schema: str = SCHEMA


def manifest_of(path: Path) -> Manifest:
    """The manifest of the index in ``path``. Raises ``InputError`` where there is none, ``SchemaError``."""
    if not path.exists():
        raise InputError(f"there is no index {path}: make one with pellucid rag index PATHS --out {path}")
    file = path / MANIFEST
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path} is no index: it holds no {MANIFEST}") from None
    except OSError as e:
        raise InputError(f"cannot read {file}: {e.strerror or e}") from None
    except ValueError:
        raise SchemaError(
            f"{file} is no manifest of an index, or is damaged: index again into another folder"
        ) from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise SchemaError(
            f"{path} was made by another version of Pellucid ({schema}, and this one reads {SCHEMA}): index again into "
            "another folder"
        )
    try:
        return Manifest(**{f.name: data[f.name] for f in fields(Manifest)})
    except KeyError as e:
        raise SchemaError(f"{file} lacks {e}: index again into another folder") from None


def connect(folder: Path) -> sqlite3.Connection:
    """A generation's database, read only; usable from any thread, one at a time."""
    uri = (folder / DATABASE).resolve().as_uri()
    return sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, check_same_thread=False)


def counts(db: sqlite3.Connection) -> tuple[int, int]:
    """Documents and passages."""
    documents, passages = db.execute(
        "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM passages)"
    ).fetchone()
    return int(documents), int(passages)


class Draft:
    """The generation that is being written: ``db`` begins as a copy of the last one; arrays go to ``folder``."""

    def __init__(self, path: Path, manifest: Manifest | None) -> None:
        self.path, self.committed = path, False
        number = 1 + (int(manifest.generation.removeprefix(PREFIX)) if manifest else 0)
        self.name = f"{PREFIX}{number:06d}"
        self.folder = path / self.name
        self.folder.mkdir()
        if manifest:
            shutil.copyfile(path / manifest.generation / DATABASE, self.folder / DATABASE)
        self.db = sqlite3.connect(self.folder / DATABASE)
        # Nobody reads this file before it is whole, and a broken one is thrown away: it needs no journal.
        self.db.execute("PRAGMA journal_mode = OFF")
        self.db.execute("PRAGMA synchronous = OFF")
        self.db.execute("PRAGMA secure_delete = ON")  # what was removed is not to be found in the file's gaps
        if not manifest:
            self.db.executescript(TABLES)

    def commit(self, manifest: Manifest) -> None:
        """From now on this generation is the index."""
        self.db.commit()
        self.db.close()
        for place, _, names in os.walk(self.folder):
            for name in names:
                _flush(Path(place) / name)
            _flush(Path(place))
        scratch = self.path / f".{MANIFEST}.tmp"
        scratch.write_text(json.dumps(asdict(manifest), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        _flush(scratch)
        scratch.replace(self.path / MANIFEST)
        self.committed = True
        _flush(self.path)
        sweep(self.path, self.name)


def sweep(path: Path, keep: str | None) -> None:
    """Remove all generations but one. Where a reader keeps a file from going (Windows), the next writer does."""
    for folder in path.glob(f"{PREFIX}*"):
        if folder.name != keep:
            shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        (path / f".{MANIFEST}.tmp").unlink()


def _flush(path: Path) -> None:
    """To the disk. A folder cannot be opened for that on Windows."""
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() or os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Writer:
    """Who holds the lock: ``manifest`` of the index as it stands (None: there is none yet), and at most one draft."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = manifest_of(path) if (path / MANIFEST).exists() else None
        self._draft: Draft | None = None
        sweep(path, self.manifest.generation if self.manifest else None)

    def documents(self) -> list[tuple[int, str, str, bytes, str]]:
        """(id, collection, name, path, digest) of the documents as the index stands."""
        if self.manifest is None:
            return []
        with closing(connect(self.path / self.manifest.generation)) as db:
            return db.execute("SELECT id, collection, name, path, digest FROM documents").fetchall()

    def counts(self) -> tuple[int, int]:
        """Documents and passages of the index as it stands."""
        if self.manifest is None:
            return 0, 0
        with closing(connect(self.path / self.manifest.generation)) as db:
            return counts(db)

    def begin(self) -> Draft:
        """Start the next generation."""
        self._draft = Draft(self.path, self.manifest)
        return self._draft

    def end(self) -> None:
        """Throw away what was not committed."""
        if self._draft is not None and not self._draft.committed:
            self._draft.db.close()
            shutil.rmtree(self._draft.folder, ignore_errors=True)
        if not (self.path / MANIFEST).exists():  # nothing came of it: as it was before
            with suppress(OSError):
                (self.path / LOCK).unlink()
            with suppress(OSError):
                self.path.rmdir()


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """A writer, alone: what it does not commit is thrown away.

    Raises ``OutputError`` where ``path`` cannot be written, is another kind of folder, or has a writer already.
    """
    try:
        if path.is_dir() and not (path / MANIFEST).exists() and any(not _ours(p) for p in path.iterdir()):
            raise OutputError(f"{path} is a folder with other things in it, and no index: name a new folder")
        path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path / LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise OutputError(f"{path} is being written by another process: wait until that has ended") from None
        try:
            writer = Writer(path)
            try:
                yield writer
            finally:
                writer.end()
        finally:
            lock.release()
    except FileExistsError:
        raise OutputError(f"cannot write {path}: it is a file; name a new folder") from None
    except OSError as e:
        raise OutputError(f"cannot write {path}: {e.strerror or e}") from None
    except sqlite3.Error as e:
        raise OutputError(f"cannot write {path}: {e}") from None


def _ours(path: Path) -> bool:
    return path.name.startswith((PREFIX, f".{MANIFEST}")) or path.name == LOCK
