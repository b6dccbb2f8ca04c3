"""A translation by an encoder-decoder, and which source words each of its words comes from.

    found = translate(model, "Das Haus ist klein.")                       # Marian, T5, NLLB, M2M100, mBART, ...
    found = translate(nllb, "The house.", source_language="eng_Latn", target_language="deu_Latn")
    found.translation, [(w.text, w.sources[0].text) for w in found.words]; found.show()

One trace with the matrix: each token of the translation by each of the source's and by those of the translation before
it. A word's score is the sum over its tokens and the other word's tokens; words stand by magnitude.

The method is attention unless another is asked for: of those that also see the translation so far it was the best on
translations (docs/leaderboard.md). It weighs source and translation so far each by itself, so that it cannot say how
much comes from either; gradients (saliency, integrated_gradients) can. What-if methods (leave_one_out, elimination) are
better still on the source, and know nothing of what was translated before.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.apps.speaker import check_text
from pellucid.apps.translation import Aligned, Link, Translation
from pellucid.errors import OptionError
from pellucid.progress import Progress, silent
from pellucid.trace.result import FRAME_ROLES, Source, Target, Trace
from pellucid.trace.segments import words

if TYPE_CHECKING:
    from pellucid.model import Model
    from pellucid.models.load import LoadedModel

METHOD = "attention"
TOP = 3
_KINDS = {
    "causal": "a causal model",
    "classifier": "a classifier",
    "span": "a model that answers with a part of a text",
}


def translate(
    model: Model | LoadedModel,
    text: str,
    target: str | None = None,
    *,
    source_language: str | None = None,
    target_language: str | None = None,
    method: str = METHOD,
    top: int = TOP,
    max_new_tokens: int = 256,
    trust: bool = True,
    progress: Progress = silent,
    **options: Any,
) -> Translation:
    """The translation of ``text`` (greedy; or ``target``, given), with its trace and alignment.

    - ``source_language``, ``target_language``: for models that know several, by their tokenizer's names ("eng_Latn" for
      NLLB, "en" for M2M100). Marian's ``>>fra<<`` and T5's "translate English to German: " stand in the text.
    - ``method``: see ``pellucid methods``; ``top``: source words to keep for each word.
    - ``max_new_tokens``: of the translation, at most. Further ``options`` are those of ``Model.explain``.

    Raises ``OptionError`` for a model that is no encoder-decoder, and what ``Model.explain`` raises.
    """
    from pellucid.models.load import LoadedModel as Loaded
    from pellucid.trace.explain import explain
    from pellucid.trace.methods import method as get_method

    began = time.perf_counter()
    loaded: Any = getattr(model, "loaded", model)
    if not isinstance(loaded, Loaded):
        raise OptionError(f"expected a translation model (pellucid.load), given a {type(model).__name__}")
    if loaded.kind != "seq2seq":
        raise OptionError(
            f"'{loaded.name}' is {_KINDS[loaded.kind]}, and a translation needs an encoder-decoder such as Marian, "
            "NLLB, M2M100 or T5: give the folder or Hub name of one"
        )
    if top < 1:
        raise OptionError(f"top should be at least 1, given {top}")
    check_text(text, "the text to translate")
    if target is not None:
        check_text(target, "the translation")
    trace = explain(
        loaded,
        text,
        target,
        method=method,
        per_token=True,
        source_language=source_language,
        target_language=target_language,
        max_new_tokens=max_new_tokens,
        trust=trust,
        progress=progress,
        **options,
    )
    both = get_method(trace.method.name).needs != "attention"
    return Translation(
        trace.model,
        text,
        trace.answer.text,
        trace.answer.generated,
        trace.details.get("source_language"),
        trace.details.get("target_language"),
        float(np.mean([t.logprob for t in trace.targets])),
        aligned(trace, text, top=top, both=both),
        trace,
        time.perf_counter() - began,
    )


def aligned(trace: Trace, source: str, *, top: int, both: bool) -> tuple[Aligned, ...]:
    """Each word of the translation with its ``top`` source words. ``both``: the method measures source and translation
    so far in one unit."""
    assert trace.scores is not None
    matrix = trace.scores.astype(np.float64)  # [targets, sources + targets]
    border, answer = len(trace.sources), trace.answer.text
    there = [(a, b, _inside(trace.sources, source, a, b)) for a, b in words(source)]
    here = [(a, b, _inside(trace.targets, answer, a, b)) for a, b in words(answer)]
    out = []
    for k, (start, end, own) in enumerate(here):
        rows = matrix[own]  # [tokens of the word, sources + targets]
        scores = np.array([_sum(rows[:, tokens]) for _, _, tokens in there])
        size = np.nan_to_num(np.abs(scores))
        whole = float(size.sum())
        links = tuple(
            Link(source[a:b], a, b, float(scores[j]), float(size[j]) / whole if whole else 0.0)
            for j in np.argsort(-size, kind="stable")[:top]
            for a, b, _ in [there[j]]
        )
        before = np.array([_sum(rows[:, [border + t for t in tokens]]) for _, _, tokens in here[: k + 1]])
        measured = both and k > 0 and bool(np.isfinite(before[:-1]).all())
        prefix = float(np.nan_to_num(np.abs(before)).sum())
        part = whole / (whole + prefix) if measured and whole + prefix > 0 else None
        logprob = float(sum(trace.targets[i].logprob for i in own))
        out.append(Aligned(answer[start:end], start, end, logprob, links, part))
    return tuple(out)


def _inside(tokens: Sequence[Source | Target], text: str, start: int, end: int) -> list[int]:
    """Places of the tokens whose first visible character stands between ``start`` and ``end`` of the text."""
    found = []
    for i, t in enumerate(tokens):
        if t.start is None or t.end is None or getattr(t, "role", "") in FRAME_ROLES:
            continue
        body = text[t.start : t.end]
        first = t.start + len(body) - len(body.lstrip())
        if start <= first < end:
            found.append(i)
    return found


def _sum(block: Any) -> float:
    """Of the scores that were measured; NaN where none was."""
    return float(np.nansum(block)) if np.isfinite(block).any() else float("nan")
