"""Input that cannot be explained: each ends with exit code 2 and one sentence that says what to do instead."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pellucid.cli.main import main

QUESTION = "What is the capital of France?"
ANSWER = ["--target", "The capital is Paris."]
CONTRAST = ["--objective", "contrast", *ANSWER]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            [*ANSWER, "--span", "Pariss"],
            "'Pariss' is not in the answer 'The capital is Paris.'; the nearest word in it is",
        ),
        ([*ANSWER, "--span", "capitol was"], "the nearest part in it is 'capital is'"),
        ([*ANSWER, "--span", "London"], "the span 'London' is not in the answer 'The capital is Paris.'"),
        (["--target", "法国的首都是巴黎。", "--span", "首部是"], "the nearest part in it is '首都是'"),
        (["--target", "Paris " * 45, "--span", "London"], " … "),
        ([*ANSWER, "--span-chars", "15:99"], "(15, 99) is not within the answer's 21 characters"),
        (
            [*CONTRAST, "--instead-of", "The capital is London.", "--named-span", "start=The"],
            "shares no position with the span 'start' 'The': the two answers are the same there",
        ),
        ([*CONTRAST, "--instead-of", "The capital is Paris."], "they are the same tokens"),
        (
            [*CONTRAST, "--instead-of", "The The", "--span", "The"],
            "instead_of stands in place of the span 'The' alone",
        ),
        ([*ANSWER, "--unit", "regex:zzz"], "the unit's pattern 'zzz' matches nothing in the prompt"),
        ([*ANSWER, "--unit", "regex: "], "the unit's pattern ' ' matches nothing in the prompt"),
        (
            [*ANSWER, "--method", "integrated_gradients", "--param", "steps=0"],
            "steps should be a whole number of at least 1, given 0",
        ),
        (
            [*ANSWER, "--method", "integrated_gradients", "--param", "baseline=no such token"],
            "expected zero, mean, pad, or one token of the vocabulary",
        ),
        (
            [*ANSWER, "--method", "integrated_gradients", "--param", "baseline=999999"],
            "the baseline token 999999 is not in the vocabulary",
        ),
        (
            [*ANSWER, "--method", "integrated_gradients", "--param", "baseline=true"],
            "the baseline True is no token",
        ),
        (
            [*ANSWER, "--method", "context_cite", "--param", "ablations=0"],
            "ablations should be a whole number of at least 2, given 0",
        ),
        (
            [*ANSWER, "--raw", "--method", "leave_one_out", "--unit", "message"],
            "ablation 1 of 1 leaves nothing of the prompt",
        ),
        ([*ANSWER, "--raw", "--method", "kernel_shap"], "use smaller units, keep a part of the prompt out of them"),
    ],
)
def test_one_sentence(
    tiny_folder: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "--model", str(tiny_folder), "--quiet", *arguments, QUESTION]) == 2
    out, err = capsys.readouterr()
    assert sentence in err
    assert err.startswith("pellucid: ")
    assert err.count("\n") == 1
    assert len(err) < 600
    assert out == ""


def test_a_nan_in_one_run_is_named_and_the_rest_stands(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pellucid.trace import ablate

    real = ablate.effects

    def effects(*args, **kwargs):  # type: ignore[no-untyped-def]
        found = real(*args, **kwargs)
        if kwargs.get("stage") in ("leaving out", "ablations"):
            found[1] = torch.nan
        return found

    monkeypatch.setattr(ablate, "effects", effects)
    common = ["explain", "--model", str(tiny_folder), "--lang", "en", *ANSWER, "--unit", "word"]
    assert main([*common, "--method", "leave_one_out", QUESTION]) == 0
    out = capsys.readouterr().out
    assert "NaN or infinite without: “is”; these have no score" in " ".join(out.split())
    assert main([*common, "--method", "context_cite", QUESTION]) == 0
    out = capsys.readouterr().out
    assert "1 of the what-if runs came out as NaN or infinite (numbers 2)" in " ".join(out.split())
