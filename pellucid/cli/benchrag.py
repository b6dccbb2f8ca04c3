"""``pellucid bench rag``: retrieval, answers, citations and their confidence on a dataset.

pellucid bench rag xquad-en.json --model smollm2-135m-instruct --out board
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pellucid.cli.arguments import add_model, load_options


def add(kinds: Any) -> None:
    """Put the command under ``bench``."""
    r: argparse.ArgumentParser = kinds.add_parser(
        "rag",
        help="how well answers from retrieval, their citations and their confidence hold",
        description="All paragraphs of a dataset are a collection; questions are answered from what is found, and from "
        "the same without the right paragraph. A run that was stopped goes on where it was.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    r.add_argument("data", metavar="DATA", help="a SQuAD-style JSON file")
    r.add_argument("--out", required=True, metavar="DIR", help="folder for records and rag.md, rag.json, rag.png")
    r.add_argument("--retrievers", default="bm25,dense,hybrid", metavar="A,B", help="which are judged")
    r.add_argument("--retriever", default="bm25", metavar="NAME", help="the one that answers are made from")
    r.add_argument("--examples", type=int, default=40, metavar="N", help="questions that are answered")
    r.add_argument("--skip", type=int, default=24, metavar="N", help="leave out the first N paragraphs of the file")
    r.add_argument("--passages", type=int, default=3, metavar="N", help="read for each answer")
    r.add_argument("--max-new-tokens", type=int, default=32, metavar="N", help="length of the answers, at most")
    r.add_argument("--samples", type=int, default=0, metavar="N", help="answers drawn for the consistency")
    r.add_argument("--verbal", action="store_true", help="ask for the model's own rating, too")
    r.add_argument("--seed", type=int, default=0, metavar="N")
    r.add_argument("--quiet", action="store_true", help="no progress, no table")
    add_model(r)
    r.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and write the table. What can be known to be wrong is, before a model is loaded."""
    from pellucid.bench import rag as bench
    from pellucid.bench.faithfulness import fingerprint, made
    from pellucid.bench.ragboard import RagBoard
    from pellucid.bench.squad import read

    path, out = Path(options.data), Path(options.out)
    retrievers = [r.strip() for r in options.retrievers.split(",") if r.strip()]
    names = ("retriever", "examples", "skip", "passages", "max_new_tokens", "samples", "verbal", "seed")
    settings = bench.Settings(
        data=path.name, sha256=fingerprint(path), model=options.model, **{n: getattr(options, n) for n in names}
    )
    bench.check(settings, retrievers)
    bench.taken(read(path, each="all"), settings)
    from pellucid import progress as bars
    from pellucid.model import load

    with bars.terminal(enabled=None if not options.quiet else False) as shown:
        progress = bars.silent if options.quiet else shown
        model = load(options.model, **load_options(options), progress=progress)
        records = bench.measure(model.loaded, path, retrievers, out, settings, progress)
    taken = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    kinds = {*retrievers, bench.FOUND, bench.WITHHELD}
    board = RagBoard.of([r for r in records.lines if r["kind"] in kinds], taken, made(model.loaded))
    if not options.quiet:
        board.show()
    for ending in ("md", "json", "png"):
        print(f"wrote {board.save(out / f'rag.{ending}')}", file=sys.stderr)
    return 0
