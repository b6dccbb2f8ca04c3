"""Tasks of the Language Model Evaluation Harness (Gao et al. 2021), through its own interface. Extra ``lm-eval``.

    [[task]]
    name = "mine"
    kind = "lm_eval"
    tasks = ["my_task"]              # names that the harness knows, or that stand in the YAML files of include_path
    include_path = "tasks"           # a folder with task files, beside this file
    num_fewshot = 0
    limit = 100

The harness reads a task's data as its YAML says; a relative path there counts from the folder of the TOML file, which
is the working folder while it runs. Its figures are its own; the interval is the value and 1.96 of its standard
errors. Task files that cannot be read, and data that is not there, are found before the model is loaded, because the
tasks are built once for that.
"""

from __future__ import annotations

import io
import logging
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.errors import InputError, OptionError, unknown
from pellucid.lab.evaluation.extras import check_installed, needed
from pellucid.lab.evaluation.result import Row
from pellucid.lab.evaluation.tasks import Task
from pellucid.models.load import LoadedModel
from pellucid.models.quiet import quiet_bars
from pellucid.progress import Progress, silent

KEYS: dict[str, Any] = {"tasks": list, "include_path": str, "num_fewshot": int, "batch_size": int, "chat": bool}
#: The harness's own; None: what it reports is what there is, and ``metrics`` may choose among that.
METRICS = None
DEFAULT: tuple[str, ...] = ()
MODELS = ("causal", "seq2seq")
_UP = {True: "up", False: "down"}
#: The harness's metrics from 0 to 1.
_SHARES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "em", "f1")
#: Requests between two reports of progress.
CHUNK = 128


def read(task: Task) -> list[str]:
    """The names of the tasks. Raises ``MissingExtraError`` where the harness is not installed, ``OptionError`` for
    names it does not know, ``InputError`` for a folder that is not there, or a task that cannot be built."""
    check_installed("lm_eval", f"the task '{task.name}'", "lm-eval")
    names = task.options.get("tasks")
    if not names or not all(isinstance(n, str) for n in names):
        raise OptionError(f"the task '{task.name}' names no tasks of the harness: expected tasks = [\"...\"]")
    if task.data is not None:
        raise OptionError(f"the task '{task.name}' takes no data: the harness's task files say what they read")
    for key, least in (("num_fewshot", 0), ("batch_size", 1)):
        if task.options.get(key, least) < least:
            raise OptionError(f"{key} of the task '{task.name}' should be {least} or more")
    folder = _folder(task)
    if folder is not None and not folder.is_dir():
        raise InputError(f"include_path of the task '{task.name}' is no folder: {folder}")
    with _apart(task.folder):
        manager = _manager(task)
        known = list(manager.all_tasks)
        for name in names:
            if name not in known:
                raise unknown("task of the harness", name, _near(known, folder))
        build = needed("lm_eval.tasks", "the harness", "lm-eval").get_task_dict
        for name in names:
            try:
                build([name], manager)
            except Exception as e:  # whatever a task file, the data library or the Hub makes of it
                reason = (str(e).strip().splitlines() or [""])[0] or type(e).__name__
                raise InputError(f"the harness cannot build its task '{name}': {reason}") from e
    return list(names)


def check(loaded: LoadedModel, task: Task) -> None:
    """Nothing more: the harness cuts what does not fit, at its beginning."""


def _near(known: Sequence[str], folder: Path | None) -> list[str]:
    """Of thousands of names, those of the user's own folder, else the first few."""
    own = [] if folder is None else [p.stem for p in sorted(folder.glob("**/*.y*ml")) if p.stem in known]
    return own or [*known[:12], f"... ({len(known)} in all)"]


def _folder(task: Task) -> Path | None:
    given = task.options.get("include_path")
    return None if given is None else (task.folder / given).resolve()


def _manager(task: Task) -> Any:
    folder = _folder(task)
    return needed("lm_eval.tasks", "the harness", "lm-eval").TaskManager(
        include_path=None if folder is None else str(folder)
    )


