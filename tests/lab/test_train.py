"""Training: gradients, schedules, Muon, checkpoints that survive kills, several processes."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import pellucid
from pellucid.cli.main import main
from pellucid.errors import InputError, NumericError, OptionError, OutputError
from pellucid.lab.configuration import LabConfig
from pellucid.lab.curve import read as read_curve
from pellucid.lab.data.batches import IGNORE
from pellucid.lab.network import LabForCausalLM
from pellucid.lab.train import train
from pellucid.lab.training import loss as losses
from pellucid.lab.training import schedule, speed
from pellucid.lab.training.checkpoints import Checkpoints
from pellucid.lab.training.loss import Learner
from pellucid.lab.training.muon import Muon, orthogonal
from pellucid.lab.training.optimisers import optimisers
from pellucid.lab.training.settings import Recipe, read

MODEL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 16}
TRAIN = {"steps": 12, "rows": 4, "context": 16, "warmup": 2, "evaluate_every": 4, "save_every": 4, "keep_last": 0}
WORDS = "the cat sat on the mat. 猫坐在垫子上。 dogs run far and wide.\n"


def write_book(folder: Path) -> Path:
    path = folder / "book.txt"
    path.write_text("".join(f"{i} {WORDS}" for i in range(60)), encoding="utf-8")
    return path


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return write_book(tmp_path)


def recipe(
    book: Path, *, model: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **changed: Any
) -> Recipe:
    made = read(sources=[str(book)], data={"tokenizer": "characters", **(data or {})}, train={**TRAIN, **changed})
    return Recipe(made.data, {**MODEL, **(model or {})}, made.train)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    x, y = weights(a), weights(b)
    return x.keys() == y.keys() and all(torch.equal(x[n], y[n]) for n in x)


def test_the_loss_is_the_sum_over_real_targets_in_stretches_too(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = LabForCausalLM(LabConfig(30, **MODEL)).double()
    ids, targets = torch.randint(0, 30, (2, 3, 16))
    targets[0, :5] = IGNORE
    logits = network(ids).logits.detach()
    expected = 0.0
    for row in range(3):
        for t in range(16):
            if targets[row, t] != IGNORE:
                z = logits[row, t]
                expected += float(z.exp().sum().log() - z[targets[row, t]])
    found = []
    for most in (1 << 24, 30 * 7):
        monkeypatch.setattr(losses, "LOGITS", most)
        network.zero_grad()
        nll, extra = Learner(network)(ids, targets)
        assert float(extra) == 0
        nll.backward()
        found.append([float(nll.detach()), *(p.grad.clone() for p in network.parameters())])
    assert found[0][0] == pytest.approx(expected, rel=1e-6)
    assert found[1][0] == pytest.approx(expected, rel=1e-6)
    for a, b in zip(found[0][1:], found[1][1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_micro_batches_make_the_large_batchs_gradient(book: Path, tmp_path: Path, accumulate: int) -> None:
    """With documents apart, micro-batches have unlike counts of targets: a mean of means would be another gradient."""
    lines = book.with_suffix(".jsonl")
    lines.write_text("".join(json.dumps({"text": WORDS[: 5 + i % 40]}) + "\n" for i in range(90)), encoding="utf-8")
    for name, times in (("whole", 1), ("parts", accumulate)):
        made = recipe(lines, data={"isolate": True}, accumulate=times, optimiser="adamw", steps=5)
        train(made, tmp_path / name)
    a, b = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for n in a:
        torch.testing.assert_close(a[n], b[n], rtol=2e-4, atol=2e-5)
    first = [json.loads((tmp_path / n / "metrics.jsonl").read_text().splitlines()[0]) for n in ("whole", "parts")]
    assert first[0]["norm"] == pytest.approx(first[1]["norm"], rel=1e-5)
    assert first[0]["loss"] == pytest.approx(first[1]["loss"], rel=1e-6)


def test_held_out_loss_is_that_of_transformers_own(book: Path, tmp_path: Path) -> None:
    done = train(recipe(book), tmp_path / "run")
    model = pellucid.load(str(tmp_path / "run"), device="cpu")
    text = book.read_text(encoding="utf-8")
    ids = torch.tensor(model.loaded.tokenizer(text[int(len(text) * 0.9) :]).input_ids)
    total = 0.0
    for start in range(0, len(ids) - 1, 16):
        some = ids[start : start + 17][None]
        out = model.loaded.network(some[:, :-1])
        total += float(torch.nn.functional.cross_entropy(out.logits[0], some[0, 1:], reduction="sum"))
    assert done.loss == pytest.approx(total / (len(ids) - 1), rel=1e-5)
    assert done.loss < math.log(len(model.loaded.tokenizer))
    trace = model.explain("the cat", target=" sat", raw=True)
    assert len(trace.sources) > 0


@pytest.mark.parametrize("parts", [{}, {"num_experts": 3, "dropout": 0.1}])
def test_a_run_that_was_stopped_ends_with_the_same_weights(book: Path, tmp_path: Path, parts: dict[str, Any]) -> None:
    made = recipe(book, model=parts, optimiser="muon", rate=0.01)
    train(made, tmp_path / "whole")
    seen: list[int] = []
    half = train(made, tmp_path / "twice", watch=lambda m: seen.append(m["step"]), stop=lambda: len(seen) == 7)
    assert half.stopped
    assert half.steps == 7
    assert not (tmp_path / "twice" / "model.safetensors").exists()
    done = train(made, tmp_path / "twice", watch=lambda m: seen.append(m["step"]))
    assert seen == [*range(1, 13)]
    assert not done.stopped
    assert same(tmp_path / "whole", tmp_path / "twice")
    lines = [json.loads(x) for x in (tmp_path / "twice" / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines] == [*range(1, 13)]
    assert read_curve(tmp_path / "twice").held_out == read_curve(tmp_path / "whole").held_out


PROGRAM = """
import sys, pathlib
sys.path.insert(0, sys.argv[3])
import pellucid.lab.training.checkpoints as checkpoints
from test_train import recipe
from pellucid.lab.train import train
if sys.argv[4] == "save":   # a save that never ends: killed in its middle
    import time
    whole = checkpoints._digest
    def slow(path):
        if "step-00000008" in str(path): time.sleep(60)
        return whole(path)
    checkpoints._digest = slow
