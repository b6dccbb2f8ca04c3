"""Which passages, and which sentences in them, each sentence of an answer rests on.

    sentences = cite(me, asked, texts, answer)
    sentences[0].supported; sentences[0].citations[0].number, .drop, .sentences

The drop of a passage is the fall of the answer sentence's log-probability, in nats, when the passage is left out of the
prompt and all else stays; ``alone`` is its rise when the passage is the only one there, over one about nothing. Both
are exact (``apps/falls.py``). Two passages that say the same hide each other from the first number and not from the
second, but any passage at all makes an answer in its style likelier. So a passage's evidence is its drop; where no drop
comes to half of what all passages give together (``gain``), the larger of the drop and of what ``alone`` has above the
least of them. A passage is cited where its evidence is at least ``SHARE`` of the largest; the sentence is
supported where the largest is at least ``LEAST`` nats a token.

The method is leave-one-out from coarse to fine (Liu et al. 2025, arXiv:2411.15102): all passages, then the sentences of
those that matter. With five passages of 150 tokens and an answer of 40 it takes about a dozen forward passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pellucid.apps.falls import Falls, leave_out, tokens_of, weighed
from pellucid.apps.rag.cited import Citation, Part, Sentence
from pellucid.apps.rag.prompt import Asked, passages_prompt
from pellucid.apps.speaker import Messages, Speaker
from pellucid.errors import InputError
from pellucid.progress import Progress, silent
from pellucid.trace.result import Trace
from pellucid.trace.segments import sentences

Floats = npt.NDArray[np.float64]

#: A passage is cited where its evidence is at least this share of the strongest passage's.
SHARE = 0.5
#: Nats an answer token that the strongest passage must give. docs/decisions.md says how it was found.
LEAST = 0.5
#: Sentences of how many passages an answer sentence's fine level looks into.
REFINED = 2


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was measured: ``drops``, ``alone`` [passages, answer tokens] and ``gain`` [answer tokens], nats."""

    drops: Falls
    alone: Floats
    gain: Floats


def measure(
    me: Speaker,
    question: str,
    texts: Sequence[str],
    answer: str,
    asked: Asked,
    *,
    template: str | None = None,
    system: str | None = None,
    progress: Progress = silent,
) -> Evidence:
    """Each passage left out, and each by itself."""
    if not texts:
        raise InputError("there are no passages to cite: expected at least one")
    drops = leave_out(
        me, asked.messages, answer, {str(k + 1): p for k, p in enumerate(asked.places)}, progress=progress
    )
    prompts: list[Messages] = [asked.neutral]
    if len(texts) > 1:  # a single passage by itself is the whole
        prompts += [
            passages_prompt(question, [t], template=template, system=system, numbers=[k + 1], cue=not me.chats).messages
            for k, t in enumerate(texts)
        ]
    rows = weighed(me, prompts, answer, progress=progress)
    gain = drops.logprobs - rows[0]
    alone = np.stack([r - rows[0] for r in rows[1:]]) if len(texts) > 1 else gain[None]
    return Evidence(drops, alone, gain)


def evidence_of(drops: Floats, alone: Floats, gain: float) -> Floats:
    """The evidence [passages] that each passage gives one answer sentence, nats."""
    if drops.max() >= gain / 2:
        return drops
    return np.asarray(np.maximum(drops, alone - alone.min()), dtype=np.float64)


def cite(
    me: Speaker,
    texts: Sequence[str],
    answer: str,
    asked: Asked,
    found: Evidence,
    *,
    least: float = LEAST,
    progress: Progress = silent,
) -> tuple[tuple[Sentence, ...], Trace | None]:
    """The answer's sentences with what each rests on, and the trace of the fine level (None where nothing is cited)."""
    ranges = [(a, b) for a, b in sentences(answer) if any(c.isalnum() for c in answer[a:b])]
    chosen: list[tuple[Floats, list[int]]] = []
    for start, end in ranges:
        tokens = tokens_of(found.drops.spans, start, end)
        drops, alone = found.drops.falls[:, tokens].sum(1), found.alone[:, tokens].sum(1)
        weight = evidence_of(drops, alone, float(found.gain[tokens].sum()))
        best = float(weight.max())
        cited = [k for k in np.argsort(-weight, kind="stable").tolist() if weight[k] >= SHARE * best]
        if best < least * max(len(tokens), 1):
            cited = []
        chosen.append((weight, cited))
    within = sorted({k for _, cited in chosen for k in cited[:REFINED]})
    fine, parts = None, {}
    if within:
        parts = {
            f"{k + 1}.{n + 1}": (asked.bodies[k][0], asked.bodies[k][1] + a, asked.bodies[k][1] + b)
            for k in within
            for n, (a, b) in enumerate(sentences(texts[k]))
        }
        fine = leave_out(me, asked.messages, answer, parts, progress=progress)
    out = []
    for (start, end), (weight, cited) in zip(ranges, chosen, strict=True):
        tokens = tokens_of(found.drops.spans, start, end)
        citations = tuple(
            Citation(
                number=k + 1,
                drop=float(found.drops.falls[k, tokens].sum()),
                alone=float(found.alone[k, tokens].sum()),
                evidence=float(weight[k]),
                sentences=() if fine is None or k not in within else _within(fine, parts, k, tokens, texts[k]),
            )
            for k in cited
        )
        out.append(
            Sentence(
                text=answer[start:end],
                start=start,
                end=end,
                tokens=len(tokens),
                logprob=float(found.drops.logprobs[tokens].sum()),
                gain=float(found.gain[tokens].sum()),
                strongest=float(weight.max()) / max(len(tokens), 1),
                supported=bool(cited),
                citations=citations,
            )
        )
    return tuple(out), None if fine is None else fine.trace


def _within(
    fine: Falls, parts: dict[str, tuple[int, int, int]], passage: int, tokens: list[int], text: str
) -> tuple[Part, ...]:
    """The sentences of one passage with their drops, the largest first, those that hold the answer sentence up."""
    rows = {name: row for row, name in enumerate(parts)}
    found = []
    for n, (a, b) in enumerate(sentences(text)):
        drop = float(fine.falls[rows[f"{passage + 1}.{n + 1}"], tokens].sum())
        found.append(Part(text[a:b], a, b, drop))
    found.sort(key=lambda p: -p.drop)
    return tuple(p for p in found if p.drop > 0 and p.drop >= SHARE * found[0].drop)
