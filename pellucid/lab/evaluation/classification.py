"""Classification: accuracy and macro-F1, of a classification head or of a causal model's label words.

    [[task]]
    name = "sentiment"
    kind = "classification"
    data = "sst2-dev.tsv"
    prompt = "Review: {text}\\nThe review is"
    labels = { "0" = " negative", "1" = " positive" }
    calibrate = true

A causal model takes the label whose words are likeliest behind the prompt: the sum of ln p over all tokens of the
label, given the prompt. ``calibrate`` subtracts the same with an empty text in the prompt, so that a label which is
likely whatever the text is does not win for that (Holtzman et al. 2021, arXiv:2104.08315; Zhao et al. 2021,
arXiv:2102.09690). ``labels`` maps the data's labels to the words, with the blank before them where there is one; a
list stands for itself. A classification head takes its likeliest class; the data's labels are the classes' names or
numbers, or ``labels`` maps them. Macro-F1 is scikit-learn's: the mean over classes of 2 TP / (2 TP + FP + FN).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.errors import ContextError, InputError, ModelError, OptionError
from pellucid.lab.evaluation.bootstrap import Estimate, Numbers, of_mean, of_sums
from pellucid.lab.evaluation.extras import check_installed, needed
from pellucid.lab.evaluation.inputs import spread, table
from pellucid.lab.evaluation.likelihood import Scored, lead, nats, tokens
from pellucid.lab.evaluation.result import Row
from pellucid.lab.evaluation.tasks import Task, data_of, template
from pellucid.models.encode import encode
from pellucid.models.heads import encode_head, problem
from pellucid.models.heads import labels as classes_of
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent

KEYS: dict[str, Any] = {"prompt": str, "labels": (dict, list), "calibrate": bool, "chat": bool}
PROMPT = "{text}\n\nLabel:"
#: Labels in a sentence.
_LISTED = 12


@dataclass(frozen=True)
class Example:
    """A text and its label, as the data names it."""

    text: str
    label: str


@dataclass(frozen=True)
class Examples(Sequence[Example]):
    """The examples of a task, and what the model knows each label by: of the whole file, whatever ``limit`` leaves."""

    rows: tuple[Example, ...]
    words: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]


def accuracy(right: Sequence[str], said: Sequence[str], labels: Sequence[str], seed: int) -> Estimate:
    """The share of examples whose label is right."""
    return of_mean([float(a == b) for a, b in zip(right, said, strict=True)], seed=seed)


def macro_f1(right: Sequence[str], said: Sequence[str], labels: Sequence[str], seed: int) -> Estimate:
    """scikit-learn's macro-F1 over ``labels``; its interval from each example's true and false positives. Raises
    ``MissingExtraError``."""
    f1_score = needed("sklearn.metrics", "macro_f1", "lab").f1_score
    number = {label: k for k, label in enumerate(labels)}
    parts = np.zeros((len(right), 3, len(labels)))  # [examples, (hits, right, said), labels]
    for k, (a, b) in enumerate(zip(right, said, strict=True)):
        parts[k, 0, number[a]] = a == b
        parts[k, 1, number[a]] = parts[k, 2, number[b]] = 1
    estimate = of_sums(parts.reshape(len(right), -1), _macro_f1, seed=seed)
    value = float(f1_score(list(right), list(said), labels=list(labels), average="macro", zero_division=0))
    return Estimate(value, estimate.low, estimate.high, estimate.units)


def _macro_f1(sums: Numbers) -> Numbers:
    """Over the labels that are there, in a resample too."""
    hits, right, said = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    there = right + said > 0
    found: Numbers = np.sum(2 * hits / np.maximum(right + said, 1), axis=-1) / there.sum(axis=-1)
    return found


MODELS = ("causal", "classifier")
TITLES = {"accuracy": "accuracy", "macro_f1": "macro-F1"}
METRICS = {"accuracy": accuracy, "macro_f1": macro_f1}
DEFAULT = ("accuracy", "macro_f1")


def read(task: Task) -> Examples:
    """The examples. Raises ``InputError`` where there are fewer than two labels, ``OptionError`` for ``labels`` that
    do not cover them."""
    template(task, ["text"], PROMPT)
    path = data_of(task)
    rows = [Example(r["text"], r["label"]) for r in table(path, ["text", "label"])]
    found = sorted({r.label for r in rows})
    if len(found) < 2:
        raise InputError(f"{path} has one label alone, '{found[0]}': expected examples of two labels or more")
    words = words_of(task, rows)
    for label in found:
        if label not in words:
            raise OptionError(
                f"labels of the task '{task.name}' says nothing of '{label}', which {path.name} holds: expected all of "
                f"{', '.join(found[:_LISTED])}"
            )
    if "macro_f1" in task.metrics:
        check_installed("sklearn", "macro_f1", "lab")
    if any(not r.text.strip() for r in rows):
        raise InputError(f"a text of {path} is empty: expected some text in each line")
    return Examples(tuple(spread(rows, task.limit)), words)


def words_of(task: Task, rows: Sequence[Example]) -> dict[str, str]:
    """The data's labels to what the model knows them by. Raises ``OptionError`` where two labels have the same words,
    or one has none."""
    given = task.options.get("labels")
    if given is None:
        words = {label: label for label in sorted({r.label for r in rows})}
    elif isinstance(given, Mapping):
        words = {str(k): str(v) for k, v in given.items()}
    else:
        words = {str(v): str(v) for v in given}
    for label, word in words.items():
        if not word.strip():
            raise OptionError(f"labels of the task '{task.name}' has no words for '{label}': expected some")
        if list(words.values()).count(word) > 1:
            raise OptionError(
                f"labels of the task '{task.name}' has {word!r} for more than one label: the model could not tell them "
                "apart"
            )
    return words


def check(loaded: LoadedModel, task: Task) -> None:
    """Raise ``ModelError`` for a regression, ``OptionError`` for classes that the model does not have, ``ContextError``
    for a text that does not fit."""
    examples = task.examples
    assert isinstance(examples, Examples)
    if loaded.kind == "classifier":
        _classes(loaded, task, examples.words)
        for example in examples.rows:
            encode_head(loaded, example.text, raw=True)
    else:
        for k, row in enumerate(_rows(loaded, task, examples.words)):
            if loaded.context is not None and len(row.ids) - 1 > loaded.context:
                raise ContextError(
                    f"text {k // len(examples.words) + 1} of the task '{task.name}' has {len(row.ids)} tokens with its "
                    f"prompt and label, which do not fit the {loaded.context} that '{loaded.name}' reads"
                )


def run(loaded: LoadedModel, task: Task, *, seed: int = 0, progress: Progress = silent) -> list[Row]:
    """A row for each metric. Raises ``ModelError`` for a regression, ``OptionError`` for classes it does not have."""
    examples = task.examples
    assert isinstance(examples, Examples)
    words = examples.words
    if loaded.kind == "classifier":
        said, note = _by_head(loaded, task, words, progress), "classification head"
    else:
        said, note = _by_words(loaded, task, words, progress), "label words"
        note += ", calibrated" if task.options.get("calibrate") else ""
    right = [e.label for e in examples]
    there = [label for label in words if label in right or label in said]
    rows = []
    for name in task.metrics:
        estimate = METRICS[name](right, said, there, seed)
        rows.append(Row.of(task.group, TITLES[name], estimate, "share", "up", note))
    return rows


def _by_head(loaded: LoadedModel, task: Task, words: Mapping[str, str], progress: Progress) -> list[str]:
    """Labels by the head's likeliest class among those that stand for one."""
    import torch

    numbers = _classes(loaded, task, words)
    labels = list(numbers)
    network: Any = loaded.network
    said = []
    for k, example in enumerate(task.examples):
        progress(task.name, k, len(task.examples))
        ids = torch.tensor([encode_head(loaded, example.text, raw=True).ids], device=loaded.device)
        with torch.no_grad():
            logits = network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]  # [classes]
        said.append(labels[int(logits[[numbers[n] for n in labels]].argmax())])
    progress(task.name, len(task.examples), len(task.examples))
    return said


