"""``pellucid surprisal``: how surprising each token of a text was.

pellucid surprisal "The capital of France is cheese."
pellucid surprisal --file essay.txt --html essay.html
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli import lens
from pellucid.cli.arguments import read_text
from pellucid.errors import InputError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "surprisal",
        "how surprising each token of a text was",
        "Each token's surprisal (-log2 p), rank and entropy, as a heat map over the text; bits per token and byte, "
        "perplexity.",
    )
    p.add_argument("text", nargs="?", help="the text; or use --file")
    p.add_argument("--file", metavar="PATH", help="read it from a UTF-8 file ('-': standard input)")
    how = p.add_argument_group("how")
    how.add_argument("--top-k", type=int, default=5, metavar="K", help="expected tokens to show for each")
    how.add_argument("--window", type=int, metavar="N", help="tokens read at once; default: the model's context")
    how.add_argument("--no-bos", action="store_true", help="no beginning-of-text token before the first one")
    how.add_argument("--precision", default="full", metavar="NAME", help="full, or fast (bfloat16 where there is)")
    lens.add_output(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    from pellucid.lens.nexttokens import check_count

    given = [n for n in ("text", "file") if getattr(options, n) is not None]
    if len(given) != 1:
        raise InputError(f"expected one text, as an argument or with --file; {len(given) or 'none'} given")
    text = options.text if options.file is None else read_text(options.file)
    if not text.strip():
        raise InputError("the text is empty: expected some text")
    check_count(options.top_k, "top_k")
    how = {"top_k": options.top_k, "window": options.window, "bos": not options.no_bos, "precision": options.precision}
    return lens.run(options, lambda model, progress: model.surprisal(text, **how, progress=progress))
