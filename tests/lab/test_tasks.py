"""Downstream tasks against plain loops over transformers' logits, scikit-learn, and figures by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from tiny_heads import with_head

from pellucid.errors import ContextError, InputError, ModelError, OptionError
from pellucid.lab.evaluation import bootstrap
from pellucid.lab.evaluation.answering import score
from pellucid.lab.evaluation.classification import macro_f1
from pellucid.lab.evaluation.evaluate import evaluate
from pellucid.lab.evaluation.extractive import extract
from pellucid.lab.evaluation.result import Row
from pellucid.lab.evaluation.tasks import Task, read_tasks, run_task
from pellucid.models.load import LoadedModel

Make = Callable[..., LoadedModel]

REVIEWS = [
    ("a good film", "good"),
    ("dull and bad", "bad"),
    ("not so great", "bad"),
    ("the film was great", "good"),
    ("天气很好", "good"),
    ("农业的影响很大", "bad"),
]


def toml(folder: Path, text: str, **files: str) -> Path:
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content, encoding="utf-8")
    path = folder / "tasks.toml"
    path.write_text(text, encoding="utf-8")
    return path


def task(folder: Path, text: str, **files: str) -> Task:
    (found,) = read_tasks(toml(folder, f"[[task]]\nname = 'mine'\n{text}", **files))
    return found


def tsv(rows: Sequence[tuple[str, str]] = REVIEWS) -> str:
    return "".join(f"{text}\t{label}\n" for text, label in rows)


def values(rows: Sequence[Row]) -> dict[str, float | None]:
    return {r.measure: r.value for r in rows}


def log_p(loaded: LoadedModel, before: str, after: str) -> float:
    """ln p of the tokens of ``before + after`` that reach beyond ``before``."""
    out = loaded.tokenizer(before + after, return_offsets_mapping=True, add_special_tokens=False)
    ids = out["input_ids"]
    network: Any = loaded.network
    with torch.no_grad():
        rows = network(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(rows[i - 1, ids[i]]) for i in range(1, len(ids)) if out["offset_mapping"][i][1] > len(before))


@pytest.mark.parametrize("calibrate", [False, True])
def test_label_words_are_those_of_a_plain_loop(tiny: Make, tmp_path: Path, calibrate: bool) -> None:
    loaded = tiny("llama", torch.float64)
    words = {"good": " is Paris", "bad": " Madrid"}
    mine = task(
        tmp_path,
        'kind = "classification"\ndata = "d.tsv"\nprompt = "Review: {text}\\nThe capital"\n'
        f'labels = {{ good = " is Paris", bad = " Madrid" }}\ncalibrate = {str(calibrate).lower()}',
        d_tsv=tsv(),
    )
    said = []
    for text, _ in REVIEWS:
        scores = {}
        for label, word in words.items():
            scores[label] = log_p(loaded, f"Review: {text}\nThe capital", word)
            if calibrate:
                scores[label] -= log_p(loaded, "Review: \nThe capital", word)
        said.append(max(scores, key=lambda label: scores[label]))
    right = [label for _, label in REVIEWS]
    if calibrate:
        assert len(set(said)) == 2  # else the figures below would hold for any constant answer
    rows = run_task(loaded, mine)
    found = values(rows)
    assert found["accuracy"] == pytest.approx(accuracy_score(right, said))
    assert found["macro-F1"] == pytest.approx(f1_score(right, said, average="macro", zero_division=0))
    assert rows[0].note == ("label words, calibrated" if calibrate else "label words")
    assert (rows[0].group, rows[0].units) == ("task mine", 6)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "gpt2"])
def test_a_classification_heads_classes_are_transformers_own(family: str, tmp_path: Path) -> None:
    loaded = with_head(family)
    network: Any = loaded.network
    said = []
    for text, _ in REVIEWS:
        with torch.no_grad():
            logits = network(**loaded.tokenizer(text, return_tensors="pt")).logits[0]
        said.append(["NEGATIVE", "NEUTRAL", "POSITIVE"][int(logits.argmax())])
    rows = [(text, said[k] if k % 2 else label) for k, (text, label) in enumerate(REVIEWS)]
    right = ["NEGATIVE", "NEUTRAL", "POSITIVE"]
    rows = [(text, label if label in right else "NEUTRAL") for text, label in rows]
    if len({label for _, label in rows}) == 1:
        rows[0] = (rows[0][0], "NEGATIVE")
    labels = 'labels = ["NEGATIVE", "NEUTRAL", "POSITIVE"]'
    mine = task(tmp_path, f'kind = "classification"\ndata = "d.tsv"\n{labels}', d_tsv=tsv(rows))
    found = run_task(loaded, mine)
    truth = [label for _, label in rows]
    assert values(found)["accuracy"] == pytest.approx(accuracy_score(truth, said))
    assert values(found)["macro-F1"] == pytest.approx(f1_score(truth, said, average="macro", zero_division=0))
    assert found[0].note == "classification head"
    numbered = [(text, str(right.index(label))) for text, label in rows]
    labels = 'labels = { "0" = "0", "1" = "1", "2" = "2" }'
    mine = task(tmp_path, f'kind = "classification"\ndata = "d.tsv"\n{labels}', d_tsv=tsv(numbered))
    assert values(run_task(loaded, mine)) == values(found)


def test_macro_f1_and_its_interval_are_of_resampled_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)
    random = np.random.default_rng(3)
    labels = ["a", "b", "c"]
    right = [str(random.choice(labels, p=[0.6, 0.3, 0.1])) for _ in range(60)]
    said = [r if random.random() < 0.6 else str(random.choice(labels)) for r in right]
    found = macro_f1(right, said, labels, 0)
    assert found.value == pytest.approx(f1_score(right, said, average="macro"))
    draws, drawn = np.random.default_rng(0), []
    for _ in range(bootstrap.RESAMPLES):
        at = draws.integers(0, 60, size=60)
        drawn.append(f1_score([right[i] for i in at], [said[i] for i in at], average="macro", zero_division=0))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_the_labels_are_those_of_the_whole_file(tiny: Make, tmp_path: Path) -> None:
    """A limit that leaves one label leaves the model the choice."""
    rows = [("a", "x"), ("b", "x"), ("c", "y"), ("d", "z")]
    mine = task(tmp_path, 'kind = "classification"\ndata = "d.tsv"\nlimit = 1', d_tsv=tsv(rows))
    assert len(mine.examples) == 1
    assert dict(mine.examples.words) == {"x": "x", "y": "y", "z": "z"}  # type: ignore[attr-defined]
    assert run_task(tiny(), mine)[0].units == 1


def squad(*rows: tuple[str, str, list[str]]) -> str:
    paragraphs = [
        {"context": c, "qas": [{"question": q, "answers": [{"text": a, "answer_start": 0} for a in right]}]}
        for c, q, right in rows
    ]
    return json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}, ensure_ascii=False)


@pytest.mark.parametrize(
    ("said", "right", "language", "exact", "f1"),
    [
        ("The Paris.", ["paris"], "en", 1, 1),
        ("in Paris, France", ["Paris"], "en", 0, 2 * 1 / 4),
        ("London", ["Paris", "london town"], "en", 0, 2 * 1 / 3),
        ("", ["Paris"], "en", 0, 0),
        ("巴黎。", ["巴黎"], "zh", 1, 1),
        ("法国巴黎", ["巴黎"], "zh", 0, 2 * 2 / 6),
        ("《红楼梦》", ["红楼梦"], "zh", 1, 1),
        ("1998年", ["1998 年"], "zh", 1, 1),
        ("法国巴黎", ["巴黎"], "en", 0, 0),
    ],
)
def test_exact_match_and_f1_by_hand(said: str, right: list[str], language: str, exact: float, f1: float) -> None:
    assert score(said, right, "exact_match", language) == exact
    assert score(said, right, "f1", language) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("context", "question", "language"),
    [("Ann came at noon.", "Who came?", "en"), ("法国的首都是巴黎。", "法国的首都是什么？", "zh")],
)
def test_written_answers_are_the_models_own(
    tiny: Make, tmp_path: Path, context: str, question: str, language: str
) -> None:
    """The answer is a plain greedy loop's first line, scored against itself and against another."""
    loaded = tiny("llama", torch.float64)
    marks = "问题：{question}\n答案：" if language == "zh" else "Question: {question}\nAnswer:"
    ids = loaded.tokenizer(f"{context}\n\n{marks}".format(question=question))["input_ids"]
    row, network = list(ids), loaded.network
    while len(row) < len(ids) + 6 and row[-1] != loaded.tokenizer.eos_token_id:
        with torch.no_grad():
            row.append(int(network(torch.tensor([row])).logits[0, -1].argmax()))
    text = loaded.tokenizer.decode(row[len(ids) :], skip_special_tokens=True)
    said = next(line.strip() for line in text.splitlines() if line.strip())
    data = squad((context, question, [said]), (context, question, ["no such answer", "没有"]), (context, "x?", []))
    mine = task(tmp_path, 'kind = "question_answering"\ndata = "q.json"\nmax_new_tokens = 6', q_json=data)
    rows = run_task(loaded, mine)
    assert values(rows)["exact match"] == pytest.approx((1 + score(said, ["no such answer"], "exact_match", "en")) / 2)
    second = score(said, ["no such answer", "没有"], "f1", language)
    assert values(rows)["F1"] == pytest.approx((1 + second) / 2)
    assert ("by character" in rows[0].note) == (language == "zh")
    assert "1 questions without an answer left out" in rows[0].note


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_extracted_answers_are_the_best_span_of_all_windows(family: str) -> None:
    loaded = with_head(family, "span")
    network: Any = loaded.network
    tokenizer = loaded.tokenizer
    context = "ann came at noon and the film was great. 法国 ben came not so very good, and the house was dull"
    question = "who came"
    for window, stride in ((128, None), (20, 4)):
        said = extract(loaded, [(question, context)], window=window, stride=stride)
        shared = stride if stride is not None else 20
        read = tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=window,
            stride=shared,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        best = (-math.inf, "")
        for row, ids in enumerate(read["input_ids"]):
            inputs = {k: torch.tensor([read[k][row]]) for k in tokenizer.model_input_names}
            with torch.no_grad():
                out = network(**inputs)
            inside = [i for i, owner in enumerate(read.sequence_ids(row)) if owner == 1]
            for a in inside:
                for b in inside:
                    total = float(out.start_logits[0, a] + out.end_logits[0, b])
                    if a <= b < a + 30 and total > best[0]:
                        offsets = read["offset_mapping"][row]
                        best = (total, context[offsets[a][0] : offsets[b][1]].strip())
            assert len(ids) <= window
        assert len(read["input_ids"]) > 1 or window == 128
        assert said == [best[1]]


