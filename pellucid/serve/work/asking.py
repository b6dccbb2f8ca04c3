"""Questions to an index: passages, and answers with citations.

steps = answered(asked, settings, knowledge)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.serve import requests as ask
from pellucid.serve.jobs import Job, Made, Step
from pellucid.serve.lane import Voice
from pellucid.serve.settings import Settings
from pellucid.serve.work.prompts import check_new

if TYPE_CHECKING:
    from pellucid.apps.rag.knowledge import Knowledge


def found(asked: ask.Search, settings: Settings, knowledge: Knowledge) -> list[Step]:
    """A search needs no model, and waits in the lane of short work all the same: it is work."""

    def run(voice: Voice, job: Job, before: Any) -> Made:
        passages = knowledge.find(asked.query, asked.k, retriever=asked.retriever, collection=asked.collection)
        return Made("passages", passages, asked.query)

    return [Step("quick", run)]


def answered(asked: ask.Question, settings: Settings, knowledge: Knowledge) -> list[Step]:
    """The answer is streamed, then cited."""
    check_new(asked.max_new_tokens, settings)

    def run(voice: Voice, job: Job, before: Any) -> Made:
        from pellucid.apps.rag.ask import ask as answer
        from pellucid.apps.rag.rewriting import Turn
        from pellucid.apps.speaker import Decoding

        stop = () if voice.speaker.chats else ("\n",)
        cited = answer(
            voice.speaker,
            knowledge.only(retriever=asked.retriever, collection=asked.collection),
            asked.question,
            passages=asked.passages,
            decoding=Decoding(max_new_tokens=asked.max_new_tokens, stop=stop),
            history=[Turn(t.question, t.answer) for t in asked.history],
            on_text=job.text,
            progress=job.progress,
        )
        return Made("cited", cited, asked.question)

    return [Step("long", run)]
