"""Texts read for a purpose: relevance to a query, classes.

Degrees alone are forward passes; scores of tokens need gradients.
"""

from __future__ import annotations

from typing import Any

from pellucid.errors import InputError
from pellucid.serve import requests as ask
from pellucid.serve.jobs import Job, Made, Step
from pellucid.serve.lane import Voice
from pellucid.serve.settings import Settings
from pellucid.serve.work.prompts import check_length, size_of


def relevance(asked: ask.Relevance, settings: Settings) -> list[Step]:
    """A text with its tokens' scores, or degrees of several."""
    if (asked.text is None) == (asked.texts is None):
        raise InputError("expected either a text or texts: exactly one of the two")

    def degrees(voice: Voice, job: Job, before: Any) -> Made:
        from pellucid.relevance.degrees import degrees

        texts = asked.texts or []
        for text in texts:
            check_length(voice, text, settings, raw=True, more=asked.query)
        found = degrees(voice.loaded, [asked.query], texts, mode=asked.mode, memory=voice.memory, progress=job.progress)
        return Made("degrees", {"query": asked.query, "degrees": [round(float(d), 6) for d in found[0]]})

    def tokens(voice: Voice, job: Job, before: Any) -> Made:
        from pellucid.relevance.score import relevance

        text = asked.text or ""
        check_length(voice, text, settings, raw=True, more=asked.query)
        found = relevance(
            voice.loaded,
            asked.query,
            text,
            mode=asked.mode,
            degree_only=asked.degree_only,
            memory=voice.memory,
            progress=job.progress,
        )
        return Made("relevance", found, f"{asked.query}: {text}")

    if asked.texts is not None:
        return [Step("quick", degrees, size=sum(map(size_of, asked.texts)) + len(asked.texts) * size_of(asked.query))]
    size = size_of(asked.text or "") + size_of(asked.query)
    return [Step("quick" if asked.degree_only else "long", tokens, size=size)]


def classify(asked: ask.Classify, settings: Settings) -> list[Step]:
    """The class, and which words made it so."""

    def run(voice: Voice, job: Job, before: Any) -> Made:
        from pellucid.apps.classify import classify

        check_length(voice, asked.text, settings, raw=voice.loaded.kind == "causal")
        found = classify(
            voice.speaker if voice.loaded.kind == "causal" else voice.loaded,
            asked.text,
            asked.labels,
            methods=asked.methods,
            traces=asked.traces,
            progress=job.progress,
        )
        return Made("classification", found, asked.text)

    return [Step("long", run)]
