"""The harness's tasks through its own interface: on local task files where it is installed, its figures in any case."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.errors import InputError, MissingExtraError, OptionError
from pellucid.lab.evaluation import harness
from pellucid.lab.evaluation.tasks import Task, read_tasks, run_task
from pellucid.models.load import LoadedModel

YAML = """
task: mine_too
dataset_path: json
dataset_kwargs:
  data_files:
    test: capitals.jsonl
test_split: test
output_type: multiple_choice
doc_to_text: "The capital of {{country}} is"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
CAPITALS = [
    {"country": "France", "choices": ["Paris", "Madrid", "天气"], "answer": 0},
    {"country": "Spain", "choices": ["Paris", "Madrid", "农业"], "answer": 1},
    {"country": "法国", "choices": ["巴黎", "天气"], "answer": 0},
]


def task(folder: Path, text: str) -> Task:
    path = folder / "tasks.toml"
    path.write_text(f"[[task]]\nname = 'mine'\n{text}", encoding="utf-8")
    (found,) = read_tasks(path)
    return found


def likeliest(loaded: LoadedModel, before: str, choices: list[str]) -> int:
    """Which of ``choices`` is likeliest behind ``before``, by the sum of ln p of its tokens."""
    network: Any = loaded.network
    scores = []
    start = len(loaded.tokenizer(before)["input_ids"])
    for choice in choices:
        ids = loaded.tokenizer(f"{before} {choice}")["input_ids"]
        with torch.no_grad():
            rows = network(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        scores.append(sum(float(rows[i - 1, ids[i]]) for i in range(start, len(ids))))
    return int(np.argmax(scores))


def local_task(folder: Path) -> str:
    (folder / "own").mkdir()
    (folder / "own" / "mine_too.yaml").write_text(YAML, encoding="utf-8")
    lines = "".join(json.dumps(c, ensure_ascii=False) + "\n" for c in CAPITALS)
    (folder / "capitals.jsonl").write_text(lines, encoding="utf-8")
    return 'kind = "lm_eval"\ntasks = ["mine_too"]\ninclude_path = "own"\n'


@pytest.mark.filterwarnings("ignore")  # of the harness and what it brings
def test_the_harness_reads_local_task_files_and_agrees_with_a_plain_loop(
    tiny: Callable[..., LoadedModel], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lm_eval")
    loaded = tiny()
    here, state = Path.cwd(), torch.get_rng_state()
    mine = task(tmp_path, local_task(tmp_path))
    reports: list[tuple[float, float | None]] = []
    (row,) = run_task(loaded, mine, progress=lambda stage, done, total: reports.append((done, total)))
    hits = []
    for c in CAPITALS:
        choices: Any = c["choices"]
        hits.append(likeliest(loaded, f"The capital of {c['country']} is", choices) == c["answer"])
    assert row.value == pytest.approx(np.mean(hits))
    assert (row.measure, row.unit, row.better) == ("mine_too: acc", "share", "up")
    assert reports == [(0, None), (8, 8)]
    assert (Path.cwd(), torch.equal(torch.get_rng_state(), state)) == (here, True)
    assert "it/s" not in capfd.readouterr().err
    with pytest.raises(OptionError, match=r"reports none of the metrics f1 .*: it reports acc"):
        run_task(loaded, replace(mine, metrics=("f1",)))
    with pytest.raises(OptionError, match="unknown task of the harness 'mine': expected one of mine_too"):
        task(tmp_path, 'kind = "lm_eval"\ntasks = ["mine"]\ninclude_path = "own"')
    with pytest.raises(InputError, match="include_path of the task 'mine' is no folder"):
        task(tmp_path, 'kind = "lm_eval"\ntasks = ["mine_too"]\ninclude_path = "nothing"')
    (tmp_path / "capitals.jsonl").unlink()
    with pytest.raises(InputError, match=r"the harness cannot build its task 'mine_too': .*capitals.jsonl"):
        task(tmp_path, 'kind = "lm_eval"\ntasks = ["mine_too"]\ninclude_path = "own"')


def test_the_harness_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.util import find_spec

    monkeypatch.setattr("importlib.util.find_spec", lambda name, *m: None if name == "lm_eval" else find_spec(name))
    with pytest.raises(
        MissingExtraError, match=r"the task 'mine' needs the package lm_eval, .*pip install 'pellucid\[lm-eval\]'"
    ):
        task(tmp_path, local_task(tmp_path))


def test_the_harness_figures_become_rows() -> None:
    found = {
        "results": {
            "arc": {
                "alias": "arc",
                "acc,none": 0.5,
                "acc_stderr,none": 0.1,
                "ppl,strict": 7.0,
                "ppl_stderr,strict": "N/A",
            }
        },
        "higher_is_better": {"arc": {"acc": True, "ppl": False}},
        "n-samples": {"arc": {"original": 40, "effective": 25}},
    }
    mine = Task("mine", "lm_eval", None, (), None, Path())
    acc, ppl = harness.rows_of(mine, found)
    assert (acc.measure, acc.value, acc.better, acc.unit, acc.units) == ("arc: acc", 0.5, "up", "share", 25)
    assert (acc.low, acc.high) == pytest.approx((0.5 - 0.196, 0.5 + 0.196))
    assert (ppl.value, ppl.low, ppl.better, ppl.note) == (7.0, None, "down", "filter strict")
    assert harness.rows_of(replace(mine, metrics=("acc",)), found) == [acc]
