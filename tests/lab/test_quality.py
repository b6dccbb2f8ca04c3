"""Words, measures of a model's own texts, sampling, and metrics against references: by hand, by loops, by sacrebleu."""

from __future__ import annotations

import importlib.machinery
import math
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
import torch
from rouge_score.rouge_scorer import RougeScorer

from pellucid.errors import InputError, MissingExtraError, ModelError, OptionError
from pellucid.lab.evaluation import bootstrap, learned, quality
from pellucid.lab.evaluation.evaluate import Plan
from pellucid.lab.evaluation.quality import MEASURES, Prompted, measure, prepared
from pellucid.lab.evaluation.references import compare
from pellucid.lab.evaluation.result import Row
from pellucid.lab.evaluation.sampling import Samples, Written, answers, sample
from pellucid.lab.evaluation.setting import Setting
from pellucid.lab.evaluation.words import chinese, content, sentences, words
from pellucid.models.load import LoadedModel

Make = Callable[..., LoadedModel]


def of(name: str, *texts: str) -> float | None:
    (prompt,) = prepared([Samples("p", tuple(Written(t, len(t), True) for t in texts))])
    return MEASURES[name].of(prompt)


def test_words_of_english_and_chinese() -> None:
    assert words("The cat's 3 well-known Ideas, naïve? 天气很好！OK") == [
        *("the", "cat's", "3", "well-known", "ideas", "naïve"),
        *("天", "气", "很", "好", "ok"),
    ]
    assert words(" ... ！？") == []
    assert content("The weather of the north 天气很好") == {"weather", "north", "天", "气", "好"}
    assert chinese(["天气很好 OK"])
    assert not chinese(["The weather, 天气"])


def test_sentences_of_english_and_chinese() -> None:
    assert sentences('Dr. Lee paid $3.50. "Why?" he said... Yes!') == [
        "Dr. Lee paid $3.50.",
        '"Why?"',
        "he said...",
        "Yes!",
    ]
    assert sentences("天气很好。“去哪里？”他问；我说：山上！还没完") == [
        "天气很好。",
        "“去哪里？”",
        "他问；",
        "我说：山上！",
        "还没完",
    ]
    assert sentences("One\nTwo\n\n...") == ["One", "Two"]


def test_variety_by_hand() -> None:
    assert of("type-token ratio", "the cat the dog", "a b") == pytest.approx((3 / 4 + 1) / 2)
    assert of("type-token ratio", "天天好") == pytest.approx(2 / 3)
    assert of("distinct-1", "the cat", "the dog") == pytest.approx(3 / 4)
    assert of("distinct-2", "a b a b", "a b") == pytest.approx(2 / 4)  # ab ba ab, ab
    assert of("distinct-3", "天气天气天气") == pytest.approx(2 / 4)
    assert of("distinct-2", "one") is None
    # {a b} {b c} {d}: 1 - 1/3, 1, 1
    assert of("pairwise distance", "a b", "b c b", "d") == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert of("pairwise distance", "天气好", "天气坏") == pytest.approx(1 - 2 / 4)
    assert of("pairwise distance", "alone") is None
    assert of("empty texts", "a", "...") == 0.5
    assert of("sentences a text", "One. Two.", "一。二。三。") == 2.5


def test_repetition_counts_five_grams() -> None:
    assert of("5-grams repeated", "a b c d e f g h") == 0
    assert of("5-grams repeated", "a b c d e a b c d e") == pytest.approx(1 / 6)
    assert of("5-grams repeated", "好" * 10, "a b c") == pytest.approx(5 / 6)  # six 5-grams, all the same
    assert of("5-grams repeated", "too short") is None


def test_coherence_is_of_content_words_of_neighbours() -> None:
    assert of("coherence", "The cat sat. The cat sat. The cat sat.") == 1
    assert of("coherence", "The cat sat. A dog ran.") == 0
    assert of("coherence", "The cat sat. The cat ran fast. Dogs.") == pytest.approx((1 / 4 + 0) / 2)
    assert of("coherence", "天气好。天气坏。") == pytest.approx(2 / 4)
    assert of("coherence", "One sentence") is None


def test_self_bleu_is_sacrebleus_of_each_against_the_others() -> None:
    texts = ["the cat sat on the mat today", "the cat sat on a red mat", "a dog ran to the house"]
    scores = [
        sacrebleu.sentence_bleu(t, [u for u in texts if u is not t], use_effective_order=True).score for t in texts
    ]
    assert of("self-BLEU", *texts) == pytest.approx(np.mean(scores))
    zh = ["今天的天气很好。", "今天的天气不好。"]
    pair = [sacrebleu.sentence_bleu(a, [b], tokenize="zh", use_effective_order=True).score for a, b in (zh, zh[::-1])]
    assert of("self-BLEU", *zh) == pytest.approx(np.mean(pair))
    assert min(pair) > 20  # as words between blanks, the two would have nothing in common
    assert of("self-BLEU", "same words here now", "same words here now") == pytest.approx(100)
    assert of("self-BLEU", "alone") is None


