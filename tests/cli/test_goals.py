"""The command line's objectives, spans and units, and ``pellucid compare``."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import pellucid
from pellucid.cli.main import main

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "pellucid.trace-1.schema.json").read_text())
PROMPT = "The capital is here. 法国的首都是巴黎。Tell me!"


@pytest.fixture
def model(tiny_folder: Path) -> list[str]:
    return ["--model", str(tiny_folder), "--device", "cpu"]


def test_every_new_option_reaches_the_trace(model: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--unit", "sentence", "--merge", "mean", "--reduce", "mean", "--named-span", "city=Paris"]
    options += ["--named-span", "where=in=side", "--objective", "pcxmi", "--without", "Tell me!"]
    assert main(["explain", *model, *options, "--target", "Paris in=side", "--json", "-", PROMPT]) == 0
    data = json.loads(capfd.readouterr().out)
    jsonschema.validate(data, SCHEMA)
    assert [u["text"] for u in data["units"]] == ["The capital is here.", "法国的首都是巴黎。", "Tell me!"]
    assert (data["unit"], data["unit_merge"], data["reduce"], data["objective"]) == (
        "sentence",
        "mean",
        "mean",
        "pcxmi",
    )
    assert [(s["name"], s["text"]) for s in data["spans"]] == [("city", "Paris"), ("where", "in=side")]
    assert data["details"]["objective"]["without"] == "Tell me!"


def test_units_are_shown(model: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--unit", "regex:法国.|[Cc]apital", "--objective", "contrast", "--instead-of", "Madrid", "--lang", "zh"]
    assert main(["explain", *model, *options, "--target", "Paris", PROMPT]) == 0
    out = capfd.readouterr().out
    assert "影响最大的部分" in out
    assert "法国的" in out


def test_compare(model: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = {k: tmp_path / f"c.{k}" for k in ("json", "html", "png")}
    flags = [x for k, p in paths.items() for x in (f"--{k}", str(p))]
    options = ["--methods", "input_x_gradient, saliency", "--top-k", "3", "--target", "Paris", "--timings"]
    assert main(["compare", *model, *flags, *options, PROMPT]) == 0
    out, err = capfd.readouterr()
    found = pellucid.Comparison.load(paths["json"])
    assert found.methods == ("input_x_gradient", "saliency")
    assert found.agreement.top_k == 3
    assert "Agreement" in out or "一致程度" in out
    assert "in all" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.html", "c.json", "c.png"]
    assert main(["compare", *model, "--no-trust", "--target", "x", "--json", "-", PROMPT]) == 0
    out = capfd.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out)["schema"] == "pellucid.comparison/1"


def test_parts_by_their_characters(tiny_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = "The sky is blue. Paris is in France."
    common = ["explain", "--model", str(tiny_folder), "--no-trust", "--target", "x", "--json", "-"]
    assert main([*common, "--raw", "--unit", "chars:0-16,17-36", text]) == 0
    units = json.loads(capfd.readouterr().out)["units"]
    assert [u["text"].strip() for u in units] == [text[:16], text[17:]]
    goal = ["--objective", "pcxmi"]
    said = []
    for part in (["--without", "blue."], ["--without", "chars:11-16"]):
        assert main([*common, *goal, *part, text]) == 0
        said.append(json.loads(capfd.readouterr().out))
    assert said[0]["scores"] == said[1]["scores"]


def test_methods_lists_every_objective(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    out = capfd.readouterr().out
    for word in ("margin", "entropy", "contrast", "instead_of", "arXiv:2202.10419", "kl", "pcxmi", "without"):
        assert word in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "x", "--objective", "contrast"], "objective 'contrast' needs instead_of"),
        (["explain", "x", "--instead-of", "y"], "instead_of belongs to objective 'contrast'"),
        (["explain", "x", "--without", "y"], "without belongs to objective 'kl' or 'pcxmi'"),
        (["explain", "x", "--reduce", "max"], "unknown reduce 'max'"),
        (["explain", "x", "--unit", "sentense"], "unknown unit 'sentense'"),
        (["explain", "x", "--unit", "regex:("], "cannot be read"),
        (["explain", "x", "--unit", "chars:3"], "--unit chars: should be ranges of characters"),
        (["explain", "x", "--unit", "chars:0-1,b"], "given 'b'"),
        (["explain", "x", "--objective", "kl", "--without", "chars:0-1,2-3"], "--without takes one part of the prompt"),
        (["explain", "x", "--merge", "max"], "unknown merge 'max': expected one of sum, mean, max_abs"),
        (["explain", "x", "--named-span", "city"], "--named-span should look like name=text, given 'city'"),
        (["explain", "x", "--named-span", "a=b", "--named-span", "a=c"], "--named-span 'a' is given twice"),
        (["compare", "x", "--methods", ""], "methods should be a list of names"),
        (["compare", "x", "--methods", "saliency,magic"], "unknown method 'magic'"),
        (["compare", "x", "--methods", "saliency,saliency"], "is named twice"),
        (["compare", "x", "--param", "steps=3"], "--param should look like method.name=value, given 'steps=3'"),
        (["compare", "x", "--param", "saliency.steps=3"], "method 'saliency' has no parameter 'steps'"),
        (["compare", "x", "--top-k", "0"], "top_k should be at least 1"),
        (["compare", "x", "--html", "c.png"], "--html writes a .html file, given c.png"),
        (["compare"], "expected one prompt"),
    ],
)
def test_wrong_options_are_found_before_a_model_is_loaded(
    arguments: list[str], message: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("the model was loaded before the options were checked")

    monkeypatch.setattr("pellucid.model.load", never)
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--named-span", "city=Rome", "--target", "Paris"], "the span 'city': 'Rome' is not in the answer 'Paris'"),
        (["--objective", "kl", "--without", "zzz", "--target", "x"], "'zzz' is not in the prompt"),
        (["--objective", "contrast", "--instead-of", "Paris", "--target", "Paris"], "nothing to contrast"),
        (["--unit", "regex:zzz", "--target", "x"], "matches nothing in the prompt"),
    ],
)
def test_what_only_the_model_can_tell(
    arguments: list[str], message: str, model: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", *model, "--quiet", *arguments, PROMPT]) == 2
    assert message in capfd.readouterr().err
