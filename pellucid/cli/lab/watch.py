"""``pellucid lab watch``: one prompt, explained at every checkpoint of a run.

pellucid lab watch runs/shakespeare --html watch.html
pellucid lab watch runs/shakespeare "ROMEO:" --answer " I" --method ifr
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli import lens


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p: argparse.ArgumentParser = commands.add_parser(
        "watch",
        help="how attribution, next tokens and loss evolved over a run's checkpoints",
        description="Explain a fixed prompt at every checkpoint of a run, and draw how attribution, the table of next "
        "tokens and the loss evolved together. Runs keep all their checkpoints with --keep-last 0.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("folder", metavar="RUN", help="a folder that lab train, tune or distill made")
    p.add_argument("prompt", nargs="?", help="the prompt; default: how the held-out text begins")
    p.add_argument("--answer", metavar="TEXT", help="what is explained; default: what the last checkpoint says")
    p.add_argument("--method", default="auto", metavar="NAME", help="one that 'pellucid methods' lists, for all alike")
    p.add_argument("--top", type=int, default=5, metavar="N", help="next tokens that are shown")
    p.add_argument("--most", type=int, default=40, metavar="N", help="checkpoints that are looked at, evenly spaced")
    p.add_argument("--raw", action="store_true", help="no chat template: a text to go on with")
    p.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps")
    lens.add_files(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Watch, show, write."""
    paths = lens.files(options)
    from pellucid.lab.watch import watch

    how = {"method": options.method, "top_k": options.top, "most": options.most, "raw": options.raw}
    with lens.progress_of(options) as progress:
        found = watch(options.folder, options.prompt, options.answer, **how, device=options.device, progress=progress)
    return lens.hand_on(options, found, paths)
