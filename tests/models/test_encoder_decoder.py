"""Encoder-decoders' sources, languages and starts; loading them; what is missing is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_seq2seq import SOURCE, TARGET, make, marian, marian_tokenizer, spm, t5, t5_tokenizer

from pellucid.cli.main import main
from pellucid.errors import ModelError, OptionError
from pellucid.model import load
from pellucid.models.align import align_ids
from pellucid.models.encode import encode, encode_target
from pellucid.models.load import LoadedModel
from pellucid.models.seq2seq import decoder_start, instruction, source_frame, speaking
from pellucid.trace.explain import explain
from pellucid.trace.faithful import faithfulness
from pellucid.trace.result import Trace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Marian saved in the Hub's layout."""
    place = tmp_path_factory.mktemp("marian")
    loaded = make("marian", place / "parts", torch.float32)
    loaded.network.save_pretrained(place / "model")
    loaded.tokenizer.save_pretrained(place / "model")
    return place / "model"


def test_tokens_know_their_characters(tmp_path: Path) -> None:
    text = "The  house, naïve 这座</s>."
    for name in ("marian", "t5", "bart", "m2m100"):
        loaded = make(name, tmp_path / name)
        tokens = encode(loaded, text).tokens
        written = [t for t in tokens if t.role == "user"]
        reached = 0
        for t in written:
            assert t.start is not None
            assert t.end is not None
            assert t.text == text[t.start : t.end]
            assert t.start <= reached <= t.end
            reached = t.end
        assert reached == len(text)
        assert tokens[-1].role == "special"
        assert tokens[-1].id == loaded.tokenizer.eos_token_id
        assert [t.word for t in tokens] == sorted(t.word for t in tokens)


@pytest.mark.parametrize("answer", [TARGET, "  Das   Haus ", "grün, naïve 这座.", "▁ x"])
def test_given_answers_come_back(tmp_path: Path, answer: str) -> None:
    for name in ("marian", "t5", "bart", "m2m100"):
        loaded = make(name, tmp_path / name)
        ids = encode_target(loaded, encode(loaded, SOURCE), answer)
        text, spans = align_ids(loaded.tokenizer, ids)
        assert text == loaded.tokenizer.decode(ids)
        assert "".join(text[a:b] for a, b in dict.fromkeys(spans)) == text


def test_separate_vocabularies_read_the_target_by_its_own(tmp_path: Path) -> None:
    """Marian with two sentencepiece models: an answer is read by the second, and the tokenizer is left as it was."""
    german = spm(60, ["das haus ist klein", "der garten ist grün"])
    tokenizer = marian_tokenizer(tmp_path, spm(), german)
    loaded = LoadedModel.wrap(marian(len(tokenizer)), tokenizer, name="two")
    ids = encode_target(loaded, encode(loaded, SOURCE), "das haus")
    assert ids == tokenizer(text_target="das haus", add_special_tokens=False)["input_ids"]
    assert ids != tokenizer("das haus", add_special_tokens=False)["input_ids"]
    assert tokenizer.current_spm is tokenizer.spm_source


def test_marks_and_tasks_are_special(tmp_path: Path) -> None:
    tokenizer = marian_tokenizer(tmp_path / "marks", marks=(">>fra<<", ">>deu<<"))
    loaded = LoadedModel.wrap(marian(len(tokenizer)), tokenizer, name="many")
    tokens = encode(loaded, f">>fra<< {SOURCE}").tokens
    assert (tokens[0].text, tokens[0].role, tokens[0].start, tokens[0].end) == (">>fra<<", "special", 0, 7)
    assert "".join(t.text for t in tokens if t.role == "user") == SOURCE
    assert instruction(loaded, SOURCE) == 0
    with pytest.raises(OptionError, match="begin the source with the mark of the target language, like >>fra<<"):
        explain(loaded, SOURCE, target_language="fra")

    reads = t5_tokenizer()
    network: Any = t5(len(reads))
    network.config.task_specific_params = {"a": {"prefix": "The house"}, "b": {"prefix": "The house is: "}, "c": {}}
    loaded = LoadedModel.wrap(network, reads, name="t5")
    text = "The house is: small"
    tokens = encode(loaded, text).tokens
    assert "".join(dict.fromkeys(t.text for t in tokens if t.role == "user")).strip() == "small"
    trace = explain(loaded, text, TARGET)
    assert {trace.sources[i].role for i in trace.content} == {"user"}


