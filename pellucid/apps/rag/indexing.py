"""Files to an index: what is new or changed is read, cut and written; what has gone is dropped.

    report = index(["docs", "paper.pdf"], "kb", collection="manual", description="How to use it")
    report.added, report.skipped

A file is known by its place and its content's SHA-256. A file that cannot be read is named in the report and passed
over; if it could be read once, that text stays, and ``Knowledge.stale`` names it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pellucid.apps.rag import bm25, store
from pellucid.apps.rag.chunks import OVERLAP, SIZE, Chunk, check_sizes, chunks
from pellucid.apps.rag.dense import Embedder, Embeds, embedder
from pellucid.apps.rag.documents import READERS, Files, files, load, read
from pellucid.apps.rag.retrievers import DENSE, RETRIEVERS
from pellucid.apps.rag.terms import Terms, default_rule
from pellucid.errors import InputError, MissingExtraError, OptionError, unknown
from pellucid.progress import Progress, silent
from pellucid.version import __version__

BATCH = 64  # passages embedded between two reports of progress
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Skipped:
    """A file that could not be read, and why, in one sentence."""

    path: str
    reason: str


@dataclass(frozen=True)
class IndexReport:
    """What ``index`` did: names of documents ``added``, ``changed`` and ``removed``, how many were ``unchanged``; files
    ``skipped``, and how many of other kinds were ``ignored``. ``documents`` and ``passages`` are those of the whole
    index now; ``cut``: new passages that are longer than the embedding model reads."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: int
    skipped: tuple[Skipped, ...]
    ignored: int
    documents: int
    passages: int
    cut: int
    seconds: float


@dataclass(frozen=True)
class _Fresh:
    path: Path
    digest: str
    text: str
    chunks: tuple[Chunk, ...]


def indexed(heading: str, text: str) -> str:
    """What a passage is found by: its text, with what it stands under."""
    return f"{heading}\n{text}" if heading else text


