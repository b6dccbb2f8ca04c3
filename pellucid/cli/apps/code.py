"""``pellucid code``: a program or a function from words, or code that fails, corrected; nothing is run.

pellucid code "print the first ten squares"
pellucid code "the mean of the numbers, 0 of none" --function "def mean(numbers: list[float]) -> float:"
pellucid code --fix broken.py --error "SyntaxError: expected ':'" --trace
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pellucid.apps.writing.tasks import TASKS
from pellucid.cli import lens
from pellucid.cli.apps.streamed import add_how, check, how_options, streamed
from pellucid.cli.arguments import read_text
from pellucid.errors import InputError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "code",
        "write code from a description, or correct code that fails",
        "Write a program, or a function with --function; or correct a file with --fix and --error, and show the "
        "difference. Python is read by its own parser; nothing is run. With --trace: what of the given it rests on.",
    )
    p.add_argument("description", nargs="?", help="what the code does")
    what = p.add_argument_group("what is given")
    what.add_argument("--language", default="python", metavar="NAME", help="programming language")
    what.add_argument("--function", metavar="SIGNATURE", help="write this function")
    what.add_argument("--fix", metavar="FILE", help="correct this file ('-': standard input); the file is not changed")
    what.add_argument("--error", metavar="TEXT|FILE", help="with --fix: what was said when it failed, or a file of it")
    add_how(p, TASKS["code"])
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    how = how_options(options)
    how["language"] = options.language
    if options.fix is None:
        if options.description is None:
            raise InputError("expected a description of the code, or --fix with the file to correct; none was given")
        if options.error is not None:
            raise InputError("--error says what went wrong with --fix: give the file to correct, too")
        fields = {"description": options.description, "language": options.language}
        if options.function is not None:
            fields["signature"] = options.function
        check(TASKS["code" if options.function is None else "function"], fields, options)
        return streamed(
            options,
            lambda model, stream, progress: model.code(
                options.description, function=options.function, **how, stream=stream, progress=progress
            ),
        )
    for other in ("description", "function"):
        if getattr(options, other) is not None:
            raise InputError(f"--fix corrects a file: leave the {other} out")
    if options.error is None:
        raise InputError("--fix needs --error: what was said when the code failed, or a file of it")
    code = read_text(options.fix)
    error = read_text(options.error) if _is_file(options.error) else options.error
    check(TASKS["fix"], {"code": code, "error": error, "language": options.language}, options)
    return streamed(
        options, lambda model, stream, progress: model.fix(code, error, **how, stream=stream, progress=progress)
    )


def _is_file(given: str) -> bool:
    """A long message is no name that a file could have: the system says so by an error."""
    try:
        return Path(given).is_file()
    except OSError:
        return False
