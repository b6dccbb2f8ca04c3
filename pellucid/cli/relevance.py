"""``pellucid relevance``: which words of a text matter for a query; or, for many files, how far each is about it.

pellucid relevance "capital gains" --file report.txt --html out.html
pellucid relevance "capital gains" docs/*.md --degree
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

from pellucid.cli.arguments import add_model, load_options, parameter
from pellucid.errors import InputError, OptionError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p: argparse.ArgumentParser = commands.add_parser(
        "relevance",
        help="highlight what a text has to do with a query",
        description="Ask the model about a query and a text, and highlight the words that its answer rests on; with "
        "--degree, list files by how far they are about the query.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("query", help="what to look for, in a few words")
    p.add_argument("files", nargs="*", metavar="FILE", help="UTF-8 texts")
    p.add_argument("--file", metavar="PATH", help="one more file ('-': standard input)")
    p.add_argument("--text", metavar="TEXT", help="the text itself")
    p.add_argument("--degree", action="store_true", help="degrees alone, forward passes only: a table, best first")
    how = p.add_argument_group("how")
    how.add_argument(
        "--mode",
        default="auto",
        metavar="NAME",
        help="auto, answer, likelihood, fill_blank, count (match_score: deprecated, the weakest)",
    )
    how.add_argument("--method", metavar="NAME", help="what scores tokens, see 'pellucid methods'; default by mode")
    how.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the method")
    how.add_argument("--language", choices=("en", "zh"), help="of the question; default by query and text")
    how.add_argument("--window", type=int, metavar="N", help="tokens of text that are read at once, at most")
    how.add_argument("--max-tokens", type=int, metavar="N", help="read only so many tokens of a text, and say so")
    how.add_argument("--precision", default="full", metavar="NAME", help="full, or fast (bfloat16 where there is)")
    how.add_argument("--memory", default="auto", metavar="SIZE", help="what may be added: auto, or text like 2GB")
    add_model(p)
    out = p.add_argument_group("output")
    out.add_argument("--json", metavar="PATH", help="write the result ('-': to standard output, nothing else there)")
    out.add_argument("--html", metavar="PATH", help="write the page")
    out.add_argument("--png", metavar="PATH", help="write the picture")
    out.add_argument("--lang", choices=("en", "zh"), help="language of the terminal view; default from the locale")
    out.add_argument("--quiet", action="store_true", help="no terminal view, no progress")
    p.set_defaults(run=run)


def texts_of(options: argparse.Namespace) -> list[tuple[str, str]]:
    """(name, text) of everything that was named. Raises ``InputError``."""
    found: list[tuple[str, str]] = [] if options.text is None else [("--text", options.text)]
    for name in [*options.files, *([options.file] if options.file else [])]:
        try:
            data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as e:
            raise InputError(f"cannot read {name}: {e.strerror or e}") from None
        try:
            found.append((name, data.decode("utf-8-sig")))
        except UnicodeDecodeError as e:
            raise InputError(f"{name} is not UTF-8 text (byte {e.start}): convert it first") from None
    if not found:
        raise InputError("no text was given: name one or more files, or use --text")
    return found


def run(options: argparse.Namespace) -> int:
    """Do it. What can be known to be wrong is, before a model is loaded."""
    from pellucid.relevance.modes import modes_of
    from pellucid.relevance.question import check_content, check_query
    from pellucid.render import RELEVANCE_WRITERS, check_writable, writer

    check_query(options.query)
    texts = texts_of(options)
    for name, text in texts:
        try:
            check_content(text)
        except InputError as e:
            raise InputError(f"{name}: {e}") from None
    modes_of(options.mode)
    if len(texts) > 1 and not options.degree:
        raise OptionError(f"one text is highlighted at a time, and {len(texts)} were given: name one, or use --degree")
    drawn = [(f"--{n}", getattr(options, n)) for n in ("html", "png") if getattr(options, n)]
    for name, path in drawn:
        if options.degree:
            raise OptionError(f"{name} is for one highlighted text: leave out --degree")
        if Path(path).suffix.lower() != f".{name[2:]}":
            raise OptionError(f"{name} writes a file that ends in .{name[2:]}, given '{path}'")
    files = [Path(p) for _, p in drawn] + ([Path(options.json)] if options.json not in (None, "-") else [])
    for file in files:
        check_writable(file)
        if not options.degree:
            writer(file, RELEVANCE_WRITERS)
    parameters = dict(parameter(text) for text in options.param)

    from pellucid import progress as bars
    from pellucid.model import load

    shared = {n: getattr(options, n) for n in ("mode", "language", "window", "precision", "memory")}
    with bars.terminal(enabled=None if not options.quiet else False) as shown, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the help says so
        progress = bars.silent if options.quiet else shown
        model = load(options.model, **load_options(options), progress=progress)
        if options.degree:
            degrees = model.relevance_degree([options.query], [t for _, t in texts], **shared, progress=progress)[0]
        else:
            found: Any = model.relevance(
                options.query,
                texts[0][1],
                **shared,
                method=options.method,
                parameters=parameters,
                max_tokens=options.max_tokens,
                progress=progress,
            )
    if options.degree:
        table = sorted(zip(degrees.tolist(), [n for n, _ in texts], strict=True), key=lambda r: -r[0])
        return _degrees(options, table)
    if options.json == "-":
        sys.stdout.write(found.to_json() + "\n")
    elif not options.quiet:
        found.show(lang=options.lang)
    for file in files:
        print(f"wrote {found.save(file)}", file=sys.stderr)
    return 0


def _degrees(options: argparse.Namespace, table: list[tuple[float, str]]) -> int:
    """The table of files, best first, on standard output or in a file."""
    from pellucid.render.shading import percent

    data = json.dumps([{"file": n, "degree": round(d, 6)} for d, n in table], ensure_ascii=False)
    if options.json == "-":
        sys.stdout.write(data + "\n")
        return 0
    if options.json:
        Path(options.json).write_text(data + "\n", encoding="utf-8")
        print(f"wrote {options.json}", file=sys.stderr)
    if not options.quiet:
        for degree, name in table:
            print(f"{percent(degree):>7}  {name}")
    return 0
