"""An index, open for questions.

    from pellucid.apps.rag.knowledge import Knowledge, index
    index("docs", "kb")
    kb = Knowledge.open("kb")
    kb.search("How do I resume training?", 3)[0].passage.text
    kb.find("How do I resume training?").show()

What is open is the index as it was then; one that is written meanwhile is seen by the next ``open``.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pellucid.apps.rag import store
from pellucid.apps.rag.bm25 import Bm25
from pellucid.apps.rag.dense import Embedder, Embeds, embedder
from pellucid.apps.rag.indexing import IndexReport, PathLike, Skipped, index
from pellucid.apps.rag.passage import Found, Passage
from pellucid.apps.rag.passages import Passages, Why
from pellucid.apps.rag.retrievers import RETRIEVERS
from pellucid.apps.rag.terms import Terms
from pellucid.errors import InputError, OptionError, SchemaError, unknown

__all__ = ["Collection", "Document", "IndexReport", "Knowledge", "Skipped", "Stale", "index"]
MISSING, CHANGED = "missing", "changed"


@dataclass(frozen=True)
class Collection:
    """Documents that belong together, and what its maker says of them."""

    name: str
    description: str
    documents: int
    passages: int


@dataclass(frozen=True)
class Document:
    """A document: its name, and the file that it was read from."""

    name: str
    collection: str
    path: str
    passages: int


@dataclass(frozen=True)
class Stale:
    """A document whose file is ``missing``, or has ``changed``: the index answers with the text that it had."""

    document: str
    collection: str
    reason: str


class Knowledge:
    """See ``open``. May be asked from several threads."""

    def __init__(self, path: Path, model: Embeds | None = None) -> None:
        self.path, self._model = path, model
        self._lock = threading.Lock()
        self.manifest, self._db, self.bm25 = _whole(path)
        rows = self._all(f"SELECT p.id, d.collection {store.ORDER}")
        self._ids = [i for i, _ in rows]
        self._collections = np.array([c for _, c in rows], dtype=object)
        if len(rows) != int(self.bm25.index.scores["num_docs"]):
            raise _damaged(path, "its word statistics are of other passages")
        self.terms = Terms(self.manifest.chinese)

    @classmethod
    def open(cls, path: PathLike, *, model: Embeds | None = None) -> Knowledge:
        """The index in ``path``. ``model``: the embedding model, where it is to be one in memory; it must be the one
        that the index was made with. Raises ``InputError`` where there is no index, ``SchemaError`` where it is of
        another version or damaged, ``MissingExtraError``."""
        return cls(Path(path), model)

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def close(self) -> None:
        """Let go of the files."""
        self._db.close()

    def __enter__(self) -> Knowledge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def retriever(self) -> str:
        """What a search uses that names none."""
        return self.manifest.retriever

    @cached_property
    def vectors(self) -> npt.NDArray[np.float32]:
        """[passages, width], each of length 1. Raises ``OptionError`` where the index has none."""
        if self.manifest.embedding is None:
            raise OptionError(f"{self.path} has no vectors: index with dense= (--dense), or search by bm25")
        rows = self._all(f"SELECT p.vector {store.ORDER}")
        return np.stack([np.frombuffer(v, dtype="<f4") for (v,) in rows])

    @cached_property
    def embedder(self) -> Embedder:
        """What made the vectors. Raises ``OptionError`` where another model was given, ``ModelError``."""
        own = self.manifest.embedding
        given = self._model if self._model is not None else own
        if own is None or given is None:
            raise OptionError(f"{self.path} has no vectors")
        found = embedder(given)
        if found.name != own:
            raise OptionError(
                f"{self.path} has vectors by '{own}', and '{found.name}' was given: give that one, or none"
            )
        return found

    @property
    def collections(self) -> tuple[Collection, ...]:
        """What there is, by name."""
        rows = self._all(
            "SELECT c.name, c.description, count(DISTINCT d.id), count(p.id) FROM collections c JOIN documents d ON "
            "d.collection = c.name LEFT JOIN passages p ON p.document = d.id GROUP BY c.name ORDER BY c.name"
        )
        return tuple(Collection(*row) for row in rows)

    @property
    def documents(self) -> tuple[Document, ...]:
        """All documents, by collection and name."""
        rows = self._all(
            "SELECT d.name, d.collection, d.path, count(p.id) FROM documents d LEFT JOIN passages p "
            "ON p.document = d.id GROUP BY d.id ORDER BY d.collection, d.name"
        )
        return tuple(Document(name, collection, os.fsdecode(path), n) for name, collection, path, n in rows)

    def text(self, document: str, collection: str | None = None) -> str:
        """A document's whole text, in which its passages' characters are counted. Raises ``OptionError``."""
        rows = self._all("SELECT collection, text FROM documents WHERE name = ? ORDER BY collection", (document,))
        found = [text for own, text in rows if collection in (None, own)]
        if not found:
            raise unknown("document", document, [d.name for d in self.documents])
        return str(found[0])

    def passages(self, collection: str | None = None) -> Iterator[Passage]:
        """All passages, by collection, document and place. Raises ``OptionError``."""
        self._check(collection)
        for number, name, own, text in self._all(
            "SELECT id, name, collection, text FROM documents ORDER BY collection, name"
        ):
            if collection in (None, own):
                for key, start, end, heading in self._all(
                    'SELECT id, "start", "end", heading FROM passages WHERE document = ? ORDER BY number', (number,)
                ):
                    yield Passage(key, name, start, end, text[start:end], heading, own)

    def _passage(self, key: str) -> Passage:
        row = self._all(
            'SELECT d.name, p."start", p."end", d.text, p.heading, d.collection FROM passages p JOIN documents d ON '
            "p.document = d.id WHERE p.id = ?",
            (key,),
        )[0]
        name, start, end, text, heading, collection = row
        return Passage(key, name, start, end, text[start:end], heading, collection)

    def _check(self, collection: str | None) -> None:
        names = [c.name for c in self.collections]
        if collection is not None and collection not in names:
            raise unknown("collection", collection, names)

    def search(
        self, query: str, k: int = 5, *, retriever: str | None = None, collection: str | None = None
    ) -> list[Found]:
        """The ``k`` best passages, best first; fewer, or none, where no more have a score above zero.

        ``retriever``: bm25, dense or hybrid; default: the index's own. Word statistics are of the whole index, also
        where one collection is asked. Raises ``InputError`` for an empty question, ``OptionError``.
        """
        return [found for found, _ in self._search(query, k, retriever, collection)]

    def _search(self, query: str, k: int, retriever: str | None, collection: str | None) -> list[tuple[Found, int]]:
        name = retriever or self.retriever
        if name not in RETRIEVERS:
            raise unknown("retriever", name, list(RETRIEVERS))
        if not isinstance(query, str) or not query.strip():
            raise InputError("the question is empty: expected some words to search for")
        if k < 1:
            raise OptionError(f"k should be at least 1 passage, given {k}")
        self._check(collection)
        allowed = None if collection is None else np.asarray(self._collections == collection, dtype=np.bool_)
        hits = RETRIEVERS[name](self, query, k, allowed)
        return [
            (Found(self._passage(self._ids[h.row]), h.score, rank, h.ranks), h.row) for rank, h in enumerate(hits, 1)
        ]

    def only(self, *, retriever: str | None = None, collection: str | None = None) -> Shelf:
        """A searcher of this collection, by this retriever. Raises ``OptionError``."""
        if retriever is not None and retriever not in RETRIEVERS:
            raise unknown("retriever", retriever, list(RETRIEVERS))
        self._check(collection)
        return Shelf(self, retriever, collection)

    def find(self, query: str, k: int = 5, *, retriever: str | None = None, collection: str | None = None) -> Passages:
        """``search`` as a result: also what each word of the question adds, and which documents are stale."""
        began = time.monotonic()
        found = self._search(query, k, retriever, collection)
        among = {f.passage.document for f, _ in found}
        return Passages(
            query=query,
            retriever=retriever or self.retriever,
            collection=collection or "",
            found=tuple(f for f, _ in found),
            why=tuple(self._why(query, f.passage.text, row) for f, row in found),
            stale={s.document: s.reason for s in self.stale(among)},
            seconds=time.monotonic() - began,
        )

    def _why(self, query: str, text: str, row: int) -> Why:
        words: dict[str, str] = {}
        asked = []
        for term, start, end in self.terms.spans(query):
            words.setdefault(term, query[start:end])
            asked.append(term)
        shares = self.bm25.shares(asked, row)
        places: list[tuple[int, int, str]] = []
        for term, start, end in sorted(self.terms.spans(text), key=lambda s: (s[1], -s[2])):
            if term in shares and (not places or start >= places[-1][1]):  # of words within a word, the whole
                places.append((start, end, words[term]))
        by_word: dict[str, float] = {}
        for term, share in shares.items():
            by_word[words[term]] = by_word.get(words[term], 0.0) + share
        return Why(by_word, tuple(places))

    def stale(self, documents: set[str] | None = None) -> list[Stale]:
        """Documents (of these names; None: all) whose file has gone, cannot be read, or holds something else now."""
        found = []
        for name, collection, path, digest in self._all(
            "SELECT name, collection, path, digest FROM documents ORDER BY collection, name"
        ):
            if documents is not None and name not in documents:
                continue
            try:
                same = hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest() == digest
            except OSError:
                found.append(Stale(name, collection, MISSING))
                continue
            if not same:
                found.append(Stale(name, collection, CHANGED))
        return found


@dataclass(frozen=True, eq=False)
class Shelf:
    """A ``Searcher``: an index asked in one way."""

    knowledge: Knowledge
    retriever: str | None
    collection: str | None

    def search(self, query: str, k: int = 5) -> list[Found]:
        """As ``Knowledge.search``."""
        return self.knowledge.search(query, k, retriever=self.retriever, collection=self.collection)


def _whole(path: Path) -> tuple[store.Manifest, sqlite3.Connection, Bm25]:
    """A generation, opened. A writer may take it away between manifest and files: then there is a newer one."""
    while True:
        manifest = store.manifest_of(path)
        folder = path / manifest.generation
        try:
            db = store.connect(folder)
            db.execute("SELECT count(*) FROM documents").fetchone()  # SQLite opens its file when it is asked first
            return manifest, db, Bm25(folder / store.WORDS)
        except (sqlite3.Error, OSError, ValueError) as e:
            if store.manifest_of(path).generation == manifest.generation:
                raise _damaged(path, str(e)) from None


def _damaged(path: Path, why: str) -> SchemaError:
    return SchemaError(f"the index {path} is damaged ({why}): index again into another folder")
