"""The bench: reading SQuAD, records that survive a kill, and a board whose numbers are those of the judge."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_heads import with_head
from tiny_seq2seq import make as make_seq2seq

from pellucid.bench import faithfulness as bench
from pellucid.bench.asking import ask
from pellucid.bench.board import Board, paired
from pellucid.bench.lines import read_any
from pellucid.bench.records import Records
from pellucid.bench.squad import read
from pellucid.cli.main import main
from pellucid.errors import InputError, OptionError
from pellucid.models.load import LoadedModel
from pellucid.render import save_board
from pellucid.render.board import markdown
from pellucid.trace.engine import Run
from pellucid.trace.explain import explain
from pellucid.trace.faithful import Judge, faithfulness
from pellucid.trace.methods import method
from pellucid.trace.objective import objective

CITIES = ["Paris", "Madrid", "Rome", "巴黎", "Oslo"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five paragraphs of one question each."""
    paragraphs = []
    for k, city in enumerate(CITIES):
        context = f"The capital of country {k} is {city}, and it is large."
        answer = {"text": city, "answer_start": context.index(city)}
        question = {"id": f"q{k}", "question": f"What is the capital of country {k}?", "answers": [answer, answer]}
        paragraphs.append({"context": context, "qas": [question, {**question, "id": f"q{k}b"}]})
    path = tmp_path / "data.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}, ensure_ascii=False), encoding="utf-8")
    return path


def settings(path: Path, **changes: object) -> bench.Settings:
    base = {"examples": 3, "max_new_tokens": 3, "ablations": 6, "orders": 2, "randomise": 1, "max_prompt_tokens": 120}
    options = {**base, **changes}
    return bench.Settings(path.name, bench.fingerprint(path), "llama", **options)  # type: ignore[arg-type]


def entries(*texts: str) -> list[bench.Entry]:
    return [bench.Entry.parse(t) for t in texts]


def timeless(lines: list[dict]) -> list[dict]:  # type: ignore[type-arg]
    return [{k: v for k, v in r.items() if k not in ("seconds", "cost", "forward_seconds")} for r in lines]


def measures_alike(one: list[dict], other: list[dict]) -> None:  # type: ignore[type-arg]
    """The same lines; numbers, which a record rounds to the sixth decimal, may round the other way."""
    key = lambda r: (r["example"], r.get("method", ""))  # noqa: E731
    one, other = (sorted(timeless(lines), key=key) for lines in (one, other))
    assert [list(r) for r in one] == [list(r) for r in other]
    for a, b in zip(one, other, strict=True):
        for name in a:
            if isinstance(a[name], (float, list, dict)):
                assert a[name] == pytest.approx(b[name], abs=3e-6), name
            else:
                assert a[name] == b[name], name


def test_reading_squad(data: Path) -> None:
    found = read(data)
    assert [e.id for e in found] == ["q0", "q1", "q2", "q3", "q4"]
    for e, city in zip(found, CITIES, strict=True):
        assert [e.context[a:b] for a, b in e.spans] == [city]
    assert len(read(data, each="all")) == 10


def test_a_question_without_a_word_is_passed_over(tmp_path: Path) -> None:
    asked = [{"id": "a", "question": " ", "answers": [{"text": "猫", "answer_start": 0}]}]
    asked.append({"id": "b", "question": "谁？", "answers": [{"text": "猫", "answer_start": 0}]})
    path = tmp_path / "empty.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": "猫坐着。", "qas": asked}]}]}), encoding="utf-8")
    assert [e.question for e in read(path)] == ["谁？"]


def test_marks_that_are_off_are_found_again(data: Path) -> None:
    text = data.read_text(encoding="utf-8").replace('"answer_start": 28', '"answer_start": 30', 1)
    text = text.replace('"text": "Madrid"', '"text": "nowhere"')
    data.write_text(text, encoding="utf-8")
    found = read(data)
    assert [found[0].context[a:b] for a, b in found[0].spans] == ["Paris"]
    assert found[1].spans == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "is not JSON"), ("[]", "not laid out"), ('{"data": []}', "holds no question"), ('{"data": [1]}', "not laid")],
)
def test_files_that_are_no_squad(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read(path)
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path / "none.json")


