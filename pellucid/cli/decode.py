"""``pellucid decode``: decoding strategies side by side, and the beams' tree.

pellucid decode "Once upon a time" --raw --strategies greedy,beam:4,top_p:0.9
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli import lens


def add(commands: Any) -> None:
    """Put the command on the parser."""
    from pellucid.lens.strategies import STRATEGIES

    p = lens.parser(
        commands,
        "decode",
        "what decoding strategies say, side by side",
        "What each strategy says to one prompt: text, log-probability, diversity, time; of beam search all that it "
        "kept and dropped.",
    )
    lens.add_prompt(p)
    how = p.add_argument_group("how")
    names = "; ".join(
        f"{k.name}{'' if k.default is None else f':{k.default:g}'} ({k.description})" for k in STRATEGIES.values()
    )
    how.add_argument(
        "--strategies",
        default="greedy,beam:4,top_p:0.9",
        metavar="LIST",
        help=f"with commas between; samplers may be joined, as top_p:0.9+temperature:0.7. {names}",
    )
    how.add_argument("--steps", type=int, default=40, metavar="N", help="tokens to say, at most")
    how.add_argument("--seed", type=int, default=0, metavar="N")
    lens.add_output(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    from pellucid.lens.nexttokens import check_count
    from pellucid.lens.strategies import parse

    prompt = lens.prompt(options)
    names = [s for s in options.strategies.split(",") if s.strip()]
    for name in names or [options.strategies]:
        parse(name)
    check_count(options.steps, "steps")
    return lens.run(
        options,
        lambda model, progress: model.decode(
            prompt, names, steps=options.steps, seed=options.seed, raw=options.raw, progress=progress
        ),
    )
