"""What each request asks of the rooms: its steps, in which lane each runs, and the title that its result is kept under.

    steps = STEPS["explain"](request, settings)
    desk.put(Job(steps, ...))

One function a kind of request. What takes many passes or gradients goes into ``long``, an answer that is written into
``writing``, the rest into ``quick``, where requests of one kind run as one batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pellucid.serve import requests
from pellucid.serve.jobs import Step
from pellucid.serve.settings import Settings
from pellucid.serve.work.explaining import compare, explain, flow, generate, why
from pellucid.serve.work.looking import anatomy, decode, lens, next_tokens, surprisal
from pellucid.serve.work.reading import classify, relevance

#: Name of the endpoint: what is asked, and what becomes of it.
WORK: dict[str, tuple[type[requests.Asked], Callable[[Any, Settings], list[Step]]]] = {
    "explain": (requests.Explain, explain),
    "compare": (requests.Compare, compare),
    "flow": (requests.Flow, flow),
    "generate": (requests.Generate, generate),
    "why": (requests.Why, why),
    "next": (requests.Next, next_tokens),
    "decode": (requests.Decode, decode),
    "surprisal": (requests.Surprisal, surprisal),
    "lens": (requests.Lens, lens),
    "anatomy": (requests.Anatomy, anatomy),
    "relevance": (requests.Relevance, relevance),
    "classify": (requests.Classify, classify),
}
