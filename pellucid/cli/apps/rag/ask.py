"""``pellucid rag ask``: an answer from an index, and for each of its sentences the passages it rests on.

pellucid rag ask kb "How do I resume training?"
pellucid rag ask kb "Who built the bridge?" "When did it open?"     # the second is made to stand by itself
pellucid rag ask kb "怎样继续训练？" --passages 2 --samples 3 --html answer.html
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
        "ask",
        "answer a question, with citations computed from attribution",
        "Find passages, answer from them, and tie each sentence of the answer to the passages without which it would "
        "be less likely; a sentence that rests on nothing retrieved is marked.",
    )
    p.add_argument("index", metavar="DIR", help="folder of the index")
    p.add_argument("question", nargs="+", help="a question; further ones may lean on those before")
    find = p.add_argument_group("what is read")
    find.add_argument("--passages", "-k", type=int, default=3, metavar="N", help="passages, at most")
    find.add_argument("--retriever", metavar="NAME", help="bm25, dense or hybrid; default: the index's own")
    find.add_argument("--collection", metavar="NAME", help="search this one alone")
    find.add_argument("--route", action="store_true", help="choose the collection by its description")
    find.add_argument("--hops", action="store_true", help="take the question apart, and answer each step from its own")
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
    from pellucid.apps.speaker import Decoding

    _check(options)
    if options.template is not None:
        check_template(options.template)
    decoding = Decoding(options.strategy, options.max_new_tokens, options.seed)
    with Knowledge.open(options.index) as knowledge:
        shelf: Any = knowledge.only(retriever=options.retriever, collection=options.collection)
        if options.route:
            from pellucid.apps.rag.routing import Routed

            shelf = Routed(knowledge)

        def make(model: Any, progress: Any) -> Any:
            if options.hops:
                from pellucid.apps.rag.hops import ask_hops

                return ask_hops(
                    model, shelf, options.question[0], passages=options.passages, decoding=decoding, progress=progress
                )
            from pellucid.apps.rag.standalone import Conversation

            talk = Conversation(
                model,
                shelf,
                passages=options.passages,
                answer=options.answer,
                decoding=decoding,
                template=options.template,
                system=options.system,
                samples=options.samples,
                verbal=options.verbal,
                progress=progress,
            )
            *before, last = options.question
            for question in before:
                found = talk.ask(question)
                if options.json != "-" and not options.quiet:
                    found.show(lang=options.lang)
            return talk.ask(last)

        return lens.run(options, make)


def _check(options: argparse.Namespace) -> None:
    """Raise ``OptionError`` for questions and options that do not go together."""
    from pellucid.apps.speaker import check_text

    for question in options.question:
        check_text(question, "the question")
    if len(options.question) > 1 and (options.hops or options.answer is not None):
        raise OptionError("--hops and --answer go with one question: give the others in commands of their own")
    own = ("answer", "template", "system", "verbal")
    if options.hops and (options.samples or any(getattr(options, n) for n in own)):
        raise OptionError(
            "--hops writes prompts of its own: leave out --answer, --template, --system, --samples, --verbal"
        )
    if options.route and (options.collection or options.retriever):
        raise OptionError(
            "--route chooses the collection, and the index the retriever: leave --collection and --retriever out"
        )
