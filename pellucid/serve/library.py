"""The indexes that questions are asked of, opened when they are first needed.

library = Library({"kb": Path("kb")}); library.named("kb").search("training")
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import Error, UnknownModelError

if TYPE_CHECKING:
    from pellucid.apps.rag.knowledge import Knowledge

log = logging.getLogger("pellucid.serve")


class NoIndex(UnknownModelError):
    """There is no index of that name."""


class Library:
    """Indexes by name. One that was written anew is opened anew."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self.folders = folders
        self._open: dict[str, tuple[str, Knowledge]] = {}
        self._lock = threading.Lock()

    def named(self, name: str) -> Knowledge:
        """The index. Raises ``NoIndex``, and what ``Knowledge.open`` raises."""
        if name not in self.folders:
            has = f"one of {', '.join(self.folders)}" if self.folders else "it was started without any (--kb)"
            raise NoIndex(f"there is no index '{name}' here: {has}")
        from pellucid.apps.rag.knowledge import Knowledge
        from pellucid.apps.rag.store import manifest_of

        with self._lock:
            generation = manifest_of(self.folders[name]).generation
            known = self._open.get(name)
            if known is None or known[0] != generation:
                known = self._open[name] = (generation, Knowledge.open(self.folders[name]))
            return known[1]

    def listed(self) -> list[dict[str, Any]]:
        """Names and what they hold. One that cannot be opened is left out, and the log says why; so does asking it."""
        found: list[dict[str, Any]] = []
        for name in self.folders:
            try:
                index = self.named(name)
            except Error as e:
                log.warning("the index '%s' is not offered: %s", name, e)
                continue
            collections = [
                {"name": c.name, "documents": c.documents, "passages": c.passages} for c in index.collections
            ]
            found.append({"name": name, "retriever": index.retriever, "collections": collections})
        return found

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            for _, index in self._open.values():
                index.close()
            self._open.clear()
