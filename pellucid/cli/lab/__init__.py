"""``pellucid lab``: make, measure and shrink a language model; one file a command.

pellucid lab train --preset stdlib-tiny --out runs/mine
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli.lab import classify, distill, evaluate, quantise, train, tune, watch

COMMANDS = (train, tune, classify, evaluate, distill, quantise, watch)


def add(commands: Any) -> None:
    """Put the command and those below it on the parser."""
    p: argparse.ArgumentParser = commands.add_parser(
        "lab",
        help="train, tune, evaluate and shrink a language model",
        description="Make a language model, measure it, make it smaller, and see through it at every step.",
    )
    kinds = p.add_subparsers(dest="lab", metavar="WHAT", required=True)
    for command in COMMANDS:
        command.add(kinds)
