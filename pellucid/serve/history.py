"""Every result that was made, in one SQLite file: found again by its id, its title, its kind.

    history = History(Path("history.db"), bytes=500_000_000, days=90)
    id = history.add("trace", "What is the capital of France?", "smollm2-135m-instruct", data)
    history.get(id); history.find("capital", limit=50); history.delete(id)

A result is written before it is handed out, by one transaction in WAL mode, so that a process killed at any moment
leaves whole results and a whole file. A file that is damaged is set aside when the server starts, under a name that
says so, and an empty one begun. Ids are random: whoever was not given one cannot guess it.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
import zlib
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from pellucid.errors import InputError, OutputError

VERSION = 1
TITLE = 200  # characters that are kept of one


@dataclass(frozen=True)
class Kept:
    """A result as the list shows it: ``created`` in seconds since 1970, ``bytes`` it takes."""

    id: str
    kind: str
    title: str
    model: str
    created: float
    bytes: int


class History:
    """See above. ``path`` None: in memory. Used by many threads."""

    def __init__(self, path: Path | None, *, bytes: int, days: float) -> None:
        self.path, self.most, self.days = path, bytes, days
        self.set_aside: Path | None = None
        self._lock = threading.RLock()
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as e:
                raise OutputError(f"cannot make the folder {path.parent}: {e.strerror or e}") from None
        try:
            self._db = self._opened()
        except sqlite3.DatabaseError as e:
            if path is None or isinstance(e, sqlite3.OperationalError):
                raise OutputError(f"cannot keep results in {path}: {e}") from None
            self.set_aside = self._aside(path)
            self._db = self._opened()
        self.prune()

    def _opened(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path or ":memory:", check_same_thread=False, timeout=5, isolation_level=None)
        try:
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if found > VERSION:
                raise OutputError(
                    f"{self.path} was written by a newer release (version {found}, this one knows {VERSION}): upgrade, "
                    "or name another file with --history"
                )
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            if db.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("the file is damaged")
            db.execute(
                "CREATE TABLE IF NOT EXISTS results (id TEXT PRIMARY KEY, kind TEXT NOT NULL, title TEXT NOT NULL, "
                "model TEXT NOT NULL, created REAL NOT NULL, bytes INTEGER NOT NULL, body BLOB NOT NULL, request BLOB)"
            )
            # With the sizes, so that their sum is read off the index and not off all results.
            db.execute("CREATE INDEX IF NOT EXISTS by_time ON results (created, id, bytes)")
            db.execute(f"PRAGMA user_version = {VERSION}")
        except BaseException:
            db.close()
            raise
        return db

    def _aside(self, path: Path) -> Path:
        """Rename what is damaged, with what SQLite keeps beside it."""
        name = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
        there = next(p for k in count() if not (p := path.with_name(name + (f"-{k}" if k else ""))).exists())
        for ending in ("", "-wal", "-shm"):
            own = path.with_name(path.name + ending)
            if own.exists():
                own.rename(there.with_name(there.name + ending))
        return there

    def add(self, kind: str, title: str, model: str, data: Any, request: Any = None) -> str:
        """Keep a result, and what was asked for: its id. Raises ``OutputError`` where it cannot be written."""
        body, asked = _packed(data), None if request is None else _packed(request)
        key = secrets.token_urlsafe(12)
        short = " ".join(title.split()).encode("utf-8", "replace").decode()[:TITLE]
        with self._lock:
            self._write(
                "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (key, kind, short, model, time.time(), len(body) + len(asked or b""), body, asked),
            )
            self.prune()
        return key

    def get(self, key: str) -> tuple[Kept, Any] | None:
        """A result with its data; None where there is none of that id. Raises ``OutputError`` where it cannot be
        read."""
        rows = self._read("SELECT id, kind, title, model, created, bytes, body FROM results WHERE id = ?", (key,))
        if not rows:
            return None
        *about, body = rows[0]
        return Kept(*about), _unpacked(body)

    def request(self, key: str) -> Any:
        """What was asked for; None where that is not known. Raises ``OutputError``."""
        rows = self._read("SELECT request FROM results WHERE id = ?", (key,))
        return _unpacked(rows[0][0]) if rows and rows[0][0] is not None else None

    def find(
        self, text: str = "", *, kind: str | None = None, before: str | None = None, limit: int = 50
    ) -> tuple[list[Kept], str | None]:
        """Newest first, those whose title or model holds ``text``; and where the next page begins (``before``)."""
        where, given = ["1"], []
        if text:
            escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            where.append("(title LIKE ? ESCAPE '\\' OR model LIKE ? ESCAPE '\\')")
            given += [f"%{escaped}%"] * 2
        if kind:
            where.append("kind = ?")
            given.append(kind)
        if before:
            at, _, key = before.partition("~")
            try:
                moment = float(at)
            except ValueError:
                raise InputError(f"before should be what the page before gave as 'next', given '{before}'") from None
            where.append("(created, id) < (?, ?)")
            given += [moment, key]  # type: ignore[list-item]
        rows = self._read(
            "SELECT id, kind, title, model, created, bytes FROM results WHERE "
            f"{' AND '.join(where)} ORDER BY created DESC, id DESC LIMIT ?",
            (*given, limit + 1),
        )
        found = [Kept(*row) for row in rows[:limit]]
        more = f"{found[-1].created!r}~{found[-1].id}" if len(rows) > limit else None
        return found, more

    def delete(self, key: str | None) -> int:
        """Take a result away, or all (None): how many went. Raises ``OutputError``."""
        with self._lock:
            if key is None:
                return self._write("DELETE FROM results", ())
            return self._write("DELETE FROM results WHERE id = ?", (key,))

    def prune(self) -> None:
        """Take away what is too old, and the oldest of what is too much; the newest always stays."""
        with self._lock:
            self._write("DELETE FROM results WHERE created < ?", (time.time() - self.days * 86400,))
            total = self._read("SELECT coalesce(sum(bytes), 0) FROM results", ())[0][0]
            while total > self.most:
                oldest = self._read("SELECT id, bytes FROM results ORDER BY rowid LIMIT 2", ())  # as they were written
                if len(oldest) < 2:
                    return
                self._write("DELETE FROM results WHERE id = ?", (oldest[0][0],))
                total -= oldest[0][1]

    def close(self) -> None:
        """Write what is to be written, and let go."""
        with self._lock:
            self._db.close()

    def _write(self, command: str, given: tuple[Any, ...]) -> int:
        try:
            with closing(self._db.execute(command, given)) as done:
                return int(done.rowcount)
        except sqlite3.Error as e:
            raise OutputError(
                f"the history cannot be written ({e}): free space on the disk, or repair the file"
            ) from None

    def _read(self, command: str, given: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            try:
                with closing(self._db.execute(command, given)) as found:
                    return found.fetchall()
            except sqlite3.Error as e:
                raise OutputError(
                    f"the history cannot be read ({e}): start the server again, which repairs it"
                ) from None


def _packed(data: Any) -> bytes:
    return zlib.compress(json.dumps(data, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass"), 1)


def _unpacked(body: bytes) -> Any:
    try:
        return json.loads(zlib.decompress(body).decode("utf-8", "surrogatepass"))
    except (zlib.error, ValueError):
        raise OutputError("the stored result is damaged and cannot be read: delete it") from None
