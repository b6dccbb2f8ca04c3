"""``pellucid ask``: answer a question from a text, set off where it stands.

pellucid ask "Who designed the bridge?" --context bridge.txt
pellucid ask "Who designed it?" --text "It was designed by Clara Voss." --method saliency --html answer.html
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli import lens
from pellucid.cli.arguments import parameter, read_text
from pellucid.errors import InputError, OptionError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "ask",
        "answer a question from a text, and show where the answer stands and what it rests on",
        "The answer to a question from a text: by a model that points at a part of it, or by one that writes. The "
        "answer is set off in the text, over the heat map of each method.",
    )
    p.add_argument("question", help="the question")
    p.add_argument("--context", metavar="PATH", help="the text, a UTF-8 file ('-': standard input)")
    p.add_argument("--text", metavar="TEXT", help="the text itself")
    how = p.add_argument_group("how")
    how.add_argument("--answer", metavar="TEXT", help="explain this answer, instead of the model's own")
    how.add_argument(
        "--method",
        action="append",
        metavar="NAME",
        help="a method, see 'pellucid methods'; may be repeated; default: attention, saliency and lime, those of them "
        "that the model knows",
    )
    how.add_argument("--no-trace", action="store_true", help="only answer: no method")
    how.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="METHOD:NAME=VALUE",
        help="a parameter of a method, such as lime:samples=256; may be repeated",
    )
    how.add_argument("--unit", default="sentence", metavar="KIND", help="sentence, paragraph, word or token")
    how.add_argument(
        "--top-k", type=int, default=3, metavar="K", help="of how many units the methods' overlap is taken"
    )
    how.add_argument("--template", metavar="TEXT", help="the prompt, with {question} and {context}")
    how.add_argument("--max-new-tokens", type=int, default=32, metavar="N", help="length of the answer, at most")
    how.add_argument("--window", type=int, metavar="N", help="of a model that points: tokens read at once")
    how.add_argument("--stride", type=int, metavar="N", help="of a model that points: tokens that two windows share")
    how.add_argument("--no-trust", action="store_true", help="do not measure whether the explanations hold")
    how.add_argument("--seed", type=int, default=0, metavar="N")
    lens.add_output(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    given = [n for n in ("context", "text") if getattr(options, n) is not None]
    if len(given) != 1:
        raise InputError(f"expected one text, with --context or with --text; {len(given) or 'none'} given")
    context = options.text
    if options.context is not None:  # one line break at the end of a file is not part of its text
        context = read_text(options.context).removesuffix("\n").removesuffix("\r")
    for name, text in (("question", options.question), ("text", context)):
        if not text.strip():
            raise InputError(f"the {name} is empty: expected some characters")
    if options.no_trace and options.method:
        raise OptionError("--no-trace and --method exclude each other")
    from pellucid.apps.question import check_options, check_template

    methods = () if options.no_trace else options.method
    parameters: dict[str, dict[str, Any]] = {}
    for text in options.param:
        method, colon, rest = text.partition(":")
        if not colon or not method:
            raise OptionError(f"--param should look like method:name=value, given {text!r}")
        name, value = parameter(rest)
        parameters.setdefault(method, {})[name] = value
    check_options(methods, parameters, options.unit, options.top_k)
    if options.template is not None:
        check_template(options.template)
    names = ("answer", "template", "max_new_tokens", "unit", "top_k", "window", "stride", "seed")
    how = {n: getattr(options, n) for n in names}
    how |= {"methods": methods, "parameters": parameters, "trust": not options.no_trust}
    return lens.run(options, lambda model, progress: model.ask(options.question, context, **how, progress=progress))
