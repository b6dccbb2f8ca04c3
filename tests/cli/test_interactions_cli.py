"""``pellucid interactions``: its table, its file, and mistakes found before a model is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pellucid.cli.main import main

PROMPT = "The sky is blue. Paris is in France. What is the capital of France?"


def test_table_and_file(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shapiq")
    where = tmp_path / "i.json"
    common = ["interactions", "--model", str(tiny_folder), "--target", " Paris", "--lang", "en"]
    assert main([*common, "--replace", "neutral", "--top", "1", "--json", str(where), PROMPT]) == 0
    out = capsys.readouterr()
    assert "exact, all 8 sets run" in out.out
    assert out.out.count(" × ") == 2
    assert str(where) in out.err
    kept = json.loads(where.read_text())
    assert kept["replace"] == "neutral"
    assert main([*common, "--replace", "44", "--index", "STII", "--json", "-", "--quiet", PROMPT]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["index"], data["replace"]) == ("STII", 44)
    assert data["units"] == kept["units"]
    page, picture = tmp_path / "i.html", tmp_path / "i.png"
    parts = ["--unit", "chars:0-16,17-36", "--html", str(page), "--png", str(picture), "--quiet"]
    assert main([*common, *parts, PROMPT]) == 0
    assert "The sky is blue." in page.read_text(encoding="utf-8")
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--index", "SHAP", PROMPT], "unknown index 'SHAP'"),
        (["--top", "0", PROMPT], "--top should be at least 1"),
        (["--unit", "phrase", PROMPT], "unknown unit 'phrase'"),
        (["--json", "no/such/folder/i.json", PROMPT], "there is no folder"),
        (["--png", "i.html", PROMPT], "--png writes a .png file"),
        ([], "expected one prompt"),
    ],
)
def test_mistakes_come_before_a_model(options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shapiq")
    assert main(["interactions", "--model", "no-such-model", *options]) == 2
    assert sentence in capsys.readouterr().err
