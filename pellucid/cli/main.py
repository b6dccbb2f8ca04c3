"""``pellucid``: the parser, the commands' table, and how errors end.

    pellucid --help
    pellucid explain "What is the capital of France?"

Exit codes: 0; 2 for anything that the user can mend, in one sentence on standard error; 130 for Ctrl-C. No command's
module imports torch at its top, so that help and mistakes in the arguments answer at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from pellucid.cli import (
    bench,
    compare,
    decode,
    explain,
    flow,
    inspectmodel,
    interactions,
    lab,
    logitlens,
    methods,
    models,
    nexttokens,
    relevance,
    serve,
    surprisal,
)
from pellucid.cli.apps import COMMANDS as APPS
from pellucid.errors import Error
from pellucid.version import __version__

COMMANDS = (
    explain,
    compare,
    interactions,
    relevance,
    nexttokens,
    decode,
    surprisal,
    logitlens,
    flow,
    inspectmodel,
    *APPS,
    serve,
    lab,
    bench,
    models,
    methods,
)


class Parser(argparse.ArgumentParser):
    """argparse, with its errors in one sentence instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def parser() -> Parser:
    """The whole command line."""
    p = Parser(
        prog="pellucid",
        description="Which part of the input made the language model say that.",
        epilog='Try: pellucid explain "What is the capital of France?"',
    )
    p.add_argument("--version", action="version", version=f"pellucid {__version__}")
    commands = p.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for command in COMMANDS:
        command.add(commands)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    try:
        options, rest = parser().parse_known_args(arguments)
        if rest and (any(r.startswith("-") for r in rest) or not hasattr(options, "files")):
            parser().error(f"unrecognized arguments: {' '.join(rest)}")
        if rest:  # files that stand after an option: argparse takes those before it alone
            options.files += rest
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except Error as e:
        print(f"pellucid: {' '.join(str(e).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # CPython keeps a note of an interrupt that passed through exec(), even if it is handled further out, and ends
        # by the signal instead of with our code. Each exec() begins by clearing that note.
        exec("")
        print("pellucid: interrupted; nothing half-written is left", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`): that is no error, and Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def run() -> NoReturn:
    """The console script. A Ctrl-C that comes while Python cleans up after the work is done has nothing to stop."""
    code = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise SystemExit(code)


if __name__ == "__main__":
    run()