def test_the_table_is_of_means_over_prompts_and_lengths_over_texts() -> None:
    samples = [
        Samples("p", (Written("a b c. a", 5, True), Written("a", 2, False))),
        Samples("q", (Written("今天天气好", 9, True), Written("x y z x y z", 7, True))),
    ]
    rows = {r.measure: r for r in measure(samples)}
    ratios = [MEASURES["type-token ratio"].of(p) for p in prepared(samples)]
    assert rows["type-token ratio"].value == pytest.approx(np.mean([r for r in ratios if r is not None]))
    assert rows["type-token ratio"].note.endswith("Chinese by character")
    assert rows["type-token ratio"].units == 2
    lengths = np.array([4.0, 1, 5, 6])
    assert rows["words a text, mean"].value == lengths.mean()
    assert rows["words a text, sd"].value == pytest.approx(lengths.std(ddof=1))
    assert rows["words a text, 90 %"].value == pytest.approx(np.quantile(lengths, 0.9))
    assert rows["tokens a text, median"].value == 6
    assert rows["words a sentence, mean"].value == pytest.approx(np.mean([3, 1, 1, 5, 6]))
    assert rows["ended by themselves"].value == 0.75
    english = [Samples("p", (Written("one two", 2, True),))]
    assert all("Chinese" not in r.note for r in measure(english))


def test_samples_have_the_models_own_distribution(tiny: Make) -> None:
    """Whatever the model's files say of sampling: only what is asked for here holds."""
    loaded = tiny("llama", torch.float64)
    network: Any = loaded.network
    network.generation_config.top_k = 1
    network.generation_config.repetition_penalty = 5.0
    ids = loaded.tokenizer("The capital")["input_ids"]
    with torch.no_grad():
        logits = network(torch.tensor([ids])).logits[0, -1] / 0.7
    top = logits.topk(4)
    wanted = top.values.softmax(-1).tolist()
    names = [loaded.tokenizer.decode([i]) for i in top.indices.tolist()]
    (found,) = sample(loaded, ["The capital"], samples=1500, max_new_tokens=1, temperature=0.7, top_k=4)
    for name, p in zip(names, wanted, strict=True):
        share = sum(t.text == name for t in found.texts) / 1500
        assert share == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 1500) + 1e-9)


def test_samples_come_again_by_seed_and_leave_the_random_state(tiny: Make) -> None:
    loaded = tiny()
    state = torch.get_rng_state()
    asked: dict[str, Any] = {"samples": 3, "max_new_tokens": 20, "temperature": 1.0}
    first = sample(loaded, ["The capital", "法国"], seed=1, **asked)
    assert torch.equal(torch.get_rng_state(), state)
    assert sample(loaded, ["The capital", "法国"], seed=1, **asked) == first
    assert sample(loaded, ["The capital"], seed=1, **asked)[0] == first[0]
    assert sample(loaded, ["The capital", "法国"], seed=2, **asked) != first
    assert len({t.text for s in first for t in s.texts}) == 6


def test_greedy_answers_in_batches_are_those_of_a_plain_loop(tiny: Make) -> None:
    loaded = tiny("qwen3", torch.float64)
    network: Any = loaded.network
    prompts = [loaded.tokenizer(p)["input_ids"] for p in ("The capital of France is", "What", "天气对农业的影响")]
    found = answers(loaded, prompts, max_new_tokens=8)
    for ids, written in zip(prompts, found, strict=True):
        row = list(ids)
        while len(row) < len(ids) + 8:
            with torch.no_grad():
                row.append(int(network(torch.tensor([row])).logits[0, -1].argmax()))
            if row[-1] == loaded.tokenizer.eos_token_id:
                break
        assert written.text == loaded.tokenizer.decode(row[len(ids) :], skip_special_tokens=True)
    assert sample(loaded, ["What"], samples=1, temperature=0.0, max_new_tokens=8)[0].texts[0] == found[1]


def test_an_encoder_decoder_writes_samples_too(tmp_path: Path) -> None:
    from tiny_seq2seq import make

    loaded = make("marian", tmp_path)
    found = sample(loaded, ["The capital of France", "Paris"], samples=2, max_new_tokens=6)
    assert all(t.tokens <= 6 for s in found for t in s.texts)
    ids = loaded.tokenizer("Paris", return_tensors="pt")["input_ids"]
    network: Any = loaded.network
    out = network.generate(ids, do_sample=False, num_beams=1, max_new_tokens=6)
    text = loaded.tokenizer.decode(out[0], skip_special_tokens=True)
    assert sample(loaded, ["Paris"], samples=1, temperature=0.0, max_new_tokens=6)[0].texts[0].text == text


