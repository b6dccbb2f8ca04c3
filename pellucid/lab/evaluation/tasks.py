"""Downstream tasks, as a TOML file lists them; read, with their data, before a model is loaded.

    pellucid lab eval MODEL --tasks tasks.toml

    [[task]]
    name = "sentiment"
    kind = "classification"
    data = "sst2-dev.tsv"                          # beside this file; text<TAB>label, or .jsonl
    prompt = "Review: {text}\\nThe review is"      # for a causal model
    labels = { "0" = " negative", "1" = " positive" }
    metrics = ["accuracy", "macro_f1"]
    limit = 200

A kind is a module with ``METRICS`` (names), ``MODELS`` (kinds of models that it can ask), ``KEYS`` (further keys of
its tables, with their types), ``read`` (the data), ``check`` (does this model fit it) and ``run`` (the model on it),
and a line of ``KINDS``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pellucid.errors import InputError, MissingExtraError, ModelError, OptionError, unknown
from pellucid.lab.evaluation.inputs import text_of
from pellucid.lab.evaluation.result import Row
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent

#: kind: module, imported when a task asks for it
KINDS = {
    "classification": "pellucid.lab.evaluation.classification",
    "question_answering": "pellucid.lab.evaluation.answering",
    "summarisation": "pellucid.lab.evaluation.summarisation",
    "lm_eval": "pellucid.lab.evaluation.harness",
}
#: Keys that every task may have.
COMMON: dict[str, type] = {"name": str, "kind": str, "data": str, "metrics": list, "limit": int}


@dataclass(frozen=True)
class Task:
    """One task: ``data`` is a path, ``metrics`` the names asked for, ``options`` what else its table says,
    ``examples`` the rows that ``read`` of its kind made of the file."""

    name: str
    kind: str
    data: Path | None
    metrics: tuple[str, ...]
    limit: int | None
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    examples: Sequence[Any] = ()

    @property
    def group(self) -> str:
        """What the rows of the table are under."""
        return f"task {self.name}"


def read_tasks(path: Path) -> tuple[Task, ...]:
    """The tasks of a TOML file with their data. Raises ``InputError`` for a file that cannot be read, ``OptionError``
    for unknown kinds, metrics and keys, ``MissingExtraError``."""
    text = text_of(path)
    toml = _toml()
    try:
        found = toml.loads(text)
    except toml.TOMLDecodeError as e:
        raise InputError(f"{path} is not TOML: {e}") from None
    tables = found.get("task")
    others = sorted(set(found) - {"task"})
    if others:
        raise InputError(f"{path} has '{others[0]}' outside a task: expected [[task]] tables alone")
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise InputError(f"{path} holds no task: expected tables that begin with [[task]]")
    tasks = [_task(table, number, path) for number, table in enumerate(tables, 1)]
    names = [t.name for t in tasks]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise InputError(f"{path} has two tasks named '{twice}': each needs a name of its own")
    return tuple(tasks)


def run_task(loaded: LoadedModel, task: Task, *, seed: int = 0, progress: Progress = silent) -> list[Row]:
    """The rows of one task. Raises ``ModelError`` for a model that its kind cannot ask."""
    check_model(loaded, task)
    rows: list[Row] = _module(task.kind).run(loaded, task, seed=seed, progress=progress)
    return rows


def check_model(loaded: LoadedModel, task: Task) -> None:
    """Raise ``ModelError`` for a model that the task's kind cannot ask, ``ContextError`` for what does not fit it."""
    module = _module(task.kind)
    kinds: Sequence[str] = module.MODELS
    if loaded.kind not in kinds:
        raise ModelError(
            f"the task '{task.name}' ({task.kind}) needs a model of the kind {' or '.join(kinds)}, and '{loaded.name}' "
            f"is of the kind '{loaded.kind}'"
        )
    module.check(loaded, task)


def _task(table: Mapping[str, Any], number: int, path: Path) -> Task:
    name = table.get("name")
    if not isinstance(name, str) or not name.strip():
        raise InputError(f'task {number} of {path} has no name: expected name = "..."')
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise unknown(f"kind of the task '{name}':", kind, list(KINDS))
    module = _module(kind)
    known: dict[str, Any] = {**COMMON, **module.KEYS}
    for key, value in table.items():
        if key not in known:
            raise unknown(f"key of the task '{name}':", key, list(known))
        if not isinstance(value, known[key]) or (known[key] is int and isinstance(value, bool)):
            raise OptionError(f"{key} of the task '{name}' should be {_named(known[key])}, given {value!r}")
    metrics = _metrics(table, name, module)
    limit = table.get("limit")
    if limit is not None and limit < 1:
        raise OptionError(f"limit of the task '{name}' should be 1 or more, given {limit}")
    data = path.parent / table["data"] if "data" in table else None
    options = {k: v for k, v in table.items() if k not in COMMON}
    task = Task(name, kind, data, metrics, limit, path.parent, options)
    examples: Sequence[Any] = module.read(task)
    return Task(name, kind, data, metrics, limit, path.parent, options, examples)


_NAMES = {str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table"}


def _named(kinds: Any) -> str:
    return " or ".join(_NAMES[k] for k in (kinds if isinstance(kinds, tuple) else (kinds,)))


def _metrics(table: Mapping[str, Any], name: str, module: Any) -> tuple[str, ...]:
    """The metrics that a table asks for, each known: all of its kind's where it says nothing."""
    metrics = tuple(table.get("metrics", module.DEFAULT))
    if not metrics and module.DEFAULT:
        raise OptionError(
            f"metrics of the task '{name}' is an empty list: leave it out for {', '.join(module.DEFAULT)}"
        )
    for metric in metrics:
        if not isinstance(metric, str):
            raise OptionError(f"metrics of the task '{name}' should be names, given {metric!r}")
        if module.METRICS is not None and metric not in module.METRICS:
            raise unknown(f"metric of the task '{name}':", metric, list(module.METRICS))
        if metrics.count(metric) > 1:
            raise OptionError(f"metrics of the task '{name}' has '{metric}' twice: name each once")
    return metrics


def data_of(task: Task) -> Path:
    """The task's data file. Raises ``OptionError`` where it names none."""
    if task.data is None:
        raise OptionError(
            f"the task '{task.name}' names no data: expected data = \"...\", a path from the TOML file's folder"
        )
    return task.data


def template(task: Task, fields: Sequence[str], default: str) -> str:
    """The task's prompt template. Raises ``OptionError`` where it lacks one of ``fields``, or has others."""
    import string

    text = str(task.options.get("prompt", default))
    try:
        given = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError as e:
        raise OptionError(
            f"prompt of the task '{task.name}' is no template: {e}; a brace of the text is {{{{ or }}}}"
        ) from None
    for name in given:
        if name not in fields:
            raise unknown(
                f"field in the prompt of the task '{task.name}':", "{" + name + "}", [f"{{{f}}}" for f in fields]
            )
    for name in fields:
        if name not in given:
            raise OptionError(f"prompt of the task '{task.name}' should hold {{{name}}}, given {text!r}")
    return text


def _module(kind: str) -> Any:
    return importlib.import_module(KINDS[kind])


def _toml() -> Any:
    """Python's TOML reader, which came with 3.11."""
    try:
        return importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        raise MissingExtraError("before Python 3.11, TOML files need tomli: pip install tomli") from None