train(recipe(pathlib.Path(sys.argv[1]), steps=400 if sys.argv[4] == "step" else 12), sys.argv[2])
"""


def killed(book: Path, out: Path, when: str, ready: Callable[[], bool]) -> None:
    here = str(Path(__file__).parent)
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(book), str(out), here, when],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        while not ready():
            assert running.poll() is None, "it ended by itself"
            assert time.monotonic() < end
            time.sleep(0.005)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
@pytest.mark.parametrize("when", ["step", "save"])
def test_a_run_killed_in_a_step_or_a_save_ends_with_the_same_weights(book: Path, tmp_path: Path, when: str) -> None:
    steps = 400 if when == "step" else 12
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(recipe(book, steps=steps), tmp_path / "whole")
        out = tmp_path / "killed"
        if when == "step":
            killed(book, out, when, lambda: (out / "checkpoints" / "step-00000100").is_dir())
        else:
            killed(book, out, when, lambda: (out / "checkpoints" / ".step-00000008.partial" / "training.pt").is_file())
            assert not (out / "checkpoints" / "step-00000008").exists()
        assert not (out / "model.safetensors").exists()
        train(recipe(book, steps=steps), out)
    finally:
        torch.set_num_threads(threads)
    assert same(tmp_path / "whole", out)


def test_a_torn_checkpoint_is_passed_over_and_said(book: Path, tmp_path: Path) -> None:
    made = recipe(book)
    train(made, tmp_path / "whole")
    seen: list[int] = []
    train(made, tmp_path / "torn", watch=lambda m: seen.append(m["step"]), stop=lambda: len(seen) == 8)
    newest = tmp_path / "torn" / "checkpoints" / "step-00000008"
    data = bytearray((newest / "model.safetensors").read_bytes())
    data[-5] ^= 1
    (newest / "model.safetensors").write_bytes(data)
    done = train(made, tmp_path / "torn", watch=lambda m: seen.append(m["step"]))
    assert seen[8:] == [*range(5, 13)]
    assert done.notes == (f"{newest} is passed over: model.safetensors is not what was written",)
    assert same(tmp_path / "whole", tmp_path / "torn")


def test_another_configuration_is_refused(book: Path, tmp_path: Path) -> None:
    train(recipe(book), tmp_path / "run")
    with pytest.raises(OptionError, match=r"another configuration \(rate: 0.001, now 0.01\): go on with that one, or"):
        train(recipe(book, rate=0.01), tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match="holds something else than a lab run"):
        train(recipe(book), tmp_path / "other")
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["thesis.tex"]


def test_data_that_changed_between_two_stretches_is_noticed(book: Path, tmp_path: Path) -> None:
    train(recipe(book), tmp_path / "run", stop=lambda: True)
    book.write_text("other", encoding="utf-8")
    with pytest.raises(InputError, match="is not what it was when this run began"):
        train(recipe(book), tmp_path / "run")


def test_a_loss_that_is_no_number_stops_the_run(book: Path, tmp_path: Path) -> None:
    with pytest.raises(NumericError, match=r"at step \d+: .*start again with a lower rate than 1e\+30"):
        train(recipe(book, rate=1e30, clip=0.0, warmup=0, save_every=1), tmp_path / "run")
    last = Checkpoints(tmp_path / "run", recipe(book).as_dict()).steps()
    assert all(torch.isfinite(w).all() for f in last[:1] for w in load_file(f.folder / "model.safetensors").values())


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path, {})

    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"weights")

    def full(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"wei")
        raise OSError(errno.ENOSPC, "No space left on device")

    good = made.save(1, write, {"loss": 1.0}, keep_last=0)
    with pytest.raises(
        OutputError, match=r"step 2 cannot be written \(No space left on device\): the last good one is"
    ):
        made.save(2, full, {"loss": 1.0}, keep_last=0)
    assert [p.name for p in made.folder.iterdir()] == [good.name]
    found = made.newest()
    assert found is not None
    assert found.step == 1


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path, {})
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, None), (5, 2.5)):
        made.save(step, lambda f: None, {"loss": loss}, keep_last=2)
    assert [f.step for f in made.steps()] == [2, 4, 5]


def test_schedules_are_their_formulas() -> None:
    def at(step: int, shape: str) -> float:
        return schedule.at(step, 100, warmup=10, shape=shape, least=0.1)

    for shape in schedule.SHAPES:
        assert [at(s, shape) for s in (0, 4, 9)] == pytest.approx([1 / 11, 5 / 11, 10 / 11])
        assert at(10, shape) == 1
        assert at(100, shape) == pytest.approx(1.0 if shape == "constant" else 0.1)
    assert at(55, "cosine") == pytest.approx(0.55)
    assert at(55, "linear") == pytest.approx(0.55)
    assert at(55, "wsd") == 1
    assert at(91, "wsd") == pytest.approx(0.55)


def test_muon_steps_along_the_orthogonal_part() -> None:
    torch.manual_seed(0)
    for shape in ((6, 6), (4, 9), (9, 4), (3, 5, 8)):
        g = torch.randn(shape, dtype=torch.float64)
        values = torch.linalg.svdvals(orthogonal(g.float()))
        assert float(values.min()) > 0.3
        assert float(values.max()) < 1.3
        u, _, v = torch.linalg.svd(g, full_matrices=False)
        near = (orthogonal(g.float()).double() * (u @ v)).sum((-2, -1)) / min(shape[-2:])
        assert float(near.min()) > 0.75
    p = torch.nn.Parameter(torch.ones(4, 9))
    p.grad = torch.randn(4, 9)
    expected = 1 - 0.1 * 0.5 - 0.1 * 0.2 * 3 * orthogonal(0.05 * p.grad * 0.95 + 0.05 * p.grad)
    Muon([p], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(p.detach(), expected, atol=2e-2, rtol=0)


def test_decay_falls_on_matrices_alone_and_muon_takes_those_inside_layers() -> None:
    network = LabForCausalLM(LabConfig(30, **MODEL, norm="layernorm", attention_bias=True, positions="learned"))
    muon, adam = optimisers(network, "muon", rate=0.02, betas=(0.9, 0.95), decay=0.1, adam_rate=0.001)
    names = {id(p): n for n, p in network.named_parameters()}
    inside = {names[id(p)] for p in muon.param_groups[0]["params"]}
    assert inside == {n for n in names.values() if ".layers." in n and n.endswith("proj.weight")}
    decayed, plain = ({names[id(p)] for p in g["params"]} for g in adam.param_groups)
    assert decayed == {"model.embed_tokens.weight", "model.embed_positions.weight"}
    assert plain == {n for n in names.values() if n.endswith("bias") or "norm" in n}
    assert [g["weight_decay"] for g in adam.param_groups] == [0.1, 0.0]
    assert [g["peak"] for g in adam.param_groups] == [0.001, 0.001]


def test_operations_are_counted_as_the_paper_does() -> None:
    network = LabForCausalLM(LabConfig(30, **MODEL, intermediate_size=40))
    layer = 4 * 16 * 16 + 3 * 16 * 40 + 2 * 16
    assert speed.flops(network, 64) == 6 * (2 * layer + 16 + 30 * 16) + 12 * 2 * 16 * 64


def test_recipes_are_read_from_presets_files_and_options(tmp_path: Path) -> None:
    file = tmp_path / "gpt.toml"
    file.write_text(
        'preset = "char-tiny"\n[model]\npositions = "alibi"\n[train]\nsteps = 7\nrate = 1\n', encoding="utf-8"
    )
    made = read(config=file, sources=["x.txt"], train={"rows": 3})
    assert made.model["positions"] == "alibi"
    assert made.model["hidden_size"] == 128
    assert (made.train.steps, made.train.rate, made.train.rows, made.train.betas) == (7, 1.0, 3, (0.9, 0.99))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('preset = "char-tinny"', "unknown preset 'char-tinny'.*Did you mean 'char-tiny'"),
        ("[optimizer]\nrate = 1", "unknown table in .*'optimizer'"),
        ("[train]\nstep = 1", "unknown option of .train. 'step'.*Did you mean 'steps'"),
        ("[model]\nwidth = 1", "unknown option of .model. 'width'"),
        ('[train]\nsteps = "many"', "steps should be int, given 'many'"),
        ("[train]\nrows = 5\naccumulate = 2", "5 rows do not divide into 2 micro-batches"),
        ('[train]\nschedule = "cos"', "unknown schedule 'cos'.*Did you mean 'cosine'"),
        ('[train]\noptimiser = "sgd"', "unknown optimiser 'sgd'"),
        ("[train]\nrate = 0.0", "rate should be above 0"),
        ("[model]\nnum_attention_heads = 5", "5 heads do not divide the width 128"),
    ],
)
def test_recipes_that_cannot_be_are_refused_before_data_is_read(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(OptionError, match=said):
        read(config=file, sources=["never-read.txt"])


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("[train\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"x.toml is not TOML"):
        read(config=file, sources=["a"])
    with pytest.raises(OptionError, match="no data was given"):
        read(preset="char-tiny")


def test_the_command_trains_draws_and_goes_on(book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[model]\n" + "".join(f"{k} = {v}\n" for k, v in MODEL.items()), encoding="utf-8")
    out = tmp_path / "run"
    command = [
        "lab",
        "train",
        "--data",
        str(book),
        "--config",
        str(config),
        "--tokenizer",
        "characters",
        "--out",
        str(out),
    ]
    command += ["--steps", "8", "--rows", "4", "--context", "16", "--evaluate-every", "4", "--device", "cpu"]
    command += ["--track", "tensorboard"]
    assert main(command) == 0
    text = capsys.readouterr()
    assert "8 steps" in text.out
    assert "held-out loss" in text.out
    assert "GFLOP/s (measured" in text.out
    assert "step 4/8" in text.err
    assert (out / "loss.png").read_bytes()[:4] == b"\x89PNG"
    assert any((out / "tensorboard").iterdir())
    assert main([*command, "--rate", "0.5"]) == 2
    assert "another configuration (rate" in capsys.readouterr().err
    assert main(["lab", "train", "--out", str(tmp_path / "no"), "--preset", "char-tiny"]) == 2
    assert "no data was given" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("spread", ["ddp", "fsdp"])
def test_two_processes_train_the_model_of_one(book: Path, tmp_path: Path, spread: str) -> None:
    made = recipe(book, steps=6, spread=spread)
    train(made, tmp_path / "one")
    here = str(Path(__file__).parent)
    code = (
        "import sys; sys.path.insert(0, sys.argv[3])\n"
        "from pathlib import Path\nfrom test_train import recipe\nfrom pellucid.lab.train import train\n"
        "made, seen = recipe(Path(sys.argv[1]), steps=6, spread=sys.argv[4]), []\n"
        "stop = lambda: len(seen) == 3\n"
        "train(made, sys.argv[2], device='cpu', watch=seen.append, stop=stop)\n"  # the first process alone stops it
    )
    script = tmp_path / "two.py"
    script.write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", str(script)]
    for steps in (3, 6):
        done = subprocess.run(
            [*command, str(book), str(tmp_path / "two"), here, spread],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert Checkpoints(tmp_path / "two", made.as_dict()).newest().step == steps  # type: ignore[union-attr]
    a, b = (read_curve(tmp_path / n) for n in ("one", "two"))
    assert [x for _, x in a.loss] == pytest.approx([x for _, x in b.loss], abs=1e-5)
    assert a.held_out[-1][1] == pytest.approx(b.held_out[-1][1], abs=1e-4)
    x, y = weights(tmp_path / "one"), weights(tmp_path / "two")
    for n in x:
        torch.testing.assert_close(x[n], y[n], atol=2e-4, rtol=1e-3)


def test_where_nothing_came_of_a_run_other_data_takes_its_place(book: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.txt"
    small.write_text("too short a text", encoding="utf-8")
    with pytest.raises(InputError, match="one block needs"):
        train(recipe(small, steps=2), tmp_path / "run")
    train(recipe(book, steps=2), tmp_path / "run")
    train(recipe(book, steps=2), tmp_path / "other")
    assert same(tmp_path / "run", tmp_path / "other")
    stamp = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(OptionError, match=r"packed from .*book\.txt, and now .*small\.txt is given: start a new run"):
        train(recipe(small, steps=2), tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == stamp


def test_the_kernel_is_a_choice_and_changes_nothing_else(book: Path, tmp_path: Path) -> None:
    """Window and documents hide the same from each; FlexAttention is refused where it cannot learn."""
    parts = {"model": {"sliding_window": 5}, "data": {"isolate": True}}
    runs = {}
    for kernel in ("sdpa", "eager"):
        train(recipe(book, steps=3, attention=kernel, **parts), tmp_path / kernel, device="cpu")
        runs[kernel] = weights(tmp_path / kernel)
    for name, weight in runs["sdpa"].items():
        torch.testing.assert_close(weight, runs["eager"][name], rtol=1e-4, atol=1e-6)
    with pytest.raises(OptionError, match="flex_attention has no backward pass on cpu, it needs CUDA: sdpa gives"):
        train(recipe(book, steps=3, attention="flex_attention"), tmp_path / "flex", device="cpu")
    with pytest.raises(OptionError, match="unknown attention 'flash'"):
        recipe(book, attention="flash")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_flex_attention_learns_what_sdpa_does(book: Path, tmp_path: Path) -> None:
    parts = {"model": {"sliding_window": 5}, "data": {"isolate": True}}
    runs = []
    for kernel in ("sdpa", "flex_attention"):
        train(recipe(book, steps=3, attention=kernel, precision="fp32", **parts), tmp_path / kernel, device="cuda")
        runs.append(read_curve(tmp_path / kernel))
    assert [x for _, x in runs[0].loss] == pytest.approx([x for _, x in runs[1].loss], rel=1e-3)


@pytest.mark.skipif(sys.platform == "win32", reason="a limit of POSIX")
@pytest.mark.parametrize("share", [0.5, 1.5])
def test_a_limit_that_the_system_sets_is_said_and_nothing_is_left(book: Path, tmp_path: Path, share: float) -> None:
    """Files may grow to a part of the weights, or past the weights but not to the optimiser's state: both writers fail
    for real."""
    train(recipe(book, steps=2), tmp_path / "whole", device="cpu")
    limit = int((tmp_path / "whole" / "model.safetensors").stat().st_size * share)
    code = (
        "import resource, signal, sys; sys.path.insert(0, sys.argv[3])\n"
        "from pathlib import Path\nfrom test_train import recipe\nfrom pellucid.lab.train import train\n"
        "made = recipe(Path(sys.argv[1]), steps=4, save_every=2)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "def limited(line):\n"
        "    if line['step'] == 3: resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]),) * 2)\n"
        "try:\n    train(made, sys.argv[2], device='cpu', watch=limited)\n"
        "except Exception as e:\n    print(type(e).__name__, e)\n"
    )
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", code, str(book), str(tmp_path / "run"), here, str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.startswith("OutputError the checkpoint of step 4 cannot be written ("), done.stdout + done.stderr
    assert "the last good one is" in done.stdout
    assert "step-00000002" in done.stdout
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000002"]