def test_numbers_are_the_judges(tiny: Callable[..., LoadedModel], data: Path, tmp_path: Path) -> None:
    model = tiny()
    found = bench.measure(model, data, entries("leave_one_out", "saliency"), tmp_path / "out", settings(data))
    asked = ask(model, read(data)[0], settings(data))
    assert asked is not None
    marked = [asked.encoded.tokens[i].text for i, h in zip(asked.candidates, asked.human, strict=True) if h]
    assert "Paris" in "".join(marked)
    run = Run(model, asked.encoded.ids, asked.answer, objective("logprob"), units=[[i] for i in asked.candidates])
    scores = method("leave_one_out")(run).total.numpy()[asked.candidates]
    verdict = Judge(run, ablations=6).verdicts({"own": scores})["own"]
    record = next(r for r in found.lines if r["example"] == "q0" and r.get("method") == "leave_one_out")
    assert record["comprehensiveness"] == pytest.approx(verdict.comprehensiveness, abs=1e-5)
    assert record["lds"] == pytest.approx(verdict.lds, abs=1e-5)
    assert -1 <= record["randomised"] <= 1
    other = next(r for r in found.lines if r["example"] == "q1" and r.get("method") == "saliency")
    assert "randomised" not in other


def test_a_run_goes_on_where_it_was(tiny: Callable[..., LoadedModel], data: Path, tmp_path: Path) -> None:
    model, methods = tiny(), entries("saliency", "attention")
    whole = bench.measure(model, data, methods, tmp_path / "whole", settings(data))
    calls = 0

    def stop(stage: str, done: float, total: float | None) -> None:
        nonlocal calls
        calls += stage.startswith("example 2") and "faithfulness" in stage
        if calls:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.measure(model, data, methods, tmp_path / "cut", settings(data), stop)
    path = tmp_path / "cut" / "records.jsonl"
    kept = path.read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["example"] for line in kept} == {"q0"}
    path.write_bytes(path.read_bytes() + b'{"example": "q1", "met')  # as a kill leaves it
    seen: list[str] = []
    again = bench.measure(model, data, methods, tmp_path / "cut", settings(data), lambda s, d, t: seen.append(s))
    assert not any(s.startswith("example 1") for s in seen)
    measures_alike(again.lines, whole.lines)
    assert path.read_text(encoding="utf-8").splitlines()[: len(kept)] == kept


def test_a_method_more_is_measured_alone(tiny: Callable[..., LoadedModel], data: Path, tmp_path: Path) -> None:
    model = tiny()
    both = bench.measure(model, data, entries("saliency", "ifr"), tmp_path / "both", settings(data))
    bench.measure(model, data, entries("saliency"), tmp_path / "one", settings(data))
    later = bench.measure(model, data, entries("saliency", "ifr"), tmp_path / "one", settings(data))
    measures_alike(later.lines, both.lines)


def test_other_settings_are_refused(tiny: Callable[..., LoadedModel], data: Path, tmp_path: Path) -> None:
    model = tiny()
    bench.measure(model, data, entries("saliency"), tmp_path, settings(data, examples=1))
    with pytest.raises(InputError, match="other settings"):
        bench.measure(model, data, entries("saliency"), tmp_path, settings(data, examples=1, max_new_tokens=2))
    (tmp_path / "records.jsonl").write_text("nonsense\n")
    with pytest.raises(InputError, match="damaged run"):
        Records.open(tmp_path, json.loads((tmp_path / "settings.json").read_text()))


