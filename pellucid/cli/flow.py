"""``pellucid flow``: which token fed which, as a graph of an explained answer.

pellucid flow "What is the capital of France?" --html flow.html
pellucid flow --trace trace.json --png flow.png
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli import lens
from pellucid.errors import InputError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "flow",
        "which token fed which, as a graph",
        "The strongest scores of an explained answer's matrix, as a graph: arcs, steps or layers.",
    )
    lens.add_prompt(p)
    p.add_argument("--trace", metavar="PATH", help="an explanation in JSON, made with --per-token: no model runs")
    p.add_argument("--target", metavar="TEXT", help="the answer, instead of the model's own")
    how = p.add_argument_group("how")
    how.add_argument("--method", default="saliency", metavar="NAME", help="see 'pellucid methods'")
    how.add_argument("--max-new-tokens", type=int, default=64, metavar="N", help="length of the answer, at most")
    how.add_argument("--top", type=int, default=10, metavar="N", help="of so many strongest sources ...")
    how.add_argument("--share", type=float, default=0.7, metavar="P", help="... those that together make this share")
    how.add_argument("--least", type=float, default=0.1, metavar="P", help="none weaker than this, of the strongest")
    how.add_argument("--frame", action="store_true", help="with the template's tokens")
    lens.add_output(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    from pellucid.lens.flow import flow
    from pellucid.trace.result import Trace

    how = {n: getattr(options, n) for n in ("top", "share", "least", "frame")}
    if options.trace is not None:
        if options.prompt or options.file or options.messages:
            raise InputError("--trace holds a prompt already: leave the other out")
        paths = lens.files(options)
        return lens.hand_on(options, flow(Trace.load(options.trace), **how), paths)
    prompt = lens.prompt(options)

    def make(model: Any, progress: Any) -> Any:
        trace = model.explain(
            prompt,
            options.target,
            method=options.method,
            per_token=True,
            trust=False,
            raw=options.raw,
            max_new_tokens=options.max_new_tokens,
            progress=progress,
        )
        return flow(trace, **how)

    return lens.run(options, make)
