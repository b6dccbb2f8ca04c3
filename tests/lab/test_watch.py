"""A run seen through: every checkpoint explained, against transformers and against the checkpoint alone."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import recipe, write_book

import pellucid
from pellucid.cli.main import main
from pellucid.errors import InputError, OptionError
from pellucid.lab.network import LabForCausalLM
from pellucid.lab.train import train
from pellucid.lab.watch import evenly, watch
from pellucid.lab.watched import Watched
from pellucid.render import chart
from pellucid.render.blocks import Chart, Series
from pellucid.render.lenshtml import page

PROMPT = "the 首都 of"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three checkpoints of a small model, all kept."""
    folder = tmp_path_factory.mktemp("watch")
    made = recipe(write_book(folder), steps=6, save_every=2, evaluate_every=2, keep_last=0)
    train(made, folder / "run", device="cpu")
    return folder / "run"


def test_each_checkpoint_is_what_transformers_and_explain_say_of_it(run: Path) -> None:
    found = watch(run, PROMPT, "a", method="saliency")
    assert [c.step for c in found.checkpoints] == [2, 4, 6]
    names = [run / "checkpoints" / f"step-{s:08d}" for s in (2, 4, 6)]
    for seen, name in zip(found.checkpoints, names, strict=True):
        network: Any = LabForCausalLM.from_pretrained(name)
        tokenizer: Any = pellucid.load(name, device="cpu").loaded.tokenizer
        ids = tokenizer(PROMPT, add_special_tokens=False).input_ids
        with torch.no_grad():
            probs = network(torch.tensor([ids])).logits[0, -1].double().softmax(-1)
        best, tokens = probs.topk(5)
        assert [c.id for c in seen.choices] == tokens.tolist()
        assert [c.prob for c in seen.choices] == pytest.approx(best.tolist(), rel=1e-4)
        wanted = tokenizer("a", add_special_tokens=False).input_ids[0]
        assert seen.logprob == pytest.approx(math.log(float(probs[wanted])), rel=1e-4)
        for f in found.followed:
            k = found.checkpoints.index(seen)
            assert f.probs[k] == pytest.approx(float(probs[f.id]), rel=1e-4)
        alone = pellucid.load(name, device="cpu").explain(PROMPT, "a", method="saliency", raw=True)
        assert seen.scores == pytest.approx(alone.total.tolist(), rel=1e-5)
        assert seen.held_out == json.loads((name / "state.json").read_text(encoding="utf-8"))["loss"]
    assert found.checkpoints[-1].like_last == pytest.approx(1.0)
    assert {f.id for f in found.followed} == {c.choices[0].id for c in found.checkpoints}
    assert [p.step for p in found.held_out] == [2, 4, 6]
    assert found.given
    assert found.method == "saliency"


def test_without_a_prompt_the_held_out_text_is_read(run: Path) -> None:
    found = watch(run, most=2)
    text = (run.parent / "book.txt").read_text(encoding="utf-8")
    assert found.prompt.strip()
    assert found.prompt in text[int(0.8 * len(text)) :]
    assert not found.given
    assert [c.step for c in found.checkpoints] == [2, 6]
    assert found.left_out == 1
    assert found.checkpoints[-1].written.startswith(found.answer)


def test_it_is_plain_data_and_views(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.html"
    told = ["lab", "watch", str(run), PROMPT, "--html", str(path), "--json", str(tmp_path / "w.json")]
    assert main([*told, "--png", str(tmp_path / "w.png"), "--csv", str(tmp_path / "w.csv"), "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "Loss, nats a token" in shown
    assert "首" in shown
    found = Watched.load(tmp_path / "w.json")
    assert found.to_dict() == json.loads((tmp_path / "w.json").read_text(encoding="utf-8"))
    assert len(found.rows()) == 3 * len(found.tokens)
    text = path.read_text(encoding="utf-8")
    assert len(re.findall("<section", text)) == 3
    assert len(re.findall("<section hidden>", text)) == 2
    assert text.count("<svg class=") == 4
    assert "逐个检查点" in page(found, lang="zh")
    assert (tmp_path / "w.png").stat().st_size > 10_000
    assert len((tmp_path / "w.csv").read_text(encoding="utf-8").splitlines()) == 1 + len(found.rows())


def test_what_cannot_be_watched_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        watch(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no checkpoint: expected a folder that 'pellucid lab train'"):
        watch(tmp_path / "empty")
    with pytest.raises(OptionError, match="the answer is empty"):
        watch(run, PROMPT, "")
    with pytest.raises(OptionError, match="most should be a whole number"):
        watch(run, PROMPT, most=0)
    shutil.copytree(run, tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "data")
    with pytest.raises(InputError, match="no packed text to take a prompt from: give a prompt"):
        watch(tmp_path / "bare")


def test_checkpoints_are_taken_evenly() -> None:
    found: list[Any] = list(range(100))
    assert evenly(found, 4) == [0, 33, 66, 99]
    assert evenly(found[:3], 4) == [0, 1, 2]
    assert evenly(found, 1) == [99]


def test_a_chart_has_round_ticks_and_names_apart() -> None:
    assert chart.ticks(0.0, 320.0, 6) == [0.0, 100.0, 200.0, 300.0]
    assert chart.ticks(1.6, 4.3) == pytest.approx([2.0, 3.0, 4.0])
    assert chart.spread([10.0, 11.0, 50.0], 12.0, 0.0, 60.0) == [10.0, 22.0, 50.0]
    assert chart.spread([58.0, 59.0], 12.0, 0.0, 60.0) == [48.0, 60.0]
    line = Series("a<b", ((0, 1.0), (1, 3.0)))
    assert chart.row(line, 1.0, 3.0) == "▁█"
    assert chart.row(line, 1.0, 3.0, plain=True) == ".@"
    drawn = chart.svg(Chart("y", "step", (line,)))
    assert "a&lt;b" in drawn
    assert 'points="48.0,164.0 570.0,10.0"' in drawn


def test_adapters_are_put_into_their_model(tiny_folder: Path, tmp_path: Path) -> None:
    """A tuned run's checkpoints hold adapters alone: the last one is the finished model."""
    chats = tmp_path / "chats.jsonl"
    lines = [{"prompt": f"the {w} of", "completion": "France 巴黎"} for w in ("capital", "天气", "word", "system")]
    chats.write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")
    told = ["lab", "tune", str(tiny_folder), "--data", str(chats), "--lora", "2", "--out", str(tmp_path / "run")]
    more = ["--device", "cpu", "--quiet", "--epochs", "2", "--rows", "2", "--save-every", "1", "--keep-last", "0"]
    assert main([*told, *more, "--rate", "0.05", "--held-out", "0.25"]) == 0
    found = watch(tmp_path / "run", "the capital of", " France", device="cpu", method="saliency")
    assert len(found.checkpoints) >= 3
    done = pellucid.load(tmp_path / "run", device="cpu").explain("the capital of", " France", method="saliency")
    assert found.checkpoints[-1].scores == pytest.approx(done.total.tolist(), rel=1e-3)
    assert found.checkpoints[0].scores != pytest.approx(done.total.tolist(), rel=1e-3)
