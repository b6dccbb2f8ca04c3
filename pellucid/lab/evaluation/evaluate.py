"""The way in: everything that is asked of one model, in one table.

    pellucid lab eval runs/mine --data held-out.txt --generate prompts.txt --tasks tasks.toml --json eval.json

    from pellucid.lab.evaluation.evaluate import evaluate
    evaluate(loaded, documents=[Document("held-out", text)], prompts=["Once upon a time"], samples=4).rows

What can be known to be wrong before a model is loaded is said by ``Plan`` when it is made.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from pellucid.errors import OptionError
from pellucid.lab.evaluation import quality
from pellucid.lab.evaluation import references as against
from pellucid.lab.evaluation.extras import check_installed
from pellucid.lab.evaluation.halves import LEAST, Halves, halves, pieces
from pellucid.lab.evaluation.inputs import Document
from pellucid.lab.evaluation.learned import check_encoder, check_mauve
from pellucid.lab.evaluation.likelihood import check_causal
from pellucid.lab.evaluation.perplexity import Perplexity, check_sizes, perplexity
from pellucid.lab.evaluation.result import Evaluation, Row
from pellucid.lab.evaluation.sampling import Samples, check_rooms, check_sampling, check_writes, sample
from pellucid.lab.evaluation.setting import Setting
from pellucid.lab.evaluation.tasks import Task, check_model, run_task
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent
from pellucid.version import __version__

LIKELIHOOD = "likelihood"


@dataclass(frozen=True)
class Plan:
    """What is asked of a model: perplexity of ``documents``; ``samples`` texts to each of ``prompts`` (sampled as in
    ``sampling``); these against ``references`` (sets of one text a prompt) by ``metrics``; and ``tasks``.

    Raises ``OptionError``, ``InputError`` or ``MissingExtraError`` for what cannot be, whatever the model.
    """

    documents: Sequence[Document] = ()
    prompts: Sequence[str] = ()
    references: Sequence[Sequence[str]] = ()
    tasks: Sequence[Task] = ()
    metrics: Sequence[str] = against.DEFAULT
    window: int | None = None
    stride: int | None = None
    samples: int = 4
    max_new_tokens: int | None = None
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    chat: bool = False
    language: str = "auto"
    encoder: str | None = None
    seed: int = 0
    sampling: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = ("samples", "max_new_tokens", "temperature", "top_k", "top_p", "seed")
        object.__setattr__(self, "sampling", {n: getattr(self, n) for n in names})
        if not (self.documents or self.prompts or self.tasks):
            raise OptionError("there is nothing to evaluate: give documents (--data), prompts (--generate) or --tasks")
        check_sizes(self.window, self.stride)
        check_sampling(**self.sampling)
        Setting(language=self.language)
        against.check_known(self.metrics)
        if self.prompts:
            check_installed("sacrebleu", "self-BLEU", "lab")
        if self.references:
            if not self.prompts:
                raise OptionError("references need prompts, whose answers are compared with them: give --generate too")
            for texts in self.references:
                against.check_counts(len(self.prompts), len(texts))
            against.check_metrics(self.metrics)
            if "mauve" in self.metrics:
                check_mauve(len(self.prompts) * self.samples, len(self.prompts) * len(self.references))
            if "bertscore" in self.metrics:
                check_encoder(self.encoder)
        elif tuple(self.metrics) != against.DEFAULT:
            raise OptionError(f"the metrics {', '.join(self.metrics)} compare with references: give --references too")

    @property
    def settings(self) -> dict[str, Any]:
        """What a result says of how it was made."""
        found: dict[str, Any] = {"seed": self.seed}
        if self.documents:
            found["documents"] = [d.name for d in self.documents]
        if self.prompts:
            found |= {"prompts": len(self.prompts), **self.sampling, "chat": self.chat}
        if self.references:
            found |= {"references": len(self.references), "metrics": list(self.metrics), "language": self.language}
            found |= {} if self.encoder is None else {"encoder": self.encoder}
        if self.tasks:
            found["tasks"] = [
                {
                    "name": t.name,
                    "kind": t.kind,
                    "data": None if t.data is None else t.data.name,
                    "examples": len(t.examples),
                    **t.options,
                }
                for t in self.tasks
            ]
        return found


def evaluate(loaded: LoadedModel, *, plan: Plan | None = None, progress: Progress = silent, **asked: Any) -> Evaluation:
    """Measure what ``plan`` says, or what ``asked`` (the fields of ``Plan``) says.

    Raises what ``Plan`` does; ``ModelError`` for a model that cannot do what is asked, before anything is measured;
    ``ContextError``, ``NumericError``.
    """
    began = time.perf_counter()
    if plan is not None and asked:
        raise OptionError(f"give a plan or its fields, not both: plan and {', '.join(asked)}")
    plan = Plan(**asked) if plan is None else plan
    if plan.documents:
        check_causal(loaded, "perplexity")
    if plan.prompts:
        check_writes(loaded, "to write samples")
        check_rooms(loaded, plan.prompts, max_new_tokens=plan.max_new_tokens, chat=plan.chat)
    if plan.references and "mauve" in plan.metrics:
        check_causal(loaded, "MAUVE")
    for task in plan.tasks:
        check_model(loaded, task)
    rows: list[Row] = []
    found: Perplexity | None = None
    if plan.documents:
        found = perplexity(
            loaded, plan.documents, window=plan.window, stride=plan.stride, seed=plan.seed, progress=progress
        )
        rows += likelihood_rows(found)
    written: tuple[Samples, ...] = ()
    if plan.prompts:
        written = sample(loaded, plan.prompts, **plan.sampling, chat=plan.chat, progress=progress)
        if loaded.kind == "causal":
            rows += _half_rows(loaded, written, plan, progress)
        progress("measuring samples", 0, 1)
        rows += quality.measure(written, seed=plan.seed)
        progress("measuring samples", 1, 1)
    if plan.references:
        outputs = [[t.text for t in s.texts] for s in written]
        people = [list(texts) for texts in zip(*plan.references, strict=True)]
        setting = Setting(plan.seed, plan.language, loaded, plan.encoder)
        progress("comparing with references", 0, 1)
        rows += against.compare(outputs, people, plan.metrics, setting)
        progress("comparing with references", 1, 1)
    for task in plan.tasks:
        rows += run_task(loaded, task, seed=plan.seed, progress=progress)
    return Evaluation(
        model=about(loaded),
        settings=plan.settings,
        rows=tuple(rows),
        perplexity=found,
        samples=written,
        seconds=round(time.perf_counter() - began, 3),
        versions=_versions(),
    )


def likelihood_rows(found: Perplexity) -> list[Row]:
    """Perplexity, bits per byte and per character as rows."""
    before = f", behind {''.join(found.before)}" if found.before else ", the first token not scored"
    note = f"{found.tokens} tokens, windows of {found.window}, {found.stride} apart{before}"
    size = f"{found.bytes} bytes; "
    size += f"over {found.units}" if found.perplexity.low is not None else "one window, so no interval"
    return [
        Row.of(LIKELIHOOD, "perplexity", found.perplexity, "", "down", note),
        Row.of(LIKELIHOOD, "bits per byte", found.bits_per_byte, "bits", "down", size),
        Row.of(
            LIKELIHOOD, "bits per character", found.bits_per_character, "bits", "down", f"{found.characters} characters"
        ),
    ]


def _half_rows(loaded: LoadedModel, written: Sequence[Samples], plan: Plan, progress: Progress) -> list[Row]:
    """Second halves of the samples, and of held-out text cut to the same length, which is the yardstick."""
    found = halves(loaded, [[t.text for t in s.texts] for s in written], seed=plan.seed, progress=progress)
    rows = half_rows(found, "samples")
    lengths = [t.tokens for s in written for t in s.texts if t.tokens >= 2 * LEAST]
    if plan.documents and lengths:
        size = round(fmean(lengths))
        people = pieces(loaded, plan.documents, tokens=size, count=len(lengths))
        if people:
            groups = [[p] for p in people]
            same = halves(loaded, groups, seed=plan.seed, stage="second halves, held-out", progress=progress)
            rows += half_rows(same, "held-out", f"; pieces of {size} tokens")
    return rows


def half_rows(found: Halves, what: str, more: str = "") -> list[Row]:
    """The gain of second halves as a row, its two parts in the note."""
    if found.gain.value is None:
        note = f"no text of {2 * LEAST} tokens or more"
    else:
        note = f"{found.given.value:.2f}, and {found.alone.value:.2f} given nothing; {found.texts} texts{more}"
    return [Row.of(quality.GROUP, f"second half given first, {what}", found.gain, "nats a token", "up", note)]


def about(loaded: LoadedModel) -> dict[str, Any]:
    """What a result says of its model."""
    return {
        "name": loaded.name,
        "source": loaded.source,
        "revision": loaded.revision,
        "kind": loaded.kind,
        "parameters": loaded.parameters,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "device": str(loaded.device),
        "context": loaded.context,
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    import torch

    found = {"pellucid": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    for package in ("transformers", "sacrebleu", "rouge-score", "scikit-learn", "lm-eval"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # what is not there was not used
            continue
    return found
