"""Texts that a model wrote against references: BLEU, chrF, ROUGE; MAUVE and BERTScore where they are asked for.

    compare([["The cat sat."]], [["A cat sat."]], ["bleu", "chrf", "rougeL"], Setting())       # rows of a table

``outputs`` are the texts of each prompt, ``references`` those of each prompt; every text is compared with all
references of its prompt. Corpus scores are of counts summed over all texts; their interval is the bootstrap's over
prompts, from the counts of each. sacrebleu (Post 2018, arXiv:1804.08771; chrF: Popović 2015) and rouge-score (Lin
2004) do the counting. A new metric is one function and a line of ``METRICS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pellucid.errors import InputError, OptionError, unknown
from pellucid.lab.evaluation.bootstrap import Estimate, Numbers, of_mean, of_sums
from pellucid.lab.evaluation.extras import check_installed, needed
from pellucid.lab.evaluation.learned import bertscore, mauve
from pellucid.lab.evaluation.result import Row
from pellucid.lab.evaluation.setting import Setting, Texts
from pellucid.lab.evaluation.words import chinese, words

GROUP = "references"
#: What is measured where nothing is asked for: all that need no further package and no model.
DEFAULT = ("bleu", "chrf", "rouge1", "rouge2", "rougeL")


@dataclass(frozen=True)
class Metric:
    """``of`` gives the estimate and a note (a signature); ``package`` is what it needs, of which ``extra``."""

    name: str
    title: str
    of: Callable[[Texts, Texts, Setting], tuple[Estimate, str]]
    unit: str
    package: str
    extra: str


def _corpus(metric: Any, outputs: Texts, references: Texts, setting: Setting) -> tuple[Estimate, str]:
    """A metric of sacrebleu's: the score of all texts, and its interval from the counts of each.

    ``_extract_corpus_statistics`` and ``_compute_score_from_stats`` are what sacrebleu has every metric define, for
    its own bootstrap, which knows nothing of texts that belong together.
    """
    texts, streams, owners = flat(outputs, references)
    score = metric.corpus_score(texts, streams)
    counts = np.array(metric._extract_corpus_statistics(texts, streams), dtype=np.float64)  # [texts, columns]
    parts = np.zeros((len(outputs), counts.shape[1]))
    np.add.at(parts, owners, counts)

    def formula(sums: Numbers) -> Numbers:
        rows = sums.reshape(-1, sums.shape[-1])
        found = [metric._compute_score_from_stats([int(x) for x in row]).score for row in rows]
        return np.array(found).reshape(sums.shape[:-1])

    estimate = of_sums(parts, formula, seed=setting.seed)
    return replace(estimate, value=float(score.score)), str(metric.get_signature())


def bleu(outputs: Texts, references: Texts, setting: Setting) -> tuple[Estimate, str]:
    """Corpus BLEU (Papineni et al. 2002); Chinese is split by sacrebleu's ``zh``."""
    split = "zh" if _is_chinese(references, setting) else "13a"
    return _corpus(needed("sacrebleu.metrics", "BLEU", "lab").BLEU(tokenize=split), outputs, references, setting)


def chrf(outputs: Texts, references: Texts, setting: Setting) -> tuple[Estimate, str]:
    """Corpus chrF2: F of character n-grams up to 6, recall twice as heavy (Popović 2015)."""
    return _corpus(needed("sacrebleu.metrics", "chrF", "lab").CHRF(), outputs, references, setting)


class _Characters:
    """rouge-score's tokenizer for Chinese: each character a word, Latin words whole."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def rouge(kind: str) -> Callable[[Texts, Texts, Setting], tuple[Estimate, str]]:
    """F of rouge-score's ``kind``, without stemming; of several references the best; mean over texts, then
    prompts."""

    def of(outputs: Texts, references: Texts, setting: Setting) -> tuple[Estimate, str]:
        by_character = _is_chinese(references, setting)
        scorer = needed("rouge_score.rouge_scorer", "ROUGE", "lab").RougeScorer(
            [kind], use_stemmer=False, tokenizer=_Characters() if by_character else None
        )
        values = [
            float(np.mean([100 * scorer.score_multi(list(refs), text)[kind].fmeasure for text in texts]))
            for texts, refs in zip(outputs, references, strict=True)
        ]
        note = "F, no stemming, " + ("by character" if by_character else "rouge-score's own words")
        return of_mean(values, seed=setting.seed), note

    return of


METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("bleu", "BLEU", bleu, "of 100", "sacrebleu", "lab"),
        Metric("chrf", "chrF", chrf, "of 100", "sacrebleu", "lab"),
        Metric("rouge1", "ROUGE-1", rouge("rouge1"), "of 100", "rouge_score", "lab"),
        Metric("rouge2", "ROUGE-2", rouge("rouge2"), "of 100", "rouge_score", "lab"),
        Metric("rougeL", "ROUGE-L", rouge("rougeL"), "of 100", "rouge_score", "lab"),
        Metric("mauve", "MAUVE", mauve, "share", "mauve", "mauve"),
        Metric("bertscore", "BERTScore", bertscore, "of 100", "bert_score", "bertscore"),
    )
}


def check_known(names: Sequence[str]) -> None:
    """Raise ``OptionError`` for a metric that is not known, one that stands twice, or none at all."""
    if not names:
        raise OptionError(f"there are no metrics: expected one or more of {', '.join(METRICS)}")
    for name in names:
        if name not in METRICS:
            raise unknown("metric", name, list(METRICS))
        if list(names).count(name) > 1:
            raise OptionError(f"the metric '{name}' stands twice: name each once")


def check_metrics(names: Sequence[str]) -> None:
    """As ``check_known``; and raise ``MissingExtraError`` for one whose package is not here."""
    check_known(names)
    for name in names:
        check_installed(METRICS[name].package, METRICS[name].title, METRICS[name].extra)


def check_counts(outputs: int, references: int) -> None:
    """Raise ``InputError`` where there are not as many of the one as of the other."""
    if outputs != references:
        raise InputError(
            f"{outputs} output{'s' * (outputs != 1)} and {references} reference{'s' * (references != 1)}: expected as "
            "many of the one as of the other, in the same order"
        )


def compare(
    outputs: Texts, references: Texts, metrics: Sequence[str], setting: Setting, *, group: str = GROUP
) -> list[Row]:
    """A row for each metric. ``outputs``: the texts of each prompt; ``references``: those of each prompt. Raises
    ``InputError`` for different counts, ``OptionError``, ``MissingExtraError``."""
    check_metrics(metrics)
    check_counts(len(outputs), len(references))
    rows = []
    for name in metrics:
        metric = METRICS[name]
        estimate, note = metric.of(outputs, references, setting)
        rows.append(Row.of(group, metric.title, estimate, metric.unit, "up", note))
    return rows


def flat(outputs: Texts, references: Texts) -> tuple[list[str], list[list[str | None]], list[int]]:
    """All texts, their references as sacrebleu has them (a list for each set, None where a prompt has fewer), and
    each text's prompt."""
    texts = [t for group in outputs for t in group]
    owners = [k for k, group in enumerate(outputs) for _ in group]
    most = max(map(len, references))
    streams: list[list[str | None]] = [
        [references[k][s] if s < len(references[k]) else None for k in owners] for s in range(most)
    ]
    return texts, streams, owners


def _is_chinese(references: Texts, setting: Setting) -> bool:
    if setting.language == "auto":
        return chinese([t for group in references for t in group])
    return setting.language == "zh"
