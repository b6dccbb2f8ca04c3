"""The benchmark of answers from retrieval: with the double every record, and every figure of the table, is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pellucid.bench import rag
from pellucid.bench.ragboard import BINS, RagBoard, expected_error
from pellucid.errors import InputError, OptionError
from pellucid.render.lensviews import blocks_of
from pellucid.testing import Scripted

PARAGRAPHS = {
    "The tower of Brenna is 300 metres high and red. Up north.": (
        "How high is the tower of Brenna up north?",
        "300 metres",
    ),
    "The harbour of Lunt freezes in January. Up north.": ("When does the harbour of Lunt freeze up north?", "January"),
    "The bakers of Oster sell rye bread. Up north.": ("What do the bakers of Oster sell up north?", "rye bread"),
    "The library of Tamm holds maps. Up north.": ("What does the library of Tamm hold up north?", "maps"),
}
ANSWERS = {
    "tower": "It is 300 metres high.",
    "harbour": "It freezes in winter.",
    "bakers": "They sell rye bread.",
    "library": "Zebras sleep.",
}


def squad(folder: Path) -> Path:
    paragraphs = [
        {
            "context": c,
            "qas": [{"id": str(k), "question": q, "answers": [{"text": a, "answer_start": c.index(a)}]}],
        }
        for k, (c, (q, a)) in enumerate(PARAGRAPHS.items())
    ]
    path = folder / "data.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    return path


def double() -> Scripted:
    return Scripted(
        lambda messages: next(a for k, a in ANSWERS.items() if k in messages[-1]["content"].split("Question:")[1])
    )


def settings(**changed: object) -> rag.Settings:
    plain = {"data": "data.json", "sha256": "", "model": "double", "examples": 4, "skip": 0, "passages": 2}
    return rag.Settings(**{**plain, **changed})  # type: ignore[arg-type]


def test_every_record_and_figure(tmp_path: Path) -> None:
    path, out = squad(tmp_path), tmp_path / "board"
    me = double()
    records = rag.measure(me, path, ["bm25"], out, settings())  # type: ignore[arg-type]
    by = {(r["kind"], r["example"]): r for r in records.lines}
    assert [by["bm25", str(k)]["rank"] for k in range(4)] == [1, 1, 1, 1]
    found = [by[rag.FOUND, str(k)] for k in range(4)]
    assert [r["right"] for r in found] == [True, False, True, False]
    assert [r["gold"] for r in found] == [1, 1, 1, 1]
    # "It freezes in winter" is wrong, and still rests on the harbour: one word of its five, 0.78 nats a token.
    assert [r["cites_gold"] for r in found] == [True, True, True, False]
    assert found[0]["cited"] == [1]
    away = [by[rag.WITHHELD, str(k)] for k in range(4)]
    assert all(r["gold"] is None and r["cited"] == [] and r["unsupported"] == 1 for r in away if r["passages"])
    asked = len(me.asked)
    again = rag.measure(me, path, ["bm25"], out, settings())  # type: ignore[arg-type]
    assert len(me.asked) == asked  # nothing is measured twice
    assert again.lines == records.lines
    with pytest.raises(InputError, match="other settings"):
        rag.measure(me, path, ["bm25"], out, settings(passages=1))  # type: ignore[arg-type]
    board = RagBoard.of(records.lines, {**settings().__dict__, "pellucid": "0"}, {"device": "cpu"})
    value = {(f.group, f.name): f.value for f in board.figures}
    assert value["retrieval, bm25", "recall@1"] == 1.0
    assert value["retrieval, bm25", "MRR@10"] == 1.0
    assert value["answers, all", "holds a marked answer"] == 0.5
    assert value["citations of right answers", "recall of the gold paragraph"] == 1.0
    assert value["citations of right answers", "precision"] == 1.0
    assert value["the mark 'unsupported'", "on answers with gold withheld"] == 1.0
    chance = {(f.group, f.name): f.chance for f in board.figures}
    each = [r["passages"] for r in found if r["right"]]
    assert chance["citations of right answers", "precision"] == pytest.approx(np.mean([1 / n for n in each]))
    assert RagBoard.from_dict(board.to_dict()).to_json() == board.to_json()
    for lang in ("en", "zh"):
        assert "recall@1" in str(blocks_of(board, lang))
    for ending in ("md", "json", "png", "csv", "html"):
        assert board.save(tmp_path / f"rag.{ending}").stat().st_size > 100


def test_calibration_error_is_the_plain_sum() -> None:
    random = np.random.default_rng(3)
    sure = random.random(200)
    right = random.random(200) < sure
    plain = 0.0
    for b in range(BINS):
        inside = [k for k in range(200) if b / BINS <= sure[k] < (b + 1) / BINS]
        if inside:
            gap = abs(sum(sure[k] for k in inside) / len(inside) - sum(bool(right[k]) for k in inside) / len(inside))
            plain += gap * len(inside) / 200
    assert expected_error(sure, right) == pytest.approx(plain)


def test_what_holds_an_answer() -> None:
    assert rag.holds("It is the Eiffel Tower, I think.", ["Eiffel Tower"], "en")
    assert rag.holds("A rye bread.", ["the rye bread"], "en")
    assert not rag.holds("It has 3000 metres.", ["300"], "en")
    assert rag.holds("答案是三百米。", ["三百米"], "zh")
    assert not rag.holds("", ["x"], "en")


def test_bad_settings(tmp_path: Path) -> None:
    for changed, said in (({"examples": 1}, "examples should be at least 2"), ({"passages": 0}, "passages")):
        with pytest.raises(OptionError, match=said):
            rag.check(settings(**changed), ["bm25"])
    with pytest.raises(OptionError, match="should be one of bm25, dense, hybrid, given 'tfidf'"):
        rag.check(settings(), ["tfidf"])
    with pytest.raises(OptionError, match="not among those judged"):
        rag.check(settings(retriever="dense"), ["bm25"])
    with pytest.raises(InputError, match="4 paragraphs with a marked answer after the first 0, and 9 were asked"):
        rag.taken(rag.read(squad(tmp_path), each="all"), settings(examples=9))
