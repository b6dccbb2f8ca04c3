"""``pellucid interactions``: what parts of a prompt do together to the answer, beyond what each does alone.

pellucid interactions --unit sentence --file prompt.txt
pellucid interactions --unit word --index STII --json i.json --target " Paris" "What is the capital of France?"
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from pellucid.cli.arguments import (
    add_goal,
    add_model,
    add_prompt,
    load_options,
    outputs,
    parameter,
    prompt_of,
    span_of,
    unit_of,
    without_of,
)
from pellucid.errors import OptionError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p: argparse.ArgumentParser = commands.add_parser(
        "interactions",
        help="show what parts of a prompt do together, beyond what each does alone",
        description="Show what parts of a prompt do together to the answer, beyond what each does alone: Shapley "
        "interactions by what-if runs. Needs the extra shapiq: pip install 'pellucid[shapiq]'.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_prompt(p, named_spans=False)
    how = p.add_argument_group("how")
    how.add_argument("--order", type=int, default=2, metavar="N", help="sets of how many parts, at most")
    how.add_argument("--index", default="k-SII", metavar="NAME", help="k-SII, SII, STII, FSII, BII or FBII")
    how.add_argument(
        "--budget", type=int, default=512, metavar="N", help="forward passes, at most: exact from 2^parts on"
    )
    how.add_argument(
        "--replace", default="remove", metavar="NAME", help="remove, pad, neutral, sample, or a token's number"
    )
    add_goal(how, unit="sentence")
    add_model(p)
    out = p.add_argument_group("output")
    out.add_argument("--top", type=int, default=20, metavar="N", help="how many sets to show")
    out.add_argument(
        "--json", metavar="PATH", help="write the result ('-': to standard output, and nothing else there)"
    )
    out.add_argument("--html", metavar="PATH", help="write the page")
    out.add_argument("--png", metavar="PATH", help="write the picture")
    out.add_argument("--lang", choices=("en", "zh"), help="language of the terminal view; default from the locale")
    out.add_argument("--quiet", action="store_true", help="no terminal view, no progress")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it. Everything that can be known to be wrong is, before a model is loaded."""
    from pellucid.trace import objective as objectives
    from pellucid.trace import units as stretches
    from pellucid.trace.interactions import check

    prompt = prompt_of(options)
    goal = {"instead_of": options.instead_of, "without": without_of(options), "reduce": options.reduce}
    unit = unit_of(options)
    check(options.index, options.order, options.budget)
    objectives.check(options.objective, **goal)
    stretches.check(unit)
    if options.top < 1:
        raise OptionError(f"--top should be at least 1, given {options.top}")
    files = outputs(options)

    from pellucid import progress as bars
    from pellucid.model import load

    names = ("order", "index", "budget", "raw", "parse_special", "max_new_tokens", "temperature")
    with bars.terminal(enabled=None if not options.quiet else False) as shown:
        progress = bars.silent if options.quiet else shown
        model = load(options.model, **load_options(options), progress=progress)
        found = model.interactions(
            prompt,
            options.target,
            unit=unit,
            span=span_of(options),
            replace=parameter(f"replace={options.replace}")[1],
            **{n: getattr(options, n) for n in (*names, "seed", "precision", "memory")},
            objective=options.objective,
            **goal,
            progress=progress,
        )
    if options.json == "-":
        sys.stdout.write(found.to_json() + "\n")
    elif not options.quiet:
        from pellucid.render.interactions import show

        show(found, k=options.top, lang=options.lang)
    for path in files:
        print(f"wrote {found.save(path)}", file=sys.stderr)
    return 0
