"""Explain an answer: prepare it, run a method, measure trust, and say what it cost.

from pellucid.trace.explain import explain
trace = explain(loaded, "What is the capital of France?", unit="sentence")
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import numpy as np
import torch

from pellucid.errors import ModelError, NumericError, OptionError
from pellucid.models.encode import Encoded, Messages
from pellucid.models.load import LoadedModel
from pellucid.models.seq2seq import speaking
from pellucid.progress import Progress, silent
from pellucid.trace import auto
from pellucid.trace import units as stretches
from pellucid.trace.engine import Run, Scores
from pellucid.trace.faithful import importance
from pellucid.trace.memory import PeakMemory
from pellucid.trace.methods import Method
from pellucid.trace.methods import method as get_method
from pellucid.trace.objective import Function
from pellucid.trace.options import check
from pellucid.trace.prepare import Prepared, prepare
from pellucid.trace.provenance import model_info, versions
from pellucid.trace.reference import Part
from pellucid.trace.result import (
    FRAME_ROLES,
    Cost,
    Floats,
    MethodInfo,
    NamedSpan,
    Prompt,
    Source,
    Target,
    Trace,
    Trust,
    UnitScore,
)
from pellucid.trace.schema import plain
from pellucid.trace.statistics import describe
from pellucid.trace.trust import trust as measure_trust
from pellucid.trace.units import Kind

DEFAULT_METHOD = "saliency"


def explain(
    loaded: LoadedModel,
    prompt: str | Messages | Sequence[str] | Mapping[str, str],
    target: str | Sequence[str] | None = None,
    *,
    method: str = DEFAULT_METHOD,
    budget: str | None = None,
    objective: str | Function = "logprob",
    instead_of: str | None = None,
    without: Part | None = None,
    reduce: str = "sum",
    span: str | tuple[int, int] | None = None,
    spans: Mapping[str, str | tuple[int, int]] | None = None,
    unit: Kind = "token",
    merge: str | None = None,
    per_token: bool = False,
    raw: bool = False,
    parse_special: bool = False,
    source_language: str | None = None,
    target_language: str | None = None,
    trust: bool = True,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    window: int | None = None,
    stride: int | None = None,
    seed: int = 0,
    precision: str = "full",
    memory: str | int = "auto",
    parameters: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> Trace:
    """Which tokens of ``prompt`` made the model answer as it does.

    - ``prompt``: a text, or a chat. A classifier also reads two texts (first, second); a model that answers with a part
      of a context reads (question, context), or {"question": ..., "context": ...}.
    - ``target``: the answer to explain (of a classifier a class, or several in a list); None lets the model answer (at
      most ``max_new_tokens``, greedy unless ``temperature`` is above 0).
    - ``method``, ``objective``: names that ``pellucid methods`` lists; ``parameters`` are the method's own.
      ``method="auto"`` takes the best that was measured within ``budget``: ``fast``, ``balanced`` or ``thorough``. An
      objective may be a function of logits [targets, vocabulary] and ids [targets] that gives [targets].
    - ``instead_of``: for ``contrast``, what might stand in place of ``span``, or of the whole answer.
    - ``without``: for ``kl`` and ``pcxmi``, the part of the prompt to do without: its text, (start, end) in characters
      of a bare prompt, or (message, start, end). Its tokens are left out; one more forward pass.
    - ``reduce``: ``sum`` of the explained targets, or their ``mean``: every score, the matrix's too, is divided by
      their number.
    - ``span``: the part of the answer to explain, as text or as (start, end) in characters of the answer.
    - ``spans``: further parts by name; the method runs once more for each, as exactly as for ``span``.
    - ``unit``: ``token``, ``word``, ``sentence``, ``paragraph``, ``message``, ``document``, ``regex:...`` or a compiled
      pattern, or parts (start, end) or (message, start, end) of the prompt, which may have names. ``merge`` says how
      token scores become a unit's: ``sum``, ``mean``, ``max_abs``; the method's own way where None.
    - ``per_token``: also the matrix ``scores`` [targets, prompt tokens + targets].
    - ``window``, ``stride``: how long contexts are read by models that answer with a part of one: tokens of a window,
      and how many of the context's two windows share (``trace/extract.py``).
    - ``raw``: no chat template; ``parse_special`` then reads control tokens in the prompt as such.
    - ``source_language``, ``target_language``: what an encoder-decoder that knows several reads and writes, by its
      tokenizer's names ("eng_Latn", "fra_Latn" for NLLB; "en", "fr" for M2M100).
    - ``trust``: measure it (nine forward passes over the shortened prompt).
    - ``precision``: ``full``, or ``fast`` (bfloat16 products where the hardware has them).
    - ``memory``: what may be added: ``auto``, bytes, or text like ``2GB``.

    Raises ``InputError``, ``ContextError``, ``OptionError``, ``NumericError``, ``TemplateError``.
    """
    check(
        method,
        parameters,
        budget=budget,
        objective=objective,
        instead_of=instead_of,
        without=without,
        reduce=reduce,
        spans=spans,
        unit=unit,
        merge=merge,
    )
    loaded = speaking(loaded, source_language, target_language)
    ready = prepare(
        loaded,
        prompt,
        target,
        objective=objective,
        instead_of=instead_of,
        without=without,
        reduce=reduce,
        span=span,
        spans=spans,
        unit=unit,
        merge=merge,
        per_token=per_token,
        raw=raw,
        parse_special=parse_special,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        window=window,
        stride=stride,
        seed=seed,
        precision=precision,
        memory=memory,
        progress=progress,
    )

    def by(name: str, own: dict[str, Any] | None) -> Trace:
        return explain_prepared(
            loaded,
            ready,
            get_method(name),
            merge=merge,
            per_token=per_token,
            trust=trust,
            seed=seed,
            precision=precision,
            parameters=own,
            progress=progress,
        )

    return by(method, parameters) if method != auto.AUTO else _auto(loaded, budget, by)


def _auto(loaded: LoadedModel, budget: str | None, by: Callable[[str, dict[str, Any]], Trace]) -> Trace:
    """The first choice for this kind of model that knows this family; what was passed over is said."""
    passed: list[str] = []
    choices = auto.choices(loaded.kind, budget)
    while True:
        choice = choices[len(passed)]
        try:
            trace = by(choice.method, choice.parameters)
            break
        except (ModelError, OptionError) as e:
            passed.append(f"{choice.method}: {e}")
            if len(passed) == len(choices):
                raise
    said = {"budget": budget or auto.DEFAULT_BUDGET, "method": choice.method, "parameters": choice.parameters}
    return replace(trace, details={**trace.details, "auto": plain({**said, "why": choice.why, "passed": passed})})


def explain_prepared(
    loaded: LoadedModel,
    ready: Prepared,
    method: Method,
    *,
    merge: str | None = None,
    per_token: bool = False,
    trust: bool = True,
    seed: int = 0,
    precision: str = "full",
    parameters: dict[str, Any] | None = None,
    shared: dict[Any, Any] | None = None,
    progress: Progress = silent,
) -> Trace:
    """Explain what ``prepare`` made ready with one method. Options as in ``explain``; ``shared`` as of ``Run``: one
    dictionary for all methods that explain the same answer."""
    method.check_kind(loaded.kind, loaded.name)
    encoded, answer_ids, selected = ready.encoded, ready.answer_ids, ready.selected
    # A what-if method takes whole units away; any other's token scores are merged into them.
    whole_units = bool(ready.units) and method.needs == "forward"
    # It spreads a unit's score over its tokens in a way that its own rule undoes.
    rule = method.merge if whole_units or merge is None else merge
    written = [i for i, t in enumerate(encoded.tokens) if t.role not in FRAME_ROLES]
    levels = stretches.levels(encoded, ready.kind) if method.needs == "forward" else []

    kept: dict[Any, Any] = {} if shared is None else shared

    def scores_of(targets: list[int], *, matrix: bool) -> tuple[Run, Scores]:
        run = ready.run(
            loaded,
            selected=targets,
            per_token=matrix,
            precision=precision,
            units=[list(u.tokens) for u in ready.units] if whole_units else [[i] for i in written] or None,
            levels=levels,
            seed=seed,
            shared=kept,
            progress=progress,
        )
        return run, method(run, **(parameters or {}))

    began = time.perf_counter()
    with PeakMemory(loaded.device) as peak:
        run, scores = scores_of(selected, matrix=per_token)
        total, matrix = _arrays(scores, run)
        assert run.logits is not None
        targets = describe(run.choice, answer_ids, ready.answer.text, ready.spans, run.readable(run.logits))
        used = run.precision
        run.logits = None
        _check_finite(scores, total, matrix, run, targets)
        forwards, backwards = run.forwards + ready.goal.forwards, run.backwards
        named = []
        for name, span in ready.named:
            other, theirs = scores_of(list(span.targets), matrix=False)
            there, _ = _arrays(theirs, other)
            _check_finite(theirs, there, None, other, targets)
            forwards, backwards = forwards + other.forwards, backwards + other.backwards
            by_unit = tuple(stretches.merged(there, u.tokens, rule) for u in ready.units)
            named.append(NamedSpan(name, span.text, span.start, span.end, span.targets, there, by_unit))
        if shared is None:
            kept.clear()  # a long answer's logits, keys and values are large, and what follows needs the room
        held: Trust | None = None
        note: str | None = "not measured: trust=False"
        if trust and ready.untrusted is not None:
            note = f"not measured: {ready.untrusted}"
        elif trust:
            # What was not measured goes last, and what speaks against the answer where signs are ranked.
            ranking = importance(total, method.ranks).clip(min=0)
            held, note, passes = measure_trust(run, ranking, written, sum(targets[i].logprob for i in selected))
            forwards += passes
    seconds = time.perf_counter() - began
    details = {**scores.details, **stretches.score_details(ready.kind, encoded), **ready.details}
    for option in ("source_language", "target_language"):
        if getattr(loaded, option) is not None:
            details[option] = getattr(loaded, option)
    if ready.goal.details:
        details["objective"] = ready.goal.details
    return Trace(
        model=model_info(loaded),
        method=MethodInfo(method.name, method.signed, {**method.parameters, **(parameters or {})}),
        objective=ready.goal.objective.name,
        prompt=Prompt(encoded.text, encoded.messages, encoded.rendered, encoded.raw),
        answer=ready.answer,
        sources=_sources(encoded),
        targets=targets,
        total=total,
        scores=matrix,
        cost=Cost(round(seconds, 4), forwards, backwards, peak.bytes, round(ready.generate_seconds, 4)),
        seed=seed,
        span=ready.part,
        trust=held,
        trust_note=note,
        precision=used,
        merge=method.merge,
        unit=stretches.kind_name(ready.kind),
        units=tuple(
            UnitScore(u.name, u.text, u.start, u.end, u.message, u.tokens, stretches.merged(total, u.tokens, rule))
            for u in ready.units
        ),
        unit_merge="method" if whole_units else rule,
        spans=tuple(named),
        reduce=ready.reduce,
        details=plain(details),
        versions=versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _arrays(scores: Scores, run: Run) -> tuple[Floats, Floats | None]:
    """Scores as float32 arrays: total [prompt], matrix [targets, prompt + targets] with NaN for what came later, or for
    all targets where these are no tokens."""
    total = scores.total[: run.prompt_length].to(torch.float32).cpu().numpy()
    if scores.matrix is None:
        return total, None
    matrix = scores.matrix.to(torch.float32).cpu().numpy()
    if matrix.shape[1] == run.prompt_length:
        matrix = np.pad(matrix, ((0, 0), (0, run.targets)), constant_values=np.nan)
    for i in range(run.targets):
        matrix[i, run.prompt_length + i :] = np.nan
    return total, matrix


def _check_finite(scores: Scores, total: Floats, matrix: Floats | None, run: Run, targets: tuple[Target, ...]) -> None:
    """Raise ``NumericError`` for scores that are NaN or infinite, but for tokens that the method does not measure, and
    units that it says itself came out so (``details["not_finite"]``)."""
    expected = np.ones(run.ids.shape[1], dtype=bool)
    if scores.measured is not None:
        expected = scores.measured.cpu().numpy().astype(bool)
    for unit in scores.details.get("not_finite", ()):
        expected[run.units[unit]] = False
    here = expected[: run.prompt_length]
    bad, count = int((~np.isfinite(total[here])).sum()), int(here.sum())
    if matrix is not None:
        for i in run.selected:
            end = min(run.prompt_length + i, run.ids.shape[1])
            seen = matrix[i, :end][expected[:end]]
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
