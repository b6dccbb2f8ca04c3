"""A classification head on an encoder: against transformers' own forward pass, plain loops, and runs never stopped."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_heads import LABELS, bert_tokenizer, config, with_head
from tokenizers import Tokenizer, models
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertModel, PreTrainedTokenizerFast, pipeline

import pellucid
from pellucid.cli.main import main
from pellucid.errors import InputError, ModelError, OptionError, OutputError
from pellucid.lab import heads
from pellucid.lab.classify import Classified, Settings, classify
from pellucid.lab.data.labelled import Task, Texts, padded, read
from pellucid.lab.evaluation.inputs import Document
from pellucid.lab.quantise import quantise
from pellucid.lab.train import train as train_language_model
from pellucid.lab.training.settings import Recipe
from pellucid.lab.training.settings import read as read_recipe

GOOD = ["good", "great", "法国 good", "the film was great", "not so dull and good", "great 国"]
BAD = ["bad", "dull", "法国 bad", "the film was dull", "not so good and bad", "dull 国"]
TRAIN: dict[str, Any] = {"rows": 4, "context": 24, "rate": 3e-3, "keep_last": 0}


def lines(texts: dict[str, list[str]], times: int) -> str:
    """``text<TAB>label``, the labels in turn."""
    rows = [f"{'very ' * (k % 3)}{t}\t{label}" for k in range(times) for label in texts for t in texts[label]]
    return "\n".join(rows) + "\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    train, dev = tmp_path / "train.tsv", tmp_path / "dev.tsv"
    train.write_text(lines({"0": BAD, "1": GOOD}, 3), encoding="utf-8")
    dev.write_text("the film was very good\t1\ndull and bad\t0\nso great\t1\n法国 not very bad\t0\nleft\t1\n", "utf-8")
    return train, dev


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    """A tiny BERT without a head."""
    return saved(tmp_path / "encoder")


def saved(folder: Path, **options: Any) -> str:
    tokenizer = bert_tokenizer()
    torch.manual_seed(3)
    network: Any = BertModel(config("bert", len(tokenizer), **options))
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def settings(**changed: Any) -> Settings:
    return Settings(epochs=changed.pop("epochs", 3), train={**TRAIN, **changed})


def weights(folder: Any) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def same(a: Any, b: Any) -> bool:
    x, y = weights(a), weights(b)
    return x.keys() == y.keys() and all(torch.equal(x[n], y[n]) for n in x)


def task_of(files: tuple[Path, Path]) -> Task:
    return read(*files, names={"0": "negative", "1": "positive"})


def test_files_are_read_with_their_labels(tmp_path: Path) -> None:
    tsv, jsonl = tmp_path / "a.tsv", tmp_path / "a.jsonl"
    tsv.write_text("one\t10\n\n二\t9\nthree\t10\n", encoding="utf-8")
    rows = [{"text": "one", "label": 10}, {"text": "二", "label": 9}, {"text": "three\u2028more\tof it", "label": "10"}]
    jsonl.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows), encoding="utf-8")
    a, b = read(tsv, jsonl), read(jsonl, tsv)
    assert a.labels == b.labels == ("9", "10"), "in the order of numbers"
    assert [e.text for e in a.train] == ["one", "二", "three"]
    assert [(e.text, a.number(e)) for e in a.held_out] == [("one", 1), ("二", 0), ("three\u2028more\tof it", 1)]
    assert a.train[1].place == f"{tsv}, line 3"
    assert read(tsv, tsv, names={"9": "neun"}).classes == ("neun", "10")


def test_a_random_share_is_held_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"text {k}\t{k % 2}\n" for k in range(50)), encoding="utf-8")
    made = read(path, share=0.2, seed=1)
    train, held = ([int(e.text.split()[1]) for e in some] for some in (made.train, made.held_out))
    assert len(held) == 10
    assert sorted(train + held) == list(range(50))
    assert (train, held) == (sorted(train), sorted(held))
    assert [e.text for e in read(path, share=0.2, seed=1).held_out] == [e.text for e in made.held_out]
    assert [e.text for e in read(path, share=0.2, seed=2).held_out] != [e.text for e in made.held_out]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("good\t1\nbad 0\n", r"a\.tsv, line 2, has 1 column: expected text<TAB>label"),
        ("good\t1\n\n \t0\n", r"a\.tsv, line 3, has an empty text"),
        ("good\t1\nbad\t \n", r"a\.tsv, line 2, has an empty label"),
        ("good\t1\nfine\t1\n", "has one label alone, '1': expected texts of two classes or more"),
        ("", "is empty"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read(path, path)


def test_what_does_not_fit_the_labels_is_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.tsv"
    other.write_text("good\t1\nso so\t2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"other\.tsv, line 2: no text that is trained on has the label '2': expected"):
        read(files[0], other)
    with pytest.raises(OptionError, match="a name is given for 'pos', which is no label: expected one of 0, 1"):
        read(*files, names={"pos": "positive"})
    with pytest.raises(OptionError, match="two classes would have one name: 1, 1"):
        read(*files, names={"0": "1"})
    (tmp_path / "few.tsv").write_text("a\t0\nb\t1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"has 2 lines, and 10% of them is none to hold out"):
        read(tmp_path / "few.tsv")


def test_batches_depend_on_the_seed_and_the_step_alone() -> None:
    random = np.random.default_rng(0)
    ids = [[k] * int(n) for k, n in enumerate(random.integers(3, 60, 103))]
    made = [Texts(ids, list(range(103)), rows=5, pad=999, seed=4) for _ in range(2)]
    for epoch in range(3):
        seen: list[int] = []
        for step in range(epoch * 20, epoch * 20 + 20):
            batch = made[0].batch(step)
            for row, mask, number in zip(
                batch.inputs.tolist(), batch.mask.tolist(), batch.targets.tolist(), strict=True
            ):
                real = [i for i, m in zip(row, mask, strict=True) if m]
                assert real == ids[number], "a text, its mask, and its class stay together"
                assert row[len(real) :] == [999] * (len(row) - len(real))
            assert max(sum(m) for m in batch.mask.tolist()) == batch.inputs.shape[1], "no wider than its longest"
            seen += batch.targets.tolist()
        assert len(set(seen)) == len(seen) == 100, "each once, but for those that fill no batch"
    assert torch.equal(made[1].batch(47).inputs, made[0].batch(47).inputs)
    assert made[0].order(0).tolist() != made[0].order(1).tolist()
    assert Texts(ids, list(range(103)), rows=5, pad=0, seed=5).order(0).tolist() != made[0].order(0).tolist()
    # 103 texts are one pool: sorted, then shuffled. A random order pads more than half as much again as there is.
    padding = sum(int((made[0].batch(s).mask == 0).sum()) for s in range(20))
    assert padding < 0.1 * sum(map(len, ids))
    with pytest.raises(InputError, match="there are 103 texts to train on, and one step takes 200"):
        Texts(ids, list(range(103)), rows=200, pad=0)


def test_the_loss_is_transformers_own_and_padding_changes_nothing() -> None:
    loaded = with_head("bert", attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0)
    network: Any = loaded.network
    texts = ["good", "the film was not so very good and great", "法国 bad"]
    numbers = [2, 0, 1]
    ids = [loaded.tokenizer(t).input_ids for t in texts]
    batch = padded(ids, numbers, 0)
    nll, extra = heads.learner(network)(batch.inputs, batch.targets, None, batch.mask)
    expected = 0.0
    for text, number in zip(texts, numbers, strict=True):  # one at a time, by transformers and by hand
        out = network(**loaded.tokenizer(text, return_tensors="pt"), labels=torch.tensor([number]))
        z = out.logits[0].tolist()
        by_hand = math.log(sum(math.exp(v) for v in z)) - z[number]
        assert float(out.loss) == pytest.approx(by_hand)
        expected += by_hand
    assert float(nll) == pytest.approx(expected, rel=1e-6)
    assert float(extra) == 0
    each = torch.cat([network(**loaded.tokenizer(t, return_tensors="pt")).logits for t in texts])
    torch.testing.assert_close(heads.read_all(network, ids, 0), each.float(), atol=1e-5, rtol=1e-5)


def test_texts_are_read_as_explain_reads_them_and_cut_inside_their_frame() -> None:
    loaded = with_head("bert")
    tokenizer: Any = loaded.tokenizer
    texts = ["good [SEP] film", "the film was good and the film was great", "法国"]
    task = [heads_example(t) for t in texts]
    ids, cut = heads.encoded(loaded, task, 8)
    start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert cut == 2, "what looks like a frame in a text is letters"
    assert [i.count(end) for i in ids] == [1, 1, 1]
    words = tokenizer("the film was good and the", add_special_tokens=False).input_ids
    assert ids[1] == [start, *words, end]
    assert ids[2] == tokenizer("法国").input_ids
    with pytest.raises(OptionError, match=r"texts of 200 tokens \(context\) are longer than the 128"):
        heads.encoded(loaded, task, 200)
    with pytest.raises(InputError, match=r"somewhere, line 7, has a text without a token"):
        heads.encoded(loaded, [heads_example("\u200b")], 20)


def heads_example(text: str) -> Any:
    from pellucid.lab.data.labelled import Labelled

    return Labelled(text, "0", "somewhere, line 7")


def test_it_learns_and_the_folder_is_a_classifier(encoder: str, files: tuple[Path, Path], tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    done = classify(encoder, task_of(files), tmp_path / "run", settings=settings(epochs=12), watch=seen.append)
    assert (done.texts, done.held_out, done.steps, done.cut) == (36, 5, 108, 0)
    assert seen[-1]["of_steps"] == 108
    assert not [n for n in seen[-1] if "token" in n]
    model = pellucid.load(done.folder, device="cpu")
    assert model.loaded.kind == "classifier"
    # transformers' own pipeline says the same of each held-out text.
    rows = [line.split("\t") for line in files[1].read_text(encoding="utf-8").splitlines()]
    said = [p["label"] for p in pipeline("text-classification", done.folder, device="cpu")([r[0] for r in rows])]
    right = [{"0": "negative", "1": "positive"}[r[1]] for r in rows]
    assert said[:4] == right[:4]
    assert done.accuracy is not None
    assert done.accuracy.value == sum(a == b for a, b in zip(said, right, strict=True)) / 5
    f1 = []
    for c in ("negative", "positive"):
        hits = sum(a == b == c for a, b in zip(said, right, strict=True))
        f1.append(2 * hits / (said.count(c) + right.count(c)))
    assert done.macro_f1 is not None
    assert done.macro_f1.value == pytest.approx(sum(f1) / 2)
    losses = []
    for text, label in rows:
        out = model.loaded.network(**model.loaded.tokenizer(text, return_tensors="pt"))
        losses.append(-float(out.logits.log_softmax(-1)[0, int(label)]))
    assert done.loss == pytest.approx(sum(losses) / 5, rel=1e-4)
    trace = model.explain("the film was great", method="integrated_gradients", unit="word")
    assert trace.answer.text == "positive"
    assert trace.ranking()[0].text == "great"
    assert (
        json.loads((tmp_path / "run" / "classify.json").read_text("utf-8"))["accuracy"]["value"] == done.accuracy.value
    )


def test_micro_batches_make_the_large_batchs_weights(files: tuple[Path, Path], tmp_path: Path) -> None:
    encoder = saved(tmp_path / "encoder", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    for times in (1, 2, 4):
        classify(encoder, task_of(files), tmp_path / str(times), settings=settings(accumulate=times, steps=6))
    for times in ("2", "4"):
        a, b = weights(tmp_path / "1"), weights(tmp_path / times)
        for n in a:
            if not n.endswith("key.bias"):  # adds the same to all of a row's logits: its gradient is noise around zero
                torch.testing.assert_close(a[n], b[n], rtol=2e-3, atol=2e-4)


def test_a_run_that_was_stopped_ends_with_the_same_weights(
    encoder: str, files: tuple[Path, Path], tmp_path: Path
) -> None:
    made, task = settings(epochs=2), task_of(files)
    whole = classify(encoder, task, tmp_path / "whole", settings=made)
    seen: list[int] = []
    half = classify(
        encoder,
        task,
        tmp_path / "twice",
        settings=made,
        watch=lambda m: seen.append(m["step"]),
        stop=lambda: len(seen) == 7,
    )
    assert half.stopped
    assert (half.steps, half.accuracy, half.loss) == (7, None, None)
    assert not (tmp_path / "twice" / "model.safetensors").exists()
    done = classify(encoder, task, tmp_path / "twice", settings=made, watch=lambda m: seen.append(m["step"]))
    assert seen == [*range(1, 19)]
    assert same(tmp_path / "whole", tmp_path / "twice")
    assert (done.loss, done.accuracy) == (whole.loss, whole.accuracy)


def test_what_changed_between_two_stretches_is_noticed(encoder: str, files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    classify(encoder, task_of(files), out, settings=settings(), stop=lambda: True)
    with pytest.raises(OptionError, match=r"another configuration \(rate: 0.003, now 0.01\)"):
        classify(encoder, task_of(files), out, settings=settings(rate=0.01))
    with pytest.raises(OptionError, match=r"another configuration \(classes: "):
        classify(encoder, read(*files), out, settings=settings())
    files[0].write_text(files[0].read_text("utf-8").replace("dull", "bad"), "utf-8")
    with pytest.raises(InputError, match=r"train\.tsv is not what it was when this run began"):
        classify(encoder, task_of(files), out, settings=settings())


def test_folders_of_other_things_are_refused(encoder: str, files: tuple[Path, Path], tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match="holds something else than a lab run"):
        classify(encoder, task_of(files), mine, settings=settings())
    assert [p.name for p in mine.iterdir()] == ["thesis.tex"]
    book = tmp_path / "book.txt"
    book.write_text("the cat sat on the mat. 猫坐在垫子上。\n" * 40, encoding="utf-8")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    recipe = read_recipe(sources=[str(book)], data={"tokenizer": "characters"}, train={"steps": 1, "context": 8})
    train_language_model(Recipe(recipe.data, sizes, recipe.train), tmp_path / "language")
    with pytest.raises(OutputError, match="holds another kind of run"):
        classify(encoder, task_of(files), tmp_path / "language", settings=settings())


def test_the_encoder_is_taken_whole_and_a_head_that_fits_is_kept(encoder: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made: Any = heads.with_head(encoder, ["a", "b"]).network
    before = BertModel.from_pretrained(encoder).state_dict()
    assert all(torch.equal(w, before[n]) for n, w in made.bert.state_dict().items()), "its pooler too"
    assert set(before) == set(made.bert.state_dict())
    torch.manual_seed(0)
    again: Any = heads.with_head(encoder, ["a", "b"]).network
    assert torch.equal(made.classifier.weight, again.classifier.weight)
    three = with_head("bert")
    three.network.to(torch.float32).save_pretrained(tmp_path / "three")
    three.tokenizer.save_pretrained(tmp_path / "three")
    own: Any = three.network
    kept: Any = heads.with_head(str(tmp_path / "three"), ["x", "y", "z"]).network
    assert torch.equal(kept.classifier.weight, own.classifier.weight)
    assert kept.config.id2label == {0: "x", 1: "y", 2: "z"} != dict(enumerate(LABELS))
    two: Any = heads.with_head(str(tmp_path / "three"), ["x", "y"]).network
    assert two.classifier.weight.shape == (2, 24)
    assert torch.equal(two.bert.pooler.dense.weight, own.bert.pooler.dense.weight)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_decoder_without_padding_is_read_at_each_texts_end(
    family: str, files: tuple[Path, Path], tmp_path: Path
) -> None:
    model = with_head(family, num_labels=2, pad_token_id=None)
    tokenizer: Any = model.tokenizer
    tokenizer.pad_token = None
    model.network.to(torch.float32).save_pretrained(tmp_path / family)
    tokenizer.save_pretrained(tmp_path / family)
    done = classify(str(tmp_path / family), task_of(files), tmp_path / "run", settings=settings(steps=2, context=64))
    network: Any = AutoModelForSequenceClassification.from_pretrained(done.folder)
    tokenizer = AutoTokenizer.from_pretrained(done.folder)
    losses = []
    for line in files[1].read_text("utf-8").splitlines():
        text, label = line.split("\t")
        logits = network(**tokenizer(text, return_tensors="pt")).logits.detach()  # alone: nothing is padded
        losses.append(-float(logits.log_softmax(-1)[0, int(label)]))
    assert done.loss == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_an_embedded_model_takes_a_head(embedded: pellucid.Model) -> None:
    loaded = heads.with_head("smollm2-135m-instruct", ["a", "b"])
    assert loaded.kind == "classifier"
    assert loaded.parameters == embedded.loaded.parameters + 2 * 576
    ids = loaded.tokenizer("天气 is good", return_tensors="pt").input_ids
    a, b = (m.network.base_model(ids).last_hidden_state for m in (loaded, embedded.loaded))
    assert torch.equal(a, b)


def test_packed_weights_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("torchao")  # its releases ask for a newer torch than this project
    quantise(str(tiny_folder), "int8", documents=[Document("a", "天气 is good. " * 40)], tokens=64).save(
        tmp_path / "int8"
    )
    with pytest.raises(ModelError, match="packed by torchao and cannot be trained: take the original"):
        heads.with_head(str(tmp_path / "int8"), ["a", "b"])


def test_models_that_cannot_have_a_head(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        heads.with_head(str(tmp_path), ["a", "b"])
    (tmp_path / "config.json").write_text('{"model_type": "wav2vec3"}')
    with pytest.raises(ModelError, match="cannot be given a classification head"):
        heads.with_head(str(tmp_path), ["a", "b"])
    folder = Path(saved(tmp_path / "bare"))
    bare = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    PreTrainedTokenizerFast(tokenizer_object=bare).save_pretrained(folder)
    with pytest.raises(ModelError, match="has no token to pad with"):
        heads.with_head(str(folder), ["a", "b"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": 0}, "epochs should be above 0, given 0"),
        ({"epochs": math.nan}, "epochs should be above 0, given nan"),
        ({"train": {"rows": 0}}, "rows should be at least 1, given 0"),
        ({"train": {"rat": 1.0}}, "unknown option of training 'rat'.*Did you mean 'rate'"),
        ({"train": {"rows": 6, "accumulate": 4}}, "6 rows do not divide into 4"),
        ({"train": {"spread": "fsdp"}}, "choose spread = ddp"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Settings(**given)


def test_steps_and_rates_follow_from_epochs() -> None:
    made = Settings(epochs=2).of(6919)
    assert (made.steps, made.warmup, made.rows, made.least) == (432, 43, 32, 0.0)
    assert made.evaluate_every == made.save_every == 108
    assert Settings(epochs=0.01).of(64).steps == 1
    assert Settings(train={"steps": 7, "warmup": 1}).of(6919).warmup == 1


def test_the_command(encoder: str, files: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    given = ["lab", "classify", encoder, "--data", str(files[0]), "--held-out", str(files[1]), "--out", str(out)]
    given += [
        "--name",
        "0=坏",
        "--name",
        "1=good",
        "--epochs",
        "1",
        "--rows",
        "4",
        "--context",
        "24",
        "--device",
        "cpu",
    ]
    assert main([*given, "--json", str(tmp_path / "found.json")]) == 0
    said, _ = capfd.readouterr()
    assert "36 texts, 5 held out, 2 classes: 坏, good" in said
    found = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert f"accuracy {found['accuracy']['value']:.4f} (" in said
    assert found["classes"] == ["坏", "good"]
    assert set(found) == set(Classified.__dataclass_fields__)
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert main([*given, "--json", "-", "--quiet"]) == 0
    said, _ = capfd.readouterr()
    assert json.loads(said)["accuracy"] == found["accuracy"], "the run is at its end, and is measured alike"
    assert main(["explain", "--model", str(out), "--device", "cpu", "--target", "坏", "dull and bad"]) == 0
    assert "坏" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--name", "positive"], "--name should look like label=name, given 'positive'"),
        (["--name", "1=a", "--name", "1=b"], "--name names the label '1' twice"),
        (["--rate", "-1"], "rate should be above 0, given -1.0"),
    ],
)
def test_the_command_says_what_is_wrong(
    more: list[str], said: str, files: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["lab", "classify", "nowhere", "--data", str(files[0]), "--out", str(tmp_path / "run"), *more]
    assert main(given) == 2
    assert said in capfd.readouterr().err
    assert not (tmp_path / "run").exists()
