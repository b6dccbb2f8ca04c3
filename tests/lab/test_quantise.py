"""Quantised models against plain loops in float64, torchao's own products, and what transformers reads back."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import FAMILIES
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from pellucid.cli.lab import quantise as command
from pellucid.errors import Error, InputError, MissingExtraError, ModelError, NumericError, OptionError, OutputError
from pellucid.lab.evaluation.inputs import Document
from pellucid.lab.evaluation.perplexity import perplexity
from pellucid.lab.quantisation import kinds, layers, measure
from pellucid.lab.quantisation.texts import MODULES, standard_library
from pellucid.lab.quantise import REPORT, Quantised, check_folder, quantise
from pellucid.lens.anatomy import anatomy
from pellucid.model import Model
from pellucid.models import int4, int8, quantization
from pellucid.models.load import LoadedModel, load_model
from pellucid.models.quantization import scheme

ao = pytest.importorskip("torchao.quantization")  # its releases ask for a newer torch than this project

TEXT = (
    "The capital of France is Paris, and the capital of Spain is Madrid. 法国的首都是巴黎。天气对农业的影响很大。" * 5
)
DOCUMENTS = [Document("held out", TEXT)]
IDS = torch.tensor([[5, 80, 33, 120, 64, 9, 200, 41, 17, 99, 150]])


def made(loaded: LoadedModel, to: str = "int8", **options: Any) -> Quantised:
    return quantise(loaded, to, documents=DOCUMENTS, window=32, tokens=64, **options)


def logits(network: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = network(IDS, use_cache=False).logits
    return found


def linear(network: Any) -> dict[str, Any]:
    """Maps inside the layers, by path; a Conv1D's weights the way round that a linear map has them."""
    found = {}
    for path, module in network.named_modules():
        if type(module).__name__ in ("Linear", "Conv1D") and "head" not in path:
            weight = module.weight
            found[path] = weight.T if type(module).__name__ == "Conv1D" else weight
    return found


def check_rounded(found: torch.Tensor, weight: torch.Tensor) -> None:
    """Are the rows of ``found`` those of ``weight`` [outputs, width], rounded to 8 bits, one number after another?

    The largest magnitude stands between -127 and -128, where float32 may turn either way.
    """
    for row, back in zip(weight.double().tolist(), found.double().tolist(), strict=True):
        most = max(abs(x) for x in row)
        for x, y in zip(row, back, strict=True):
            step = min(max(round(x * 127.5 / most), -128), 127)
            near = [step, -127] if x == -most else [step]
            assert min(abs(y - s * most / 127.5) for s in near) < 1e-6 * most


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_rows_of_8_bits_are_rounded_to_nearest(tiny: Callable[..., LoadedModel], name: str) -> None:
    plain, packed = tiny(name), made(tiny(name)).loaded.network
    maps = linear(packed)
    assert maps.keys() == linear(plain.network).keys()
    for path, weight in linear(plain.network).items():
        check_rounded(maps[path].dequantize(), weight)
    table = plain.network.get_input_embeddings().weight
    check_rounded(packed.get_input_embeddings().weight.dequantize(), table)
    assert packed.get_output_embeddings().weight is packed.get_input_embeddings().weight


def test_groups_of_4_bits_are_rounded_to_nearest() -> None:
    weight = torch.randn(16, 96, generator=torch.Generator().manual_seed(1))
    weight[3, 32:64] = 0.25  # one value: no range to divide
    found = int4.dequantized(int4.plain(weight, 32)).double().numpy()
    for row, back in zip(weight.double().numpy(), found, strict=True):
        for at in range(0, 96, 32):
            group = row[at : at + 32]
            low, high = min(group), max(group)
            scale = float(torch.tensor(max((high - low) / 15, 1e-6)).bfloat16())
            middle = float(torch.tensor(low + 8 * scale).bfloat16())
            expected = [min(max(round((x - middle) / scale), -8), 7) * scale + middle for x in group]
            near = np.abs(np.array(expected) - back[at : at + 32])
            assert (near < 1e-6).mean() > 0.98  # float32 turns a rounding that stands on the edge
            assert near.max() < 1.001 * scale
            assert np.abs(back[at : at + 32] - group).max() < 0.6 * scale + 2e-3  # what bfloat16 takes from the middle