@pytest.mark.parametrize("name", ["bert", "span", "marian"])
def test_models_of_other_kinds_are_measured_on_their_own_answers(name: str, data: Path, tmp_path: Path) -> None:
    """A class of a text, a part of a context, a translation: each judged as ``faithfulness`` judges one trace."""
    if name == "marian":
        loaded = make_seq2seq(name, tmp_path / "model")
    else:
        loaded = with_head("bert", kind="span" if name == "span" else "classifier")
    path = data
    if name != "span":
        path = tmp_path / "lines.tsv"
        path.write_text("the capital of France is Paris\t1\n\n天气对农业的影响很大\t0\n", encoding="utf-8")
    found = bench.measure(
        loaded, path, entries("saliency", "leave_one_out"), tmp_path / "out", settings(path, examples=2)
    )
    lines = [r for r in found.lines if r.get("method") == "saliency"]
    assert len(lines) == 2
    about = [r for r in found.lines if "method" not in r]
    example = read_any(path)[0]
    prompt: Any = (example.question, example.context) if name == "span" else example.context
    trace = explain(loaded, prompt, method="saliency", trust=False, max_new_tokens=settings(path).max_new_tokens)
    assert about[0]["answer"] == trace.answer.text
    if name != "span":  # where all that was written may go, the trace's own judge has the same candidates
        report = faithfulness(loaded, trace, ablations=settings(path).ablations)
        assert about[0]["candidates"] == report.candidates
        assert lines[0]["comprehensiveness"] == pytest.approx(report.verdict.comprehensiveness, abs=1e-5)
        assert lines[0]["roc"] is None
    assert all(r["deletion_area"] is not None for r in lines)


