"""A passage of a document, and what a search found: plain data, on which retrieval and answering agree.

found = knowledge.search("How do I resume training?", 5)      # any Searcher
found[0].passage.text; found[0].score; found[0].ranks
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Passage:
    """Characters ``start`` to ``end`` of the text of ``document`` (its path or name in the index), under ``heading``
    (empty where there is none). ``id`` is its own in the index."""

    id: str
    document: str
    start: int
    end: int
    text: str
    heading: str = ""
    collection: str = ""


@dataclass(frozen=True)
class Found:
    """A passage that a search found: ``score`` by its retriever, larger is better; ``rank`` from 1; ``ranks``: the rank
    that each of the retrievers gave it, where several were asked."""

    passage: Passage
    score: float
    rank: int
    ranks: dict[str, int] = field(default_factory=dict)


class Searcher(Protocol):
    """What finds passages for a question."""

    def search(self, query: str, k: int = 5) -> Sequence[Found]:
        """The ``k`` best passages, best first; none where nothing fits."""
        ...
