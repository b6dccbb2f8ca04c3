"""``pellucid rag search``: the passages that fit a question best, and by which of its words.

pellucid rag search kb "How do I resume training?"
pellucid rag search kb "怎样继续训练？" -k 3 --retriever bm25 --html found.html
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli import lens


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "search",
        "find passages",
        "The passages of an index that fit a question best, with the part of each of its words in their BM25 score.",
    )
    p.add_argument("index", metavar="DIR", help="folder of the index")
    p.add_argument("query", help="the question, or words")
    p.add_argument("-k", type=int, default=5, metavar="N", help="passages, at most")
    p.add_argument("--retriever", metavar="NAME", help="bm25, dense or hybrid; default: the index's own")
    p.add_argument("--collection", metavar="NAME", help="search this one alone")
    lens.add_files(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    paths = lens.files(options)
    from pellucid.apps.rag.knowledge import Knowledge

    with Knowledge.open(options.index) as knowledge:
        found = knowledge.find(options.query, options.k, retriever=options.retriever, collection=options.collection)
    return lens.hand_on(options, found, paths)