def _classes(loaded: LoadedModel, task: Task, words: Mapping[str, str]) -> dict[str, int]:
    """The number of each label's class."""
    if problem(loaded) == "value":
        raise ModelError(f"'{loaded.name}' is a regression, which has no classes: the task '{task.name}' needs classes")
    names = classes_of(loaded)
    return {label: _class(loaded, task, word, names) for label, word in words.items()}


def _class(loaded: LoadedModel, task: Task, word: str, names: Sequence[str]) -> int:
    """The number of the class that ``word`` names, by name or by number."""
    if word.strip() in names:
        return names.index(word.strip())
    if word.strip().isdecimal() and int(word) < len(names):
        return int(word)
    raise OptionError(
        f"'{loaded.name}' has no class '{word}', which the task '{task.name}' asks for: its classes are "
        f"{', '.join(names[:_LISTED])}; map them with labels = {{ ... }}"
    )


def _by_words(loaded: LoadedModel, task: Task, words: Mapping[str, str], progress: Progress) -> list[str]:
    """Labels by the likeliest words behind the prompt."""
    values = nats(loaded, _rows(loaded, task, words), stage=task.name, progress=progress)
    scores = np.array([-math.fsum(v) for v in values]).reshape(-1, len(words))  # [texts, labels]
    if task.options.get("calibrate"):
        scores = scores[:-1] - scores[-1]
    labels = list(words)
    return [labels[int(k)] for k in scores.argmax(axis=1)]


def _rows(loaded: LoadedModel, task: Task, words: Mapping[str, str]) -> list[Scored]:
    """Each label behind each text's prompt, text by text; behind the empty one at the end, to calibrate by."""
    frame = template(task, ["text"], PROMPT)
    chat = bool(task.options.get("chat"))
    texts = [e.text for e in task.examples]
    if task.options.get("calibrate"):
        texts.append("")
    rows: list[Scored] = []
    before = lead(loaded)
    for text in texts:
        prompt = frame.format(text=text)
        rows += [behind(loaded, prompt, word, before, chat=chat) for word in words.values()]
    return rows


def behind(loaded: LoadedModel, prompt: str, words: str, before: tuple[int, ...], *, chat: bool) -> Scored:
    """``words`` behind ``prompt``: both are split as one text, and every token that reaches beyond the prompt is
    scored; in a chat they begin the model's answer. Raises ``InputError`` where the prompt holds no token."""
    if chat:
        asked, own = encode(loaded, prompt).ids, tokens(loaded, words, ()).ids
        return Scored((*asked, *own), len(own))
    read = tokens(loaded, prompt + words, before)
    count = sum(1 for _, end in read.spans if end > len(prompt))
    if len(read.lead) + len(read.ids) == count:
        raise InputError(f"nothing stands before the label {words!r} that '{loaded.name}' could predict it from")
    return Scored((*read.lead, *read.ids), count)
