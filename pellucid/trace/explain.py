"""Explain an answer: encode, answer (or take the answer given), run a method, measure trust, and say what it cost.

from pellucid.trace.explain import explain
trace = explain(loaded, "What is the capital of France?")
"""

from __future__ import annotations

import difflib
import platform
import time
from datetime import datetime, timezone
from typing import Any

import numpy as np
import torch

from pellucid.errors import ContextError, InputError, NumericError
from pellucid.models.align import align_ids
from pellucid.models.encode import Encoded, Messages, encode, encode_target
from pellucid.models.generate import generate
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent
from pellucid.trace.engine import Run, Scores
from pellucid.trace.faithful import trust as measure_trust
from pellucid.trace.memory import PeakMemory, budget
from pellucid.trace.methods import method as get_method
from pellucid.trace.objective import objective as get_objective
from pellucid.trace.result import (
    FRAME_ROLES,
    Answer,
    Cost,
    Floats,
    MethodInfo,
    ModelInfo,
    Prompt,
    Source,
    Span,
    Target,
    Trace,
    Trust,
)
from pellucid.trace.statistics import describe

DEFAULT_METHOD = "saliency"


def explain(
    loaded: LoadedModel,
    prompt: str | Messages,
    target: str | None = None,
    *,
    method: str = DEFAULT_METHOD,
    objective: str = "logprob",
    span: str | tuple[int, int] | None = None,
    per_token: bool = False,
    raw: bool = False,
    parse_special: bool = False,
    trust: bool = True,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    precision: str = "full",
    memory: str | int = "auto",
    parameters: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> Trace:
    """Which tokens of ``prompt`` made the model answer as it does.

    - ``target``: the answer to explain; None lets the model answer (at most ``max_new_tokens``, greedy unless
      ``temperature`` is above 0).
    - ``method``, ``objective``: names that ``pellucid methods`` lists; ``parameters`` are the method's own.
    - ``span``: the part of the answer to explain, as text or as (start, end) in characters of the answer.
    - ``per_token``: also the matrix ``scores`` [targets, prompt tokens + targets].
    - ``raw``: no chat template; ``parse_special`` then reads control tokens in the prompt as such.
    - ``trust``: measure it (nine forward passes over the shortened prompt).
    - ``precision``: ``full``, or ``fast`` (bfloat16 products where the hardware has them).
    - ``memory``: what may be added: ``auto``, bytes, or text like ``2GB``.

    Raises ``InputError``, ``ContextError``, ``OptionError``, ``NumericError``, ``TemplateError``.
    """
    chosen, goal = get_method(method), get_objective(objective)
    for name in parameters or {}:
        chosen.check(name)
    encoded = encode(loaded, prompt, raw=raw, parse_special=parse_special)
    _check_context(loaded, len(encoded.ids), 1)
    allowed = budget(memory, loaded.device)

    began = time.perf_counter()
    if target is None:
        room = max_new_tokens if loaded.context is None else min(max_new_tokens, loaded.context - len(encoded.ids))
        answer_ids = generate(
            loaded, encoded.ids, max_new_tokens=room, temperature=temperature, seed=seed, progress=progress
        )
        asked = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    else:
        answer_ids = encode_target(loaded, encoded, target)
        asked = {}
        _check_context(loaded, len(encoded.ids), len(answer_ids))
    generate_seconds = time.perf_counter() - began if target is None else 0.0
    text, spans = align_ids(loaded.tokenizer, answer_ids)
    part = _find_span(span, text, spans)
    selected = list(range(len(answer_ids))) if part is None else list(part.targets)

    began = time.perf_counter()
    written = [i for i, t in enumerate(encoded.tokens) if t.role not in FRAME_ROLES]
    with PeakMemory(loaded.device) as peak:
        run = Run(
            loaded,
            encoded.ids,
            answer_ids,
            goal,
            selected=selected,
            per_token=per_token,
            precision=precision,
            allowed=allowed,
            units=[[i] for i in written] or None,
            seed=seed,
            progress=progress,
        )
        scores = chosen(run, **(parameters or {}))
        total, matrix = _arrays(scores, run)
        assert run.logits is not None
        targets = describe(loaded.tokenizer, answer_ids, text, spans, run.logits)
        used = run.precision
        run.logits = run.kept_pass = None  # a long answer's are large, and trust needs the room
        held: Trust | None = None
        note: str | None = "not measured: trust=False"
        passes = 0
        if trust:
            held, note, passes = measure_trust(
                loaded,
                encoded.ids,
                answer_ids,
                selected,
                total,
                written,
                sum(targets[i].logprob for i in selected),
                seed=seed,
                allowed=allowed,
                precision=used,
                progress=progress,
            )
    _check_finite(total, matrix, run, targets, scores)
    seconds = time.perf_counter() - began
    return Trace(
        model=_model_info(loaded),
        method=MethodInfo(chosen.name, chosen.signed, {**chosen.parameters, **(parameters or {})}),
        objective=goal.name,
        prompt=Prompt(encoded.text, encoded.messages, encoded.rendered, encoded.raw),
        answer=Answer(text, target is None, asked),
        sources=_sources(encoded),
        targets=targets,
        total=total,
        scores=matrix,
        cost=Cost(round(seconds, 4), run.forwards + passes, run.backwards, peak.bytes, round(generate_seconds, 4)),
        seed=seed,
        span=part,
        trust=held,
        trust_note=note,
        precision=used,
        merge=chosen.merge,
        details=scores.details,
        versions=_versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _check_context(loaded: LoadedModel, prompt: int, answer: int) -> None:
    if loaded.context is not None and prompt + answer > loaded.context:
        what = f"{prompt} tokens" if answer == 1 else f"{prompt} and the answer's {answer} tokens"
        raise ContextError(
            f"the prompt's {what} do not fit the {loaded.context} tokens that '{loaded.name}' can read"
            f"{', with room for an answer' if answer == 1 else ''}: shorten the prompt by at least "
            f"{prompt + answer - loaded.context} tokens, or use a model with a longer context"
        )


def _find_span(span: str | tuple[int, int] | None, text: str, spans: list[tuple[int, int]]) -> Span | None:
    """The span in the answer, with the targets that overlap it. Raises ``InputError`` where it is not there."""
    if span is None:
        return None
    if isinstance(span, str):
        if not span:
            raise InputError("the span is empty: expected a part of the answer")
        start = text.find(span)
        if start < 0:
            near = difflib.get_close_matches(span, text.split(), n=1, cutoff=0.4)
            hint = f"; the nearest word in it is {near[0]!r}" if near else ""
            raise InputError(f"the span {span!r} is not in the answer {text!r}{hint}")
        end = start + len(span)
    else:
        start, end = span
        if not 0 <= start < end <= len(text):
            raise InputError(f"the span ({start}, {end}) is not within the answer's {len(text)} characters {text!r}")
    targets = tuple(i for i, (a, b) in enumerate(spans) if a < end and b > start)
    if not targets:
        raise InputError(f"the span ({start}, {end}) covers no token of the answer {text!r}")
    return Span(text[start:end], start, end, targets)


def _arrays(scores: Scores, run: Run) -> tuple[Floats, Floats | None]:
    """Scores as float32 arrays: total [prompt], matrix [targets, prompt + targets] with NaN for what came later."""
    total = scores.total[: run.prompt_length].to(torch.float32).cpu().numpy()
    if scores.matrix is None:
        return total, None
    matrix = scores.matrix.to(torch.float32).cpu().numpy()
    for i in range(run.targets):
        matrix[i, run.prompt_length + i :] = np.nan
    return total, matrix


def _check_finite(total: Floats, matrix: Floats | None, run: Run, targets: tuple[Target, ...], scores: Scores) -> None:
    """Raise ``NumericError`` for NaN or infinity in what was measured, but for units that the method itself names."""
    counts = np.ones(run.ids.shape[1], dtype=bool) if scores.measured is None else scores.measured.cpu().numpy().copy()
    for unit in scores.details.get("not_finite", ()):
        counts[run.units[unit]] = False
    here = counts[: run.prompt_length]
    bad, count = int((~np.isfinite(total[here])).sum()), int(here.sum())
    if matrix is not None:
        for i in run.selected:
            seen = matrix[i, : run.prompt_length + i][counts[: run.prompt_length + i]]
            bad, count = bad + int((~np.isfinite(seen)).sum()), count + seen.size
    lost = sum(not np.isfinite(t.logprob) for t in targets)
    if bad or lost:
        which = (
            f"{bad} of {count} scores" if bad else f"the log-probabilities of {lost} of {len(targets)} answer tokens"
        )
        hint = "" if run.loaded.dtype == torch.float32 else ": try dtype='float32', which overflows later"
        raise NumericError(
            f"{which} are NaN or infinite (model '{run.loaded.name}' in {str(run.loaded.dtype).removeprefix('torch.')})"
            f"{hint or ': the weights or the input may hold such values'}"
        )


def _sources(encoded: Encoded) -> tuple[Source, ...]:
    return tuple(Source(t.text, t.id, t.start, t.end, t.role, t.message, t.word) for t in encoded.tokens)


def _model_info(loaded: LoadedModel) -> ModelInfo:
    return ModelInfo(
        loaded.name,
        loaded.source,
        loaded.revision,
        str(loaded.dtype).removeprefix("torch."),
        str(loaded.device),
        loaded.parameters,
    )


def _versions() -> dict[str, str]:
    import transformers

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
    }