OUTPUTS = [
    ["The cat sat on the mat and slept.", "A cat was on a mat."],
    ["The weather in Norway is cold in winter."],
    ["It helps you to think.", "Mathematics is fun for everybody."],
]
PEOPLE = [
    ["The cat sat on the red mat and slept there.", "A cat slept on the mat."],
    ["In Norway the weather is cold and wet in winter.", "Winter in Norway is cold."],
    ["It helps you to think clearly.", "It is fun."],
]
ZH_OUTPUTS, ZH_PEOPLE = (
    [["今天北京的天气很好。"], ["农民看天气预报。"]],
    [["北京今天天气不错。"], ["农民每天都看天气预报。"]],
)


def one(outputs: Any, people: Any, metric: str, **setting: Any) -> Row:
    (row,) = compare(outputs, people, [metric], Setting(**setting))
    return row


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
@pytest.mark.parametrize(("outputs", "people", "split"), [(OUTPUTS, PEOPLE, "13a"), (ZH_OUTPUTS, ZH_PEOPLE, "zh")])
def test_bleu_and_chrf_are_sacrebleus_with_its_signature(metric: str, outputs: Any, people: Any, split: str) -> None:
    """Value and interval: sacrebleu's own corpus score of all texts, and of every resample's texts."""
    made = sacrebleu.BLEU(tokenize=split) if metric == "bleu" else sacrebleu.CHRF()

    def corpus(prompts: Any) -> float:
        texts = [t for k in prompts for t in outputs[k]]
        streams = [[people[k][s] for k in prompts for _ in outputs[k]] for s in range(len(people[0]))]
        return float(made.corpus_score(texts, streams).score)

    row = one(outputs, people, metric)
    assert row.value == pytest.approx(corpus(range(len(outputs))))
    assert row.note == str(made.get_signature())
    assert (f"tok:{split}" in row.note) == (metric == "bleu")
    random, size = np.random.default_rng(0), len(outputs)
    drawn = [corpus(random.integers(0, size, size=size)) for _ in range(bootstrap.RESAMPLES)]
    assert (row.low, row.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_rouge_is_rouge_scores_in_english() -> None:
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    for kind in ("rouge1", "rouge2", "rougeL"):
        means = [
            np.mean([max(scorer.score(r, t)[kind].fmeasure for r in refs) for t in texts])
            for texts, refs in zip(OUTPUTS, PEOPLE, strict=True)
        ]
        assert one(OUTPUTS, PEOPLE, kind).value == pytest.approx(100 * np.mean(means))


def test_rouge_l_is_of_characters_in_chinese() -> None:
    def longest(a: list[str], b: list[str]) -> int:
        table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
        return table[-1][-1]

    values = []
    for (text,), (person,) in zip(ZH_OUTPUTS, ZH_PEOPLE, strict=True):
        a, b = ([c for c in t if c not in "。"] for t in (text, person))
        values.append(200 * longest(a, b) / (len(a) + len(b)))
    row = one(ZH_OUTPUTS, ZH_PEOPLE, "rougeL")
    assert row.value == pytest.approx(np.mean(values))
    assert row.note == "F, no stemming, by character"
    assert one(ZH_OUTPUTS, ZH_PEOPLE, "rougeL", language="en").value == 0  # rouge-score's words are Latin alone


def test_outputs_and_references_of_different_counts_are_refused() -> None:
    with pytest.raises(InputError, match="3 outputs and 2 references: expected as many of the one as of the other"):
        compare(OUTPUTS, PEOPLE[:2], ["bleu"], Setting())


def installed(monkeypatch: pytest.MonkeyPatch, name: str, **functions: Any) -> None:
    """A package that is not here, as its caller sees it."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    for key, function in functions.items():
        setattr(module, key, function)
    monkeypatch.setitem(sys.modules, name, module)


def test_mauve_is_given_the_models_last_states(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def compute_mauve(**asked: Any) -> Any:
        given.update(asked)
        return types.SimpleNamespace(mauve=0.25)

    installed(monkeypatch, "mauve", compute_mauve=compute_mauve)
    loaded = tiny("llama", torch.float64)
    outputs = [[f"The capital {k}", f"法国 {k}"] for k in range(10)]
    people = [[f"Paris {k}", f"Madrid {k}"] for k in range(10)]
    row = one(outputs, people, "mauve", loaded=loaded, seed=4)
    assert (row.measure, row.value, row.low) == ("MAUVE", 0.25, None)
    assert given["seed"] == 4
    network: Any = loaded.network
    for name, groups in (("p_features", outputs), ("q_features", people)):
        assert given[name].shape == (20, 32)
        for text, state in zip([t for g in groups for t in g], given[name], strict=True):
            with torch.no_grad():
                ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
                right = network(ids, output_hidden_states=True).hidden_states[-1][0, -1]
            np.testing.assert_allclose(state, right.numpy(), rtol=1e-5)
    with pytest.raises(
        InputError, match=r"MAUVE compares distributions and needs 20 texts of each, .* given 3 written"
    ):
        Plan(prompts=["a", "b", "c"], samples=1, references=[["a", "b", "c"]], metrics=["mauve"])


def bert(folder: Path) -> Path:
    from tiny_heads import bert_tokenizer, config
    from transformers import BertModel

    tokenizer = bert_tokenizer()
    torch.manual_seed(0)
    BertModel(config("bert", len(tokenizer))).save_pretrained(folder)
    tokenizer.model_max_length = 128  # BERTScore cuts there
    tokenizer.save_pretrained(folder)
    return folder


def test_bertscore_is_asked_by_the_named_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = str(bert(tmp_path / "bert"))
    asked: dict[str, Any] = {}

    def score(texts: list[str], people: list[list[str]], **options: Any) -> Any:
        asked.update(options, texts=texts, people=people)
        f = torch.tensor([0.1 * (k + 1) for k in range(len(texts))])
        return f, f, f

    installed(monkeypatch, "bert_score", score=score)
    row = one(OUTPUTS, PEOPLE, "bertscore", encoder=encoder)
    assert row.value == pytest.approx(100 * np.mean([0.15, 0.3, 0.45]))  # each prompt's mean, then theirs
    assert (asked["model_type"], asked["num_layers"]) == (encoder, 2)
    assert asked["texts"] == [t for group in OUTPUTS for t in group]
    assert asked["people"] == [PEOPLE[0], PEOPLE[0], PEOPLE[1], PEOPLE[2], PEOPLE[2]]

    def too_long(*given: Any, **options: Any) -> Any:
        raise OverflowError("int too big to convert")

    installed(monkeypatch, "bert_score", score=too_long)
    with pytest.raises(ModelError, match=r"encoder '.*bert' does not say how much it reads: set model_max_length"):
        one(OUTPUTS, PEOPLE, "bertscore", encoder=encoder)
    plan: dict[str, Any] = {"prompts": ["a"], "references": [["b"]], "metrics": ["bertscore"]}
    with pytest.raises(OptionError, match="BERTScore compares by an encoder: name one with --encoder"):
        Plan(**plan)
    with pytest.raises(ModelError, match=r"BERTScore's encoder '.*nothing' cannot be read"):
        Plan(**plan, encoder=str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("metric", "package", "extra"), [("mauve", "mauve", "mauve"), ("bertscore", "bert_score", "bertscore")]
)
def test_what_is_not_installed_is_named_with_its_extra(
    metric: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.util import find_spec

    hidden = {package}
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name in hidden else find_spec(name))
    with pytest.raises(MissingExtraError, match=rf"needs the package {package}, .*pip install 'pellucid\[{extra}\]'"):
        Plan(prompts=["a"], references=[["b"]], metrics=[metric])
    hidden.add("sacrebleu")
    with pytest.raises(MissingExtraError, match="self-BLEU needs the package sacrebleu"):
        Plan(prompts=["a"])


def test_real_mauve_tells_like_from_unlike(tiny: Make) -> None:
    pytest.importorskip("mauve")
    random = np.random.default_rng(0)
    some, far = random.normal(size=(60, 8)), random.normal(8, 1, size=(60, 8))
    package = sys.modules["mauve"]
    near = package.compute_mauve(p_features=some, q_features=some[::-1].copy(), seed=0, verbose=False).mauve
    apart = package.compute_mauve(p_features=some, q_features=far, seed=0, verbose=False).mauve
    assert near > 0.9 > 0.1 > apart
    row = one([[f"The capital {k}"] for k in range(20)], [[f"法国 {k}"] for k in range(20)], "mauve", loaded=tiny())
    assert row.value is not None
    assert 0 <= row.value <= 1
    assert row.units == learned.LEAST


def test_real_bertscore_is_whole_for_the_same_text(tmp_path: Path) -> None:
    pytest.importorskip("bert_score")
    encoder = str(bert(tmp_path / "bert"))
    same = [["the film was good"], ["法国 the capital"]]
    assert one(same, same, "bertscore", encoder=encoder).value == pytest.approx(100, abs=1e-3)
    assert (one(same, same[::-1], "bertscore", encoder=encoder).value or 0) < 99


def test_a_new_measure_is_a_function_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def marks(prompt: Prompted) -> float | None:
        return float(sum(t.count("!") for t in prompt.texts))

    monkeypatch.setitem(MEASURES, "marks", quality.Measure("marks", marks, "marks", None, ""))
    rows = {r.measure: r for r in measure([Samples("p", (Written("Hi! Ho!", 2, True),))])}
    assert rows["marks"].value == 2
