"""``pellucid generate``: write an answer, and explain each of its tokens.

pellucid generate "Write a line about the sea." --strategy top_p:0.9+temperature:0.8 --html sea.html
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from pellucid.cli import lens
from pellucid.cli.arguments import load_options, parameter
from pellucid.errors import OptionError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "generate",
        "write an answer, and explain each of its tokens",
        "Writes an answer (shown while it is written, in a terminal), or takes one, and explains every token of it: "
        "the heat map of prompt and answer, the prompt's mean attribution, and how sure the model was of each token.",
    )
    p.add_argument("prompt", nargs="?", help="the prompt; or use --file, --messages")
    p.add_argument("--file", metavar="PATH", help="read it from a UTF-8 file ('-': standard input)")
    p.add_argument("--messages", metavar="PATH", help="read a chat from a JSON file: a list of {role, content}")
    p.add_argument("--system", metavar="TEXT", help="a system message to go before the prompt")
    p.set_defaults(pair=None, context=None)
    how = p.add_argument_group("how")
    how.add_argument("--answer", metavar="TEXT", help="explain this answer, instead of the model's own")
    how.add_argument("--strategy", default="greedy", metavar="NAME", help="as of 'pellucid decode': top_p:0.9, beam:4")
    how.add_argument("--max-new-tokens", type=int, default=64, metavar="N", help="length of the answer, at most")
    how.add_argument("--stop", action="append", default=[], metavar="TEXT", help="ends the answer; may be repeated")
    how.add_argument("--seed", type=int, default=0, metavar="N")
    how.add_argument("--method", default="auto", metavar="NAME", help="see 'pellucid methods'; auto: the best fast one")
    how.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the method")
    how.add_argument("--no-trust", action="store_true", help="do not measure whether the explanation holds")
    lens.add_output(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    from pellucid.apps.generation import check_prompt
    from pellucid.lens.strategies import parse

    messages = check_prompt(lens.prompt(options))
    parse(options.strategy)
    if options.max_new_tokens < 1:
        raise OptionError(f"--max-new-tokens should be at least 1, given {options.max_new_tokens}")
    how = {n: getattr(options, n) for n in ("answer", "strategy", "max_new_tokens", "seed", "method")}
    how |= {"stop": tuple(options.stop), "parameters": dict(map(parameter, options.param))}
    how |= {"trust": not options.no_trust}
    shown = sys.stdout.isatty() and not options.quiet and options.json != "-" and options.answer is None
    if not shown:
        return lens.run(options, lambda model, progress: model.generate(messages, **how, progress=progress))
    return _streamed(options, messages, how)


def _streamed(options: argparse.Namespace, messages: Any, how: dict[str, Any]) -> int:
    """The text as it comes, before any bar is drawn on the same terminal; then the rest."""
    from pellucid.model import load

    paths = lens.files(options)
    with lens.progress_of(options) as progress:
        model = load(options.model, **load_options(options), progress=progress)

    from pellucid.render.visible import visible

    def write(text: str) -> None:
        sys.stdout.write(visible(text).replace("↵\n", "\n"))
        sys.stdout.flush()

    found = model.generate(messages, **how, on_text=write)
    sys.stdout.write("\n\n")
    return lens.hand_on(options, found, paths)