def test_a_span_head_answers_a_task(tmp_path: Path) -> None:
    loaded = with_head("bert", "span")
    rows = [("ann came at noon", "who came"), ("the film was good", "what was good")]
    said = extract(loaded, [(q, c) for c, q in rows])
    data = squad(*[(c, q, [a]) for (c, q), a in zip(rows, said, strict=True)], ("the house", "what", ["great film"]))
    mine = task(tmp_path, 'kind = "question_answering"\ndata = "q.json"', q_json=data)
    found = run_task(loaded, mine)
    assert values(found)["exact match"] == pytest.approx(2 / 3)
    assert found[0].note == "span head"


def test_summaries_are_what_stands_before_a_blank_line(tiny: Make, tmp_path: Path) -> None:
    loaded = tiny("llama", torch.float64)
    network: Any = loaded.network
    text = "法国的首都是巴黎。天气对农业的影响很大。"
    ids = loaded.tokenizer(f"{text}\n\n摘要：", return_tensors="pt")["input_ids"]
    out = network.generate(ids, do_sample=False, max_new_tokens=12, pad_token_id=2)
    said = loaded.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip().split("\n\n")[0]
    lines = [{"text": text, "summary": f"巴黎 {said}"}, {"text": "很大" * 200, "summary": "很大"}]
    data = "\n".join(json.dumps(x, ensure_ascii=False) for x in lines)
    kept = 'kind = "summarisation"\ndata = "s.jsonl"\nmax_new_tokens = 12\nmetrics = ["rouge1", "chrf"]\n'
    mine = task(tmp_path, kept + 'too_long = "skip"\nlanguage = "zh"', s_jsonl=data)
    rows = run_task(loaded, mine)
    from pellucid.lab.evaluation.words import words

    a, b = words(said), words(f"巴黎 {said}")
    assert rows[0].value == pytest.approx(200 * len(a) / (len(a) + len(b)))
    assert rows[0].note == "F, no stemming, by character; 1 texts over the context skipped"
    assert [r.measure for r in rows] == ["ROUGE-1", "chrF"]
    with pytest.raises(ContextError, match=r"text 2 of the task 'mine' has .* do not fit the 128"):
        run_task(loaded, task(tmp_path, kept))
    both = '{"text": "%s", "summary": "a"}\n' % ("很大" * 200)
    with pytest.raises(InputError, match="no text of the task 'mine' fits the 128 tokens that 'llama' reads"):
        run_task(loaded, task(tmp_path, kept + 'too_long = "skip"', s_jsonl=both))