def test_languages(tmp_path: Path) -> None:
    loaded = make("m2m100", tmp_path)
    tokenizer: Any = loaded.tokenizer
    plain = LoadedModel.wrap(loaded.network, tokenizer, name="m2m100")
    eos, lang = tokenizer.eos_token_id, tokenizer.get_lang_id
    with pytest.raises(OptionError, match="writes several languages: say which with target_language"):
        explain(plain, SOURCE)
    with pytest.raises(OptionError, match="unknown target_language 'german': expected one of af, am"):
        explain(plain, SOURCE, target_language="german")
    assert source_frame(plain) == ([lang("en")], [eos])
    spoken = speaking(plain, "fr", "zh")
    assert source_frame(spoken) == ([lang("fr")], [eos])
    assert decoder_start(spoken) == [eos, lang("zh")]
    assert tokenizer.src_lang == "en"
    plain.network.generation_config.forced_bos_token_id = lang("ro")
    assert decoder_start(plain) == [eos, lang("ro")]
    assert decoder_start(spoken) == [eos, lang("zh")]
    trace = explain(plain, SOURCE, TARGET, source_language="fr", target_language="zh")
    assert trace.sources[0].id == lang("fr")
    assert (trace.details["source_language"], trace.details["target_language"]) == ("fr", "zh")
    judged = faithfulness(plain, trace, ablations=4, orders=1)  # by the same languages
    assert judged.verdict.deletion[0] == pytest.approx(np.mean([t.logprob for t in trace.targets]), abs=1e-4)
    other = explain(plain, SOURCE, TARGET, source_language="fr", target_language="de")
    assert other.targets[0].logprob != trace.targets[0].logprob


def test_models_that_start_from_the_language(tmp_path: Path) -> None:
    """mBART's first models: no token comes between the language and the answer."""
    loaded = make("m2m100", tmp_path)
    tokenizer: Any = loaded.tokenizer
    plain = LoadedModel.wrap(loaded.network, tokenizer, name="mbart")
    plain.network.generation_config.decoder_start_token_id = tokenizer.get_lang_id("ro")
    assert decoder_start(plain) == [tokenizer.get_lang_id("ro")]
    assert decoder_start(speaking(plain, None, "de")) == [tokenizer.get_lang_id("de")]


def test_models_without_languages_take_none(tmp_path: Path) -> None:
    loaded = make("t5", tmp_path)
    with pytest.raises(OptionError, match="'t5' takes no source_language"):
        explain(loaded, SOURCE, source_language="en")
    loaded.network.generation_config.decoder_start_token_id = None
    loaded.network.config.decoder_start_token_id = None
    with pytest.raises(ModelError, match="names no token that its decoder starts from"):
        explain(loaded, SOURCE)


def test_a_folder_loads_and_explains(folder: Path, tmp_path: Path) -> None:
    model = load(str(folder), device="cpu")
    assert model.loaded.kind == "seq2seq"
    assert model.loaded.context == 64
    trace = model.explain(SOURCE, TARGET, per_token=True)
    again = Trace.from_dict(json.loads(json.dumps(trace.to_dict())))
    assert again.to_json() == trace.to_json()
    for ending in ("json", "html", "png"):
        assert trace.save(tmp_path / f"t.{ending}").stat().st_size > 1000
    comparison = model.compare(SOURCE, ["saliency", "attention"], TARGET)
    assert [t.method.name for t in comparison.traces] == ["saliency", "attention"]


def test_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [f"--{ending}={tmp_path / f't.{ending}'}" for ending in ("json", "html", "png")]
    done = main(
        ["explain", "--model", str(folder), "--per-token", "--device", "cpu", "--max-new-tokens", "5", *files, SOURCE]
    )
    out = capsys.readouterr()
    assert done == 0, out.err
    assert "house" in out.out
    assert Trace.load(tmp_path / "t.json").answer.generated
    assert "house" in (tmp_path / "t.html").read_text(encoding="utf-8")
    assert main(["explain", "--model", str(folder), "--device", "cpu", "--target-language", "fr", SOURCE]) == 2
    assert "takes no target_language" in capsys.readouterr().err


def test_what_is_missing_is_named(folder: Path) -> None:
    code = f"""
import sys, importlib.util, importlib.metadata
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name.split(".")[0] == "sentencepiece" else find(name, *a)
sys.modules["sentencepiece"] = None
import pellucid
try:
    pellucid.load({str(folder)!r}, device="cpu")
except pellucid.MissingExtraError as e:
    print(e)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.stdout.strip().endswith(
        "needs sentencepiece, which is not installed: pip install 'pellucid[sentencepiece]'"
    ), out.stdout + out.stderr
