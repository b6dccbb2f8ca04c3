"""Distillation: the loss against plain loops, closed forms and finite differences; runs; refusals."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import FAMILIES, LINES
from torch import Tensor

import pellucid
from pellucid.cli.main import main
from pellucid.errors import ModelError, OptionError
from pellucid.lab.configuration import LabConfig
from pellucid.lab.data.batches import IGNORE, Batch
from pellucid.lab.distill import check_vocabularies, distill, read
from pellucid.lab.halved import halved
from pellucid.lab.network import LabForCausalLM
from pellucid.lab.training import loss as losses
from pellucid.lab.training.distillation import Distiller, Soft, divergence, expected
from pellucid.lab.training.loss import Learner
from pellucid.models.load import LoadedModel

TRAIN = {"rows": 4, "context": 16, "rate": 0.005, "warmup": 1, "save_every": 2, "evaluate_every": 3, "keep_last": 0}


def plain(student: Tensor, teacher: Tensor, t: float, direction: str, k: int | None = None) -> float:
    """KL by the formula, a number at a time; all but the teacher's k likeliest as one outcome."""
    total = 0.0
    for zs, zt in zip(student.tolist(), teacher.tolist(), strict=True):
        q = [math.exp(z / t) for z in zs]
        p = [math.exp(z / t) for z in zt]
        q, p = [x / sum(q) for x in q], [x / sum(p) for x in p]
        kept = sorted(range(len(p)), key=lambda i: -p[i])[: len(p) if k is None else k]
        pairs = [(p[i], q[i]) for i in kept]
        if len(kept) < len(p):
            rest = [i for i in range(len(p)) if i not in kept]
            pairs.append((sum(p[i] for i in rest), sum(q[i] for i in rest)))
        for a, b in pairs:
            total += a * math.log(a / b) if direction == "forward" else b * math.log(b / a)
    return total


def logits(seed: int = 0, *, targets: int = 5, vocabulary: int = 11) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, targets, vocabulary, generator=draw, dtype=torch.float64) * 2)  # type: ignore[return-value]


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("k", [None, 1, 4, 10])
@pytest.mark.parametrize("t", [0.7, 3.0])
def test_divergence_and_its_gradient_are_the_formulas(direction: str, k: int | None, t: float) -> None:
    student, teacher = logits()
    soft = Soft(temperature=t, divergence=direction, top_k=k)
    student.requires_grad_(True)
    found = divergence(student, expected(teacher, soft), soft)
    assert float(found.detach()) == pytest.approx(plain(student.detach(), teacher, t, direction, k), rel=1e-10)
    found.backward()
    assert student.grad is not None
    step = 1e-6
    for row, column in ((0, 0), (2, 5), (4, 10)):
        ends = []
        for sign in (1, -1):
            moved = student.detach().clone()
            moved[row, column] += sign * step
            ends.append(plain(moved, teacher, t, direction, k))
        assert float(student.grad[row, column]) == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-7)


def test_the_gradient_of_the_scaled_loss_is_the_closed_form() -> None:
    """d(T^2 KL)/dz = T (q - p); at high T that is (z_s - z_t - their means) / V, whatever T (Hinton et al., eq. 4)."""
    student, teacher = logits()
    for t in (1.0, 4.0, 1000.0):
        z = student.clone().requires_grad_(True)
        soft = Soft(temperature=t)
        (t**2 * divergence(z, expected(teacher, soft), soft)).backward()
        closed = t * ((student / t).softmax(-1) - (teacher / t).softmax(-1))
        torch.testing.assert_close(z.grad, closed)
    centred = [x - x.mean(-1, keepdim=True) for x in (student, teacher)]
    torch.testing.assert_close(z.grad, (centred[0] - centred[1]) / student.shape[-1], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_top_k_merges_the_rest_and_ends_at_the_whole_divergence(direction: str) -> None:
    student, teacher = logits(1)
    whole = Soft(divergence=direction)
    full = float(divergence(student, expected(teacher, whole), whole))
    last = 0.0
    for k in range(1, 12):
        soft = Soft(divergence=direction, top_k=k)
        some = expected(teacher, soft)
        found = float(divergence(student, some, soft))
        assert last - 1e-12 <= found <= full + 1e-12  # finer outcomes never lie nearer to each other
        last = found
        if some.rest is not None:
            torch.testing.assert_close(some.logp.exp().sum(-1) + some.rest.exp(), torch.ones(5, dtype=torch.float64))
    assert last == pytest.approx(full, rel=1e-12)
    assert float(divergence(teacher, expected(teacher, Soft(top_k=3)), Soft(top_k=3))) == pytest.approx(0, abs=1e-12)


def pair(name: str = "lab") -> tuple[Any, Any]:
    """A student and a teacher in float64."""
    torch.manual_seed(0)
    if name != "lab":
        return FAMILIES[name](40).double().train(), FAMILIES[name](48).double()
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "initializer_range": 0.3}
    made = [LabForCausalLM(LabConfig(40, num_hidden_layers=n, **sizes)).double() for n in (1, 2)]
    return made[0].train(), made[1]


