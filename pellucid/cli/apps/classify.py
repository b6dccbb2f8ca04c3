"""``pellucid classify``: a text's class, by a classifier or by label words, and which words made it so.

pellucid classify "A joy to watch." --labels positive,negative
pellucid classify --file review.txt --model runs/mood --target negative --html mood.html
"""

from __future__ import annotations

import argparse
import re
from typing import Any

from pellucid.cli import lens
from pellucid.cli.arguments import read_text
from pellucid.errors import InputError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "classify",
        "a text's class, and which words made it so, by several methods",
        "The class of a text by a classifier, or by a language model that chooses among label words; every class's "
        "probability, which words led to it by several methods, and how far these agree.",
    )
    p.add_argument("text", nargs="?", help="the text; or use --file")
    p.add_argument("--file", metavar="PATH", help="read it from a UTF-8 file ('-': standard input)")
    p.add_argument("--pair", metavar="TEXT", help="the second text, for a classifier that reads two")
    how = p.add_argument_group("how")
    how.add_argument("--labels", metavar="A,B,C", help="the words to choose among, or some of a classifier's classes")
    how.add_argument("--target", metavar="LABEL", help="the class to explain, instead of the one that was chosen")
    how.add_argument("--against", metavar="LABEL", help="the class to contrast it with, instead of the strongest other")
    how.add_argument("--no-contrast", action="store_true", help="explain the class by itself")
    how.add_argument(
        "--methods", default="attention,saliency,integrated_gradients", metavar="A,B", help="see 'pellucid methods'"
    )
    how.add_argument("--no-calibration", action="store_true", help="label words as likely as they come")
    how.add_argument("--instruction", metavar="TEXT", help="what a language model is asked, with {text} and {labels}")
    how.add_argument("--neutral", action="append", metavar="TEXT", help="a text that says nothing; may be repeated")
    how.add_argument("--top-k", type=int, default=5, metavar="K", help="largest words that two methods may share")
    how.add_argument("--no-traces", action="store_true", help="the class alone, without explanations")
    how.add_argument("--no-trust", action="store_true", help="do not measure whether the explanations hold")
    lens.add_output(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    given = [n for n in ("text", "file") if getattr(options, n) is not None]
    if len(given) != 1:
        raise InputError(f"expected one text, as an argument or with --file; {len(given) or 'none'} given")
    text = options.text if options.file is None else read_text(options.file).rstrip("\r\n")
    if not text.strip():
        raise InputError("the text is empty: expected some text")
    how = {
        "labels": None if options.labels is None else re.split("[,，]", options.labels),
        "methods": [m.strip() for m in options.methods.split(",")],
        "target": options.target,
        "against": options.against,
        "contrast": not options.no_contrast,
        "calibrate": not options.no_calibration,
        "instruction": options.instruction,
        "neutral": options.neutral,
        "top_k": options.top_k,
        "traces": not options.no_traces,
        "trust": not options.no_trust,
    }
    if not options.no_traces:
        from pellucid.trace.compare import check_methods

        check_methods(how["methods"], {}, options.top_k)
    whole = text if options.pair is None else (text, options.pair)
    return lens.run(options, lambda model, progress: model.classify(whole, **how, progress=progress))
