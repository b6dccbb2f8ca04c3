"""An answer on the terminal while it is written: what ``write`` and ``code`` have in common.

done = streamed(options, lambda model, stream, progress: model.write("article", topic="tea", stream=stream))
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from pellucid.apps.speaker import OnText
from pellucid.apps.writing.tasks import Task
from pellucid.apps.writing.write import decoding_of, prepared
from pellucid.cli import lens
from pellucid.cli.arguments import load_options
from pellucid.progress import Progress


def add_how(p: argparse.ArgumentParser, task: Task) -> None:
    """Template, decoding, trace; then model and output."""
    how = p.add_argument_group("how")
    own = task.decoding
    how.add_argument(
        "--in", dest="tongue", choices=("en", "zh"), help="language of the template; else that of the text"
    )
    how.add_argument("--template", metavar="FILE", help="your own prompt template (see docs/writing.md)")
    how.add_argument("--templates", metavar="DIR", help=f"a folder that holds it, as {task.name}.en.txt")
    how.add_argument("--strategy", default=own.strategy, metavar="NAME", help="see 'pellucid decode --help'")
    how.add_argument(
        "--max-new-tokens", type=int, default=own.max_new_tokens, metavar="N", help="length at most, in tokens"
    )
    how.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws")
    how.add_argument("--trace", action="store_true", help="weigh what was given: what was used where, and what never")
    how.add_argument("--no-trust", action="store_true", help="with --trace: do not measure whether the trace holds")
    lens.add_output(p)


def how_options(options: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``Model.write`` and ``Model.code``."""
    return {
        "lang": options.tongue,
        "template": options.template,
        "templates": options.templates,
        "strategy": options.strategy,
        "max_new_tokens": options.max_new_tokens,
        "seed": options.seed,
        "trace": options.trace,
        "trust": not options.no_trust,
    }


def check(task: Task, fields: dict[str, Any], options: argparse.Namespace) -> None:
    """Find what is wrong before a model is loaded."""
    prepared(task.name, fields, lang=options.tongue, template=options.template, templates=options.templates)
    decoding_of(task, options.strategy, options.max_new_tokens, options.seed)


def streamed(options: argparse.Namespace, make: Callable[[Any, OnText | None, Any], Any]) -> int:
    """Load the model and let ``make(model, stream, progress)`` write; on a terminal one sees the text grow, and then
    what was found of it. Without a trace there is nothing to find, and the text is not shown twice."""
    paths = lens.files(options)
    from pellucid.model import load

    live = sys.stdout.isatty() and not options.quiet and options.json != "-"
    with lens.progress_of(options) as progress:
        model = load(options.model, **load_options(options), progress=progress)
        if not live:
            found = make(model, None, progress)
            return lens.hand_on(options, found, paths)
    with ExitStack() as open_bars:
        bars: list[Progress] = []

        def afterwards(stage: str, done: float, total: float | None) -> None:
            """Bars would wipe away the line that is being written: they come when the text is there."""
            if stage == "writing":
                return
            if not bars:
                sys.stdout.write("\n\n")
                sys.stdout.flush()
                bars.append(open_bars.enter_context(lens.progress_of(options)))
            bars[0](stage, done, total)

        found = make(model, _print, afterwards)
    if not bars:
        sys.stdout.write("\n")
    if not options.trace:
        options.quiet = True
    return lens.hand_on(options, found, paths)


def _print(text: str) -> None:
    from pellucid.render.visible import visible

    sys.stdout.write(visible(text).replace("↵\n", "\n"))
    sys.stdout.flush()
