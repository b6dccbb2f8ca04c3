"""``pellucid rag``: search your documents, and answers that name the passages they rest on; one file a command.

pellucid rag index docs --out kb
pellucid rag search kb "How do I resume training?"
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli.apps.rag import ask, contradictions, index, list, search, verify

#: One module a command, in the order of ``pellucid rag --help``.
COMMANDS: tuple[Any, ...] = (index, search, ask, list, verify, contradictions)


def add(commands: Any) -> None:
    """Put the command and those below it on the parser."""
    p: argparse.ArgumentParser = commands.add_parser(
        "rag",
        help="index documents, search them, and answer from them",
        description="Index documents and search them; every passage says by which words it was found.",
    )
    kinds = p.add_subparsers(dest="rag", metavar="WHAT", required=True)
    for command in COMMANDS:
        command.add(kinds)
