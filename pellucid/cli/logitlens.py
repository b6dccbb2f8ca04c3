"""``pellucid lens``: what each layer would say; ``pellucid lens tune`` trains the tuned lens on a text.

pellucid lens "The capital of France is" --raw --html lens.html
pellucid lens tune --file essay.txt
pellucid lens "The capital of France is" --raw --tuned
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from pellucid.cli import lens
from pellucid.cli.arguments import load_options, read_text
from pellucid.errors import InputError, OptionError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "lens",
        "what each layer would say if the model ended there",
        "The logit lens: a grid of layers and positions. 'pellucid lens tune --file TEXT' trains the tuned lens for "
        "the model on a text, and keeps it for --tuned.",
    )
    lens.add_prompt(p)
    how = p.add_argument_group("how")
    how.add_argument("--kind", default="residual", metavar="NAME", help="residual, attention or mlp")
    how.add_argument("--of", default="predicted", metavar="NAME", help="the answer: predicted, or next (in the text)")
    how.add_argument("--layers", metavar="LIST", help="as 0,10,20 or 0-30; all by default")
    how.add_argument("--last", type=int, metavar="N", help="the last N positions alone")
    how.add_argument("--precision", default="full", metavar="NAME", help="full, or fast (bfloat16 where there is)")
    tuned = p.add_argument_group("tuned lens")
    tuned.add_argument("--tuned", nargs="?", const="", metavar="PATH", help="read by the tuned lens, kept or at PATH")
    tuned.add_argument("--steps", type=int, default=60, metavar="N", help="tune: steps after the regression")
    tuned.add_argument(
        "--out", metavar="PATH", help="tune: where to keep it; default: by the model's name, in the cache"
    )
    lens.add_output(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    if options.prompt == "tune":
        return _tune(options)
    prompt = lens.prompt(options)
    layers = lens.whole_numbers(options.layers, "--layers")
    how = {n: getattr(options, n) for n in ("kind", "of", "last", "raw", "precision")}

    def make(model: Any, progress: Any) -> Any:
        from pellucid.lens.tuned import TunedLens, place_of

        found = None if options.tuned is None else TunedLens.load(options.tuned or place_of(model.loaded))
        return model.logit_lens(prompt, layers=layers, tuned=found, **how, progress=progress)

    return lens.run(options, make)


def _tune(options: argparse.Namespace) -> int:
    """Train, say what it is worth, keep it."""
    if options.file is None:
        raise InputError("lens tune needs a text to train on: give --file")
    if any(getattr(options, n) for n in lens.ENDINGS):
        raise OptionError("lens tune writes the lens alone (--out): leave out --json, --csv, --html and --png")
    text = read_text(options.file)
    from pellucid.lens.tuned import place_of
    from pellucid.model import load

    with lens.progress_of(options) as progress:
        model = load(options.model, **load_options(options), progress=progress)
        found = model.tune_lens(text, steps=options.steps, progress=progress)
    if not options.quiet:
        print(f"KL to the model's own prediction, nats, on {found.held_out} of {found.positions} positions kept out:")
        print("layer  logit lens  tuned lens")
        for n, (plain, kl) in enumerate(zip(found.kl_plain, found.kl, strict=True)):
            print(f"{n:>5}  {plain:>10.3f}  {kl:>10.3f}")
    print(f"wrote {found.save(options.out or place_of(model.loaded))}", file=sys.stderr)
    return 0
