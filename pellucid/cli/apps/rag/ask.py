"""``pellucid rag ask``: an answer from an index, and for each of its sentences the passages it rests on.

pellucid rag ask kb "How do I resume training?"
pellucid rag ask kb "怎样继续训练？" --passages 2 --samples 3 --html answer.html
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli import lens


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "ask",
        "answer a question, with citations computed from attribution",
        "Find passages, answer from them, and tie each sentence of the answer to the passages without which it would "
        "be less likely; a sentence that rests on nothing retrieved is marked.",
    )
    p.add_argument("index", metavar="DIR", help="folder of the index")
    p.add_argument("question")
    find = p.add_argument_group("what is read")
    find.add_argument("--passages", "-k", type=int, default=3, metavar="N", help="passages, at most")
    find.add_argument("--retriever", metavar="NAME", help="bm25, dense or hybrid; default: the index's own")
    find.add_argument("--collection", metavar="NAME", help="search this one alone")
    how = p.add_argument_group("how")
    how.add_argument("--answer", metavar="TEXT", help="cite this answer instead of the model's own")
    how.add_argument("--max-new-tokens", type=int, default=64, metavar="N", help="length of the answer, at most")
    how.add_argument("--strategy", default="greedy", metavar="NAME", help="see 'pellucid decode --help'")
    how.add_argument("--seed", type=int, default=0, metavar="N")
    how.add_argument("--system", metavar="TEXT", help="a system message to go before")
    how.add_argument("--template", metavar="TEXT", help="your own prompt, with {passages} and {question}")
    how.add_argument("--samples", type=int, default=0, metavar="N", help="answers drawn to see how far they agree")
    how.add_argument("--verbal", action="store_true", help="also ask the model how sure it is, from 1 to 10")
    lens.add_output(p)
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it. What can be known to be wrong is, before a model is loaded."""
    from pellucid.apps.rag.knowledge import Knowledge
    from pellucid.apps.rag.prompt import check_template
    from pellucid.apps.speaker import Decoding, check_text

    check_text(options.question, "the question")
    if options.template is not None:
        check_template(options.template)
    decoding = Decoding(options.strategy, options.max_new_tokens, options.seed)
    with Knowledge.open(options.index) as knowledge:
        shelf = knowledge.only(retriever=options.retriever, collection=options.collection)

        def make(model: Any, progress: Any) -> Any:
            return model.rag(
                shelf,
                options.question,
                passages=options.passages,
                answer=options.answer,
                decoding=decoding,
                template=options.template,
                system=options.system,
                samples=options.samples,
                verbal=options.verbal,
                progress=progress,
            )

        return lens.run(options, make)
