"""``pellucid chat``: talk with a model in the terminal, and ask what an answer rests on.

    pellucid chat
    printf 'What is the capital of France?\n/why sentence\n' | pellucid chat
    pellucid chat --json < questions.txt > replies.jsonl

Where standard input or output is no terminal nothing is drawn: a line is a message, each answer is one line (its line
breaks shown as ↵), and notes go to standard error.
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli import lens
from pellucid.cli.arguments import add_model, load_options
from pellucid.errors import OptionError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "chat",
        "talk with a model, and ask what an answer rests on",
        "A conversation in the terminal: answers as they are written, /why for what the last one rests on, /help for "
        "the other commands. With piped input a line is a message, and each answer is one line.",
    )
    p.add_argument("--system", metavar="TEXT", help="the instruction")
    p.add_argument("--load", metavar="PATH", help="go on with a saved conversation")
    p.add_argument("--save", metavar="PATH", help="save the conversation there after every answer")
    how = p.add_argument_group("how")
    how.add_argument("--strategy", metavar="NAME", help="greedy, top_p:0.9+temperature:0.7, ...; greedy by default")
    how.add_argument("--max-new-tokens", type=int, metavar="N", help="length of an answer, at most; 256 by default")
    how.add_argument("--seed", type=int, metavar="N", help="of strategies that draw; 0 by default")
    how.add_argument("--max-history-tokens", type=int, metavar="N", help="length of a prompt, at most")
    how.add_argument("--intents", metavar="WAY", help="rules, model or none; rules by default")
    add_model(p)
    out = p.add_argument_group("output")
    out.add_argument("--json", action="store_true", help="each reply as a line of JSON")
    out.add_argument("--lang", choices=("en", "zh"), help="language of the interface; default from the locale")
    out.add_argument("--quiet", action="store_true", help="no progress, no notes")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Talk until the input ends."""
    from pathlib import Path

    from pellucid.apps.chat.chat import Chat
    from pellucid.apps.chat.intent import check_way
    from pellucid.apps.chat.store import read
    from pellucid.cli.apps.chatting import Session
    from pellucid.model import load
    from pellucid.render import check_writable
    from pellucid.render.words import chosen

    lang, given = chosen(options.lang), _given(options)
    check_way(given.get("intents"))
    if options.load is not None:  # what is wrong with it is said before a model is loaded
        read(Path(options.load))
    if options.save is not None:
        check_writable(Path(options.save))
    with lens.progress_of(options) as progress:
        model = load(options.model, **load_options(options), progress=progress)
    session = Session(Chat(model, **given), options, lang)
    if options.load is not None:
        session.load(options.load, **given)
    return session.run()


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``Chat`` that the user gave, which come before those of a saved conversation. Raises
    ``OptionError``."""
    from pellucid.apps.speaker import Decoding
    from pellucid.lens.strategies import parse

    names = ("system", "max_history_tokens", "intents")
    found = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    how = {name: getattr(options, name) for name in ("strategy", "max_new_tokens", "seed")}
    how = {name: value for name, value in how.items() if value is not None}
    if how:
        found["decoding"] = Decoding(**how)
        parse(found["decoding"].strategy)
        if found["decoding"].max_new_tokens < 1:
            raise OptionError(f"--max-new-tokens should be at least 1, given {found['decoding'].max_new_tokens}")
    return found
