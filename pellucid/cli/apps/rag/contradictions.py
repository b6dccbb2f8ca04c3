"""``pellucid rag contradictions``: sentences of the passages for a question that contradict each other.

pellucid rag contradictions kb "When did the Brindle Bridge open?"
pellucid rag contradictions kb "When did the Brindle Bridge open?" --judge --model runs/mine --html pairs.html
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli import lens


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "contradictions",
        "sentences of different passages that contradict each other",
        "Compares every sentence of the passages that a question finds with those of the others: different numbers or "
        "dates of the same, and what one denies. No model is loaded without --judge.",
    )
    p.add_argument("index", metavar="DIR", help="folder of the index")
    p.add_argument("question", help="the question, or words")
    p.add_argument("--passages", type=int, default=5, metavar="N", help="passages that are compared")
    p.add_argument("--judge", action="store_true", help="also let the model judge pairs that no rule decides")
    p.add_argument("--most", type=int, default=20, metavar="N", help="with --judge: pairs, those that share most words")
    lens.add_output(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    paths = lens.files(options)
    from pellucid.apps.rag.contradictions import contradictions
    from pellucid.apps.rag.knowledge import Knowledge

    how = {"passages": options.passages, "most": options.most}
    with Knowledge.open(options.index) as knowledge:
        if options.judge:
            return lens.run(
                options,
                lambda model, progress: contradictions(
                    knowledge, options.question, model=model, **how, progress=progress
                ),
            )
        with lens.progress_of(options) as progress:
            found = contradictions(knowledge, options.question, **how, progress=progress)
    return lens.hand_on(options, found, paths)