def test_an_encoder_decoder_summarises(tmp_path: Path) -> None:
    from tiny_seq2seq import make

    loaded = make("t5", tmp_path)
    data = '{"text": "The capital of France is Paris.", "summary": "Paris"}\n'
    mine = task(
        tmp_path, 'kind = "summarisation"\ndata = "s.jsonl"\nmax_new_tokens = 5\nprompt = "{text}"', s_jsonl=data
    )
    assert [r.measure for r in run_task(loaded, mine)] == ["ROUGE-1", "ROUGE-2", "ROUGE-L"]


def test_examples_are_spread_over_the_file(tmp_path: Path) -> None:
    rows = [(f"text {k}", "good" if k < 50 else "bad") for k in range(100)]
    mine = task(tmp_path, 'kind = "classification"\ndata = "d.tsv"\nlimit = 4', d_tsv=tsv(rows))
    assert [e.text for e in mine.examples] == ["text 0", "text 25", "text 50", "text 75"]


KIND = "kind = 'classification'\n"
DATA = f"{KIND}data = 'd.tsv'\n"


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("kind = 'clasification'", r"unknown kind of the task 'mine': 'clasification'.*Did you mean 'classification'"),
        ("kind = ['a']", "unknown kind of the task 'mine'"),
        (
            DATA + "metrics = ['accuracy', 'bleu']",
            "unknown metric of the task 'mine': 'bleu': expected one of accuracy",
        ),
        (DATA + "metrics = []", "metrics of the task 'mine' is an empty list"),
        (DATA + "metrics = [1]", "metrics of the task 'mine' should be names, given 1"),
        (DATA + "metrics = ['accuracy', 'accuracy']", "has 'accuracy' twice"),
        (DATA + "metrics = 'accuracy'", "metrics of the task 'mine' should be a list, given 'accuracy'"),
        (DATA + "limit = 0", "limit of the task 'mine' should be 1 or more, given 0"),
        (DATA + "limit = true", "limit of the task 'mine' should be a whole number, given True"),
        (DATA + "promt = '{text}'", "unknown key of the task 'mine': 'promt'.*Did you mean 'prompt'"),
        (DATA + "prompt = 'Say:'", r"prompt of the task 'mine' should hold \{text\}, given 'Say:'"),
        (DATA + "prompt = '{text} {label}'", r"unknown field in the prompt of the task 'mine': '\{label\}'"),
        (DATA + "prompt = '{text'", "prompt of the task 'mine' is no template"),
        (DATA + "labels = { good = 'g' }", "labels of the task 'mine' says nothing of 'bad', which d.tsv holds"),
        (DATA + "labels = { good = 'g', bad = 'g' }", "has 'g' for more than one label"),
        (DATA + "labels = { good = 'g', bad = ' ' }", "has no words for 'bad'"),
        (KIND, "the task 'mine' names no data"),
        (KIND + "data = 'nothing.tsv'", "cannot read .*nothing.tsv: No such file"),
        (KIND + "data = 'empty.tsv'", "empty.tsv is empty: expected some text"),
        (KIND + "data = 'binary.tsv'", "binary.tsv is not a text file"),
        (KIND + "data = 'latin.tsv'", "latin.tsv is not UTF-8: byte 0xe9 at 1 cannot be read"),
        (KIND + "data = 'three.tsv'", r"three.tsv, line 2, has 3 columns: expected text<TAB>label"),
        (KIND + "data = 'one.tsv'", "one.tsv has one label alone, 'x': expected examples of two labels or more"),
        (KIND + "data = 'c.jsonl'", "c.jsonl, line 1, has no 'label': expected an object with 'text' and 'label'"),
        (KIND + "data = 'l.jsonl'", "l.jsonl, line 1, holds list: expected an object"),
        (KIND + "data = 'n.jsonl'", "n.jsonl, line 2, is not JSON: .*; expected one object a line"),
        (KIND + "data = 't.jsonl'", "t.jsonl, line 1: 'text' should be a text, and is null"),
        ("kind = 'summarisation'\ndata = 'c.jsonl'", "c.jsonl, line 1, has no 'summary'"),
        ("kind = 'summarisation'\ndata = 'c.jsonl'\nmetrics = ['f1']", "unknown metric of the task 'mine': 'f1'"),
        ("kind = 'summarisation'\ndata = 'c.jsonl'\ntoo_long = 'cut'", "unknown too_long of the task 'mine': 'cut'"),
        ("kind = 'question_answering'\ndata = 'c.jsonl'", "c.jsonl is not laid out as SQuAD is"),
        ("kind = 'question_answering'\ndata = 'd.tsv'", "d.tsv is not JSON .*: expected a SQuAD-style file"),
        ("kind = 'question_answering'\ndata = 'q.json'", "q.json holds no question with an answer"),
        ("kind = 'question_answering'\ndata = 'q.json'\nlanguage = 'fr'", "unknown language of the task 'mine': 'fr'"),
        ("kind = 'question_answering'\ndata = 'q.json'\nmax_new_tokens = 0", "max_new_tokens of the task 'mine'"),
    ],
)
def test_a_task_that_cannot_be_is_refused_in_a_sentence(tmp_path: Path, table: str, sentence: str) -> None:
    (tmp_path / "binary.tsv").write_bytes(b"\x7fELF\0\0\1")
    (tmp_path / "latin.tsv").write_bytes(b"d\xe9j\xe0\t1\n")
    files = {
        "d_tsv": tsv(),
        "empty_tsv": " \n",
        "three_tsv": "a\tb\na\tb\tc\n",
        "one_tsv": "a\tx\nb\tx\n",
        "c_jsonl": '{"text": "a"}\n',
        "l_jsonl": "[1]\n",
        "n_jsonl": '{"text": "a", "label": 1}\nhello\n',
        "t_jsonl": '{"text": null, "label": 1}\n',
        "q_json": squad(("c", "q", [])),
    }
    with pytest.raises((InputError, OptionError), match=sentence):
        task(tmp_path, table, **files)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "tasks.toml is empty"),
        ("[[task]", "tasks.toml is not TOML"),
        ("x = 1", "tasks.toml has 'x' outside a task"),
        ("task = 3", r"tasks.toml holds no task: expected tables that begin with \[\[task\]\]"),
        ("[[task]]\nkind = 'classification'", "task 1 of .*tasks.toml has no name"),
        (f"[[task]]\nname = 'a'\n{DATA}\n[[task]]\nname = 'a'\n{DATA}", "two tasks named 'a'"),
    ],
)
def test_a_task_file_that_cannot_be_is_refused_in_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises((InputError, OptionError), match=sentence):
        read_tasks(toml(tmp_path, text, d_tsv=tsv()))


