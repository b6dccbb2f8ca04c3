"""``pellucid rag list``: what is in an index, and which of it is stale.

pellucid rag list kb
"""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = commands.add_parser("list", help="list collections and documents", description="What is in an index.")
    p.add_argument("index", metavar="DIR", help="folder of the index")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the tables."""
    from pellucid.apps.rag.knowledge import Knowledge
    from pellucid.render.listing import table
    from pellucid.render.visible import one_line

    with Knowledge.open(options.index) as knowledge:
        made = knowledge.manifest
        collections, documents = knowledge.collections, knowledge.documents
        stale = {(s.collection, s.document): s.reason for s in knowledge.stale()}
    table(
        f"Collections in {options.index}",
        ("collection", "documents", "passages", "description"),
        [(one_line(c.name), str(c.documents), str(c.passages), one_line(c.description)) for c in collections],
    )
    table(
        "Documents",
        ("collection", "document", "passages", "file"),
        [
            (one_line(d.collection), one_line(d.name), str(d.passages), stale.get((d.collection, d.name), "as indexed"))
            for d in documents
        ],
    )
    vectors = f"vectors by {made.embedding}" if made.embedding else "no vectors"
    print(
        f"passages of at most {made.size} words and marks, overlap {made.overlap}; Chinese cut by {made.chinese}; "
        f"{vectors}; searches use {made.retriever}; written by pellucid {made.version}"
    )
    return 0
