"""Do the passages that a question finds contradict each other, and in which sentences?

    found = contradictions(Knowledge.open("kb"), "When was the Alder Bridge opened?")
    found.pairs[0].first.text, found.pairs[0].second.text, found.pairs[0].rule
    found.save("contradictions.html")

Every sentence of one passage is compared with every one of the others by rules that are seldom wrong and do not see
everything (``rules``). With ``model`` those of the remaining pairs that share most words, at most ``most``, are also
judged by it (``judging``). That is off by default: the embedded model's judgement is no better
than chance (docs/retrieval.md has the figures).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.apps.rag.content import content, overlap
from pellucid.apps.rag.judging import CONTRADICTS, judge
from pellucid.apps.rag.passage import Found, Searcher
from pellucid.apps.rag.rules import clash
from pellucid.apps.speaker import Speaker, check_text, speaker
from pellucid.errors import OptionError
from pellucid.lens.plain import Result
from pellucid.progress import Progress, silent
from pellucid.trace.provenance import versions
from pellucid.trace.result import ModelInfo
from pellucid.trace.segments import sentences

if TYPE_CHECKING:
    from pellucid.model import Model
    from pellucid.models.load import LoadedModel

PASSAGES, MOST = 5, 20
#: Pairs that share less than this share of the shorter one's content words are not shown to the model.
ALIKE = 0.25


@dataclass(frozen=True)
class Stated:
    """A sentence of passage ``number`` (from 1): its characters in the passage's text."""

    number: int
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Pair:
    """Two sentences against each other. ``rule``: number, date or denial, with what stands against what in ``one`` and
    ``other``; or model: by its judgement alone. ``overlap``: share of the shorter one's content words in the other.
    ``judged``: the model's probabilities, empty where it was not asked."""

    first: Stated
    second: Stated
    rule: str
    one: str
    other: str
    overlap: float
    judged: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Contradictions(Result):
    """What was found among ``passages`` for ``question``: ``pairs``, those by rule first, then by overlap. ``compared``
    pairs of sentences by rule; ``judged`` by the model, of ``candidates`` that share words, at most ``most``."""

    SCHEMA: ClassVar[str] = "pellucid.contradictions/1"

    question: str
    passages: tuple[Found, ...]
    pairs: tuple[Pair, ...]
    compared: int
    candidates: int
    judged: int
    most: int
    model: ModelInfo | None
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One row a pair."""
        return [
            {
                "rule": p.rule,
                "first_passage": p.first.number,
                "first": p.first.text,
                "second_passage": p.second.number,
                "second": p.second.text,
                "one": p.one,
                "other": p.other,
                "overlap": p.overlap,
                **{f"judged_{label}": prob for label, prob in p.judged.items()},
            }
            for p in self.pairs
        ]


def contradictions(
    knowledge: Searcher,
    question: str,
    *,
    model: Model | LoadedModel | Speaker | None = None,
    passages: int = PASSAGES,
    most: int = MOST,
    progress: Progress = silent,
) -> Contradictions:
    """Among the ``passages`` best for ``question``. Raises ``OptionError``, ``MissingExtraError``."""
    check_text(question, "the question")
    if not isinstance(passages, int) or isinstance(passages, bool) or passages < 2:
        raise OptionError(f"passages should be a whole number, at least 2 to compare, given {passages!r}")
    progress("searching", 0, 1)
    found = knowledge.search(question, passages)
    progress("searching", 1, 1)
    return contradictions_among(found, question, model=model, most=most, progress=progress)


def contradictions_among(
    found: Sequence[Found],
    question: str = "",
    *,
    model: Model | LoadedModel | Speaker | None = None,
    most: int = MOST,
    progress: Progress = silent,
) -> Contradictions:
    """The same among passages that are there already. Raises ``OptionError``, ``MissingExtraError``."""
    if not isinstance(most, int) or isinstance(most, bool) or most < 0:
        raise OptionError(f"most should be a whole number of pairs, at least 0, given {most!r}")
    began = time.perf_counter()
    stated = [
        Stated(k, f.passage.text[a:b], a, b) for k, f in enumerate(found, 1) for a, b in sentences(f.passage.text)
    ]
    words = [content(s.text) for s in stated]
    compared, sure = 0, []
    rest: list[tuple[float, Stated, Stated]] = []
    for i, first in enumerate(stated):
        progress("comparing", i, len(stated))
        for j in range(i + 1, len(stated)):
            second = stated[j]
            if first.number == second.number:
                continue
            compared += 1
            alike, against = overlap(words[i], words[j]), clash(first.text, second.text)
            if against is not None:
                sure.append(Pair(first, second, against.rule, against.first, against.second, alike))
            elif alike >= ALIKE and first.text != second.text:
                rest.append((alike, first, second))
    progress("comparing", len(stated), len(stated))
    sure.sort(key=lambda p: -p.overlap)
    rest.sort(key=lambda c: -c[0])
    believed, judged = [], 0
    me = None if model is None else speaker(model)
    if me is not None:
        for judged, (alike, first, second) in enumerate(rest[:most], 1):
            progress("judging", judged - 1, min(len(rest), most))
            probs = judge(me, first.text, second.text)
            if max(probs, key=lambda label: probs[label]) == CONTRADICTS:
                believed.append(Pair(first, second, "model", first.text, second.text, alike, probs))
        progress("judging", judged, max(judged, 1))
    return Contradictions(
        question=question,
        passages=tuple(found),
        pairs=(*sure, *believed),
        compared=compared,
        candidates=len(rest),
        judged=judged,
        most=most,
        model=None if me is None else me.info,
        seconds=round(time.perf_counter() - began, 4),
        versions=versions(),
    )
