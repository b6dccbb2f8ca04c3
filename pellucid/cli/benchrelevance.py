"""``pellucid bench relevance``: does a highlight find what a person would mark?

pellucid bench relevance xquad-en.json --model smollm2-135m-instruct --out board
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pellucid.cli.arguments import add_model, load_options
from pellucid.errors import unknown

DEFAULT_ROWS = "auto,answer,likelihood,fill_blank,count,match_score,random,bm25,embedding"


def add(kinds: Any) -> None:
    """Put the command under ``bench``."""
    r: argparse.ArgumentParser = kinds.add_parser(
        "relevance",
        help="how well highlights find the marked answers of a dataset",
        description="Highlight each paragraph for its question, and judge tokens and sentences by the marked answer, "
        "degrees by telling the paragraph from others. A run that was stopped goes on where it was.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    r.add_argument("data", metavar="DATA", help="a SQuAD-style JSON file")
    r.add_argument("--out", required=True, metavar="DIR", help="folder for records and relevance.md, relevance.json")
    r.add_argument(
        "--rows",
        default=DEFAULT_ROWS,
        metavar="A,B",
        help="modes, with a method as likelihood/gim if wanted; random; bm25 and embedding need pellucid[bench]",
    )
    r.add_argument("--against", metavar="A", help="show each row's difference from this one; auto where it is there")
    r.add_argument("--examples", type=int, default=100, metavar="N", help="questions to measure on")
    r.add_argument("--skip", type=int, default=24, metavar="N", help="leave out the first N paragraphs of the file")
    r.add_argument("--others", type=int, default=2, metavar="N", help="paragraphs about something else, a question")
    r.add_argument("--max-text-tokens", type=int, default=300, metavar="N", help="longer paragraphs are passed over")
    r.add_argument("--seed", type=int, default=0, metavar="N")
    r.add_argument("--quiet", action="store_true", help="no progress, no table")
    add_model(r)
    r.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and write the table. What can be known to be wrong is, before a model is loaded."""
    from pellucid.bench import relevance as bench
    from pellucid.bench.faithfulness import fingerprint, made
    from pellucid.bench.relevanceboard import RelevanceBoard
    from pellucid.bench.squad import read
    from pellucid.trace.methods import split

    path, out = Path(options.data), Path(options.out)
    rows = [bench.Row.parse(text) for text in split(options.rows, ",") if text.strip()]
    labels = {r.label for r in rows}
    if options.against is not None and options.against not in labels:
        raise unknown("row to compare with", options.against, sorted(labels))
    names = ("examples", "skip", "others", "max_text_tokens", "seed")
    settings = bench.Settings(
        data=path.name,
        sha256=fingerprint(path),
        model=options.model,
        **{n: getattr(options, n) for n in names},
    )
    bench.check(settings, rows)
    read(path)
    from pellucid import progress as bars
    from pellucid.model import load
    from pellucid.render import save_relevance_board
    from pellucid.render.relevanceboard import markdown

    with bars.terminal(enabled=None if not options.quiet else False) as shown:
        progress = bars.silent if options.quiet else shown
        model = load(options.model, **load_options(options), progress=progress)
        records = bench.measure(model.loaded, path, rows, out, settings, progress)
    lines = [r for r in records.lines if r["row"] in labels]
    taken = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    board = RelevanceBoard.of(lines, taken, made(model.loaded), reference=options.against)
    files = save_relevance_board(board, out)
    if not options.quiet:
        sys.stdout.write(markdown(board))
    for file in files:
        print(f"wrote {file}", file=sys.stderr)
    return 0
