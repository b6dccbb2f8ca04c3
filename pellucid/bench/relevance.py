"""Does a highlight find what a person would mark? Every way to ask, beside word overlap and embeddings.

    pellucid bench relevance xquad-en.json --model smollm2-135m-instruct --out board

A question is the query, its paragraph the text, other paragraphs drawn by the seed are texts about something else.
Token scores are judged by the marked answer and by the sentence that holds it, sentence scores by that sentence,
degrees by telling the question's own paragraph from the others. Each record is on disk before the next question
begins: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pellucid.bench.baselines import Bm25, Embedding, Random, Ranker
from pellucid.bench.faithfulness import finite, synchronise
from pellucid.bench.ranking import average_precision, hit
from pellucid.bench.records import Records
from pellucid.bench.squad import Example, read
from pellucid.errors import InputError, OptionError, unknown
from pellucid.models.load import LoadedModel
from pellucid.models.pieces import read as pieces
from pellucid.progress import Progress, silent
from pellucid.relevance.modes import AUTO, MODES
from pellucid.relevance.result import Relevance
from pellucid.relevance.score import relevances
from pellucid.relevance.sentencewise import sentence_of
from pellucid.trace.curves import roc_area
from pellucid.trace.methods import method, parse
from pellucid.trace.segments import sentences
from pellucid.version import __version__

Spans = Sequence[tuple[int, int]]
RANDOM, BM25, EMBEDDING = "random", "bm25", "embedding"
BASELINES = (RANDOM, BM25, EMBEDDING)
ROWS = (AUTO, *MODES, *BASELINES)


@dataclass(frozen=True)
class Row:
    """A way to score: a mode, ``mode/method`` with the method's parameters, or one of ``BASELINES``."""

    label: str
    mode: str | None  # None for a baseline
    method: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Row:
        """From text. Raises ``OptionError``."""
        label = text.strip()
        if label in BASELINES:
            return cls(label, None)
        name, slash, how = label.partition("/")
        if name not in (AUTO, *MODES):
            raise unknown("row", name, list(ROWS))
        if not slash:
            return cls(label, name)
        chosen, parameters = parse(how)
        return cls(label, name, chosen.name, parameters)


@dataclass(frozen=True)
class Settings:
    """What the numbers depend on. ``skip`` leaves out the file's first paragraphs: wordings and ``auto`` were chosen on
    some of them. ``others``: paragraphs about something else, a question."""

    data: str
    sha256: str
    model: str
    examples: int = 100
    skip: int = 24
    others: int = 2
    max_text_tokens: int = 300
    seed: int = 0


@dataclass(frozen=True)
class Wanted:
    """What a person marked in a paragraph: does a token, or a sentence (``right``), touch the answer, and does a token
    stand in such a sentence?"""

    spans: Spans
    in_span: npt.NDArray[np.bool_]
    in_sentence: npt.NDArray[np.bool_]
    right: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, example: Example, tokens: Spans) -> Wanted:
        """For tokens at these characters."""
        parts = sentences(example.context)
        right = _touching(parts, example.spans)
        return cls(tokens, _touching(tokens, example.spans), right[sentence_of(tokens, parts)], right)


def _touching(ranges: Spans, marked: Spans) -> npt.NDArray[np.bool_]:
    return np.array([any(a < d and b > c for c, d in marked) for a, b in ranges], dtype=bool)


def check(settings: Settings, rows: Sequence[Row]) -> None:
    """Raise ``OptionError`` for what cannot be run."""
    for name, least in (("examples", 1), ("others", 1), ("max_text_tokens", 8), ("skip", 0)):
        if getattr(settings, name) < least:
            raise OptionError(f"{name} should be at least {least}, given {getattr(settings, name)}")
    labels = [r.label for r in rows]
    if not labels or len(set(labels)) < len(labels):
        raise OptionError(f"rows should be one or more, each once, given {', '.join(labels) or 'none'}")


def measure(
    loaded: LoadedModel,
    path: Path,
    rows: Sequence[Row],
    out: Path,
    settings: Settings,
    progress: Progress = silent,
) -> Records:
    """Run what is not measured yet, and return all records. Raises what reading and running raise."""
    check(settings, rows)
    for row in rows:
        if row.method is not None:
            method(row.method).check_kind(loaded.kind, loaded.name)
    every = read(path)
    examples, texts = _taken(loaded, every, settings, path)
    rankers = _rankers(rows, [e.context for e in every], settings)
    records = Records.open(out, {**asdict(settings), "pellucid": __version__})
    done = {(r["example"], r["row"]) for r in records.lines}
    for k, example in enumerate(examples):
        progress("examples", k, len(examples))
        missing = [r for r in rows if (example.id, r.label) not in done]
        if missing:
            others = _others(example, texts, settings, k)
            records.add(*[_record(loaded, example, others, row, rankers) for row in missing])
    progress("examples", len(examples), len(examples))
    return records


