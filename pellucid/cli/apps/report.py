"""``pellucid report``: many explained answers in one report.

pellucid report capital.json keys.json traces/ --md report.md --html report.html
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli import lens
from pellucid.errors import OptionError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "report",
        "sum up many explained answers: what mattered, who agrees, what to try",
        "Read every trace in the files (traces, comparisons, saved conversations, JSON Lines, folders of them), and "
        "sum up which words mattered most, how far methods agree and hold, what they cost, and what to look at.",
    )
    p.add_argument("files", nargs="+", metavar="FILE", help="JSON or JSON Lines that hold traces, or folders of such")
    p.add_argument("--top", type=int, default=20, metavar="N", help="words that are listed")
    lens.add_files(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    paths = lens.files(options)
    if options.top < 1:
        raise OptionError(f"--top should be at least 1, given {options.top}")
    from pellucid.apps.report import collect, report

    with lens.progress_of(options) as progress:
        files = collect(options.files, progress=progress)
        found = report(files.traces, origins=files.origins, passed=files.passed, top=options.top, progress=progress)
    return lens.hand_on(options, found, paths)
