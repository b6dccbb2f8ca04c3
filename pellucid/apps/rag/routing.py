"""Which collection a question belongs to, by what their makers say of them; all of them where it is not clear.

    chosen = route("How many days of leave do I have?", knowledge.collections)
    chosen.collection; chosen.scores            # "handbook"; each one's score
    ask(model, Routed(knowledge), "How many days of leave do I have?")

Three ways: ``words`` (the default; no model): of the question's content words, weighed by how rare they are among the
descriptions (BM25's inverse document frequency), the share that a collection's name and description hold. ``vectors``:
the cosine of question and description. ``model``: how likely the model is to answer with each collection's name,
against how likely it is when there is no question (``labelwords``, domain-conditional PMI), as probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from pellucid.apps.labelwords import LabelWords
from pellucid.apps.rag.content import content
from pellucid.apps.rag.passage import Found
from pellucid.apps.speaker import Speaker, check_text, speaker
from pellucid.errors import OptionError, unknown
from pellucid.progress import Progress, silent
from pellucid.relevance.prompts import language_of

if TYPE_CHECKING:
    from pellucid.model import Model
    from pellucid.models.load import LoadedModel

#: By how much the best must lead, where the caller says nothing.
MARGINS = {"words": 0.2, "vectors": 0.05, "model": 0.2}
PROMPT = {
    "en": "{collections}\n\nQuestion: {question}\n\nWhich collection answers the question: {names}? Answer with its "
    "name alone.",
    "zh": "{collections}\n\n问题：{question}\n\n哪个文档集能回答这个问题：{names}？只回答名称。",
}
UNCLEAR = {
    "en": "No collection leads by {margin}: all of them are searched.",
    "zh": "没有一个文档集领先 {margin}：检索全部文档集。",
}


class Described(Protocol):
    """A collection, as ``Knowledge.collections`` has them."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def description(self) -> str:
        """What it holds; may be empty."""
        ...


class Vectors(Protocol):
    """What makes vectors of length 1 (``dense.embedder``)."""

    def passages(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """[texts, width]"""
        ...

    def query(self, text: str) -> npt.NDArray[np.float32]:
        """[width]"""
        ...


class Collected(Protocol):
    """An index of collections (``Knowledge``)."""

    @property
    def collections(self) -> Sequence[Described]:
        """What there is."""
        ...

    def search(self, query: str, k: int = 5, *, collection: str | None = None) -> Sequence[Found]:
        """The best passages, of one collection where it is named."""
        ...


@dataclass(frozen=True)
class Route:
    """``collection``: the one chosen, None for all; ``scores`` by name, larger is better; ``margin``: how far the best
    leads; ``note``: why all are searched, empty where one was chosen."""

    collection: str | None
    scores: dict[str, float]
    margin: float
    by: str
    note: str = ""


def route(
    question: str,
    collections: Sequence[Described],
    *,
    by: str = "words",
    model: Model | LoadedModel | Speaker | None = None,
    vectors: Vectors | None = None,
    margin: float | None = None,
    progress: Progress = silent,
) -> Route:
    """The collection for ``question``. ``model`` is for by="model", ``vectors`` for by="vectors"; ``margin``: what the
    best must lead by (default: ``MARGINS``). Raises ``OptionError``."""
    check_text(question, "the question")
    if by not in MARGINS:
        raise unknown("way to choose a collection", by, list(MARGINS))
    if not collections:
        raise OptionError("there is no collection to choose: index some documents first")
    needed = MARGINS[by] if margin is None else margin
    if needed < 0:
        raise OptionError(f"margin should be at least 0, given {needed}")
    names = [c.name for c in collections]
    if len(names) == 1:
        return Route(names[0], {names[0]: 1.0}, math.inf, by)
    if by == "model":
        if model is None:
            raise OptionError('by="model" needs a model: give model=')
        scores = _by_model(speaker(model), question, collections, progress)
    elif by == "vectors":
        if vectors is None:
            raise OptionError('by="vectors" needs an embedder: give vectors=, such as knowledge.embedder')
        scores = [float(x) for x in vectors.passages([_text(c) for c in collections]) @ vectors.query(question)]
    else:
        scores = _by_words(question, collections)
    best, second = sorted(scores, reverse=True)[:2]
    clear = best - second >= needed and best > second
    note = "" if clear else UNCLEAR[language_of(question)].format(margin=f"{needed:g}")
    chosen = names[scores.index(best)] if clear else None
    return Route(chosen, dict(zip(names, scores, strict=True)), best - second, by, note)


def _text(collection: Described) -> str:
    return f"{collection.name}: {collection.description}" if collection.description else collection.name


def _by_words(question: str, collections: Sequence[Described]) -> list[float]:
    asked = set(content(question))
    held = [set(content(_text(c).replace("_", " "))) for c in collections]

    def rarity(term: str) -> float:
        n = sum(term in h for h in held)
        return math.log(1 + (len(held) - n + 0.5) / (n + 0.5))

    known = {t: rarity(t) for t in asked if any(t in h for h in held)}
    whole = sum(known.values())
    return [sum(w for t, w in known.items() if t in h) / whole if whole else 0.0 for h in held]


def _by_model(me: Speaker, question: str, collections: Sequence[Described], progress: Progress) -> list[float]:
    language = language_of(question)
    names = [c.name for c in collections]
    listed = "\n".join(f"- {_text(c)}" for c in collections)

    def filled(asked: str) -> str:
        head, tail = PROMPT[language].split("{question}")
        joined = ("、" if language == "zh" else ", ").join(names)
        return head.replace("{collections}", listed) + asked + tail.replace("{names}", joined)

    choice = LabelWords(me, names, instruction="{text}", neutral=[filled("")])
    return [s.prob for s in choice.weigh(filled(question), progress=progress)]


class Routed:
    """An index that chooses a collection for every question that it is asked: give it to ``ask`` in its place.
    ``routes`` keeps what was chosen, question by question."""

    def __init__(self, knowledge: Collected, choose: Callable[[str, Sequence[Described]], Route] = route) -> None:
        """``choose``: ``route``, or with options: ``functools.partial(route, by="model", model=model)``."""
        self._knowledge, self._choose = knowledge, choose
        self.routes: list[tuple[str, Route]] = []

    def search(self, query: str, k: int = 5) -> Sequence[Found]:
        """The best passages of the collection chosen for ``query``, or of all."""
        chosen = self._choose(query, self._knowledge.collections)
        self.routes.append((query, chosen))
        return self._knowledge.search(query, k, collection=chosen.collection)