def batch() -> Batch:
    ids = torch.randint(0, 40, (3, 9), generator=torch.Generator().manual_seed(1))
    targets = ids[:, 1:].clone()
    targets[0, :3], targets[2, 6:] = IGNORE, IGNORE
    return Batch(ids[:, :-1].contiguous(), targets)


@pytest.mark.parametrize("name", ["lab", "llama", "gemma2"])
@pytest.mark.parametrize("k", [None, 5, 1000])
def test_the_mixed_loss_is_the_sum_over_real_targets_in_stretches_too(
    name: str, k: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, teacher = pair(name)
    some, soft = batch(), Soft(temperature=2.0, alpha=0.3, top_k=k)
    learner = Distiller(student, teacher, soft)
    zs, zt = (n(some.inputs).logits.detach()[some.targets != IGNORE] for n in (student, teacher))
    hard = sum(float(z.exp().sum().log() - z[y]) for z, y in zip(zs, some.targets[some.targets != IGNORE], strict=True))
    kl = plain(zs[:, :40], zt[:, :40], 2.0, "forward", None if k == 1000 else k)
    grads = []
    for most in (1 << 24, 40 * 4):
        monkeypatch.setattr(losses, "LOGITS", most)
        student.zero_grad()
        loss, extra = learner.of(some)
        assert float(loss.detach()) == pytest.approx(0.3 * 4 * kl + 0.7 * hard, rel=1e-5)
        assert float(extra) == 0
        loss.backward()
        grads.append([p.grad.clone() for p in student.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert all(p.grad is None for p in teacher.parameters())
    assert not teacher.training
    assert {n.partition(".")[0] for n, _ in learner.named_parameters()} == {"network"}  # the teacher is no part of it


def test_held_out_losses_and_those_without_a_teacher_are_the_hard_ones() -> None:
    student, teacher = pair()
    some = batch()
    hard = float(Learner(student).of(some)[0].detach())
    assert float(Distiller(student, teacher, Soft()).of(some)[0].detach()) != pytest.approx(hard, rel=0.01)
    assert float(Distiller(student, teacher, Soft(alpha=0.0)).of(some)[0].detach()) == pytest.approx(hard, rel=1e-9)
    student.eval()
    assert float(Distiller(student, teacher, Soft()).of(some)[0].detach()) == pytest.approx(hard, rel=1e-9)


def test_the_mass_outside_top_k_is_measured() -> None:
    student, teacher = pair()
    some = batch()
    p = (
        (teacher(some.inputs).logits.detach()[some.targets != IGNORE] / 1.5)
        .softmax(-1)
        .sort(-1, descending=True)
        .values
    )
    found = Distiller(student, teacher, Soft(temperature=1.5, top_k=7)).rest_mass(some)
    assert found == pytest.approx(float(p[:, 7:].sum(-1).mean()), rel=1e-5)
    assert Distiller(student, teacher, Soft(top_k=40)).rest_mass(some) == 0


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
def test_half_a_model_is_every_second_layer_of_it(name: str) -> None:
    torch.manual_seed(0)
    small = FAMILIES[name](40)
    config = small.config
    config.num_hidden_layers = 5
    if getattr(config, "layer_types", None):
        config.layer_types = ["full_attention", "sliding_attention"] * 2 + ["full_attention"]
    network = type(small)(config).eval()
    student = halved(network).eval()
    assert student.config.num_hidden_layers == 2
    if name == "gemma3":
        assert student.config.layer_types == ["full_attention", "full_attention"]
    # The whole network with the other layers taken out of its list says the same.
    inner = network.base_model
    stack = "h" if name == "gpt2" else "layers"
    kept = [getattr(inner, stack)[i] for i in (0, 2)]
    setattr(inner, stack, torch.nn.ModuleList(kept))
    inner.config.num_hidden_layers = 2
    if name == "gemma3":
        inner.config.layer_types = ["full_attention"] * 2
    ids = torch.arange(3, 19)[None]
    torch.testing.assert_close(student(ids, use_cache=False).logits, network(ids, use_cache=False).logits)
    assert all(a.data_ptr() != b.data_ptr() for a, b in zip(student.parameters(), network.parameters(), strict=True))
    single = FAMILIES[name](40)
    single.config.num_hidden_layers = 1
    if getattr(single.config, "layer_types", None):
        single.config.layer_types = ["full_attention"]
    with pytest.raises(ModelError, match="a single layer: half of that is none"):
        halved(type(single)(single.config))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{i} {line}\n" for i in range(40) for line in LINES), encoding="utf-8")
    return path


@pytest.fixture
def student(tmp_path: Path) -> Path:
    path = tmp_path / "student.toml"
    sizes = "hidden_size = 16\nnum_hidden_layers = 1\nnum_attention_heads = 2\n"
    path.write_text(f"[model]\n{sizes}[train]\nsteps = 6\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("half", [False, True])
def test_a_run_that_was_stopped_ends_with_the_same_weights(
    tiny_folder: Path, text: Path, student: Path, tmp_path: Path, half: bool
) -> None:
    soft = Soft(temperature=1.5, top_k=8)
    asked = read(
        str(tiny_folder), "half" if half else str(student), sources=[str(text)], soft=soft, train={**TRAIN, "steps": 6}
    )
    whole = distill(asked, tmp_path / "whole", device="cpu")
    seen: list[int] = []

    def watch(metrics: dict[str, Any]) -> None:
        seen.append(metrics["step"])

    first = distill(asked, tmp_path / "twice", device="cpu", watch=watch, stop=lambda: len(seen) == 3)
    assert first.stopped
    assert not (tmp_path / "twice" / "model.safetensors").exists()
    done = distill(asked, tmp_path / "twice", device="cpu", watch=watch)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert (done.loss, done.teacher_loss, done.tokens) == (whole.loss, whole.teacher_loss, whole.tokens)
    a, b = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "twice"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[n], b[n]) for n in a)
    # An ordinary model, with the teacher's tokenizer; both held-out losses as transformers gives them.
    made, taught = (pellucid.load(str(f), device="cpu").loaded for f in (tmp_path / "whole", tiny_folder))
    assert made.tokenizer.get_vocab() == taught.tokenizer.get_vocab()
    assert made.network.config.num_hidden_layers == 1
    whole_text = text.read_text(encoding="utf-8")
    ids = torch.tensor(made.tokenizer(whole_text[int(len(whole_text) * 0.9) :]).input_ids)
    for loaded, loss in ((made, whole.loss), (taught, whole.teacher_loss)):
        total = 0.0
        for start in range(0, len(ids) - 1, 16):
            some = ids[start : start + 17][None]
            out = loaded.network(some[:, :-1]).logits[0]
            total += float(torch.nn.functional.cross_entropy(out, some[0, 1:], reduction="sum"))
        assert loss == pytest.approx(total / (len(ids) - 1), rel=1e-5)
    assert 0 < whole.rest < 1
    with pytest.raises(OptionError, match=r"another configuration \(temperature: 1.5, now 1.0"):
        again = read(str(tiny_folder), asked.student, sources=[str(text)], soft=Soft(1.0, top_k=8), train=asked_train())
        distill(again, tmp_path / "twice", device="cpu")


def asked_train() -> dict[str, Any]:
    return {**TRAIN, "steps": 6}


def test_soft_targets_alone_bring_the_student_to_its_teacher(tiny_folder: Path, text: Path, tmp_path: Path) -> None:
    teacher = pellucid.load(str(tiny_folder), device="cpu").loaded
    ids = torch.tensor(teacher.tokenizer(LINES[0]).input_ids)[None]
    soft = Soft(temperature=1.0, alpha=1.0)
    asked = read(str(tiny_folder), "half", sources=[str(text)], soft=soft, train={**TRAIN, "steps": 60})
    distill(asked, tmp_path / "run", device="cpu")
    found = []
    for network in (halved(teacher.network).eval(), pellucid.load(str(tmp_path / "run"), device="cpu").loaded.network):
        q, p = (n(ids).logits.detach()[0].log_softmax(-1) for n in (network, teacher.network))
        found.append(float((p.exp() * (p - q)).sum(-1).mean()))
    assert found[1] < 0.5 * found[0]


def test_other_vocabularies_are_refused_with_the_reason(tiny_folder: Path, text: Path, tmp_path: Path) -> None:
    from pellucid.lab.data.tokenizers import characters

    other = tmp_path / "other"
    letters = characters(["abc 法国"])
    FAMILIES["llama"](len(letters)).save_pretrained(other)
    letters.save_pretrained(other)
    asked = read(str(tiny_folder), str(other), sources=[str(text)], train=asked_train())
    said = r"other' cannot learn from .*: soft targets are about the teacher's tokens, and the vocabularies differ \(8 "
    with pytest.raises(ModelError, match=said + r"tokens and 396; number 0 is ' ' here and '<\|endoftext\|>' there\)"):
        distill(asked, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
    loaded = pellucid.load(str(tiny_folder), device="cpu").loaded
    check_vocabularies(loaded, LoadedModel.wrap(FAMILIES["gpt2"](500), loaded.tokenizer))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": 0.0}, "the temperature should be above 0, given 0"),
        ({"alpha": 1.5}, "alpha should be a share from 0 to 1, given 1.5"),
        ({"divergence": "sideways"}, "unknown divergence 'sideways'"),
        ({"top_k": 0}, "top-k should keep at least 1 token, given 0"),
    ],
)
def test_losses_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Soft(**options)


def test_what_does_not_fit_is_refused(
    tiny_folder: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = read(str(tiny_folder), "half", sources=[str(text)], train={**TRAIN, "context": 256})
    with pytest.raises(OptionError, match=r"the teacher '.*' reads 128 tokens, and blocks have 256"):
        distill(long, tmp_path / "run", device="cpu")
    with pytest.raises(OptionError, match="no data was given"):
        read(str(tiny_folder), "half")
    monkeypatch.setattr("pellucid.models.quantization.scheme", lambda network: "torchao")
    with pytest.raises(ModelError, match="packed by torchao: its layers cannot start a student"):
        distill(read(str(tiny_folder), "half", sources=[str(text)], train=TRAIN), tmp_path / "run", device="cpu")


def test_the_command_distils(
    tiny_folder: Path, text: Path, student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = ["lab", "distill", "--teacher", str(tiny_folder), "--student", str(student), "--data", str(text)]
    command += ["--out", str(out), "--top-k", "8", "--rows", "4", "--context", "16", "--device", "cpu"]
    assert main(command) == 0
    found = capsys.readouterr()
    assert "held-out loss" in found.out
    assert "after 6 steps" in found.out
    assert "outside the teacher's 8 likeliest tokens:" in found.out
    assert "step 6/6" in found.err
    assert (out / "loss.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["distill"]["top_k"] == 8
    assert main([*command, "--alpha", "0.1"]) == 2
    assert "another configuration (alpha: 0.5, now 0.1)" in capsys.readouterr().err
