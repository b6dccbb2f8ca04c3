"""``pellucid compare``: several methods on one answer, side by side, and how far they agree.

pellucid compare --methods saliency,input_x_gradient "What is the capital of France?"
pellucid compare --unit sentence --html c.html --png c.png --file prompt.txt
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
from pellucid.errors import OptionError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p: argparse.ArgumentParser = commands.add_parser(
        "compare",
        help="explain one answer by several methods, side by side",
        description="Explain one answer by several methods, side by side, and say how far they agree.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_prompt(p)
    how = p.add_argument_group("how")
    how.add_argument(
        "--methods", default="saliency,input_x_gradient", metavar="A,B", help="names, see 'pellucid methods'"
    )
    how.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="METHOD.NAME=VALUE",
        help="a parameter of one of the methods; may be repeated",
    )
    how.add_argument("--top-k", type=int, default=10, metavar="K", help="how many of the largest the overlap looks at")
    add_how(how)
    add_model(p)
    add_output(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it. Everything that can be known to be wrong is, before a model is loaded."""
    steps = Steps()
    prompt, about, others = prompt_of(options), goal_options(options), explain_options(options)
    methods = [name.strip() for name in options.methods.split(",") if name.strip()]
    parameters = _parameters(options)
    paths = outputs(options)
    from pellucid.trace.compare import check_methods
    from pellucid.trace.options import check

    check_methods(methods, parameters, options.top_k)
    for name in methods:
        check(name, parameters.get(name), **about)

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
        comparison = model.compare(
            prompt,
            methods,
            options.target,
            parameters=parameters,
            top_k=options.top_k,
            **about,
            **others,
            progress=progress,
        )
    steps.begin("show")
    if options.json == "-":
        sys.stdout.write(comparison.to_json() + "\n")
    elif not options.quiet:
        from pellucid.render.comparison import show

        show(comparison, full=options.full, lang=options.lang)
    steps.begin("write")
    for path in paths:
        print(f"wrote {comparison.save(path)}", file=sys.stderr)
    if options.timings:
        steps.end(comparison.traces[0].cost.generate_seconds)
    return 0


def _parameters(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """``saliency.steps=3`` to {"saliency": {"steps": 3}}."""
    found: dict[str, dict[str, Any]] = {}
    for text in options.param:
        name, value = parameter(text)
        method, dot, own = name.partition(".")
        if not dot or not method or not own:
            raise OptionError(f"--param should look like method.name=value, given {text!r}")
        found.setdefault(method, {})[own] = value
    return found
