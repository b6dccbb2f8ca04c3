"""Classifiers and answers in a context from a folder, on the command line: what is printed, and every kind of file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import pytest
import torch
from tiny_heads import LABELS, with_head

import pellucid
from pellucid.cli.main import main

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "pellucid.trace-1.schema.json").read_text())


def folder(path: Path, family: str, kind: str) -> list[str]:
    model = with_head(family, kind)
    model.network.to(torch.float32).save_pretrained(path)
    model.tokenizer.save_pretrained(path)
    return ["--model", str(path), "--device", "cpu"]


@pytest.fixture(params=["bert", "gpt2"])
def classifier(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    return folder(tmp_path / "classifier", request.param, "classifier")


@pytest.fixture
def reader(tmp_path: Path) -> list[str]:
    return folder(tmp_path / "reader", "roberta", "span")


def test_a_class_and_every_output(classifier: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = {k: tmp_path / f"t.{k}" for k in ("json", "html", "png")}
    flags = [x for k, p in paths.items() for x in (f"--{k}", str(p))]
    options = ["--per-token", "--objective", "log_odds", "--target", "NEGATIVE", "--lang", "en"]
    assert main(["explain", *classifier, *flags, *options, "The <film> was good."]) == 0
    out, _ = capfd.readouterr()
    assert "“NEGATIVE”" in out
    assert "film" in out
    assert "log-odds" in out
    data = json.loads(paths["json"].read_text())
    jsonschema.validate(data, SCHEMA)
    assert pellucid.Trace.load(paths["json"]).targets[0].text == "NEGATIVE"
    page = paths["html"].read_text()
    assert "NEGATIVE" in page
    assert "The <film>" not in page
    assert paths["png"].read_bytes().startswith(b"\x89PNG")


def test_the_models_own_class_of_a_pair(
    classifier: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    html = tmp_path / "t.html"
    arguments = [
        "explain",
        *classifier,
        "--lang",
        "en",
        "--html",
        str(html),
        "The film was good.",
        "--pair",
        "It was bad.",
    ]
    assert main(arguments) == 0
    out, _ = capfd.readouterr()
    assert any(f"“{label}”" in out for label in LABELS)
    lines = [line.strip() for line in out.splitlines()]
    assert any(line.startswith("first ") for line in lines)
    assert any(line.startswith("second ") for line in lines)
    page = html.read_text()
    assert '"role":"first"' in page
    assert "First text" in page
    assert main([*arguments[:-2], "--pair", "It was bad.", "--lang", "zh"]) == 0
    assert "第一段" in capfd.readouterr().out


def test_a_question_about_a_file(reader: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    context, out = tmp_path / "context.txt", tmp_path / "t.json"
    text = "Ann came at noon. " * 12 + "Ben left."
    context.write_text(text + "\n")
    common = ["explain", *reader, "--context", str(context), "--window", "100", "--stride", "20", "--lang", "en"]
    assert main([*common, "--json", str(out), "--html", str(tmp_path / "t.html"), "Who left?"]) == 0
    shown = capfd.readouterr().out
    assert "question  " in shown
    assert "context  " in shown
    data = json.loads(out.read_text())
    jsonschema.validate(data, SCHEMA)
    assert [m["content"] for m in data["prompt"]["messages"]] == ["Who left?", text]
    assert len(data["details"]["windows"]) > 1
    answer = data["details"]["answer"]
    if not answer["no_answer"]:
        assert text[answer["start"] : answer["end"]] == data["answer"]["text"]
    assert main([*common, "--target", "Ben", "--png", str(tmp_path / "t.png"), "--per-token", "Who left?"]) == 0
    assert "“Ben”" in capfd.readouterr().out


def test_comparison_of_methods(classifier: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "c.html"
    methods = "saliency,integrated_gradients,leave_one_out"
    arguments = ["compare", *classifier, "--methods", methods, "--html", str(out), "--lang", "en"]
    assert main([*arguments, "The film was good.", "--pair", "It was bad."]) == 0
    assert "leave_one_out" in capfd.readouterr().out
    assert "pellucid-trace" in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["good", "--target", "POSITIV"],
            "no class 'POSITIV': expected one of NEGATIVE, NEUTRAL, POSITIVE. Did you mean",
        ),
        (["good", "--pair", ""], "the second text is empty"),
        (["good", "--pair", "x", "--context", "y"], "--pair makes a pair with the prompt: leave --context out"),
        (["good", "--pair", "x", "--system", "y"], "leave --messages and --system out"),
        (["good", "--window", "30"], "window belongs to models that answer with a span of a context"),
        (["good", "--context", "/nowhere/c.txt"], "cannot read /nowhere/c.txt"),
        (["good", "--method", "ifr"], "does not know models of the kind 'classifier'"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = folder(tmp_path / "classifier", "bert", "classifier")
    assert main(["explain", *model, "--quiet", *arguments]) == 2
    err = capfd.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_several_classes_stand_apart() -> None:
    from rich.console import Console

    from pellucid.model import Model
    from pellucid.render.terminal import render

    trace = Model(with_head("bert")).explain("good film", ["POSITIVE", "NEGATIVE"], per_token=True, span="NEGATIVE")
    console = Console(width=100, no_color=True, record=True, file=io.StringIO())
    console.print(render(trace, lang="en"))
    assert "POSITIVE, ⟦NEGATIVE⟧" in console.export_text()