def _taken(
    loaded: LoadedModel, every: Sequence[Example], settings: Settings, path: Path
) -> tuple[list[Example], list[str]]:
    """The questions that are asked, and the paragraphs that others come from. Raises ``InputError`` for too few."""
    fits = [
        e
        for e in every[settings.skip :]
        if e.spans and len(pieces(loaded.tokenizer, e.context)[1]) <= settings.max_text_tokens
    ]
    if len(fits) < max(settings.examples, settings.others + 1):
        raise InputError(
            f"{path.name} has {len(fits)} paragraphs of at most {settings.max_text_tokens} tokens with a marked answer "
            f"after the first {settings.skip}, and {max(settings.examples, settings.others + 1)} were asked for: ask "
            "for fewer, or allow longer ones"
        )
    return fits[: settings.examples], list(dict.fromkeys(e.context for e in fits))


def _others(example: Example, texts: Sequence[str], settings: Settings, number: int) -> list[str]:
    draws = np.random.default_rng([settings.seed, number])
    pool = [t for t in texts if t != example.context]
    return [pool[i] for i in draws.choice(len(pool), settings.others, replace=False)]


def _rankers(rows: Sequence[Row], texts: Sequence[str], settings: Settings) -> dict[str, Ranker]:
    asked = {r.label for r in rows}
    found: dict[str, Ranker] = {}
    if RANDOM in asked:
        found[RANDOM] = Random(settings.seed)
    if BM25 in asked:
        found[BM25] = Bm25(texts)
    if EMBEDDING in asked:
        found[EMBEDDING] = Embedding()
    return found


def _record(
    loaded: LoadedModel, example: Example, others: Sequence[str], row: Row, rankers: dict[str, Ranker]
) -> dict[str, Any]:
    """One row's numbers on one question. ``own`` and ``others`` are degrees, ``calibrated`` beside them."""
    began = time.perf_counter()
    query, text = example.question, example.context
    if row.mode is None:
        ranker = rankers[row.label]
        spans = _spans(loaded, text)
        by_sentence = ranker.sentences(query, text)
        scores = by_sentence[sentence_of(spans, sentences(text))]
        if isinstance(ranker, Random):
            scores = ranker.draws.random(len(spans))
        own, rest = [ranker.degree(query, text)], [[ranker.degree(query, t)] for t in others]
    else:
        options: dict[str, Any] = {"method": row.method, "parameters": row.parameters} if row.method else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the weakest mode is here to be seen as such
            found = relevances(loaded, query, [text], mode=row.mode, **options)[0]
            away = relevances(loaded, query, others, mode=row.mode, degree_only=True)
        synchronise(loaded)
        spans = [(t.start, t.end) for t in found.tokens]
        scores = np.array([_least(t.score) for t in found.tokens])
        by_sentence = np.array([_least(s.score) for s in found.sentences])
        own, rest = _both(found), [_both(r) for r in away]
    seconds = time.perf_counter() - began
    wanted = Wanted.of(example, spans)
    return {
        "example": example.id,
        "row": row.label,
        "tokens": len(spans),
        "span_roc": finite(roc_area(scores, wanted.in_span)),
        "span_precision": finite(average_precision(scores, wanted.in_span)),
        "sentence_roc": finite(roc_area(scores, wanted.in_sentence)),
        "sentence_precision": finite(average_precision(scores, wanted.in_sentence)),
        "top1": finite(hit(by_sentence, wanted.right, 1)),
        "top3": finite(hit(by_sentence, wanted.right, 3)),
        "own": own,
        "others": rest,
        "seconds": round(seconds, 4),
    }


def _both(r: Relevance) -> list[float]:
    return [r.degree, r.calibrated]


def _least(score: float | None) -> float:
    """A score that is no number ranks last."""
    return -np.inf if score is None else score


def _spans(loaded: LoadedModel, text: str) -> list[tuple[int, int]]:
    """The model's tokens of a text, those of one character once."""
    return list(dict.fromkeys((a, b) for a, b in pieces(loaded.tokenizer, text)[1] if b > a))
