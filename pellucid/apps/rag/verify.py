"""Is an answer so, by the passages? Each of its sentences: supported, contradicted, or not found.

    checked = verify(model, Knowledge.open("kb"), "The bridge opened in 1950. It is red.", "When did it open?")
    [(c.verdict, c.sentence, c.against) for c in checked.claims]

A claim is *supported* by the passage that makes it likeliest, where

- it does so by at least ``LEAST`` nats a token: the log-probability of the claim after the passage, less after one
  about nothing, as ``citations`` measures it;
- it holds every number, date and name of the claim, and ``WORDS`` of its other content words;
- what is nearest to the claim in it denies only what the claim denies, and nothing in it contradicts the claim.

It is *contradicted* where that is not so and some sentence does, by the rules of ``rules``. Otherwise it was *not
found*, which says nothing of whether it is true. Likelihood alone would not do: a passage on the same subject makes a
wrong number likelier too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pellucid.apps.falls import leave_out
from pellucid.apps.rag.clauses import told
from pellucid.apps.rag.content import content, overlap, weight
from pellucid.apps.rag.facts import facts, names
from pellucid.apps.rag.passage import Found, Passage, Searcher
from pellucid.apps.rag.prompt import passages_prompt
from pellucid.apps.rag.rules import clash_of
from pellucid.apps.rag.verified import CONTRADICTED, NOT_FOUND, SUPPORTED, Against, Claim, Place, Verified
from pellucid.apps.speaker import Messages, Speaker, check_text, speaker
from pellucid.errors import OptionError
from pellucid.progress import Progress, silent
from pellucid.relevance.prompts import language_of
from pellucid.trace.provenance import versions
from pellucid.trace.result import Trace
from pellucid.trace.segments import sentences

if TYPE_CHECKING:
    from pellucid.model import Model
    from pellucid.models.load import LoadedModel

PASSAGES = 3
#: Nats a token of the claim; share of its content words. docs/retrieval.md says what they were found on.
LEAST, WORDS = 1.5, 0.75
#: What is asked of a passage. Not the question: its words would be known without the passage, too.
STATE = {"en": "What does the text state?", "zh": "这段文字说了什么？"}


def verify(
    model: Model | LoadedModel | Speaker,
    knowledge: Searcher | Sequence[Found] | Sequence[str],
    answer: str,
    question: str | None = None,
    *,
    passages: int = PASSAGES,
    least: float = LEAST,
    progress: Progress = silent,
) -> Verified:
    """Check ``answer`` against an index (for each claim the ``passages`` best for it, and those best for the question),
    or against passages or texts that are there already. Raises ``OptionError``, ``ContextError``,
    ``MissingExtraError``."""
    began, me = time.perf_counter(), speaker(model)
    check_text(answer, "the answer")
    if question is not None:
        check_text(question, "the question")
    if not isinstance(passages, int) or isinstance(passages, bool) or passages < 1:
        raise OptionError(f"passages should be a whole number, at least 1, given {passages!r}")
    every: list[Found] = []
    claims = []
    ranges = sentences(answer)
    for k, (start, end) in enumerate(ranges):
        progress("verifying", k, len(ranges))
        text = answer[start:end]
        places = _numbers(every, _found(knowledge, text, question, passages))
        claims.append(_claim(me, text, start, end, every, places, least))
    progress("verifying", len(ranges), len(ranges))
    return Verified(
        question=question or "",
        answer=answer,
        claims=tuple(claims),
        passages=tuple(every),
        least=least,
        model=me.info,
        seconds=round(time.perf_counter() - began, 4),
        versions=versions(),
    )


def _found(
    knowledge: Searcher | Sequence[Found] | Sequence[str], claim: str, question: str | None, k: int
) -> list[Found]:
    if not isinstance(knowledge, Sequence):
        asked = [] if question is None else list(knowledge.search(question, k))
        return [*knowledge.search(claim, k), *asked]
    if isinstance(knowledge, str):
        raise OptionError("passages should be a list of texts or of what a search found, given a single text")
    found: list[Found] = []
    for n, item in enumerate(knowledge, 1):
        if isinstance(item, Found):
            found.append(item)
        else:
            text = check_text(item, f"passage {n}")
            found.append(Found(Passage(str(n), f"passage {n}", 0, len(text), text), 0.0, n))
    return found


def _numbers(every: list[Found], found: Sequence[Found]) -> list[int]:
    """The places of what was found in ``every``, to which the new ones are added."""
    ids = {f.passage.id: k for k, f in enumerate(every)}
    for f in found:
        if f.passage.id not in ids:
            ids[f.passage.id] = len(every)
            every.append(f)
    return sorted({ids[f.passage.id] for f in found})


def _claim(
    me: Speaker,
    text: str,
    start: int,
    end: int,
    every: Sequence[Found],
    places: Sequence[int],
    least: float,
) -> Claim:
    if not places:
        return Claim(text, start, end, NOT_FOUND, None, None, None, (), None, None, None)
    asked = STATE[language_of(text)]
    prompts = [passages_prompt(asked, [every[k].passage.text]) for k in places]
    rows = me.logprobs([*(p.messages for p in prompts), prompts[0].neutral], [text] * (len(places) + 1))
    means = [float(np.mean(r)) for r in rows]
    gains = [m - means[-1] for m in means[:-1]]
    lacks = [missing(text, every[k].passage.text) for k in places]
    shares = [_share(text, every[k].passage.text) for k in places]
    contrary = [against(text, every[k].passage.text, k + 1) for k in places]
    holds = [
        g >= least and not lack and share >= WORDS and con is None and affirmed(text, every[k].passage.text)
        for k, g, lack, share, con in zip(places, gains, lacks, shares, contrary, strict=True)
    ]
    found = next((c for c in contrary if c is not None), None)
    among = [i for i, h in enumerate(holds) if h] or range(len(places))
    best = max(among, key=lambda i: gains[i])
    verdict = SUPPORTED if holds[best] else CONTRADICTED if found is not None else NOT_FOUND
    passage = every[places[best]].passage.text
    sentence, trace = _within(me, prompts[best].messages, prompts[best].bodies[0], passage, text, places[best] + 1)
    return Claim(
        text, start, end, verdict, places[best] + 1, gains[best], shares[best], lacks[best], sentence, found, trace
    )


def missing(claim: str, passage: str) -> tuple[str, ...]:
    """The claim's numbers, dates and names that the passage does not hold. A date is held where one with all its parts
    is; a name where its word is, whatever its case."""
    said, held = facts(claim), facts(passage)
    numbers = [(q.kind, q.value) for q in held.quantities]
    counted = [
        q for q in said.quantities if not (q.value == 1 and q.text[0] in "一Oo")
    ]  # "one", "一个": a, and no number
    found = [q.text for q in counted if (q.kind, q.value) not in numbers]
    for d in said.dates:
        known = [(a, getattr(d, a)) for a in ("year", "month", "day") if getattr(d, a) is not None]
        if not any(all(getattr(h, a) == v for a, v in known) for h in held.dates):
            found.append(d.text)
    low = passage.casefold()
    dated = " ".join(d.text for d in said.dates)
    found += [n for n in names(claim) if n.casefold() not in low and n not in dated]
    return tuple(found)


def against(claim: str, passage: str, number: int) -> Against | None:
    """The sentence of the passage that contradicts the claim and shares most words with it; None where none does."""
    said, found = facts(claim), []
    for clause in told(said, passage):
        text = passage[clause.start : clause.end]
        reason = clash_of(said, clause.facts, claim, text)
        if reason is not None:
            place = Place(number, text, clause.start, clause.end)
            found.append(
                (overlap(said.words, clause.facts.words), Against(place, reason.rule, reason.first, reason.second))
            )
    return max(found, key=lambda f: f[0])[1] if found else None


def affirmed(claim: str, passage: str) -> bool:
    """Does what is nearest to the claim in the passage, clause by clause, deny or not deny as the claim does?"""
    said = facts(claim)
    near = [(weight(set(said.words) & set(c.facts.words)), c.facts.denied == said.denied) for c in told(said, passage)]
    most = max((n for n, _ in near), default=0)
    return any(same for n, same in near if n == most)


def _share(claim: str, passage: str) -> float:
    """Share of the claim's content words, but for numbers, dates and names, that the passage holds; 1 where it has
    none."""
    said = set(facts(claim).words) - {w for n in names(claim) for w in content(n)}
    held = set(content(passage))
    return len(said & held) / len(said) if said else 1.0


def _within(
    me: Speaker, messages: Messages, body: tuple[int, int, int], passage: str, claim: str, number: int
) -> tuple[Place, Trace]:
    """The passage's sentence without which the claim falls most."""
    ranges = sentences(passage)
    message, begin, _ = body
    parts = {str(k + 1): (message, begin + a, begin + b) for k, (a, b) in enumerate(ranges)}
    falls = leave_out(me, messages, claim, parts)
    a, b = ranges[int(falls.falls.sum(1).argmax())]
    return Place(number, passage[a:b], a, b), falls.trace
