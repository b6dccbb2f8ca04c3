"""``pellucid explain``: which tokens of a prompt made the model answer as it does.

pellucid explain "What is the capital of France?"
pellucid explain --raw --target " Paris" --html t.html --png t.png "The capital of France is"
pellucid explain --file prompt.txt --unit sentence --json -
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from pellucid.cli.arguments import (
    add_how,
    add_model,
    add_output,
    add_prompt,
    explain_options,
    goal_options,
    load_options,
    outputs,
    parameter,
    prompt_of,
)
from pellucid.cli.steps import Steps


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p: argparse.ArgumentParser = commands.add_parser(
        "explain",
        help="show which tokens of a prompt made the model answer as it does",
        description="Show which tokens of a prompt made the model answer as it does. Without --target the model "
        "answers first. With a chat model, the prompt becomes a user message unless --raw.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_prompt(p)
    how = p.add_argument_group("how")
    how.add_argument("--method", default="saliency", metavar="NAME", help="see 'pellucid methods'; or auto")
    how.add_argument(
        "--budget", metavar="NAME", help="for --method auto: fast, balanced or thorough; balanced by default"
    )
    how.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the method; may be repeated",
    )
    add_how(how)
    add_model(p)
    add_output(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it. Everything that can be known to be wrong is, before a model is loaded."""
    steps = Steps()
    prompt, about, others = prompt_of(options), goal_options(options), explain_options(options)
    parameters = dict(parameter(p) for p in options.param)
    paths = outputs(options)
    from pellucid.trace.options import check

    check(options.method, parameters, budget=options.budget, **about)

    from pellucid import progress as bars
    from pellucid.model import load

    with bars.terminal(enabled=None if not options.quiet else False) as shown:
        progress = bars.silent if options.quiet else shown
        steps.begin("import")
        import pellucid.models.load
        import pellucid.trace.explain  # noqa: F401  # torch and transformers, timed on their own

        steps.begin("load")
        model = load(options.model, **load_options(options), progress=progress)
        steps.begin("explain")
        trace = model.explain(
            prompt,
            options.target,
            method=options.method,
            budget=options.budget,
            **about,
            **others,
            progress=progress,
            **parameters,
        )
    steps.begin("show")
    if options.json == "-":
        sys.stdout.write(trace.to_json() + "\n")
    elif not options.quiet:
        from pellucid.render.terminal import show

        show(trace, full=options.full, lang=options.lang)
    steps.begin("write")
    for path in paths:
        print(f"wrote {trace.save(path)}", file=sys.stderr)
    if options.timings:
        steps.end(trace.cost.generate_seconds)
    return 0
