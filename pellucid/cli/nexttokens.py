"""``pellucid next``: the likeliest next tokens, step by step; or after every token of the prompt.

pellucid next "hello, how are you" --steps 10 --top-k 5
pellucid next "The capital of France is" --raw --strategy top_p:0.9
pellucid next "The capital of France is" --raw --positions
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli import lens


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "next",
        "the likeliest next tokens, step by step",
        "What the model could say next, and with which probability; with --positions, what it expects after each token "
        "of the prompt.",
    )
    lens.add_prompt(p)
    how = p.add_argument_group("how")
    how.add_argument("--steps", type=int, default=10, metavar="N", help="tokens to say, at most")
    how.add_argument("--top-k", type=int, default=5, metavar="K", help="tokens to show for each")
    how.add_argument("--strategy", default="greedy", metavar="NAME", help="see 'pellucid decode --help'")
    how.add_argument("--seed", type=int, default=0, metavar="N")
    how.add_argument("--positions", action="store_true", help="what is expected at every position, in one pass")
    lens.add_output(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    from pellucid.lens.nexttokens import check_count
    from pellucid.lens.strategies import parse

    prompt = lens.prompt(options)
    parse(options.strategy)
    check_count(options.steps, "steps")
    check_count(options.top_k, "top_k")

    def make(model: Any, progress: Any) -> Any:
        shared = {"top_k": options.top_k, "raw": options.raw, "progress": progress}
        if options.positions:
            return model.expectations(prompt, **shared)
        return model.next_tokens(prompt, steps=options.steps, strategy=options.strategy, seed=options.seed, **shared)

    return lens.run(options, make)
