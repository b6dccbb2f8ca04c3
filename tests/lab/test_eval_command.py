"""``pellucid lab eval``: what it prints and writes, what it refuses before a model is loaded, how Ctrl-C ends it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from tiny import FAMILIES

from pellucid.cli.main import main
from pellucid.lab.evaluation.evaluate import evaluate
from pellucid.lab.evaluation.inputs import Document, documents, prompts, references
from pellucid.lab.evaluation.result import Evaluation, Row
from pellucid.lab.evaluation.tasks import read_tasks
from pellucid.models.load import LoadedModel
from pellucid.render.evaluation import View, interval, number, save, save_png

TEXT = "The capital of France is Paris, and the capital of Spain is Madrid.\n法国的首都是巴黎。天气对农业的影响很大。\n"
TASKS = """
[[task]]
name = "情感 sentiment"
kind = "classification"
data = "reviews.tsv"
labels = { good = " good", bad = " bad" }
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's files, which is where the command runs."""
    for name, text in {
        "held-out.txt": TEXT,
        "prompts.txt": "The capital\n法国的\\n首都\n",
        "refs.txt": "of France is Paris\n是巴黎。\n",
        "tasks.toml": TASKS,
        "reviews.tsv": "a good film\tgood\n天气很好\tgood\ndull\tbad\n",
        "empty.txt": "",
        "one.txt": "only one\n",
        "bad.toml": TASKS + 'metrics = ["accuracy", "rouge"]\n',
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "binary.txt").write_bytes(b"\x7fELF\0\1\2")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_everything_in_one_run(place: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--data", "held-out.txt", "--generate", "prompts.txt", "--references", "refs.txt", "--tasks", "tasks.toml"]
    few = ["--samples", "2", "--max-new-tokens", "12", "--device", "cpu"]
    out = ["--json", "eval.json", "--png", "eval.png"]
    assert main(["lab", "eval", str(tiny_folder), *asked, *few, *out]) == 0
    said = capsys.readouterr()
    for group in ("likelihood", "generation", "references", "task 情感 sentiment"):
        assert f"\n{group}\n" in said.out
    assert "wrote eval.json" in said.err
    found = json.loads(Path("eval.json").read_text(encoding="utf-8"))
    assert found["samples"][1]["prompt"] == "法国的\n首都"
    assert found["settings"]["tasks"][0]["examples"] == 3
    assert {r["group"] for r in found["rows"]} == {"likelihood", "generation", "references", "task 情感 sentiment"}
    assert [r["value"] for r in found["rows"] if r["measure"] == "perplexity"] == [
        found["perplexity"]["perplexity"]["value"]
    ]
    with Image.open("eval.png") as drawn:
        assert drawn.format == "PNG"
        assert drawn.width == 1800
        assert drawn.height > 1000
    assert sorted(p.name for p in place.glob(".*")) == []
    assert main(["lab", "eval", "--model", str(tiny_folder), *asked[:2], "--json", "-", "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["rows"][0]["value"] == found["rows"][0]["value"]
    assert main(["lab", "eval", str(tiny_folder), *asked[:2], "--quiet", "--json", "q.json", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ([], "there is nothing to evaluate"),
        (["--data", "empty.txt"], "empty.txt is empty: expected some text"),
        (["--data", "binary.txt"], "binary.txt is not a text file"),
        (["--data", "nothing.txt"], "cannot read nothing.txt: No such file"),
        (["--generate", "empty.txt"], "empty.txt is empty"),
        (["--generate", "binary.txt"], "binary.txt is not a text file"),
        (["--references", "refs.txt"], "references need prompts"),
        (
            ["--generate", "prompts.txt", "--references", "one.txt"],
            "one.txt holds 1 reference and there are 2 prompts: expected one reference a prompt",
        ),
        (
            ["--generate", "prompts.txt", "--references", "refs.txt", "--metrics", "blue"],
            "unknown metric 'blue': expected one of bleu, chrf, rouge1, rouge2, rougeL, mauve, bertscore. Did you mean",
        ),
        (["--generate", "prompts.txt", "--samples", "0"], "samples should be 1 or more, given 0"),
        (["--tasks", "empty.txt"], "empty.txt is empty"),
        (["--tasks", "binary.txt"], "binary.txt is not a text file"),
        (["--tasks", "bad.toml"], "unknown metric of the task '情感 sentiment': 'rouge': expected one of accuracy"),
        (["--data", "held-out.txt", "--png", "a.jpg"], "--png writes a .png file, given a.jpg"),
        (["--data", "held-out.txt", "--json", "no/a.json"], "cannot write no/a.json: there is no folder"),
        (["--data", "held-out.txt", "--model", "another"], "two models are named, 'mine' and 'another'"),
    ],
)
def test_what_cannot_be_is_refused_before_a_model_is_loaded(
    place: Path, asked: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: Any, **named: Any) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr("pellucid.models.load.load_model", never)
    assert main(["lab", "eval", "mine", *asked]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("pellucid: ")
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_ctrl_c_ends_it_with_nothing_half_written(place: Path, tiny_folder: Path) -> None:
    (place / "long.txt").write_text(TEXT * 400, encoding="utf-8")
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "pellucid", "lab", "eval", str(tiny_folder), "--device", "cpu", "--stride", "1"),
            *("--data", "long.txt", "--json", "eval.json", "--png", "eval.png"),
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert run.stderr is not None
    for line in run.stderr:
        if line.startswith("perplexity"):
            break
    time.sleep(0.3)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert err.splitlines()[-1] == "pellucid: interrupted; nothing half-written is left"
    assert out == ""
    assert "Traceback" not in err
    assert not list(place.glob("eval*"))
    assert not list(place.glob(".*"))


def test_files_are_read_as_they_say(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffone\r\ntwo\u2028still two\r\n\r\n".encode())
    assert prompts(tmp_path / "a.txt") == ["one", "two\u2028still two"]
    assert references(tmp_path / "a.txt", 2) == ["one", "two\u2028still two"]
    (tmp_path / "b.jsonl").write_text('{"text": "一"}\n\n{"text": "二", "more": 1}\n', encoding="utf-8")
    assert documents(tmp_path / "b.jsonl") == [Document("b.jsonl:1", "一"), Document("b.jsonl:2", "二")]
    assert [d.name for d in documents(tmp_path)] == ["a.txt", "b.jsonl:1", "b.jsonl:2"]
    (tmp_path / "p.jsonl").write_text('{"prompt": "一\\n二"}\n', encoding="utf-8")
    assert prompts(tmp_path / "p.jsonl") == ["一\n二"]


@pytest.fixture(scope="module")
def evaluation(tokenizer: Any) -> Evaluation:
    loaded = LoadedModel.wrap(FAMILIES["llama"](len(tokenizer)), tokenizer, name="tiny")
    return evaluate(
        loaded, documents=[Document("a", TEXT * 9)], prompts=["法国", "The [b]capital"], samples=2, max_new_tokens=12
    )


def printed(evaluation: Evaluation, width: int) -> list[str]:
    buffer = io.StringIO()
    Console(file=buffer, width=width, color_system=None, legacy_windows=False).print(View(evaluation))
    return buffer.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_the_table_keeps_to_the_terminal_and_shows_every_number(evaluation: Evaluation, width: int) -> None:
    from rich.cells import cell_len

    named = replace(evaluation.rows[0], group="task 阅读[/b]理解", measure="精确匹配率很长的名字")
    evaluation = replace(evaluation, rows=(*evaluation.rows, named))
    lines = printed(evaluation, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "task 阅读[/b]理解" in [line.strip() for line in lines]
    text = "\n".join(lines)
    for row in evaluation.rows:
        assert number(row.value, row.unit) in text
        if row.low is not None:
            assert f"({interval(row)})" in text


def test_numbers_as_people_read_them() -> None:
    assert [number(v, "") for v in (12.3456, 123456.7, 0.001234)] == ["12.35", "123,457", "0.001234"]
    assert [number(0.41251, "share"), number(31.25, "of 100"), number(None, "share")] == ["0.413", "31.2", "–"]
    assert interval(Row("g", "m", 0.5, 0.25, 0.75, "share")) == "0.250–0.750"
    assert interval(Row("g", "m", 0.5, None, None, "share")) == ""


def picture(evaluation: Evaluation) -> np.ndarray[Any, Any]:
    buffer = io.BytesIO()
    save_png(evaluation, buffer)  # warnings are errors: a letter that no font has would be one
    return np.asarray(Image.open(buffer).convert("L")).astype(int)


def test_chinese_labels_are_letters_in_the_picture(evaluation: Evaluation) -> None:
    """Boxes would be the same for any two names of the same length. What a random model writes may hold any letter."""
    row = Row("task 情感", "准确率", 0.5, 0.4, 0.6, "share", "up")
    other = replace(row, group="task 新闻", measure="标准差")
    first, second = (picture(replace(evaluation, rows=(r,), samples=(), seconds=0.0)) for r in (row, other))
    assert first.shape == second.shape
    changed = np.abs(first - second) > 64
    assert changed.sum() > 150
    rows = np.flatnonzero(changed.any(axis=1))
    lines = np.split(rows, np.flatnonzero(np.diff(rows) > 8) + 1)
    assert len(lines) == 2  # the heading's and the measure's, and nothing else


def test_a_number_stands_on_its_scale(evaluation: Evaluation) -> None:
    def columns(value: float) -> tuple[float, float]:
        row = Row("g", "m", value, None, None, "share")
        plain = picture(replace(evaluation, rows=(replace(row, value=None),), samples=(), seconds=0.0))
        drawn = picture(replace(evaluation, rows=(row,), samples=(), seconds=0.0))
        left = np.flatnonzero((plain != drawn).any(axis=0))
        left = left[left < 830]  # before the number itself
        return float(left.min()), float(left.max())

    zero, half, one = (np.mean(columns(v)) for v in (0.0, 0.5, 1.0))
    assert half == pytest.approx((zero + one) / 2, abs=1.5)
    assert one - zero > 250


def test_a_save_is_whole_or_nothing(evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = save(evaluation, tmp_path / "a.json")
    before = target.read_bytes()

    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    from pellucid.errors import OutputError

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot write .*a.json: No space left on device"):
        save(evaluation, target)
    assert target.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(OutputError, match=r"expected a file that ends in \.json, \.png, got '\.html'"):
        save(evaluation, tmp_path / "a.html")


@pytest.mark.parametrize("page", ["evaluation.md", "evaluation.zh-CN.md"])
def test_the_pages_task_file_is_read(page: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    toml = text.partition("```toml\n")[2].partition("```")[0]
    tables = ["[[task]]" + t for t in toml.split("[[task]]")[1:] if 'kind = "lm_eval"' not in t]
    assert len(tables) == 3
    for name, content in {
        "tasks.toml": "".join(tables),
        "reviews.tsv": "a\t0\nb\t1\n",
        "news.jsonl": '{"text": "a", "summary": "b"}\n',
        "cmrc2018-trial.json": '{"data": [{"paragraphs": [{"context": "a", "qas": '
        '[{"question": "b", "answers": [{"text": "c"}]}]}]}]}',
    }.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert [t.kind for t in read_tasks(tmp_path / "tasks.toml")] == [
        *("classification", "question_answering", "summarisation"),
    ]