@pytest.mark.parametrize(("outputs", "width", "group"), [(16, 32, 32), (48, 64, 64), (80, 256, 128)])
def test_a_cpus_4_bit_product_is_that_of_the_weights_it_stands_for(outputs: int, width: int, group: int) -> None:
    random = torch.Generator().manual_seed(2)
    plain = int4.plain(torch.randn(outputs, width, generator=random), group)
    x = torch.randn(3, 2, width, generator=random).bfloat16()
    found = torch.nn.functional.linear(x, int4.laid_out(plain, "cpu"))
    expected = x.double() @ int4.dequantized(plain).double().T
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=0.01, atol=0.01 * float(expected.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "config",
    [
        ao.Int8WeightOnlyConfig(set_inductor_config=False),
        ao.Int8WeightOnlyConfig(granularity=ao.PerGroup(32), set_inductor_config=False),
        ao.Int8DynamicActivationInt8WeightConfig(set_inductor_config=False),
    ],
    ids=["rows", "groups", "activations"],
)
def test_products_and_look_ups_are_torchaos_bit_for_bit(
    config: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "BLOCK", 10_000)  # several blocks, the last one shorter
    torch.manual_seed(3)
    x, ids = torch.randn(2, 3, 96).to(dtype), torch.tensor([[0, 5], [99, 5]])
    for bias in (True, False):
        network = torch.nn.Sequential(torch.nn.Linear(96, 100, bias=bias)).to(dtype)
        ao.quantize_(network, config)
        network.requires_grad_(False)
        expected, rows = network(x), torch.nn.functional.embedding(ids, network[0].weight)
        int8.in_rows(network)
        assert isinstance(network[0].weight, int8.kind())
        found = network(x)
        assert found.dtype == dtype
        assert torch.equal(found, expected)
        assert torch.equal(torch.nn.functional.embedding(ids, network[0].weight), rows)
        assert type(int8.plain(network[0].weight)) is ao.Int8Tensor


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Experts add up their tokens in an order that threads decide: with one, equal weights give equal logits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("name", "to"),
    [(n, "int8") for n in sorted(FAMILIES)]
    + [(n, k) for n in ("llama", "gpt2", "gemma3") for k in ("int8-dynamic", "int4")],
)
def test_what_is_saved_is_what_is_loaded(
    tiny: Callable[..., LoadedModel], tmp_path: Path, name: str, to: str, one_thread: None
) -> None:
    original = tiny(name)
    before = logits(original.network)
    small = made(original, to)
    expected = logits(small.loaded.network)
    assert torch.equal(logits(original.network), before), "the original changed"
    assert not torch.allclose(expected.float(), before, atol=1e-4), "nothing was rounded"
    report = small.save(tmp_path / "small")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small"]
    loaded = load_model(str(tmp_path / "small"), device="cpu")
    assert torch.equal(logits(loaded.network), expected)
    assert scheme(loaded.network) == "torchao"
    assert loaded.parameters == original.parameters
    assert loaded.tokenizer.chat_template == original.tokenizer.chat_template
    assert abs(measure.memory(loaded.network) - report.after.memory) <= 2  # Gemma's scale, a buffer, in bfloat16 too
    assert json.loads((tmp_path / "small" / REPORT).read_text("utf-8")) == report.to_dict()
    assert report.after.disk == sum(p.stat().st_size for p in (tmp_path / "small").glob("*.safetensors"))
    assert Model(loaded).explain("What is the capital of France?", target=" Paris", method="leave_one_out")
    if to != "int4":  # and once more, from what was loaded
        replace(small, loaded=loaded).save(tmp_path / "again")
        assert torch.equal(logits(load_model(str(tmp_path / "again"), device="cpu").network), expected)
    else:
        with pytest.raises(ModelError, match="copy the folder that they came from"):
            replace(small, loaded=loaded).save(tmp_path / "again")
        assert not (tmp_path / "again").exists()


