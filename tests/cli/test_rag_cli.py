"""``pellucid rag ask``: from an index on disk to an answer, by the real command line with a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pellucid.apps.rag.cited import Cited
from pellucid.cli.main import main


@pytest.fixture
def kb(tmp_path: Path) -> str:
    (tmp_path / "bridge.txt").write_text("The bridge is red.", encoding="utf-8")
    (tmp_path / "ferry.txt").write_text("The ferry is blue.", encoding="utf-8")
    assert main(["rag", "index", str(tmp_path), "--out", str(tmp_path / "kb"), "--quiet"]) == 0
    return str(tmp_path / "kb")


def test_answers_and_cites(kb: str, tiny_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = ["--model", str(tiny_folder), "--max-new-tokens", "4"]
    page = tmp_path / "answer.html"
    assert main(["rag", "ask", kb, "bridge red", *model, "--json", "-", "--html", str(page)]) == 0
    got = Cited.from_dict(json.loads(capsys.readouterr().out))
    assert [Path(f.passage.document).name for f in got.passages] == ["bridge.txt"]
    assert got.trace is None or {u.name for u in got.trace.units} == {"1"}
    assert "bridge.txt" in page.read_text(encoding="utf-8")
    assert main(["rag", "ask", kb, "bridge red", *model, "--answer", "The bridge is red.", "--json", "-"]) == 0
    given = Cited.from_dict(json.loads(capsys.readouterr().out))
    assert given.answer == "The bridge is red."
    assert [s.text for s in given.sentences] == ["The bridge is red."]
    assert given.sentences[0].gain == pytest.approx(given.sentences[0].logprob - _neutral(tiny_folder, given), abs=1e-3)


def _neutral(folder: Path, given: Cited) -> float:
    """The answer's log-probability behind a passage about nothing."""
    import pellucid
    from pellucid.apps.rag.prompt import passages_prompt
    from pellucid.apps.speaker import speaker

    asked = passages_prompt(given.question, [f.passage.text for f in given.passages])
    return sum(speaker(pellucid.load(str(folder))).logprobs([asked.neutral], [given.answer])[0])


def test_several_questions_and_nothing_found(kb: str, tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", str(tiny_folder), "--max-new-tokens", "4", "--lang", "en"]
    assert main(["rag", "ask", kb, "bridge red", "zebra", *model]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("Question: ") == 2
    assert "Searched for: zebra (bridge red)" in said  # the rewriting's prompt is longer than this model reads
    assert "it does not fit the model's window" in said
    assert main(["rag", "ask", kb, "zebra", *model]) == 0
    assert "Nothing in the index fits the question" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([" "], "the question should be a text, given an empty one"),
        (["a", "b", "--hops"], "--hops and --answer go with one question"),
        (["a", "--hops", "--verbal"], "--hops writes prompts of its own"),
        (["a", "--route", "--collection", "x"], "--route chooses the collection"),
        (["a", "--template", "{question}"], "the template should hold {passages} once"),
        (["a", "--retriever", "tfidf"], "unknown retriever 'tfidf'"),
        (["a", "--collection", "nosuch"], "unknown collection 'nosuch'"),
        (["a", "--retriever", "dense"], "has no vectors"),
    ],
)
def test_bad_input(
    kb: str, arguments: list[str], said: str, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rag", "ask", kb, *arguments, "--model", str(tiny_folder), "--max-new-tokens", "2", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert main(["rag", "ask", kb + "-not", "a"]) == 2
    assert "kb-not" in capsys.readouterr().err
