"""What the lens commands have in common: their prompt, their output, and how a result is handed on.

pellucid next "hello, how are you" --csv next.csv
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pellucid.cli.arguments import add_model, load_options, prompt_of
from pellucid.errors import OptionError

ENDINGS = ("json", "csv", "html", "md", "png")


def parser(commands: Any, name: str, text: str, description: str) -> argparse.ArgumentParser:
    """A command's parser."""
    p: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    return p


def add_prompt(p: argparse.ArgumentParser) -> None:
    """The prompt of a chat, or a text to go on with."""
    p.add_argument("prompt", nargs="?", help="the prompt; or use --file, --messages")
    p.add_argument("--file", metavar="PATH", help="read it from a UTF-8 file ('-': standard input)")
    p.add_argument("--messages", metavar="PATH", help="read a chat from a JSON file: a list of {role, content}")
    p.add_argument("--system", metavar="TEXT", help="a system message to go before the prompt")
    p.add_argument("--raw", action="store_true", help="no chat template: a text to go on with")
    p.set_defaults(pair=None, context=None)


def add_output(p: argparse.ArgumentParser) -> None:
    """Model, files, terminal view."""
    add_model(p)
    add_files(p)


def add_files(p: argparse.ArgumentParser) -> None:
    """Files, terminal view."""
    out = p.add_argument_group("output")
    out.add_argument("--json", metavar="PATH", help="write the result ('-': to standard output, nothing else there)")
    out.add_argument("--csv", metavar="PATH", help="write its table")
    out.add_argument("--html", metavar="PATH", help="write the page")
    out.add_argument("--md", metavar="PATH", help="write it as Markdown")
    out.add_argument("--png", metavar="PATH", help="write the picture")
    out.add_argument("--lang", choices=("en", "zh"), help="language of the views; default from the locale")
    out.add_argument("--quiet", action="store_true", help="no terminal view, no progress")


def prompt(options: argparse.Namespace) -> Any:
    """A text, or messages. Raises ``InputError``."""
    return prompt_of(options)


def files(options: argparse.Namespace) -> list[Path]:
    """The files to write, all of them writable. Raises ``OptionError``, ``OutputError``."""
    from pellucid.render import check_writable

    found = []
    for kind in ENDINGS:
        path = getattr(options, kind)
        if path is None or (kind == "json" and path == "-"):
            continue
        if Path(path).suffix.lower() != f".{kind}":
            raise OptionError(f"--{kind} writes a file that ends in .{kind}, given '{path}'")
        check_writable(Path(path))
        found.append(Path(path))
    return found


@contextmanager
def progress_of(options: argparse.Namespace) -> Any:
    """A callback that draws, or none."""
    from pellucid import progress as bars

    with bars.terminal(enabled=None if not options.quiet else False) as shown:
        yield bars.silent if options.quiet else shown


def run(options: argparse.Namespace, make: Callable[[Any, Any], Any]) -> int:
    """Load the model, make the result (``make(model, progress)``), show it, write it."""
    paths = files(options)
    from pellucid.model import load

    with progress_of(options) as progress:
        model = load(options.model, **load_options(options), progress=progress)
        found = make(model, progress)
    return hand_on(options, found, paths)


def hand_on(options: argparse.Namespace, found: Any, paths: list[Path]) -> int:
    """Show it, write it."""
    if options.json == "-":
        sys.stdout.write(found.to_json() + "\n")
    elif not options.quiet:
        found.show(lang=options.lang)
    for path in paths:
        print(f"wrote {found.save(path, lang=options.lang)}", file=sys.stderr)
    return 0


def whole_numbers(text: str | None, option: str) -> list[int] | None:
    """``0,4,8`` or ``0-30``; None for None. Raises ``OptionError``."""
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise OptionError(f"{option} should be numbers such as 0,4,8 or 0-30, given '{text}'")
        found += range(int(first), int(last) + 1) if dash else [int(first)]
    return found
