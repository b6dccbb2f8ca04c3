"""Quantised models: effects are single passes of the quantised network; gradients are those of the weights that its
packed ones stand for, or a sentence says that there are none."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_methods import CHEAP
from tiny import FAMILIES

from pellucid.errors import MissingExtraError, ModelError, OptionError
from pellucid.model import Model, load
from pellucid.models.load import LoadedModel
from pellucid.models.quantization import kernels, scheme
from pellucid.trace import ablate
from pellucid.trace.engine import Run
from pellucid.trace.methods import method, methods
from pellucid.trace.objective import objective

PROMPT, ANSWER = [5, 80, 33, 120, 64, 9, 200, 41], [17, 99, 150]
UNITS = [[1], [2, 3], [4], [5, 6]]
GRADIENT = sorted(n for n, m in methods().items() if m.needs == "gradient" or n == "attention_x_gradient")


def run(model: LoadedModel, **options: Any) -> Run:
    return Run(model, PROMPT, ANSWER, objective("logprob"), units=UNITS, **options)


def quantized(model: LoadedModel, config: str) -> LoadedModel:
    """``model`` with its linear maps (not the tied head) quantised by torchao, where it stands."""
    torchao = pytest.importorskip("torchao.quantization")
    torchao.quantize_(
        model.network, getattr(torchao, config)(), lambda m, name: isinstance(m, torch.nn.Linear) and "head" not in name
    )
    assert scheme(model.network) == "torchao"
    return model


def single_passes(model: LoadedModel, masks: np.ndarray) -> torch.Tensor:
    """Log-probabilities of the answer [ablations, targets], each from a pass of its own."""
    out = []
    for mask in masks:
        gone = {i for unit, stays in zip(UNITS, mask, strict=True) if not stays for i in unit}
        prompt = [t for i, t in enumerate(PROMPT) if i not in gone]
        with torch.no_grad():
            logits = model.network(torch.tensor([prompt + ANSWER]), use_cache=False).logits[0, len(prompt) - 1 : -1]
        out.append(torch.log_softmax(logits.float(), -1)[torch.arange(len(ANSWER)), ANSWER].double())
    return torch.stack(out)


@pytest.mark.parametrize(
    ("config", "near"),
    [
        ("Int8WeightOnlyConfig", 1e-4),
        ("Int8DynamicActivationInt8WeightConfig", 0.02),
    ],  # the last digit turns a rounding
)
def test_effects_are_single_passes(tiny: Callable[..., LoadedModel], config: str, near: float) -> None:
    plain = single_passes(tiny(), np.ones((1, len(UNITS)), bool))
    model = quantized(tiny(), config)
    masks = np.random.default_rng(0).random((10, len(UNITS))) < 0.6
    expected = single_passes(model, masks)
    torch.testing.assert_close(ablate.effects(run(model), masks), expected, rtol=near, atol=near)
    assert not torch.allclose(single_passes(model, np.ones((1, len(UNITS)), bool)), plain, atol=1e-4), "not quantised"


def test_weights_alone_pass_gradients(tiny: Callable[..., LoadedModel]) -> None:
    """Every method gives what it gives for a plain network with the weights that the packed ones stand for."""
    model, reference = quantized(tiny(), "Int8WeightOnlyConfig"), tiny()
    for name, linear in reference.network.named_modules():
        packed = model.network.get_submodule(name)
        if isinstance(linear, torch.nn.Linear) and "head" not in name:
            linear.weight.data.copy_(packed.weight.dequantize())
    for name, m in methods().items():
        found, expected = (m(run(x, per_token=True), **CHEAP.get(name, {})) for x in (model, reference))
        assert expected.matrix is not None
        torch.testing.assert_close(found.total, expected.total, rtol=2e-3, atol=2e-4, equal_nan=True)
        torch.testing.assert_close(found.matrix, expected.matrix, rtol=2e-3, atol=2e-4, equal_nan=True)


def test_rounded_activations_pass_none(tiny: Callable[..., LoadedModel]) -> None:
    """Autograd would give zeros there, without a word; the methods that the sentence names work."""
    model = quantized(tiny(), "Int8DynamicActivationInt8WeightConfig")
    for name in GRADIENT:
        with pytest.raises(ModelError, match="the kernels of torchao, which quantised this model, pass none") as e:
            method(name)(run(model), **CHEAP.get(name, {}))
    for name in methods():
        if name not in GRADIENT:
            assert method(name)(run(model), **CHEAP.get(name, {})).total[:8].nansum() != 0
    named = str(e.value).partition(": use ")[2].partition(", or load")[0].replace(" or ", ", ").split(", ")
    assert len(named) >= 4
    assert not set(named) & set(GRADIENT)
    assert set(named) <= set(methods())


def test_a_kernel_that_fails_says_what_to_do(tiny: Callable[..., LoadedModel]) -> None:
    failing = "always"

    def broken(*args: Any) -> None:
        if failing == "always" or torch.is_grad_enabled():
            raise RuntimeError("shape '[32, 0]' is invalid\nand more")

    for model in (tiny(), quantized(tiny(), "Int8WeightOnlyConfig")):
        model.network.model.layers[1].mlp.register_forward_hook(broken)
        if scheme(model.network) is None:
            with pytest.raises(RuntimeError, match="is invalid"):
                method("leave_one_out")(run(model))
            continue
        with pytest.raises(
            ModelError,
            match=r"method 'leave_one_out' fails in the kernels of torchao.*\[32, 0\]' is invalid\): load it",
        ):
            method("leave_one_out")(run(model))
        with pytest.raises(ModelError, match="generating an answer fails in the kernels of torchao"):
            Model(model).explain("The sky is blue.")
        with pytest.raises(torch.OutOfMemoryError), kernels(model.network, "it"):
            raise torch.OutOfMemoryError
        failing = "with a graph"
        with pytest.raises(ModelError, match=r"pass none \(shape .* is invalid\): use leave_one_out"):
            method("saliency")(run(model))


def test_int8_by_name(tiny_folder: Path) -> None:
    pytest.importorskip("torchao")
    model = load(str(tiny_folder), device="cpu", quantization="int8")
    assert scheme(model.loaded.network) == "torchao"
    plain = load(str(tiny_folder), device="cpu")
    assert model.loaded.parameters == plain.loaded.parameters
    answer = {"target": " Paris", "trust": False}
    a, b = (m.explain("What is the capital of France?", **answer).total for m in (model, plain))
    assert np.corrcoef(a, b)[0, 1] > 0.99
    assert not np.array_equal(a, b)


def test_names_and_packages(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> None:
    import sys

    with pytest.raises(OptionError, match="unknown quantization 'int4': expected one of int8, 8bit, 4bit"):
        load(str(tiny_folder), quantization="int4")
    for name, package in (("int8", "torchao"), ("4bit", "bitsandbytes")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=rf"needs {package}: pip install 'pellucid\[{package}\]'"):
            load(str(tiny_folder), quantization=name)


@pytest.fixture
def wider(tmp_path: Path, tokenizer) -> Path:  # type: ignore[no-untyped-def]
    """A tiny Llama whose maps are as large as bitsandbytes' blocks."""
    torch.manual_seed(7)
    small = FAMILIES["llama"](len(tokenizer))
    config = copy.deepcopy(small.config)
    config.hidden_size, config.intermediate_size, config.head_dim = 128, 128, 32
    type(small)(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_bitsandbytes_on_a_cpu(wider: Path, bits: str, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("bitsandbytes")
    with caplog.at_level(logging.WARNING):
        model = load(str(wider), device="cpu", quantization=bits).loaded
        masks = np.random.default_rng(0).random((20, len(UNITS))) < 0.6
        expected = single_passes(model, masks)
        assert ("inputs will be cast" in caplog.text) == (bits == "8bit")  # the network's own doing; ours is quiet
        caplog.clear()
        found = ablate.effects(run(model), masks)
        if bits == "8bit":  # rounds activations, and by what else is in the batch
            assert (found - expected).abs().mean() < 0.1 * expected.std(0).mean()
        else:
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        for name in ("attention", "value_zeroing", "ifr"):
            assert method(name)(run(model, per_token=True)).total.isfinite().all()
        if bits == "8bit":
            assert (method("saliency")(run(model, per_token=True)).total[:8] > 0).all()
        else:
            with pytest.raises(ModelError, match="bitsandbytes, which quantised this model, pass none"):
                method("saliency")(run(model))
    assert "inputs will be cast" not in caplog.text


@pytest.mark.parametrize("bits", ["int8", "8bit", "4bit"])
def test_the_output_map_is_the_one_that_runs(wider: Path, bits: str) -> None:
    from pellucid.trace.anatomy import blocks

    pytest.importorskip("torchao" if bits == "int8" else "bitsandbytes")
    plain, model = load(str(wider), device="cpu").loaded, load(str(wider), device="cpu", quantization=bits).loaded
    for a, b in zip(blocks(plain.network), blocks(model.network), strict=True):
        exact, found = a.matrix(), b.matrix()
        assert (found - exact).abs().max() < (0.2 if bits == "4bit" else 0.02) * exact.abs().max()
        x = torch.randn(3, exact.shape[1], generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            torch.testing.assert_close(x @ found.T, b.out(x), rtol=0.02, atol=0.02 * float((x @ exact.T).abs().max()))
