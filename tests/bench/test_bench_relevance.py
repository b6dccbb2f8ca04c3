"""The bench of relevance: precision and hits against plain loops, BM25 by its formula, records that go on, a table."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pellucid.bench import relevance as bench
from pellucid.bench.baselines import Bm25, pieces
from pellucid.bench.ranking import average_precision, hit
from pellucid.bench.relevanceboard import RelevanceBoard, statistic
from pellucid.cli.main import main
from pellucid.errors import InputError, OptionError
from pellucid.models.load import LoadedModel
from pellucid.relevance.score import relevance
from pellucid.render import save_relevance_board
from pellucid.render.relevanceboard import markdown
from pellucid.trace.segments import sentences

CITIES = ["Paris", "Madrid", "Rome", "巴黎", "Oslo"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five paragraphs of three sentences and one question each."""
    paragraphs = []
    for k, city in enumerate(CITIES):
        context = f"That land is far away. The capital of country {k} is {city}. It rains there in winter."
        answer = {"text": city, "answer_start": context.index(city)}
        question = {"id": f"q{k}", "question": f"What is the capital of country {k}?", "answers": [answer]}
        paragraphs.append({"context": context, "qas": [question]})
    path = tmp_path / "data.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}, ensure_ascii=False), encoding="utf-8")
    return path


def settings(path: Path, **changes: int) -> bench.Settings:
    return bench.Settings(path.name, "0", "llama", **{"examples": 3, "skip": 0, **changes})


def rows(*labels: str) -> list[bench.Row]:
    return [bench.Row.parse(label) for label in labels]


@pytest.fixture
def model(tiny: Callable[..., LoadedModel]) -> LoadedModel:
    return replace(tiny("llama"), context=2000)


def test_average_precision_against_a_loop() -> None:
    """By each threshold, in float64; with equal scores among them."""
    random = np.random.default_rng(0)
    for _ in range(50):
        scores = random.integers(0, 6, 20).astype(np.float64)
        positive = random.random(20) < 0.3
        if not positive.any():
            continue
        expected, before = 0.0, 0.0
        for threshold in sorted(set(scores), reverse=True):
            taken = scores >= threshold
            recall = (taken & positive).sum() / positive.sum()
            expected += (recall - before) * (taken & positive).sum() / taken.sum()
            before = recall
        assert average_precision(scores, positive) == pytest.approx(expected, abs=1e-12)
    assert math.isnan(average_precision(np.ones(3), np.zeros(3, dtype=bool)))


def test_hit_against_all_orders() -> None:
    """Equal scores in every order that they can come in."""
    scores = np.array([1.0, 0.5, 0.5, 0.5, 0.1])
    for right in ([0], [1], [1, 3], [4], [2, 4]):
        positive = np.isin(np.arange(5), right)
        for k in (1, 2, 3, 4):
            orders = [[0, *middle, 4] for middle in itertools.permutations([1, 2, 3])]
            expected = np.mean([any(i in right for i in order[:k]) for order in orders])
            assert hit(scores, positive, k) == pytest.approx(expected), (right, k)
    assert hit(scores, np.zeros(5, dtype=bool), 1) != hit(scores, np.zeros(5, dtype=bool), 1)  # NaN


def test_bm25_by_its_formula() -> None:
    """bm25s's own variant (Lucene's): idf log(1 + (N - n + 0.5)/(n + 0.5)), k1 1.5, b 0.75, without the constant."""
    texts = ["The dog chased cats. Birds sang.", "The weather was cold. Dogs slept.", "天气很好。狗在睡觉。"]
    ranker = Bm25(texts)
    docs = [pieces(t) for t in texts]
    query = "dogs in cold weather"
    mean = sum(map(len, docs)) / len(docs)
    for text, doc in zip(texts, docs, strict=True):
        expected = 0.0
        for word in pieces(query):
            n = sum(word in d for d in docs)
            if n:
                idf = math.log(1 + (len(docs) - n + 0.5) / (n + 0.5))
                count = doc.count(word)
                expected += idf * count / (count + 1.5 * (1 - 0.75 + 0.75 * len(doc) / mean))
        assert ranker.degree(query, text) == pytest.approx(expected, rel=1e-5)
    assert ranker.sentences("cold dogs", texts[1]).tolist() == pytest.approx(ranker.sentences("cold dogs", texts[1]))
    assert ranker.sentences("cold", texts[1])[0] > ranker.sentences("cold", texts[1])[1] == 0
    assert ranker.sentences("狗", texts[2])[1] > ranker.sentences("狗", texts[2])[0]
    assert ranker.degree("nobody knows these: xyzzy", texts[0]) == 0


