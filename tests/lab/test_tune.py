"""Supervised fine-tuning: the loss, adapters, runs that go on, folders that load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import FAMILIES

import pellucid
from pellucid.cli.main import main
from pellucid.errors import InputError, MissingExtraError, ModelError, OptionError, OutputError, TemplateError
from pellucid.lab import lora
from pellucid.lab.configuration import LabConfig
from pellucid.lab.data import chats
from pellucid.lab.data.batches import IGNORE
from pellucid.lab.data.chats import Example, padded
from pellucid.lab.data.replies import encode
from pellucid.lab.network import LabForCausalLM
from pellucid.lab.training.completion import Completions
from pellucid.lab.training.tuning import Tuning
from pellucid.lab.tune import tune

TRAIN = {"rows": 4, "context": 64, "rate": 0.01, "save_every": 2, "evaluate_every": 2, "keep_last": 0}
PAIRS = [
    ("What is the capital of France?", "Paris."),
    ("法国的首都是？", "巴黎。"),
    ("Tell me.", "You are helpful."),
    ("天气？", "很大。"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    rows: list[dict[str, Any]] = []
    for i in range(24):
        q, a = PAIRS[i % 4]
        pair = [{"role": "user", "content": f"{i} {q}"}, {"role": "assistant", "content": a}]
        rows.append({"prompt": f"{i} {q}", "completion": a} if i % 3 == 0 else {"messages": pair * (1 + i % 2)})
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return path


def tuning(model: Path, data: Path, **changed: Any) -> Tuning:
    train = {**TRAIN, "steps": 6, **changed.pop("train", {})}
    return Tuning(str(model), (str(data),), **{"lora": 4, "train": train, **changed})


def same(a: Path, b: Path) -> bool:
    x, y = load_file(a), load_file(b)
    return x.keys() == y.keys() and all(torch.equal(x[n], y[n]) for n in x)


NETWORKS = ("llama", "gpt2", "gemma2", "alibi", "learned")


def made(name: str) -> Any:
    """A random network without dropout, of transformers or the lab."""
    torch.manual_seed(0)
    if name in FAMILIES:
        return FAMILIES[name](40).eval()
    return LabForCausalLM(
        LabConfig(40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, positions=name, initializer_range=0.2)
    ).eval()


def examples() -> list[Example]:
    draw = np.random.default_rng(0)
    found = []
    for length, reply in ((9, 3), (4, 1), (7, 5)):
        found.append(Example(draw.integers(3, 40, length), np.arange(length) >= length - reply, length - reply))
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_padding_changes_nothing_and_the_loss_is_the_sum_over_learned_tokens(name: str) -> None:
    network = made(name).double()
    some = examples()
    expected = 0.0
    for e in some:  # one conversation at a time, one token at a time
        logits = network(torch.tensor(e.ids[None])).logits[0].detach()
        for t in range(1, len(e.ids)):
            if e.learned[t]:
                z = logits[t - 1]
                expected -= float(z[e.ids[t]] - z.exp().sum().log())
    learner = Completions(network)
    found = []
    for batches in ([padded(some, pad=0, rows=5)], [padded([e], pad=0) for e in some], [padded(some, pad=7, rows=3)]):
        network.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        for batch in batches:
            total = total + learner.of(batch)[0]
        total.backward()
        assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
        found.append([p.grad.clone() for p in network.parameters()])
    for a, b, c in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "gpt2", "alibi"])
def test_merged_adapters_are_the_unmerged_ones(name: str) -> None:
    network = made(name)
    plain = {n: p.detach().clone() for n, p in network.named_parameters()}
    ids = torch.arange(3, 23)[None]
    before = network(ids).logits.detach()
    adapted = lora.attach(network, rank=3, alpha=5.0)
    torch.testing.assert_close(network(ids).logits.detach(), before)
    learning = {n for n, p in network.named_parameters() if p.requires_grad}
    assert learning
    assert all(".lora_" in n for n in learning)
    assert not any("lm_head" in n for n in learning)
    with torch.no_grad():
        for n, p in network.named_parameters():
            if n in learning:
                p.normal_(0, 0.3)
    unmerged = network(ids).logits.detach()
    assert float((unmerged - before).abs().max()) > 0.1
    parts = dict(network.named_parameters())
    name_a = next(n for n in sorted(learning) if ".lora_A." in n)
    stem = name_a.partition(".lora_A.")[0]
    by_hand = 5.0 / 3 * (parts[name_a.replace("lora_A", "lora_B")] @ parts[name_a]).detach()
    merged = lora.merged(adapted)
    torch.testing.assert_close(merged(ids).logits.detach(), unmerged, atol=1e-5, rtol=1e-5)
    weights = dict(merged.named_parameters())
    assert weights.keys() == plain.keys()
    by_hand = by_hand.T if name == "gpt2" else by_hand
    torch.testing.assert_close(weights[f"{stem}.weight"].detach(), plain[f"{stem}.weight"] + by_hand)


def test_a_tuned_folder_is_an_ordinary_model_and_its_adapter_is_pefts(
    tiny_folder: Path, data: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    out = tmp_path / "run"
    done = tune(tuning(tiny_folder, data, train={"steps": 12}), out, device="cpu")
    assert (done.conversations, done.held_out, done.cut, done.left_out, done.steps) == (24, 2, 0, 0, 12)
    assert done.before is not None
    assert done.after is not None
    assert done.after < done.before - 0.5
    assert json.loads((out / "tune.json").read_text(encoding="utf-8"))["after"] == done.after
    assert {p.name for p in (out / "checkpoints" / "step-00000012").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "state.json",
        "training.pt",
    }
    # The held-out losses, from what the folders say to transformers.
    base, tuned = (pellucid.load(str(f), device="cpu").loaded for f in (tiny_folder, out))
    held = chats.split(chats.read([str(data)]), 0.1, 0)[1]
    for loaded, expected in ((base, done.before), (tuned, done.after)):
        total = count = 0.0
        for e in encode(loaded, held, length=64)[0]:
            assert e is not None
            labels = torch.tensor(np.where(e.learned, e.ids, IGNORE))[None]
            ids = torch.tensor(e.ids)[None]
            total += float(loaded.network(ids, labels=labels).loss) * e.targets
            count += e.targets
        assert total / count == pytest.approx(expected, rel=1e-5)
    ids = torch.arange(3, 43)[None]
    with warnings.catch_warnings():  # peft's, about names of transformers
        warnings.simplefilter("ignore", FutureWarning)
        other = PeftModel.from_pretrained(base.network, out / "adapter")
    torch.testing.assert_close(other(ids).logits, tuned.network(ids).logits, atol=1e-5, rtol=1e-5)
    assert tuned.tokenizer.chat_template == base.tokenizer.chat_template
    assert done.prompt
    assert len(pellucid.load(str(out), device="cpu").explain("法国的首都是？", target="巴黎。").sources) > 0


@pytest.mark.parametrize("rank", [None, 4])
def test_a_tuning_that_was_stopped_ends_with_the_same_weights(
    tiny_folder: Path, data: Path, tmp_path: Path, rank: int | None
) -> None:
    given = tuning(tiny_folder, data, lora=rank, dropout=0.1 if rank else 0.0)
    whole = tune(given, tmp_path / "whole", device="cpu")
    seen: list[int] = []

    def watch(metrics: dict[str, Any]) -> None:
        seen.append(metrics["step"])

    half = tune(given, tmp_path / "twice", device="cpu", watch=watch, stop=lambda: len(seen) == 3)
    assert half.stopped
    assert not (tmp_path / "twice" / "model.safetensors").exists()
    done = tune(given, tmp_path / "twice", device="cpu", watch=watch)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert (done.before, done.after, done.tokens) == (whole.before, whole.after, whole.tokens)
    assert same(tmp_path / "whole" / "model.safetensors", tmp_path / "twice" / "model.safetensors")
    changed = not same(tmp_path / "whole" / "model.safetensors", tiny_folder / "model.safetensors")
    assert changed


PROGRAM = """
import sys, pathlib
sys.path[:0] = [sys.argv[4], str(pathlib.Path(sys.argv[4]).parent)]
from test_tune import tuning
from pellucid.lab.tune import tune
given = tuning(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), train={"steps": 40, "save_every": 5})
tune(given, sys.argv[3], device="cpu")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_a_tuning_killed_and_run_again_ends_with_the_same_weights(
    tiny_folder: Path, data: Path, tmp_path: Path
) -> None:
    given = tuning(tiny_folder, data, train={"steps": 40, "save_every": 5})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    out = tmp_path / "killed"
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tiny_folder), str(data), str(out), str(Path(__file__).parent)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    try:
        tune(given, tmp_path / "whole", device="cpu")
        end = time.monotonic() + 120
        while not (out / "checkpoints" / "step-00000010").is_dir():
            assert running.poll() is None, "it ended by itself"
            assert time.monotonic() < end
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert not (out / "model.safetensors").exists()
        tune(given, out, device="cpu")
    finally:
        running.kill()
        running.wait()
        torch.set_num_threads(threads)
    for name in ("model.safetensors", "adapter/adapter_model.safetensors"):
        assert same(tmp_path / "whole" / name, out / name)


