"""What a search found, as a result: passages, their scores, and which words of the question made them.

found = knowledge.find("How do I resume training?"); found.show(); found.save("found.html")
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from pellucid.apps.rag.passage import Found
from pellucid.lens.plain import Result


@dataclass(frozen=True)
class Why:
    """Why BM25 found a passage: ``shares``, what each word of the question adds to its score, exactly (they sum to it);
    ``places`` (start, end, word): where they stand in the passage's text. Both are empty where no word is shared."""

    shares: dict[str, float] = field(default_factory=dict)
    places: tuple[tuple[int, int, str], ...] = ()


@dataclass(frozen=True)
class Passages(Result):
    """The passages found for ``query`` by ``retriever``, best first (in one ``collection``; empty: all); ``why`` of
    each; ``stale``: documents among them whose file is ``missing`` or has ``changed`` since it was indexed."""

    SCHEMA: ClassVar[str] = "pellucid.passages/1"

    query: str
    retriever: str
    collection: str
    found: tuple[Found, ...]
    why: tuple[Why, ...]
    stale: dict[str, str]
    seconds: float

    def rows(self) -> list[dict[str, Any]]:
        """One row a passage."""
        return [
            {
                "rank": f.rank,
                "score": f.score,
                "document": f.passage.document,
                "heading": f.passage.heading,
                "start": f.passage.start,
                "end": f.passage.end,
                "collection": f.passage.collection,
                **{f"rank_{name}": rank for name, rank in f.ranks.items()},
                "text": f.passage.text,
            }
            for f in self.found
        ]