def test_transformers_alone_reads_the_folder(tiny: Callable[..., LoadedModel], tmp_path: Path) -> None:
    small = made(tiny())
    small.save(tmp_path / "small")
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "small")
    assert type(network.model.embed_tokens.weight) is ao.Int8Tensor
    assert torch.equal(logits(network), logits(small.loaded.network))


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_network_computes_with_the_weights_that_its_packed_ones_stand_for(
    tiny: Callable[..., LoadedModel], name: str
) -> None:
    reference, packed = tiny(name), made(tiny(name)).loaded.network
    with torch.no_grad():
        for path, weight in linear(reference.network).items():
            weight.copy_(linear(packed)[path].dequantize())
        table = reference.network.get_input_embeddings().weight
        table.copy_(packed.get_input_embeddings().weight.dequantize())
    torch.testing.assert_close(logits(packed), logits(reference.network), rtol=1e-4, atol=1e-4)
    answer = {"target": " Paris", "trust": False, "method": "saliency"}
    a, b = (
        Model(LoadedModel.wrap(n, reference.tokenizer)).explain("The capital of France?", **answer).total
        for n in (packed, reference.network)
    )
    np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4)


def test_the_report_counts_what_there_is(tiny: Callable[..., LoadedModel]) -> None:
    """By hand: a Llama of 2 layers, width 32, 4 heads of 8 (2 of keys), MLP 48, V tokens, tied head."""
    loaded = tiny()
    size = len(loaded.tokenizer)
    maps = {"q_proj": (32, 32), "k_proj": (16, 32), "v_proj": (16, 32), "o_proj": (32, 32)}
    maps |= {"gate_proj": (48, 32), "up_proj": (48, 32), "down_proj": (32, 48)}
    small = made(loaded)
    report = small.report
    table, *others = report.converted
    assert table.names == ("model.embed_tokens.weight", "lm_head.weight")
    assert (table.module, table.shape, table.stored) == ("Embedding", (size, 32), "int8 rows")
    assert {(c.names[0].split(".")[-2], c.shape, c.stored) for c in others} == {(n, s, "int8") for n, s in maps.items()}
    assert len(others) == 2 * len(maps)
    assert [(k.parameters, k.why) for k in report.kept] == [(32, "a vector (a norm or a bias)")] * 5
    packed = size * 32 + 2 * sum(a * b for a, b in maps.values())
    rows = size + 2 * sum(a for a, _ in maps.values())
    assert report.parameters == packed + 5 * 32
    assert report.share == packed / report.parameters
    assert report.bfloat16 == 2 * report.parameters
    buffers = sum(b.numel() * 4 for b in loaded.network.buffers())
    assert report.before.memory == 4 * report.parameters + buffers
    assert report.after.memory == packed + 5 * rows + 4 * 5 * 32 + buffers  # a scale and a zero point a row
    assert anatomy(small.loaded).bytes == report.after.memory - buffers
    assert report.smaller == report.after.memory / report.before.memory < 0.5
    assert (report.before.dtype, report.after.dtype, report.before.disk, report.after.disk) == (
        "float32",
        "float32",
        None,
        None,
    )
    fours = made(loaded, "int4").report
    kept = {k.name.split(".")[-2]: k.why for k in fours.kept if len(k.shape) == 2}
    assert kept == {"down_proj": "its width of 48 is no multiple of the group of 32"}
    assert {c.stored for c in fours.converted} == {"int8 rows", "int4, groups of 32"}
    assert (fours.after.dtype, fours.group) == ("bfloat16", 32)
    left = made(loaded, embedding=False)
    assert [k.why for k in left.report.kept if len(k.shape) == 2] == ["the token table or the head, left as asked"]
    assert left.loaded.network.lm_head.weight is loaded.network.lm_head.weight


def test_gpt2s_maps_are_named_as_they_were(tiny: Callable[..., LoadedModel]) -> None:
    report = made(tiny("gpt2")).report
    assert [c.module for c in report.converted].count("Conv1D") == 8
    assert "an embedding of something else than tokens" in [k.why for k in report.kept if k.name.endswith("wpe.weight")]