def test_a_model_that_a_task_cannot_ask_is_refused_before_anything_runs(tiny: Make, tmp_path: Path) -> None:
    def never(stage: str, done: float, total: float | None) -> None:
        raise AssertionError(stage)

    labelled = task(tmp_path, DATA, d_tsv=tsv())
    with pytest.raises(ModelError, match=r"needs a model of the kind causal or classifier, and 'bert-span' is of"):
        evaluate(with_head("bert", "span"), tasks=[labelled], progress=never)
    with pytest.raises(OptionError, match=r"has no class 'bad', .* its classes are NEGATIVE, NEUTRAL, POSITIVE"):
        evaluate(with_head("bert"), tasks=[labelled], progress=never)
    with pytest.raises(ModelError, match="is a regression, which has no classes"):
        evaluate(with_head("bert", num_labels=1, problem_type="regression"), tasks=[labelled], progress=never)
    long = task(tmp_path, DATA, d_tsv=tsv([("天气" * 200, "a"), ("b", "b")]))
    with pytest.raises(ContextError, match=r"text 1 of the task 'mine' has .* tokens with its prompt and label"):
        evaluate(tiny(), prompts=["a"], tasks=[long], progress=never)
    asked = task(tmp_path, "kind = 'question_answering'\ndata = 'q.json'", q_json=squad(("天气" * 200, "q?", ["a"])))
    with pytest.raises(ContextError, match=r"question 1 of the task 'mine' has .* tokens, which with 24 new ones"):
        evaluate(tiny(), prompts=["a"], tasks=[asked], progress=never)