def index(
    paths: PathLike | Sequence[PathLike],
    path: PathLike,
    *,
    collection: str = "default",
    description: str | None = None,
    size: int | None = None,
    overlap: int | None = None,
    dense: Embeds | None = None,
    retriever: str | None = None,
    progress: Progress = silent,
) -> IndexReport:
    """Index files and folders into ``path``, which is made or brought up to date.

    Of the collection, documents under ``paths`` whose files have gone are dropped; others stay. ``size`` and
    ``overlap`` of passages are in units (``chunks``), by default the index's own, else 150 and 0. ``dense`` names what
    makes vectors (``dense.embedder``); an index that has some goes on with them. ``retriever``: what a search uses
    that names none. Raises ``InputError`` where nothing can be read, ``OptionError``, ``OutputError``.
    """
    began = time.monotonic()
    roots = [Path(p) for p in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    if not roots:
        raise OptionError("no files were given: expected files or folders to index")
    if not collection.strip():
        raise OptionError("the collection's name is empty")
    target = Path(path)
    with store.writing(target) as writer:
        known = {os.fsdecode(p): (i, n, d) for i, c, n, p, d in writer.documents() if c == collection}
        listed = _listed(roots, known)
        manifest, embed = _manifest(writer.manifest, size, overlap, dense, retriever)
        fresh, unchanged, skipped = _read(listed, known, manifest, progress)
        there = {str(f.resolve()) for f in listed.found}
        gone = [p for p in known if p not in there and any(_under(Path(p), r) for r in roots)]
        kept = sum(s.path in {n for _, n, _ in known.values()} for s in skipped)
        if not (fresh or unchanged or kept or gone):
            raise _nothing(roots, listed, skipped)
        if not fresh and gone and len(gone) == len(writer.documents()):
            raise InputError(
                f"nothing would be left in the index: its files have gone; to be rid of it, remove {target}"
            )
        changed = [p for f in fresh if (p := str(f.path.resolve())) in known]
        as_it_was = not (fresh or gone) and description is None
        if (
            writer.manifest
            and as_it_was
            and replace(manifest, generation="") == replace(writer.manifest, generation="")
        ):
            added, cut, (documents, passages) = {}, 0, writer.counts()
        else:
            draft = writer.begin()
            _drop(draft.db, [known[p][0] for p in (*gone, *changed)])
            added = _put(draft.db, fresh, collection, Terms(manifest.chinese), {p: n for p, (_, n, _) in known.items()})
            _describe(draft.db, collection, description)
            cut = _embed(draft.db, embed, progress) if embed is not None else 0
            progress("writing", 0, 1)
            terms = [t.split(" ") if t else [] for (t,) in draft.db.execute(f"SELECT p.terms {store.ORDER}")]
            bm25.build(terms, draft.folder / store.WORDS)
            documents, passages = store.counts(draft.db)
            draft.commit(replace(manifest, generation=draft.name))
            progress("writing", 1, 1)
    names = {p: n for p, (_, n, _) in known.items()}
    return IndexReport(
        added=tuple(n for p, n in added.items() if p not in known),
        changed=tuple(names[p] for p in changed),
        removed=tuple(names[p] for p in gone),
        unchanged=unchanged,
        skipped=tuple(skipped),
        ignored=listed.ignored,
        documents=documents,
        passages=passages,
        cut=cut,
        seconds=time.monotonic() - began,
    )


def _listed(roots: Sequence[Path], known: dict[str, tuple[int, str, str]]) -> Files:
    """The files there are. Raises ``InputError`` for a path that is not there and never was indexed."""
    for root in roots:
        if not root.exists() and not any(_under(Path(p), root) for p in known):
            raise InputError(f"there is no file or folder {root}")
    return files([r for r in roots if r.exists()])


def _under(path: Path, root: Path) -> bool:
    return path.is_relative_to(root.resolve())


def _nothing(roots: Sequence[Path], listed: Files, skipped: Sequence[Skipped]) -> InputError:
    if skipped:
        more = f" ({len(skipped)} files were tried; this is the first)" if len(skipped) > 1 else ""
        return InputError(f"nothing to index: {skipped[0].reason}{more}")
    where = ", ".join(map(str, roots))
    others = f"; {listed.ignored} files of other kinds are there" if listed.ignored else ""
    return InputError(f"there is nothing to index in {where}: expected files that end in {', '.join(READERS)}{others}")


def _manifest(
    old: store.Manifest | None,
    size: int | None,
    overlap: int | None,
    dense: Embeds | None,
    retriever: str | None,
) -> tuple[store.Manifest, str | Embedder | None]:
    """How this generation is made, and by what its vectors. Raises ``OptionError`` where the index is of another
    kind than asked for."""
    if retriever is not None and retriever not in RETRIEVERS:
        raise unknown("retriever", retriever, list(RETRIEVERS))
    if old is not None:
        for what, given, has in (("size", size, old.size), ("overlap", overlap, old.overlap)):
            if given is not None and given != has:
                raise OptionError(
                    f"the index has passages of {what} {has}, and {given} was asked for: index into another folder"
                )
    new_size, new_overlap = (old.size, old.overlap) if old else (size or SIZE, overlap or OVERLAP)
    check_sizes(new_size if size is None else size, new_overlap if overlap is None else overlap)
    own = old.embedding if old else None
    wanted: Embeds | None = dense if dense is not None else own
    if wanted is not None and not isinstance(wanted, str):
        wanted = embedder(wanted)
    name = wanted.name if isinstance(wanted, Embedder) else wanted
    if own not in (None, name):
        raise OptionError(f"the index has vectors by '{own}', and '{name}' was asked for: index into another folder")
    # Words, also where there are vectors: by a model that does not know the language these make a search worse.
    chosen = retriever or (old.retriever if old else "bm25")
    if chosen in DENSE and name is None:
        raise OptionError(f"the retriever {chosen} needs vectors: say which model makes them (dense=, --dense)")
    rule = old.chinese if old else default_rule()
    return store.Manifest("", __version__, new_size, new_overlap, rule, chosen, name), wanted


def _read(
    listed: Files, known: dict[str, tuple[int, str, str]], manifest: store.Manifest, progress: Progress
) -> tuple[list[_Fresh], int, list[Skipped]]:
    """(new or changed, how many are as they were, those that cannot be read)"""
    fresh: dict[str, _Fresh] = {}
    unchanged: set[str] = set()
    skipped: list[Skipped] = []
    todo = [*listed.found, *listed.refused]
    for k, path in enumerate(todo):
        progress("reading", k, len(todo))
        place = str(path.resolve())
        if place in fresh or place in unchanged:  # a link to another one
            continue
        try:
            data = load(path)
            digest = hashlib.sha256(data).hexdigest()
            if place in known and known[place][2] == digest:
                unchanged.add(place)
                continue
            reading = read(path, data)
        except (InputError, MissingExtraError) as e:
            skipped.append(Skipped(known[place][1] if place in known else str(path), str(e)))
            continue
        cuts = tuple(chunks(reading, size=manifest.size, overlap=manifest.overlap))
        fresh[place] = _Fresh(path, digest, reading.text, cuts)
    progress("reading", len(todo), len(todo))
    return list(fresh.values()), len(unchanged), skipped


def _drop(db: sqlite3.Connection, documents: Sequence[int]) -> None:
    for number in documents:
        db.execute("DELETE FROM passages WHERE document = ?", (number,))
        db.execute("DELETE FROM documents WHERE id = ?", (number,))
    db.execute("DELETE FROM collections WHERE name NOT IN (SELECT collection FROM documents)")


def _put(
    db: sqlite3.Connection, fresh: Sequence[_Fresh], collection: str, terms: Terms, names: dict[str, str]
) -> dict[str, str]:
    """Write documents with their passages: place -> name. A changed one keeps the name it had."""
    found: dict[str, str] = {}
    for f in fresh:
        place = str(f.path.resolve())
        name = names.get(place) or _name(f.path)
        if db.execute("SELECT 1 FROM documents WHERE collection = ? AND name = ?", (collection, name)).fetchone():
            name = _text(place)  # another folder's file of the same name
        row = (collection, name, os.fsencode(place), f.digest, f.text)
        number = db.execute(
            "INSERT INTO documents (collection, name, path, digest, text) VALUES (?, ?, ?, ?, ?)", row
        ).lastrowid
        for k, c in enumerate(f.chunks):
            text = f.text[c.start : c.end]
            key = hashlib.sha256("\0".join((collection, name, str(c.start), text)).encode()).hexdigest()[:16]
            own = " ".join(terms.of(indexed(c.heading, text)))
            db.execute(
                "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
                (key, number, k, c.start, c.end, c.heading, own),
            )
        found[place] = name
    return found


def _name(path: Path) -> str:
    """The path from where we are, where it lies below; else the whole of it."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100  # a link keeps its own name
    here = Path.cwd()
    return _text((whole.relative_to(here) if whole.is_relative_to(here) else whole).as_posix())


def _text(path: str) -> str:
    """A file's name may be no text."""
    return path.encode("utf-8", "replace").decode()


def _describe(db: sqlite3.Connection, collection: str, description: str | None) -> None:
    if db.execute("SELECT 1 FROM documents WHERE collection = ?", (collection,)).fetchone():
        db.execute("INSERT INTO collections VALUES (?, '') ON CONFLICT DO NOTHING", (collection,))
    if description is not None:
        db.execute("UPDATE collections SET description = ? WHERE name = ?", (description, collection))


def _embed(db: sqlite3.Connection, model: str | Embedder, progress: Progress) -> int:
    """Vectors for the passages that have none; how many of these the model does not read to their end."""
    rows = db.execute(
        'SELECT p.id, p.heading, d.text, p."start", p."end" FROM passages p JOIN documents d ON p.document = d.id '
        "WHERE p.vector IS NULL"
    ).fetchall()
    if not rows:
        return 0
    embed = embedder(model, progress=progress)  # loaded where there is something to do
    cut = 0
    for k in range(0, len(rows), BATCH):
        progress("embedding", k, len(rows))
        batch = rows[k : k + BATCH]
        texts = [indexed(heading, text[start:end]) for _, heading, text, start, end in batch]
        cut += embed.cut(texts)
        vectors = embed.passages(texts)
        db.executemany(
            "UPDATE passages SET vector = ? WHERE id = ?",
            [(v.astype("<f4").tobytes(), row[0]) for row, v in zip(batch, vectors, strict=True)],
        )
    progress("embedding", len(rows), len(rows))
    return cut