def run(loaded: LoadedModel, task: Task, *, seed: int = 0, progress: Progress = silent) -> list[Row]:
    """What the harness reports, a row a figure. Raises ``OptionError`` where it reports none of the metrics that are
    asked for."""
    harness = needed("lm_eval", "the harness", "lm-eval")
    progress(task.name, 0, None)
    with _apart(task.folder):
        model = _model(loaded, task, progress)
        found = harness.simple_evaluate(
            model=model,
            tasks=list(task.examples),
            task_manager=_manager(task),
            num_fewshot=task.options.get("num_fewshot"),
            limit=task.limit,
            apply_chat_template=bool(task.options.get("chat")),
            log_samples=False,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    rows = rows_of(task, found)
    if not rows:
        reported = sorted({k.partition(",")[0] for r in found["results"].values() for k in r if "," in k})
        raise OptionError(
            f"the harness reports none of the metrics {', '.join(task.metrics)} that the task '{task.name}' asks for: "
            f"it reports {', '.join(reported)}"
        )
    return rows


def _model(loaded: LoadedModel, task: Task, progress: Progress) -> Any:
    """The model behind the harness's interface, its bars replaced by reports to ``progress``."""
    base: Any = needed("lm_eval.models.huggingface", "the harness", "lm-eval").HFLM
    outside = sys.stderr

    def in_parts(ask: Any, requests: Sequence[Any]) -> list[Any]:
        found: list[Any] = []
        for at in range(0, len(requests), CHUNK):
            found += ask(list(requests[at : at + CHUNK]), disable_tqdm=True)
            with redirect_stderr(outside):
                progress(task.name, len(found), len(requests))
        return found

    class Model(base):  # type: ignore[misc]  # of a package that is not always there
        """The harness's own, asked in parts."""

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[Any]:
            return in_parts(super().loglikelihood, requests)

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[Any]:
            return in_parts(super().loglikelihood_rolling, requests)

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[Any]:
            return in_parts(super().generate_until, requests)

    return Model(pretrained=loaded.network, tokenizer=loaded.tokenizer, batch_size=task.options.get("batch_size", 8))


def rows_of(task: Task, found: Mapping[str, Any]) -> list[Row]:
    """The harness's table ("acc,none": 0.5, "acc_stderr,none": 0.1) as rows."""
    rows = []
    for name, table in found["results"].items():
        better = found.get("higher_is_better", {}).get(name, {})
        examples = int(found.get("n-samples", {}).get(name, {}).get("effective", 0))
        for key, value in table.items():
            metric, comma, filtered = key.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            if task.metrics and metric not in task.metrics:
                continue
            error = table.get(f"{metric}_stderr,{filtered}")
            known = isinstance(error, int | float) and error == error
            low, high = (value - 1.96 * error, value + 1.96 * error) if known else (None, None)
            note = "the harness's standard error x 1.96" if known else ""
            note += "" if filtered == "none" else f"; filter {filtered}"
            measure = f"{name}: {metric}"
            rows.append(
                Row(
                    task.group,
                    measure,
                    float(value),
                    low,
                    high,
                    "share" if metric in _SHARES else "",
                    _UP.get(better.get(metric)),
                    note.strip("; "),
                    examples,
                )
            )
    return rows


@contextmanager
def _apart(folder: Path) -> Iterator[None]:
    """While open, ``folder`` is the working folder, the harness says nothing but errors, and random states are its
    own. Its bars, and the data library's, have no common switch: they write to standard error, which leads nowhere."""
    import torch

    evaluator = needed("lm_eval.evaluator", "the harness", "lm-eval")
    before = Path.cwd()
    states = random.getstate(), np.random.get_state()
    log = logging.getLogger("lm_eval")
    level = log.level
    log.setLevel(logging.ERROR)
    asks_git = evaluator.get_git_commit_hash
    evaluator.get_git_commit_hash = lambda: None  # git complains of a folder that is none of its own
    os.chdir(folder)
    try:
        with (
            redirect_stderr(io.StringIO()),
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
            quiet_bars(),
        ):
            yield
    finally:
        os.chdir(before)
        log.setLevel(level)
        evaluator.get_git_commit_hash = asks_git
        random.setstate(states[0])
        np.random.set_state(states[1])
