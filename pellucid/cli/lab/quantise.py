"""``pellucid lab quantise``: a model in fewer bits, and what that costs.

pellucid lab quantise smollm2-135m-instruct --to int8 --out small
pellucid lab quantise runs/mine --to int4 --group-size 64 --data held-out.txt --out runs/mine-int4
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pellucid.errors import OptionError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    from pellucid.lab.quantisation.kinds import KINDS

    p: argparse.ArgumentParser = commands.add_parser(
        "quantise",
        aliases=["quantize"],
        help="pack a model's weights in fewer bits, and measure what it costs",
        description="Pack a causal language model's weights by torchao, measure bytes, perplexity and speed before and "
        "after on the same text, and write a folder that loads like any other model.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("model", metavar="MODEL", help="embedded name, Hub id, folder or .gguf file")
    p.add_argument(
        "--to", default="int8", metavar="KIND", help=". ".join(f"{k.name}: {k.title}" for k in KINDS.values())
    )
    p.add_argument("--out", required=True, metavar="DIR", help="the new folder")
    p.add_argument(
        "--group-size", type=int, metavar="N", help="weights of a row that share a scale; int8: the row, int4: 32"
    )
    p.add_argument("--keep-embedding", action="store_true", help="leave the token table and the head as they are")
    text = p.add_argument_group("what is measured on")
    text.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="PATH",
        help='UTF-8 text, .jsonl with {"text": ...} a line, or a folder of such; may be repeated; default: the source '
        "of the Python standard library",
    )
    text.add_argument("--tokens", type=int, default=8192, metavar="N", help="its first N tokens")
    text.add_argument("--window", type=int, metavar="N", help="tokens read at once; default: the context, at most 512")
    load = p.add_argument_group("model")
    load.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps")
    load.add_argument("--dtype", default="auto", metavar="NAME", help="auto, float32, bfloat16, float16")
    load.add_argument("--revision", metavar="NAME", help="of a Hub model")
    load.add_argument("--trust-remote-code", action="store_true", help="run code that comes with a Hub model")
    load.add_argument("--accept-license", action="store_true", help="accept an embedded model's terms, once")
    out = p.add_argument_group("output")
    out.add_argument("--json", metavar="PATH", help="write the report ('-': to standard output, nothing else there)")
    out.add_argument("--quiet", action="store_true", help="no table, no progress")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Quantise, measure, write. What can be known to be wrong is, before a model is loaded."""
    from pellucid.lab.evaluation import inputs
    from pellucid.lab.quantise import check, check_folder, quantise
    from pellucid.render import check_writable

    target = None if options.json in (None, "-") else Path(options.json)
    if target is not None:
        if target.suffix.lower() != ".json":
            raise OptionError(f"--json writes a .json file, given {target}: name it {target.with_suffix('.json')}")
        check_writable(target)
    check(options.to, options.group_size, options.tokens, options.window)
    check_folder(options.out)
    texts = [d for path in options.data for d in inputs.documents(Path(path))] if options.data else None
    from pellucid import progress as bars
    from pellucid.render import quantisation as drawn

    with bars.terminal(enabled=None if not options.quiet else False) as shown:
        progress = bars.silent if options.quiet else shown
        names = ("device", "dtype", "revision", "trust_remote_code", "accept_license")
        made = quantise(
            options.model,
            options.to,
            group_size=options.group_size,
            embedding=not options.keep_embedding,
            documents=texts,
            tokens=options.tokens,
            window=options.window,
            progress=progress,
            **{n: getattr(options, n) for n in names},
        )
        report = made.save(options.out, progress=progress)
    if options.json == "-":
        sys.stdout.write(report.to_json() + "\n")
    elif not options.quiet:
        sys.stdout.write("\n".join(drawn.lines(report)) + "\n")
    if target is not None:
        print(f"wrote {drawn.save(report, target)}", file=sys.stderr)
    print(f"wrote {options.out}", file=sys.stderr)
    return 0