def test_degrees_by_counting_pairs() -> None:
    """Own above another: one; equal: a half."""
    records = [
        {"own": [0.9, 2.0], "others": [[0.5, 2.0], [0.95, 1.0]]},
        {"own": [0.5, 3.0], "others": [[0.1, 0.0], [0.2, 4.0]]},
    ]
    for at, measure in enumerate(("degree", "calibrated")):
        own = [r["own"][at] for r in records]  # type: ignore[index]
        others = [o[at] for r in records for o in r["others"]]  # type: ignore[index]
        pairs = [float(a > b) + 0.5 * (a == b) for a in own for b in others]
        assert statistic(measure, records, None)[0] == pytest.approx(sum(pairs) / len(pairs))
    assert statistic("degree", records, records) == (0.0, 0.0, 0.0)
    assert math.isnan(statistic("calibrated", [{"own": [1.0], "others": [[0.0]]}], None)[0])


def test_measures_are_those_of_a_result(model: LoadedModel, data: Path, tmp_path: Path) -> None:
    """A record's numbers from ``relevance`` itself, and the marked answer counted by hand."""
    records = bench.measure(model, data, rows("likelihood", "fill_blank/gim"), tmp_path / "out", settings(data))
    line = next(r for r in records.lines if r["row"] == "likelihood" and r["example"] == "q0")
    text = "That land is far away. The capital of country 0 is Paris. It rains there in winter."
    found = relevance(model, "What is the capital of country 0?", text, mode="likelihood")
    a, b = text.index("Paris"), text.index("Paris") + 5
    marked = [t for t in found.tokens if t.start < b and t.end > a]
    rest = [t for t in found.tokens if t not in marked]
    wins = [float(m.score > o.score) + 0.5 * (m.score == o.score) for m in marked for o in rest]
    assert line["span_roc"] == pytest.approx(sum(wins) / len(wins), abs=1e-6)
    assert line["own"] == pytest.approx([found.degree, found.calibrated])
    best = max(found.sentences, key=lambda s: s.score)
    assert line["top1"] == float("Paris" in best.text)
    assert line["top3"] == 1
    assert len(sentences(text)) == 3
    assert len(line["others"]) == 2
    by_gim = relevance(model, "What is the capital of country 0?", text, mode="fill_blank", method="gim")
    line = next(r for r in records.lines if r["row"] == "fill_blank/gim" and r["example"] == "q0")
    marked_scores = [t.score for t in by_gim.tokens if t.start < b and t.end > a]
    order = sorted((t.score for t in by_gim.tokens), reverse=True)
    if len(marked_scores) == 1:
        assert line["span_precision"] == pytest.approx(1 / (1 + order.index(marked_scores[0])), abs=1e-6)


def test_a_run_goes_on_and_makes_a_table(model: LoadedModel, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = bench.measure(model, data, rows("likelihood"), out, settings(data))
    before = list(first.lines)
    labels = ("likelihood", "match_score", "random", "bm25")
    records = bench.measure(model, data, rows(*labels), out, settings(data))
    assert records.lines[:3] == before
    assert len(records.lines) == 3 * len(labels)
    bm25 = [r for r in records.lines if r["row"] == "bm25"]
    assert all(r["top1"] == 1 and r["sentence_roc"] == 1 for r in bm25)  # "capital" stands in one sentence alone
    board = RelevanceBoard.of(records.lines, {"model": "llama", **vars(settings(data))}, {}, reference="likelihood")
    by = {r.label: r for r in board.rows}
    assert by["bm25"].means["top1"][0] == 1
    for measure in ("span_roc", "degree"):
        gap = by["likelihood"].means[measure][0] - by["bm25"].means[measure][0]
        assert by["bm25"].beside[measure][0] == pytest.approx(gap)
    text = markdown(board)
    assert all(f"| `{label}` |" in text for label in labels)
    files = save_relevance_board(board, out)
    assert json.loads(files[1].read_text(encoding="utf-8"))["schema"] == "pellucid.relevance-board/1"
    with pytest.raises(InputError, match="other settings"):
        bench.measure(model, data, rows("random"), out, settings(data, others=1))


def test_bad_input(model: LoadedModel, data: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="likelihod"):
        rows("likelihod")
    with pytest.raises(OptionError, match="gimm"):
        rows("likelihood/gimm")
    with pytest.raises(OptionError, match="each once"):
        bench.measure(model, data, rows("random", "random"), tmp_path / "o", settings(data))
    with pytest.raises(OptionError, match="others should be at least 1"):
        bench.measure(model, data, rows("random"), tmp_path / "o", settings(data, others=0))
    with pytest.raises(InputError, match=r"has 5 paragraphs of at most 300 tokens .* 9 were asked for"):
        bench.measure(model, data, rows("random"), tmp_path / "o", settings(data, examples=9))
    with pytest.raises(OptionError, match="row to compare with"):
        RelevanceBoard.of([], {}, {}, reference="auto")


def test_command(data: Path, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "bench",
        "relevance",
        str(data),
        "--model",
        str(tiny_folder),
        "--out",
        str(tmp_path / "b"),
        "--skip",
        "0",
    ]
    assert main([*command, "--examples", "2", "--rows", "random,bm25", "--against", "bm25", "--quiet"]) == 0
    assert "`bm25` less each row" in (tmp_path / "b" / "relevance.md").read_text(encoding="utf-8")
    assert main([*command, "--examples", "2", "--rows", "random", "--against", "auto", "--quiet"]) == 2
    assert "auto" in capsys.readouterr().err