def test_micro_batches_make_the_large_batchs_gradient(tiny_folder: Path, data: Path, tmp_path: Path) -> None:
    first = []
    for times in (1, 4):
        tune(tuning(tiny_folder, data, train={"accumulate": times, "steps": 1}), tmp_path / str(times), device="cpu")
        first.append(json.loads((tmp_path / str(times) / "metrics.jsonl").read_text().splitlines()[0]))
    assert first[0]["norm"] == pytest.approx(first[1]["norm"], rel=1e-5)
    assert first[0]["loss"] == pytest.approx(first[1]["loss"], rel=1e-6)


def test_what_is_usual_follows_from_the_data_and_the_model() -> None:
    adapters = Tuning("m", ("x",), lora=8).settings(per_epoch=40, context=512)
    assert (adapters.steps, adapters.context, adapters.rate, adapters.warmup) == (120, 512, 2e-4, 6)
    assert (adapters.rows, adapters.accumulate, adapters.evaluate_every, adapters.decay) == (16, 4, 40, 0.0)
    every = Tuning("m", ("x",), epochs=0.5, train={"rows": 6}).settings(per_epoch=41, context=None)
    assert (every.steps, every.context, every.rate, every.accumulate) == (21, 1024, 2e-5, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lora": 0}, "--lora should be a rank of at least 1, given 0"),
        ({"lora": None, "alpha": 8.0}, "alpha and dropout are LoRA's"),
        ({"alpha": 0.0}, "alpha should be above 0"),
        ({"dropout": 1.0}, "dropout should be at least 0 and below 1"),
        ({"epochs": 0.0}, "epochs should be above 0"),
        ({"long": "keep"}, "unknown long 'keep'"),
        ({"dtype": "int4"}, "unknown dtype 'int4'"),
        ({"lora": None, "dtype": "bfloat16"}, "small steps are lost in 16-bit weights"),
        ({"train": {"row": 1}}, "unknown option of training 'row'.*Did you mean 'rows'"),
        ({"train": {"rate": -1.0}}, "rate should be above 0"),
        ({"train": {"spread": "fsdp"}}, "choose spread = ddp"),
    ],
)
def test_options_that_cannot_be_are_refused_before_a_model_is_loaded(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        tuning(Path("no-model"), Path("no.jsonl"), **options)


def test_data_and_folders_that_do_not_fit_are_refused(tiny_folder: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    tune(tuning(tiny_folder, data), out, device="cpu", stop=lambda: True)
    with pytest.raises(OptionError, match=r"another configuration \(lora: 4, now 2"):
        tune(tuning(tiny_folder, data, lora=2), out, device="cpu")
    data.write_text(data.read_text(encoding="utf-8") + '{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"chats.jsonl is not what it was when this run began"):
        tune(tuning(tiny_folder, data), out, device="cpu")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match="holds something else than a lab run"):
        tune(tuning(tiny_folder, data), tmp_path / "other", device="cpu")
    (tmp_path / "other" / "run.json").write_text('{"data": {}, "model": {}}')
    with pytest.raises(OutputError, match="holds another kind of run"):
        tune(tuning(tiny_folder, data), tmp_path / "other", device="cpu")
    with pytest.raises(OptionError, match="the model reads 128 tokens, and a block of 256 is asked for"):
        tune(tuning(tiny_folder, data, train={"context": 256}), tmp_path / "long", device="cpu")
    with pytest.raises(InputError, match=r"25 of 25 conversations are longer than the block of 2 tokens"):
        tune(tuning(tiny_folder, data, long="drop", train={"context": 2}), tmp_path / "long", device="cpu")
    assert not (tmp_path / "long").exists()
    one = tmp_path / "one.jsonl"
    one.write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    with pytest.raises(InputError, match="too few to hold 10% of them out"):
        tune(tuning(tiny_folder, one), tmp_path / "one", device="cpu")
    done = tune(tuning(tiny_folder, one, held_out=0.0, train={"steps": 1}), tmp_path / "one", device="cpu")
    assert (done.before, done.after, done.prompt) == (None, None, "")


def test_a_run_that_took_no_step_may_begin_otherwise(tiny_folder: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def fails(metrics: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(tuning(tiny_folder, data), out, device="cpu", watch=fails)
    assert json.loads((out / "tune.json").read_text())["before"] > 0
    done = tune(tuning(tiny_folder, data, lora=2, held_out=0.5), out, device="cpu")
    assert done.held_out == 12
    assert json.loads((out / "run.json").read_text())["tune"]["lora"] == 2


def test_what_cannot_be_tuned_is_refused(
    tiny_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "bare"
    loaded = pellucid.load(str(tiny_folder), device="cpu").loaded
    loaded.network.save_pretrained(bare)
    loaded.tokenizer.chat_template = None
    loaded.tokenizer.save_pretrained(bare)
    with pytest.raises(TemplateError, match=r"line 2: '.*bare' has no chat template"):
        tune(tuning(bare, data), tmp_path / "run", device="cpu")
    monkeypatch.setattr("pellucid.models.quantization.scheme", lambda network: "torchao")
    with pytest.raises(ModelError, match="packed by torchao and cannot be tuned and merged: tune the original"):
        tune(tuning(tiny_folder, data), tmp_path / "run", device="cpu")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"LoRA needs the package peft: pip install 'pellucid\[lab\]'"):
        lora.attach(made("llama"), rank=2)


def test_the_command_tunes_and_goes_on(
    tiny_folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = ["lab", "tune", str(tiny_folder), "--data", str(data), "--lora", "2", "--out", str(out)]
    command += ["--steps", "3", "--rows", "4", "--context", "30", "--rate", "0.01", "--device", "cpu"]
    assert main(command) == 0
    text = capsys.readouterr()
    assert "24 conversations, 2 of them held out; longer than the block:" in text.out
    assert "parameters of adapters (rank 2)" in text.out
    assert "3 steps" in text.out
    assert "before, " in text.out
    assert "step 3/3" in text.err
    assert (out / "loss.png").read_bytes()[:4] == b"\x89PNG"
    assert main([*command, "--rate", "0.5"]) == 2
    assert "another configuration (rate: 0.01, now 0.5)" in capsys.readouterr().err
    assert main(["lab", "tune", str(tiny_folder), "--out", str(tmp_path / "no")]) == 2
    assert "no conversations were given: name a .jsonl file with --data" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