def test_experts_in_one_block_are_said_to_stay(tiny: Callable[..., LoadedModel]) -> None:
    report = made(tiny("mixtral")).report
    stay = [k for k in report.kept if len(k.shape) == 3]
    assert stay
    assert all("3 dimensions" in k.why for k in stay)
    assert report.share + sum(k.parameters for k in report.kept) / report.parameters == pytest.approx(1)


def test_perplexity_is_that_of_the_evaluation(tiny: Callable[..., LoadedModel]) -> None:
    loaded = tiny()
    small = quantise(loaded, "int8", documents=DOCUMENTS, window=32, tokens=10_000)
    for one, network in ((small.report.before, loaded), (small.report.after, small.loaded)):
        expected = perplexity(network, DOCUMENTS, window=32, stride=32)
        assert one.nats == pytest.approx(expected.nats, rel=1e-5)
        assert one.perplexity == pytest.approx(math.exp(expected.nats / expected.tokens), rel=1e-5)
        assert one.reading > 0
        assert one.writing > 0
    assert small.report.text.tokens == expected.tokens
    assert small.report.cost == small.report.after.perplexity / small.report.before.perplexity - 1
    assert made(loaded).report.text.tokens == 64, "more was read than was asked for"


def test_where_no_text_is_given_the_standard_library_is_read(tiny: Callable[..., LoadedModel]) -> None:
    report = quantise(tiny(), "int8", tokens=100).report
    assert (report.text.names, report.text.tokens) == ((f"Python's {MODULES[0]}",), 100)
    assert [d.name for d in standard_library()] == [f"Python's {m}" for m in MODULES]
    assert all(len(d.text) > 5000 for d in standard_library())


def test_float8_is_saved_and_loaded_where_a_device_has_it(
    tiny: Callable[..., LoadedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU computes it the long way round, so all but the device's word for it can be looked at here."""
    monkeypatch.setitem(kinds.KINDS, "float8", replace(kinds.KINDS["float8"], check_device=lambda device: None))
    small = made(tiny(), "float8")
    for path, weight in linear(small.loaded.network).items():
        exact = linear(tiny().network)[path]
        near = (weight.dequantize() - exact).abs() / exact.abs().amax(1, keepdim=True)
        assert near.max() < 2**-4  # three bits behind the point
    small.save(tmp_path / "small")
    assert torch.equal(logits(load_model(str(tmp_path / "small"), device="cpu").network), logits(small.loaded.network))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("to", ["int8", "int8-dynamic", "int4", "float8"])
def test_cuda_equals_cpu(tiny: Callable[..., LoadedModel], tmp_path: Path, to: str) -> None:
    loaded = tiny()
    if to != "float8":
        made(loaded, to).save(tmp_path / "cpu")
        on_cpu = logits(load_model(str(tmp_path / "cpu"), device="cpu").network)
        network = load_model(str(tmp_path / "cpu"), device="cuda").network
        with torch.no_grad():
            found = network(IDS.cuda(), use_cache=False).logits.cpu()
        torch.testing.assert_close(found.float(), on_cpu.float(), rtol=0.05, atol=0.1)
    loaded.network.to("cuda")
    small = made(loaded, to)
    small.save(tmp_path / "cuda")
    again = load_model(str(tmp_path / "cuda"), device="cuda").network
    with torch.no_grad():
        assert torch.equal(again(IDS.cuda()).logits, small.loaded.network(IDS.cuda()).logits)


def test_what_cannot_be_is_one_sentence(tiny: Callable[..., LoadedModel], tmp_path: Path) -> None:
    loaded = tiny()
    bare = LlamaForCausalLM(LlamaConfig(vocab_size=400, hidden_size=32, num_hidden_layers=0, num_attention_heads=4))
    odd = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=400,
            hidden_size=40,
            intermediate_size=40,
            num_hidden_layers=1,
            num_attention_heads=4,
            head_dim=10,
        )
    )
    wrong = tiny()
    wrong.network.model.norm.weight[:] = torch.nan
    cases: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (
            lambda: made(loaded, "int9"),
            OptionError,
            "unknown kind of quantisation 'int9': expected one of int8,.*int8'",
        ),
        (
            lambda: made(loaded, "float8"),
            OptionError,
            "float8 needs CUDA of compute capability 8.9 or above, and the model is on cpu",
        ),
        (lambda: made(loaded, "int8-dynamic", group_size=32), OptionError, "has one scale a row and no groups"),
        (lambda: made(loaded, "int4", group_size=48), OptionError, "should be one of 32, 64, 128, given 48"),
        (lambda: made(loaded, group_size=0), OptionError, "a whole number of weights, 1 or more, given 0"),
        (
            lambda: made(loaded, group_size=7),
            ModelError,
            r"a group_size of 7 divides the width of no linear layer of this Llama.* \(32, 48\); sizes that do: 16, 32",
        ),
        (lambda: made(loaded, "int4", group_size=64), ModelError, "group_size of 64 divides .*; sizes that do: 32"),
        (
            lambda: made(LoadedModel.wrap(bare, loaded.tokenizer)),
            ModelError,
            "this LlamaForCausalLM has no linear layer but its head, so int8 would change nothing",
        ),
        (
            lambda: made(LoadedModel.wrap(odd, loaded.tokenizer), "int4"),
            ModelError,
            r"int4 can pack no linear layer .* outputs \(40\) are no multiple of 16, which its kernel takes",
        ),
        (
            lambda: made(made(loaded).loaded),
            ModelError,
            "'llama' is quantised already, by torchao: give the model that",
        ),
        (lambda: made(tiny(dtype=torch.float64)), ModelError, "and 'llama' is in float64: load it in one"),
        (lambda: made(replace(loaded, kind="seq2seq")), ModelError, "needs a causal language model, and 'llama' is of"),
        (lambda: quantise(loaded, documents=[Document("a", "")]), InputError, "there is nothing to measure on"),
        (lambda: made(loaded, device="cpu"), OptionError, "the model is loaded already: leave out device"),
        (lambda: quantise(loaded, tokens=0), OptionError, "tokens should be 1 or more, given 0"),
        (lambda: quantise(loaded, window=1000), OptionError, "window should be from 1 to 128, what 'llama' reads"),
        (lambda: made(wrong), NumericError, "no finite probability"),
        (lambda: check_folder(__file__), OutputError, "it is a file; give the name of a new folder"),
        (lambda: check_folder(tmp_path.parent), OutputError, "is not empty: give the name of a new one"),
        (lambda: check_folder("/proc/small"), OutputError, "cannot write the folder /proc/small: "),
        (lambda: check_folder(tmp_path / "a" / "b"), OutputError, "there is no folder .*; make it first"),
    ]
    for call, kind, said in cases:
        with pytest.raises(kind, match=said):
            call()


