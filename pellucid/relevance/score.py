"""A degree for a text, and a score for each of its tokens.

    r = relevance(loaded, "capital gains", text)
    r, s = relevance(loaded, "capital gains", [text, other])

Token scores are norms of the gradient of the mode's number (``modes``); any other method may be named. Windows and
texts go through in batches (``batch``). Stages are ``encoding``, ``inference``, ``backward`` and ``processing``.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, overload

import torch
from torch import Tensor

from pellucid.errors import InputError, ModelError, OptionError
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent
from pellucid.relevance.batch import logits_of
from pellucid.relevance.degrees import beside_of, judged
from pellucid.relevance.modes import AUTO, Mode, modes_of, objective_of
from pellucid.relevance.prompts import Wording
from pellucid.relevance.question import check_content, check_query
from pellucid.relevance.reading import Reader, Reading, Settings
from pellucid.relevance.result import Answer, Part, Relevance, WindowDegree
from pellucid.relevance.sentencewise import by_sentence
from pellucid.relevance.tokens import How, token_scores
from pellucid.trace.inside import PRECISIONS
from pellucid.trace.kernels import check_gradient
from pellucid.trace.memory import budget
from pellucid.trace.provenance import model_info, versions

SHOWN = 5  # answers in a result
_DEBUG = 400  # characters of the text that a debugged prompt shows on each side


@overload
def relevance(loaded: LoadedModel, query: str, text: str, **options: Any) -> Relevance: ...
@overload
def relevance(loaded: LoadedModel, query: str, text: Sequence[str], **options: Any) -> list[Relevance]: ...


def relevance(
    loaded: LoadedModel, query: str, text: str | Sequence[str], **options: Any
) -> Relevance | list[Relevance]:
    """Which tokens of a text, or of each of several, matter for ``query``: see ``relevances`` for the options."""
    if isinstance(text, str):
        return relevances(loaded, query, [text], **options)[0]
    return relevances(loaded, query, text, **options)


def relevances(
    loaded: LoadedModel,
    query: str,
    texts: Sequence[str],
    *,
    mode: str = AUTO,
    method: str | None = None,
    parameters: dict[str, Any] | None = None,
    degree_only: bool = False,
    language: str | None = None,
    template: Wording | None = None,
    window: int | None = None,
    max_tokens: int | None = None,
    checkpointing: bool | str = "auto",
    precision: str = "full",
    memory: str | int = "auto",
    debug: bool = False,
    progress: Progress = silent,
) -> list[Relevance]:
    """Degrees and token scores of several texts for one query.

    - ``mode``: how the model is asked (``MODES``); ``auto`` takes the best that was measured for each of the two.
    - ``method``, ``parameters``: what scores tokens, the mode's own where it is None: the norm of the gradient
      (``saliency``), or in the mode ``answer`` ``layered_saliency``, each token's score times the square of its
      sentence's mean, because what answers a query stands in a sentence about it.
    - ``degree_only``: no scores, and no graph is built.
    - ``language``, ``template``, ``window``, ``max_tokens``: see ``reading.Settings``.
    - ``checkpointing``: run each layer again on the way back and keep one layer's graph at a time; ``auto`` where the
      whole graph does not fit in ``memory``.
    - ``debug``: the result carries the prompts, the middle of the text left out.

    Raises ``InputError``, ``ContextError``, ``OptionError``, ``ModelError``.
    """
    from pellucid.trace.methods import method as known_method

    began = time.perf_counter()
    check_query(query)
    if not texts:
        raise InputError("expected at least one text, given none")
    for t in texts:
        check_content(t)
    if checkpointing not in (True, False, "auto"):
        raise OptionError(f"checkpointing should be 'auto', True or False, given {checkpointing!r}")
    if precision not in PRECISIONS:
        raise OptionError(f"precision should be one of {', '.join(PRECISIONS)}, given '{precision}'")
    if loaded.kind != "causal":
        raise ModelError(f"relevance asks a causal language model, and '{loaded.name}' is of the kind '{loaded.kind}'")
    whole, fine = modes_of(mode)
    if template is not None and whole is not fine:
        raise OptionError("a template is for one mode: name it with mode=, auto takes two")
    for m in {whole.name: whole, fine.name: fine}.values():
        if m.deprecated:
            warnings.warn(m.deprecated, DeprecationWarning, stacklevel=3)
    lifted = method is None and fine.lifted
    method = method or fine.method
    chosen = known_method(method)
    chosen.check_kind(loaded.kind, loaded.name)
    for name in parameters or {}:
        chosen.check(name)
    if not degree_only and chosen.needs == "gradient":
        try:
            check_gradient(loaded.network)
        except ModelError as e:
            raise ModelError(f"{e}; degree_only=True gives degrees all the same") from None
    allowed = budget(memory, loaded.device)
    settings = Settings(language, template, window, max_tokens)
    coarse_reader, fine_reader = Reader(loaded, whole, settings), Reader(loaded, fine, settings)

    coarse_reads, fine_reads = [], []
    for k, text in enumerate(texts):
        progress("encoding", k, len(texts))
        coarse_reads.append(coarse_reader.read(query, text))
        # The same windows for both modes would need the same room; each has its own, joined by characters.
        fine_reads.append(coarse_reads[-1] if whole is fine or degree_only else fine_reader.read(query, text))
    progress("encoding", len(texts), len(texts))

    asked = [a for r in fine_reads for a in r.asked]
    scores: list[Tensor] = []
    logits: list[Tensor] = []
    if not degree_only:
        how = How(method, parameters or {}, checkpointing, allowed, precision)
        logits, scores = token_scores(loaded, asked, fine, how, progress)
    need = [a for r in coarse_reads for a in r.asked] if degree_only or whole is not fine else []
    others = [coarse_reader.neutral(query, r.wording) for r in coarse_reads]
    forward = logits_of(loaded, [*need, *others], allowed=allowed, precision=precision, progress=progress)
    coarse = forward[: len(need)] if need else logits
    bases = [beside_of(whole, o, z) for o, z in zip(others, forward[len(need) :], strict=True)]

    results = []
    at = here = 0
    for k, (text, read, fine_read) in enumerate(zip(texts, coarse_reads, fine_reads, strict=True)):
        progress("processing", k, len(texts))
        rows = coarse[at : at + len(read.asked)]
        verdicts = [judged(whole, a, z, bases[k]) for a, z in zip(read.asked, rows, strict=True)]
        windows = tuple(
            WindowDegree(w.start, w.end, v.degree, v.calibrated) for w, v in zip(read.windows, verdicts, strict=True)
        )
        best = max(range(len(verdicts)), key=lambda i: verdicts[i].log_odds)
        tokens, lost = ((), 0) if degree_only else _joined(fine_read, scores[here : here + len(fine_read.asked)])
        if lifted:
            tokens = by_sentence(text, tokens)
        results.append(
            Relevance(
                query=query,
                text=text,
                degree=verdicts[best].degree,
                calibrated=verdicts[best].calibrated,
                degree_mode=whole.name,
                token_mode=fine.name,
                language=read.language,
                method=f"{method} by sentence" if lifted else method,
                unit=objective_of(fine, 0, 1).unit,
                tokens=tokens,
                windows=windows,
                answer=_answers(loaded, fine, fine_read, (logits or coarse)[here : here + len(fine_read.asked)], best),
                model=model_info(loaded),
                seconds=0.0,
                cut_at=read.cut_at,
                not_finite=lost,
                debug=_debugged(loaded, fine_read) if debug else None,
                versions=versions(),
            )
        )
        at, here = at + len(read.asked), here + len(fine_read.asked)
    progress("processing", len(texts), len(texts))
    seconds = round((time.perf_counter() - began) / len(texts), 4)
    return [replace(r, seconds=seconds) for r in results]


def _joined(read: Reading, scores: Sequence[Tensor]) -> tuple[tuple[Part, ...], int]:
    """Tokens of all windows, each window's own; how many scores are no number."""
    found: list[Part] = []
    lost = 0
    for window, asked, values in zip(read.windows, read.asked, scores, strict=True):
        for p in asked.places:
            if not window.first <= p.start < window.last:
                continue
            value: float | None = float(values[p.index])
            if not math.isfinite(value or 0.0):
                value, lost = None, lost + 1
            if found and found[-1].start == p.start and found[-1].end == p.end:  # pieces of one character
                found[-1] = _added(found[-1], value)
            else:
                found.append(Part(read.text[p.start : p.end], p.start, p.end, value))
    return tuple(found), lost


def _added(part: Part, value: float | None) -> Part:
    score = None if part.score is None or value is None else part.score + value
    return Part(part.text, part.start, part.end, score)


def _answers(loaded: LoadedModel, mode: Mode, read: Reading, logits: Sequence[Tensor], best: int) -> tuple[Answer, ...]:
    """The likeliest next tokens of the window that says most, where the model answers with a token."""
    if not mode.answered or not logits:
        return ()
    at = min(best, len(logits) - 1)
    negative = read.asked[at].answer[0] if mode.question else None
    p, ids = torch.softmax(logits[at][-1].double(), -1).topk(SHOWN)
    return tuple(
        Answer(str(loaded.tokenizer.decode([int(i)])), float(q), int(i) == negative)
        for q, i in zip(p.tolist(), ids.tolist(), strict=True)
    )


def _debugged(loaded: LoadedModel, read: Reading) -> dict[str, Any]:
    prompts = []
    for a in read.asked:
        text = str(loaded.tokenizer.decode(a.prompt))
        prompts.append(text if len(text) <= 2 * _DEBUG else f"{text[:_DEBUG]} […] {text[-_DEBUG:]}")
    return {"prompts": prompts, "tokens": [len(a.prompt) for a in read.asked]}
