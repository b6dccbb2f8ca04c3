"""Answer with a part of the context: a head that gives every token a start's and an end's logit.

    point(loaded, "Who came?", "Ann came at noon.").answer          # "Ann"

The windows are read once, whatever the number of methods; scores are of the window that holds the answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pellucid.apps.question import METHODS, Answered, Read, agreed, staged, units
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress


def point(
    loaded: LoadedModel,
    question: str,
    context: str,
    *,
    methods: Sequence[str] | None,
    answer: str | None,
    max_new_tokens: int,
    unit: str,
    top_k: int,
    parameters: Mapping[str, Mapping[str, Any]],
    window: int | None,
    stride: int | None,
    trust: bool,
    seed: int,
    progress: Progress,
) -> Answered:
    """See ``ask``. Probabilities are start times end, softmax over the window's tokens."""
    import torch

    from pellucid.trace import units as stretches
    from pellucid.trace.explain import explain_prepared
    from pellucid.trace.methods import method
    from pellucid.trace.prepare import prepare
    from pellucid.trace.provenance import model_info

    began = time.perf_counter()
    chosen = [method(m) for m in (METHODS if methods is None else methods)]
    if methods is not None:
        for m in chosen:
            m.check_kind(loaded.kind, loaded.name)
    chosen = [m for m in chosen if loaded.kind in m.kinds]
    ready = prepare(
        loaded,
        (question, context),
        answer,
        max_new_tokens=max_new_tokens,
        window=window,
        stride=stride,
        seed=seed,
        progress=progress,
    )
    about, read = ready.details["answer"], ready.details["windows"]
    here = next(w for w in read if w["explained"])
    parts = units(unit, context, 1, 0, low=here["start"], high=here["end"])
    ready = replace(ready, units=stretches.units(ready.encoded, parts), kind=parts)
    logits = ready.run(loaded).logits_after([ready.encoded.ids])[0].double()  # [2, tokens]
    logp = torch.log_softmax(logits, -1)
    start, end = ready.answer_ids
    cls: Any = loaded.tokenizer.cls_token_id
    none = next((i for i, t in enumerate(ready.encoded.tokens) if t.role == "special" and t.id == cls), None)
    nothing = min((w["no_answer"] for w in read if w["no_answer"] is not None), default=math.nan)
    shared: dict[Any, Any] = {}
    traces = [
        explain_prepared(
            loaded,
            ready,
            m,
            trust=trust,
            seed=seed,
            parameters=dict(parameters.get(m.name, {})),
            shared=shared,
            progress=staged(progress, m.name),
        )
        for m in chosen
    ]
    nowhere = about["no_answer"]
    return Answered(
        question=question,
        context=context,
        answer=ready.answer.text,
        kind="extracted",
        generated=answer is None,
        no_answer=nowhere,
        place="none" if nowhere else "exact",
        start=about["start"],
        end=about["end"],
        overlap=0.0 if nowhere else 1.0,
        logprob=float(logp[0, start] + logp[1, end]) / 2,
        alone=math.nan,
        supported=math.nan,
        score=about["score"],
        no_answer_score=nothing,
        no_answer_prob=math.nan if none is None else float((logp[0, none] + logp[1, none]).exp()),
        windows=tuple(Read(**w) for w in read),
        prompt=question,
        message=1,
        offset=0,
        unit=unit,
        traces=tuple(traces),
        agreement=agreed(traces, 1, 0, len(context), top_k),
        model=model_info(loaded),
        seconds=time.perf_counter() - began,
    )
