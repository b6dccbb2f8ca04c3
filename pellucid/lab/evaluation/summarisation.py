"""Summarisation: ROUGE (or any metric against references) of a model's own summaries.

    [[task]]
    name = "news"
    kind = "summarisation"
    data = "news.jsonl"                       # {"text": ..., "summary": ...} a line
    prompt = "{text}\\n\\nSummary:"
    max_new_tokens = 64
    metrics = ["rouge1", "rouge2", "rougeL"]
    too_long = "skip"                         # texts that do not fit the context: "refuse" (as it is) or "skip"

The summary is what the model writes, greedily, up to a blank line. ``language`` ("en", "zh", "auto") decides how
ROUGE splits words: Chinese by character.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pellucid.errors import ContextError, InputError, OptionError, unknown
from pellucid.lab.evaluation.inputs import json_lines, spread
from pellucid.lab.evaluation.references import METRICS as AGAINST
from pellucid.lab.evaluation.references import check_metrics, compare
from pellucid.lab.evaluation.result import Row
from pellucid.lab.evaluation.sampling import answers, room
from pellucid.lab.evaluation.setting import LANGUAGES, Setting
from pellucid.lab.evaluation.tasks import Task, data_of, template
from pellucid.lab.evaluation.words import chinese
from pellucid.models.encode import encode
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent

KEYS: dict[str, Any] = {"prompt": str, "max_new_tokens": int, "chat": bool, "language": str, "too_long": str}
PROMPTS = {"en": "{text}\n\nSummary:", "zh": "{text}\n\n摘要："}
NEW_TOKENS = 64
MODELS = ("causal", "seq2seq")
METRICS = {name: m for name, m in AGAINST.items() if name not in ("mauve", "bertscore")}
DEFAULT = ("rouge1", "rouge2", "rougeL")
TOO_LONG = ("refuse", "skip")


@dataclass(frozen=True)
class Example:
    """A text and its summary."""

    text: str
    summary: str


def read(task: Task) -> list[Example]:
    """The examples. Raises ``InputError``, ``OptionError``, ``MissingExtraError``."""
    for key, known in (("language", LANGUAGES), ("too_long", TOO_LONG)):
        if task.options.get(key, known[0]) not in known:
            raise unknown(f"{key} of the task '{task.name}':", task.options[key], list(known))
    if task.options.get("max_new_tokens", 1) < 1:
        raise OptionError(f"max_new_tokens of the task '{task.name}' should be 1 or more")
    template(task, ["text"], PROMPTS["en"])
    check_metrics(task.metrics)
    path = data_of(task)
    rows = [Example(r["text"], r["summary"]) for r in json_lines(path, ["text", "summary"])]
    if any(not r.text.strip() or not r.summary.strip() for r in rows):
        raise InputError(f"a text or summary of {path} is empty: expected some text in each")
    return spread(rows, task.limit)


def check(loaded: LoadedModel, task: Task) -> None:
    """Raise ``ContextError`` for a text that does not fit and is not to be skipped, ``InputError`` where none fits."""
    _prompts(loaded, task, _language(task))


def _language(task: Task) -> str:
    language = str(task.options.get("language", "auto"))
    return language if language != "auto" else "zh" if chinese([e.summary for e in task.examples]) else "en"


def _prompts(loaded: LoadedModel, task: Task, language: str) -> tuple[list[list[int]], list[Example]]:
    """Token ids of the prompts that fit, and their examples."""
    frame = template(task, ["text"], PROMPTS[language])
    new = task.options.get("max_new_tokens", NEW_TOKENS)
    raw = not task.options.get("chat")
    prompts: list[list[int]] = []
    kept: list[Example] = []
    for k, e in enumerate(task.examples, 1):
        ids = list(encode(loaded, frame.format(text=e.text), raw=raw).ids)
        try:
            room(loaded, len(ids), new, f"text {k} of the task '{task.name}'")
        except ContextError:
            if task.options.get("too_long", "refuse") == "refuse":
                raise
            continue
        prompts.append(ids)
        kept.append(e)
    if not kept:
        raise InputError(
            f"no text of the task '{task.name}' fits the {loaded.context} tokens that '{loaded.name}' reads"
        )
    return prompts, kept


def run(loaded: LoadedModel, task: Task, *, seed: int = 0, progress: Progress = silent) -> list[Row]:
    """A row for each metric. Raises what ``check`` does."""
    language = _language(task)
    prompts, kept = _prompts(loaded, task, language)
    new = task.options.get("max_new_tokens", NEW_TOKENS)
    found = answers(loaded, prompts, max_new_tokens=new, stage=task.name, progress=progress)
    outputs = [[summary(w.text)] for w in found]
    rows = compare(
        outputs, [[e.summary] for e in kept], task.metrics, Setting(seed=seed, language=language), group=task.group
    )
    skipped = len(task.examples) - len(kept)
    if not skipped:
        return rows
    return [_noted(r, f"{skipped} texts over the context skipped") for r in rows]


def _noted(row: Row, more: str) -> Row:
    return replace(row, note=f"{row.note}; {more}" if row.note else more)


def summary(text: str) -> str:
    """What stands before the first blank line."""
    return text.strip().split("\n\n")[0].strip()
