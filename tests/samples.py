"""Traces built by hand for the tests of result and render: every number is written here or computed from its place.

No model is asked: these exercise drawing and storing, never attribution.
"""

from __future__ import annotations

import math
import re

import numpy as np

from pellucid.trace.result import (
    Alternative,
    Answer,
    Cost,
    MethodInfo,
    ModelInfo,
    Prompt,
    Source,
    Span,
    Target,
    Trace,
    Trust,
)


def pieces(text: str) -> list[tuple[str, int, int, int]]:
    """(text, start, end, word) of a simple split: words with their leading blank, marks, single CJK characters."""
    found = re.finditer(r"\s?[一-鿿]|\s?[^\W一-鿿]+|\s?[^\w\s]|\s", text)
    return [(m[0], m.start(), m.end(), i) for i, m in enumerate(found)]


def sample(
    prompt: str = "What is the capital of France?",
    answer: str = "The capital is Paris.",
    *,
    signed: bool = False,
    per_token: bool = True,
    chat: bool = True,
    trust: bool = True,
    span: str | None = None,
) -> Trace:
    """A trace of ``prompt`` and ``answer``; with ``chat``, between four tokens of a template."""
    sources: list[Source] = []
    if chat:
        sources += [
            Source("<|im_start|>", 1, None, None, "special", None, 0),
            Source("user\n", 2, None, None, "template", None, 1),
        ]
    first = len(sources)
    sources += [
        Source(t, 100 + i, a, b, "user", 0 if chat else None, first + w)
        for i, (t, a, b, w) in enumerate(pieces(prompt))
    ]
    if chat:
        sources += [
            Source("<|im_end|>", 3, None, None, "special", None, len(sources)),
            Source("\nassistant\n", 4, None, None, "template", None, len(sources) + 1),
        ]
    targets = tuple(
        Target(
            t,
            500 + i,
            a,
            b,
            prob=0.5,
            logprob=math.log(0.5),
            rank=1 + i % 3,
            entropy=1.25,
            alternatives=tuple(Alternative(f" alt{k}", k, 0.5 / (k + 1), math.log(0.5 / (k + 1))) for k in range(5)),
            word=w,
        )
        for i, (t, a, b, w) in enumerate(pieces(answer))
    )
    n, m = len(sources), len(targets)
    total = np.array([((7 * j) % 11) / 11 for j in range(n)], dtype=np.float32)
    scores = np.array([[((3 * i + 5 * j) % 13) / 13 for j in range(n + m)] for i in range(m)], dtype=np.float32)
    if signed:
        total -= np.float32(0.5)
        scores -= np.float32(0.5)
    for i in range(m):
        scores[i, n + i :] = np.nan
    part = None
    if span is not None:
        at = answer.index(span)
        hit = tuple(i for i, t in enumerate(targets) if t.start < at + len(span) and t.end > at)
        part = Span(span, at, at + len(span), hit)
        for i in set(range(m)) - set(hit):
            scores[i] = np.nan
    return Trace(
        model=ModelInfo("sample-model", "memory", None, "float32", "cpu", 1234),
        method=MethodInfo("input_x_gradient" if signed else "saliency", signed),
        objective="logprob",
        prompt=Prompt(
            text=None if chat else prompt,
            messages=({"role": "user", "content": prompt},) if chat else None,
            rendered="".join(s.text for s in sources),
            raw=not chat,
        ),
        answer=Answer(answer, True, {"max_new_tokens": 16}),
        sources=tuple(sources),
        targets=targets,
        total=total,
        scores=scores if per_token else None,
        cost=Cost(0.5, 10, 1, 1_000_000, 0.25),
        seed=0,
        span=part,
        trust=Trust(0.1, len(pieces(prompt)), 1, 1.5, 0.5, (0.25, 0.75), 3.0, 0) if trust else None,
        trust_note=None if trust else "asked not to measure it",
        versions={"python": "3.11"},
        created="2026-01-01T00:00:00Z",
    )