def test_a_folder_of_packed_weights_is_loaded_as_it_is(
    tiny: Callable[..., LoadedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, four = str(tmp_path / "eight"), str(tmp_path / "four")
    made(tiny()).save(folder)
    made(tiny(), "int4").save(four)
    with pytest.raises(OptionError, match="is quantised already, by torchao: leave quantization out"):
        load_model(folder, quantization="int8")
    with pytest.raises(OptionError, match="compute in bfloat16, given dtype 'float32': leave it at 'auto'"):
        load_model(four, dtype="float32")
    assert load_model(folder, device="cpu", dtype="bfloat16").dtype == torch.bfloat16
    loaded = load_model(four, device="cpu")
    assert loaded.dtype == torch.bfloat16
    with pytest.raises(ModelError, match="pass none"):
        Model(loaded).explain("What is the capital of France?", target=" Paris", method="saliency")
    weights = tmp_path / "eight" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelError, match="damaged"):
        load_model(folder, device="cpu")
    monkeypatch.setattr(quantization, "version", lambda name: "0.15.0")
    with pytest.raises(MissingExtraError, match=r"torchao 0.18 or newer, and 0.15.0 is here: pip install -U"):
        made(tiny())

    def gone(name: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(quantization, "version", gone)
    with pytest.raises(MissingExtraError, match=r"whose weights it packed, needs torchao, which is not .*\[torchao\]'"):
        load_model(four, device="cpu")


def test_asked_by_name_a_network_without_linear_maps_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    """torchao passes over GPT-2's Conv1D without a word."""
    FAMILIES["gpt2"](len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"quantization='int8' changes no weight of .* 'pellucid lab quantise'"):
        load_model(str(tmp_path), device="cpu", quantization="int8")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
        (OSError(28, "No space left on device"), OutputError, "cannot write the folder .*: No space left on device"),
        (ValueError("temperature is set\nand more"), ModelError, "cannot save 'llama': temperature is set$"),
    ],
)
def test_what_is_stopped_leaves_nothing(
    tiny: Callable[..., LoadedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any, kind: Any, said: str
) -> None:
    small = made(tiny())

    def half(folder: Path) -> None:
        (Path(folder) / "tokenizer.json").write_text("{", encoding="utf-8")
        raise error

    monkeypatch.setattr(small.loaded.tokenizer, "save_pretrained", half)
    (tmp_path / "small").mkdir()
    with pytest.raises(kind, match=said):
        small.save(tmp_path / "small")
    assert [p.name for p in tmp_path.rglob("*")] == ["small"]


def test_a_callback_that_stops_it_stops_it(tiny: Callable[..., LoadedModel]) -> None:
    loaded, stages = tiny(), []

    def stop(stage: str, done: float, total: float | None) -> None:
        stages.append(stage)
        if stage == "timing generation":
            raise KeyboardInterrupt

    saved = loaded.network.generation_config
    with pytest.raises(KeyboardInterrupt):
        made(loaded, progress=stop)
    assert list(dict.fromkeys(stages)) == ["packing weights", "measuring perplexity", "timing generation"]
    assert loaded.network.generation_config is saved
    assert scheme(loaded.network) is None


def test_a_weight_is_named_by_all_that_share_it(tiny: Callable[..., LoadedModel]) -> None:
    network = tiny().network
    found = {w.names for w in layers.weights(network)}
    assert ("model.embed_tokens.weight", "lm_head.weight") in found
    assert sum(len(n) for n in found) == sum(1 for _ in network.named_parameters(remove_duplicate=False))
    other = layers.sharing(network)
    assert other.lm_head is not network.lm_head
    assert other.lm_head.weight is network.lm_head.weight


def call(*arguments: str) -> int:
    """The command, without the rest of the command line."""
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    options = parser.parse_args([*arguments])
    code: int = options.run(options)
    return code


def test_the_command(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "held-out.txt"
    text.write_text(TEXT, encoding="utf-8")
    out, report = tmp_path / "small", tmp_path / "report.json"
    rest = ["--data", str(text), "--device", "cpu", "--tokens", "64"]
    assert call("quantise", str(tiny_folder), "--out", str(out), "--json", str(report), *rest) == 0
    shown = capsys.readouterr()
    data = json.loads(report.read_text("utf-8"))
    assert data["schema"] == "pellucid.quantisation/1"
    assert data["before"]["disk"] == (tiny_folder / "model.safetensors").stat().st_size
    assert data["text"]["names"] == ["held-out.txt"]
    for line in (
        f"bytes in memory .* {data['before']['memory']:,} .* {data['after']['memory']:,} ",
        f"perplexity .* {data['before']['perplexity']:.4f} .* {data['after']['perplexity']:.4f} ",
        "packed: 15 weights",
        "14 Linear as int8",
    ):
        assert any(re.search(line, s) for s in shown.out.splitlines()), (line, shown.out)
    assert f"wrote {out}" in shown.err
    assert json.loads((out / REPORT).read_text("utf-8")) == data
    other = tmp_path / "other"
    assert call("quantize", str(tiny_folder), "--to", "int4", "--out", str(other), "--json", "-", "--quiet", *rest) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["to"] == "int4"
    assert shown.err == f"wrote {other}\n"
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n", encoding="utf-8")
    for arguments, said in (
        (["--out", str(out)], "is not empty"),
        (["--out", str(tmp_path / "x"), "--data", str(empty)], "is empty: expected some text"),
        (["--out", str(tmp_path / "x"), "--to", "4"], "unknown kind"),
        (["--out", str(tmp_path / "x"), "--json", str(tmp_path / "r.txt")], "--json writes a .json file"),
    ):
        with pytest.raises(Error, match=said):
            call("quantise", str(tiny_folder), *arguments)
    assert not (tmp_path / "x").exists()
