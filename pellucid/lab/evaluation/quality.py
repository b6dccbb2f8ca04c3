"""The quality of texts that a model wrote, several to a prompt: how varied, how repetitive, how long, how connected.

    measure([Samples("Once", (Written("...", 40, False), ...))], seed=0)       # rows of a table

``MEASURES`` holds one function a measure, with its formula in ``note``. Each gives a number for each prompt (None
where it has none, such as a distance of one text); the table's value is the mean over prompts, its interval the
bootstrap's over prompts. Words are those of ``words`` (of Chinese, characters); self-BLEU's are sacrebleu's (``13a``,
or ``zh``). None of these knows what a text means: a model that writes nonsense of many words is varied. The
likelihood of second halves (``halves``) is the better measure of connectedness, and stands first in the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean

import numpy as np

from pellucid.lab.evaluation.bootstrap import Numbers, of_groups, of_mean
from pellucid.lab.evaluation.extras import needed
from pellucid.lab.evaluation.result import Row
from pellucid.lab.evaluation.sampling import Samples
from pellucid.lab.evaluation.words import chinese, content, rule, sentences, words

GROUP = "generation"


@dataclass(frozen=True)
class Prompted:
    """The samples of one prompt as the measures read them: texts, and each one's words."""

    texts: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Measure:
    """``of`` gives a prompt's number, or None; ``better`` is "up", "down" or None."""

    name: str
    of: Callable[[Prompted], float | None]
    unit: str
    better: str | None
    note: str


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[k : k + n]) for k in range(len(words) - n + 1)]


def type_token_ratio(prompt: Prompted) -> float | None:
    """Different words over words of each text, mean over texts."""
    return _mean([len(set(w)) / len(w) for w in prompt.words if w])


def distinct(n: int) -> Callable[[Prompted], float | None]:
    """Different n-grams over n-grams of a prompt's texts together (Li et al. 2016, arXiv:1510.03055)."""

    def of(prompt: Prompted) -> float | None:
        grams = [g for w in prompt.words for g in _grams(w, n)]
        return len(set(grams)) / len(grams) if grams else None

    return of


def pairwise_distance(prompt: Prompted) -> float | None:
    """1 - |A and B| / |A or B| of the word sets of two texts of a prompt, mean over pairs (Jaccard)."""
    sets = [set(w) for w in prompt.words if w]
    return _mean([1 - len(a & b) / len(a | b) for a, b in combinations(sets, 2)])


def self_bleu(prompt: Prompted) -> float | None:
    """sacrebleu's sentence BLEU of each text against the prompt's other texts as references, mean over texts (Zhu et
    al. 2018, arXiv:1802.01886). Raises ``MissingExtraError``."""
    texts = [t for t, w in zip(prompt.texts, prompt.words, strict=True) if w]
    if len(texts) < 2:
        return None
    made = needed("sacrebleu.metrics", "self-BLEU", "lab").BLEU
    bleu = made(effective_order=True, tokenize="zh" if chinese(texts) else "13a")
    return fmean(bleu.sentence_score(t, texts[:k] + texts[k + 1 :]).score for k, t in enumerate(texts))


def repetition(prompt: Prompted) -> float | None:
    """The share of a text's 5-grams of words that stood in the same text before: 1 - different / all; mean over texts
    of five words and more."""
    return _mean([1 - len(set(g)) / len(g) for w in prompt.words if (g := _grams(w, 5))])


def coherence(prompt: Prompted) -> float | None:
    """|A and B| / |A or B| of the content words of neighbouring sentences, mean over the pairs of a text, then over
    texts. A text that says one sentence again and again has 1: read it beside the repetition."""
    found = []
    for text in prompt.texts:
        sets = [c for s in sentences(text) if (c := content(s))]
        pairs = [len(a & b) / len(a | b) for a, b in pairwise(sets)]
        if pairs:
            found.append(fmean(pairs))
    return _mean(found)


def sentences_a_text(prompt: Prompted) -> float | None:
    """Sentences of each text, mean over texts."""
    return _mean([float(len(sentences(t))) for t in prompt.texts])


def empty(prompt: Prompted) -> float | None:
    """The share of texts without a word."""
    return _mean([float(not w) for w in prompt.words])


MEASURES: dict[str, Measure] = {
    m.name: m
    for m in (
        Measure("type-token ratio", type_token_ratio, "share", "up", "different words / words of a text"),
        *(
            Measure(f"distinct-{n}", distinct(n), "share", "up", f"different {n}-grams / {n}-grams of a prompt's texts")
            for n in (1, 2, 3)
        ),
        Measure("pairwise distance", pairwise_distance, "share", "up", "1 - Jaccard of two samples' word sets"),
        Measure("self-BLEU", self_bleu, "of 100", "down", "each sample against the prompt's others"),
        Measure("5-grams repeated", repetition, "share", "down", "5-grams that stood in the text before"),
        Measure("coherence", coherence, "share", None, "Jaccard of content words, neighbouring sentences; a heuristic"),
        Measure("empty texts", empty, "share", "down", "texts without a word"),
        Measure("sentences a text", sentences_a_text, "sentences", None, ""),
    )
}

#: The measure whose note says how Chinese was split into words, for all of them.
FIRST = "type-token ratio"
#: Of lengths: name and statistic of all texts' numbers together; of sentences' the first two.
SPREAD: tuple[tuple[str, Callable[[Numbers], float]], ...] = (
    ("mean", lambda x: float(np.mean(x))),
    ("sd", lambda x: float(np.std(x, ddof=1)) if len(x) > 1 else math.nan),
    ("10 %", lambda x: float(np.quantile(x, 0.1))),
    ("median", lambda x: float(np.quantile(x, 0.5))),
    ("90 %", lambda x: float(np.quantile(x, 0.9))),
)


def prepared(samples: Sequence[Samples]) -> list[Prompted]:
    """Texts with their words."""
    found = []
    for s in samples:
        texts = tuple(t.text for t in s.texts)
        found.append(Prompted(texts, tuple(tuple(words(t)) for t in texts)))
    return found


def measure(samples: Sequence[Samples], *, seed: int = 0) -> list[Row]:
    """Every measure of ``MEASURES``, then lengths in words, tokens and words a sentence. Raises
    ``MissingExtraError``."""
    read = prepared(samples)
    how = rule([t for p in read for t in p.texts])
    rows = []
    for m in MEASURES.values():
        values = [v for p in read if (v := m.of(p)) is not None]
        note = f"{m.note}; {how}" if how and m.name == FIRST else m.note
        rows.append(Row.of(GROUP, m.name, of_mean(values, seed=seed), m.unit, m.better, note))
    ended = [fmean(float(t.ended) for t in s.texts) for s in samples]
    rows.append(
        Row.of(GROUP, "ended by themselves", of_mean(ended, seed=seed), "share", None, "before the longest length")
    )
    lengths = {
        "words a text": ("words", [[float(len(w)) for w in p.words] for p in read]),
        "tokens a text": ("tokens", [[float(t.tokens) for t in s.texts] for s in samples]),
        "words a sentence": ("words", [[float(len(words(s))) for t in p.texts for s in sentences(t)] for p in read]),
    }
    for name, (unit, groups) in lengths.items():
        for which, statistic in SPREAD[:2] if name == "words a sentence" else SPREAD:
            rows.append(Row.of(GROUP, f"{name}, {which}", of_groups(groups, statistic, seed=seed), unit))
    return rows
