"""``pellucid rag verify``: is an answer so, by the index? Sentence by sentence.

pellucid rag verify kb --answer "The Brindle Bridge opened in 1950. Clara Voss designed it."
pellucid rag verify kb --answer "1950." --question "When did the Brindle Bridge open?" --html checked.html
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli import lens
from pellucid.cli.arguments import read_text
from pellucid.errors import InputError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "verify",
        "check an answer against the index",
        "Each sentence of an answer: supported by a passage, contradicted by one, or not found; with the passage and "
        "the sentence in it.",
    )
    p.add_argument("index", metavar="DIR", help="folder of the index")
    p.add_argument("--answer", metavar="TEXT", help="the answer")
    p.add_argument("--file", metavar="PATH", help="read it from a UTF-8 file ('-': standard input)")
    p.add_argument("--question", metavar="TEXT", help="the question that it answers: its passages are searched, too")
    p.add_argument("--passages", type=int, default=3, metavar="N", help="passages searched for each sentence")
    p.add_argument("--least", type=float, default=1.5, metavar="X", help="nats a token that a passage must give")
    lens.add_output(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    given = [n for n in ("answer", "file") if getattr(options, n) is not None]
    if len(given) != 1:
        raise InputError(f"expected one answer, with --answer or with --file; {len(given) or 'none'} given")
    answer = options.answer if options.file is None else read_text(options.file)
    if not answer.strip():
        raise InputError("the answer is empty: expected some sentences to check")
    from pellucid.apps.rag.knowledge import Knowledge

    with Knowledge.open(options.index) as knowledge:

        def make(model: Any, progress: Any) -> Any:
            from pellucid.apps.rag.verify import verify

            how = {"passages": options.passages, "least": options.least}
            return verify(model, knowledge, answer, options.question, **how, progress=progress)

        return lens.run(options, make)