def test_a_reader_needs_questions(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("one text\nanother\n", encoding="utf-8")
    with pytest.raises(InputError, match="give a SQuAD-style file, which has both"):
        bench.measure(
            with_head("bert", kind="span"), path, entries("saliency"), tmp_path / "out", settings(path, examples=1)
        )
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(InputError, match="holds no text: expected one a line"):
        read_any(path)


def test_too_few_questions_are_said(tiny: Callable[..., LoadedModel], data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 examples .* 9 were asked"):
        bench.measure(tiny(), data, entries("saliency"), tmp_path, settings(data, examples=9, skip=3))


def test_a_method_that_fails_says_so(tiny: Callable[..., LoadedModel], data: Path, tmp_path: Path) -> None:
    found = bench.measure(
        tiny(), data, entries("saliency", "integrated_gradients:steps=0"), tmp_path, settings(data, examples=1)
    )
    board = Board.of(found.lines, json.loads((tmp_path / "settings.json").read_text()), {"day": "x"})
    row = next(r for r in board.rows if r.label.startswith("integrated"))
    assert row.examples == 0
    assert "steps" in row.errors[0]
    assert math.isnan(row.means["lds"][0])
    assert "failed on some examples" in markdown(board)


@pytest.mark.parametrize("bad", [{"examples": 0}, {"prompt": "{context}"}, {"skip": -1}])
def test_settings_that_cannot_be(data: Path, bad: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        bench.check(settings(data, **bad))


def test_unknown_parameters_and_methods() -> None:
    with pytest.raises(OptionError, match="no parameter 'stepz'"):
        entries("integrated_gradients:stepz=3")
    with pytest.raises(OptionError, match="method"):
        entries("salience")
    with pytest.raises(OptionError, match="way to read scores 'both'"):
        entries("gim@both")
    found = entries("gim", "gim@magnitude", "gim:times_input=false@magnitude")
    assert [(e.ranks, e.parameters) for e in found] == [
        ("signed", {}),
        ("magnitude", {}),
        ("magnitude", {"times_input": False}),
    ]


def lines() -> list[dict]:  # type: ignore[type-arg]
    random = np.random.default_rng(0)
    out = []
    from pellucid.trace.faithful import Verdict

    for k in range(12):
        about = {"example": str(k), "prompt_tokens": 100, "answer_tokens": 10, "forward_seconds": 0.1}
        out.append({**about, "random": dict.fromkeys(Verdict.numbers(), 0.1)})
        for label, shift, cost in (("good", 0.5, 40.0), ("bad", 0.2, 2.0)):
            values = {m: shift + float(random.normal(scale=0.01)) for m in Verdict.numbers()}
            out.append({"example": str(k), "method": label, "cost": cost + k, "seconds": 1.0, "roc": None, **values})
    return out


def test_board_is_means_over_examples(tmp_path: Path) -> None:
    records = lines()
    board = Board.of(records, {"model": "m", "data": "d", "seed": 0, "skip": 0, **vars_of()}, {"day": "x"})
    assert [r.label for r in board.rows] == ["good", "bad", "random"]
    good = board.rows[0]
    own = [r["lds"] for r in records if r.get("method") == "good"]
    mean, low, high = good.means["lds"]
    assert mean == pytest.approx(np.mean(own))
    assert low < mean < high
    assert good.means["over_random"][0] == pytest.approx(good.means["comprehensiveness"][0] - 0.1)
    assert good.cost == pytest.approx(45.5)
    difference, low, high = paired(records, "good", "bad", "comprehensiveness")
    assert 0 < low < difference < high
    assert difference == pytest.approx(good.means["comprehensiveness"][0] - board.rows[1].means["comprehensiveness"][0])
    named = [{**r, "method": "leave_one_out"} if r.get("method") == "bad" else r for r in records]
    for again in (
        Board.of(named, board.settings, {}),
        Board.of(records, board.settings, {}, reference="bad"),
    ):
        assert again.rows[0].beside["comprehensiveness"] == pytest.approx(
            paired(records, "good", "bad", "comprehensiveness")
        )
        assert f"− `{again.reference}`'s" in markdown(again)
        assert "example by example" in markdown(again)
    assert board.reference is None
    assert board.rows[0].beside == {}
    assert "example by example" not in markdown(board)
    with pytest.raises(OptionError, match="unknown row to compare with 'worse': expected one of"):
        Board.of(records, board.settings, {}, reference="worse")
    files = save_board(board, tmp_path)
    assert [f.name for f in files] == ["leaderboard.md", "leaderboard.json", "leaderboard.png"]
    assert json.loads(files[1].read_text())["rows"][0]["label"] == "good"
    assert files[2].read_bytes().startswith(b"\x89PNG")


def vars_of() -> dict[str, int]:
    return {"max_prompt_tokens": 100, "max_new_tokens": 3}


def test_labels_do_not_overlap() -> None:
    from pellucid.render.boardpng import Axis, place_labels

    wanted = [(10.0 * (k % 3), 50.0, 60.0) for k in range(9)]
    found = place_labels(wanted, 9)
    for i in range(9):
        for j in range(i):
            apart = abs(found[i] - found[j]) >= 9
            assert apart or abs(wanted[i][0] - wanted[j][0]) >= 60
    axis = Axis(1, 100, 0, 50, log=True)
    assert axis.at(10) == pytest.approx(25)
    assert axis.ticks() == [1, 2, 5, 10, 20, 50, 100]


def test_command(tiny_folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "board"
    command = ["bench", "faithfulness", str(data), "--model", str(tiny_folder), "--out", str(out), "--examples", "2"]
    command += ["--methods", "saliency,leave_one_out", "--ablations", "4", "--orders", "2", "--max-new-tokens", "3"]
    with torch.random.fork_rng():
        assert main(command) == 0
    said = capsys.readouterr()
    assert "| `leave_one_out` |" in said.out
    assert (out / "leaderboard.png").is_file()
    assert main([*command[:4], str(tmp_path / "nothing"), *command[5:]]) == 2
    assert main(["bench", "faithfulness", str(tmp_path / "none.json"), "--out", str(out)]) == 2
    assert "cannot read" in capsys.readouterr().err
