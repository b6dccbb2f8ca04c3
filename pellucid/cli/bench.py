"""``pellucid bench``: methods measured on datasets; ``faithfulness`` here, ``relevance`` in ``benchrelevance``.

pellucid bench faithfulness xquad-en.json --model smollm2-135m-instruct --methods ifr,gim --out board
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pellucid.cli import benchrag, benchrelevance
from pellucid.cli.arguments import add_model, load_options
from pellucid.errors import unknown

DEFAULT_METHODS = "saliency,gim,ifr,attention,leave_one_out"


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p: argparse.ArgumentParser = commands.add_parser(
        "bench", help="measure methods on a dataset", description="Measure on a dataset what this project does."
    )
    kinds = p.add_subparsers(dest="bench", metavar="WHAT", required=True)
    f = kinds.add_parser(
        "faithfulness",
        help="how far the answer falls without what a method names",
        description="Explain a model's own answers to a dataset's questions by each method, and judge them. A run "
        "that was stopped goes on where it was when it is started again with the same folder.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    f.add_argument("data", metavar="DATA", help="a SQuAD-style .json; or a .txt or .tsv of a text a line")
    f.add_argument("--out", required=True, metavar="DIR", help="folder for records and leaderboard.md, .json, .png")
    f.add_argument(
        "--methods",
        default=DEFAULT_METHODS,
        metavar="A,B",
        help="names, see 'pellucid methods'; with parameters as gim:times_input=false",
    )
    f.add_argument(
        "--against",
        metavar="A",
        help="show each method's difference from this one, example by example; leave_one_out where it is among them",
    )
    f.add_argument("--examples", type=int, default=40, metavar="N", help="questions to measure on")
    f.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the first N paragraphs of the file")
    f.add_argument("--max-prompt-tokens", type=int, default=320, metavar="N", help="longer prompts are passed over")
    f.add_argument("--max-new-tokens", type=int, default=12, metavar="N", help="length of the answers, at most")
    f.add_argument("--ablations", type=int, default=40, metavar="N", help="random ablations for the LDS")
    f.add_argument("--orders", type=int, default=4, metavar="N", help="random orders for the baseline")
    f.add_argument("--randomise", type=int, default=3, metavar="N", help="questions asked of random weights too")
    f.add_argument("--prompt", default="{context}\\n\\n{question}", metavar="TEXT", help="\\n is a line break")
    f.add_argument("--seed", type=int, default=0, metavar="N")
    f.add_argument("--quiet", action="store_true", help="no progress, no table")
    add_model(f)
    f.set_defaults(run=run)
    benchrelevance.add(kinds)
    benchrag.add(kinds)


def run(options: argparse.Namespace) -> int:
    """Measure, and write the board. What can be known to be wrong is, before a model is loaded."""
    from pellucid.bench import faithfulness as bench
    from pellucid.bench.board import Board
    from pellucid.bench.lines import read_any
    from pellucid.trace.methods import split

    path, out = Path(options.data), Path(options.out)
    entries = [bench.Entry.parse(text) for text in split(options.methods, ",") if text.strip()]
    if options.against is not None and options.against not in {e.label for e in entries}:
        raise unknown("row to compare with", options.against, [e.label for e in entries])
    settings = bench.Settings(
        data=path.name,
        sha256=bench.fingerprint(path),
        model=options.model,
        prompt=options.prompt.replace("\\n", "\n"),
        **{
            name: getattr(options, name)
            for name in (
                "examples",
                "skip",
                "max_prompt_tokens",
                "max_new_tokens",
                "ablations",
                "orders",
                "randomise",
                "seed",
            )
        },
    )
    bench.check(settings)
    read_any(path)
    from pellucid import progress as bars
    from pellucid.model import load
    from pellucid.render import save_board
    from pellucid.render.board import markdown

    with bars.terminal(enabled=None if not options.quiet else False) as shown:
        progress = bars.silent if options.quiet else shown
        model = load(options.model, **load_options(options), progress=progress)
        records = bench.measure(model.loaded, path, entries, out, settings, progress)
    lines = [r for r in records.lines if r.get("method") is None or r["method"] in {e.label for e in entries}]
    taken = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    board = Board.of(lines, taken, bench.made(model.loaded), reference=options.against)
    files = save_board(board, out)
    if not options.quiet:
        sys.stdout.write(markdown(board))
    for file in files:
        print(f"wrote {file}", file=sys.stderr)
    return 0
