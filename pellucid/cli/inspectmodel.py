"""``pellucid inspect``: what a model is made of, and the shapes of a real run.

pellucid inspect smollm2-135m-instruct
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli import lens


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "inspect",
        "what a model is made of: modules, shapes, parameters",
        "A model's modules with shapes, parameters and bytes, its facts, and the shapes of a run on a sentence.",
    )
    p.add_argument("name", nargs="?", help="embedded name, Hub id, folder or .gguf file (as --model)")
    p.add_argument("--sentence", default="The capital of France is", metavar="TEXT", help="what the run reads")
    lens.add_output(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    options.model = options.name or options.model
    return lens.run(options, lambda model, progress: model.anatomy(options.sentence))
