"""Units: where words, sentences, paragraphs and documents stand, which tokens they own, how scores become theirs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from samples import sample

import pellucid
from pellucid.errors import InputError, NumericError, OptionError
from pellucid.models.encode import Encoded, encode
from pellucid.models.load import LoadedModel
from pellucid.trace import methods as registry
from pellucid.trace import segments
from pellucid.trace.engine import Run, Scores
from pellucid.trace.explain import explain
from pellucid.trace.methods import Method
from pellucid.trace.result import UnitScore
from pellucid.trace.units import Unit, merged, units

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "pellucid.trace-1.schema.json").read_text())
TEXT = "The capital is Paris. It is old.\n\nTell me, please! 法国的首都是巴黎。天气很大？好。"
CHAT = [{"role": "system", "content": "Be helpful. Be kind."}, {"role": "user", "content": TEXT}]


def cut(text: str, ranges: list[segments.Range]) -> list[str]:
    return [text[a:b] for a, b in ranges]


@pytest.mark.parametrize(
    "expected",
    [
        ["Dr. Li came at 3.5 p.m. today.", 'He said: "Go!" and left.', '"Really?"', "Yes."],
        ["See e.g. Fig. 3.", "No. 5 is here.", "I said no.", "Then J. K. Rowling came."],
        ["They live in the U.S. Senate etc. and so on... maybe.", "He left the U.S.", "She did not."],
        ["It costs $3.50, i.e. 10% of www.example.org/a.b?x today.", "(Is it so?)", "Yes!!", "End"],
        ["法国的首都是巴黎。", "天气很好！", "“真的吗？”", "他说；", "是……", "不。"],
        ["我说：“是。”", "Hello.", "你好！？", "Version 2.0 已发布。", "再见"],
        ["1. First item", "2. Second one.", "More of it", "- a point", "• another"],
        ["A heading", "A paragraph\nin two lines.", "Smith et al. (2020) say so."],
    ],
)
def test_sentences(expected: list[str]) -> None:
    joined = ""
    for s in expected:  # as people write: blanks after English, none after Chinese, line breaks before items
        if joined:
            item = re.match(r"\d\.|-|•", s) is not None
            joined += (
                "\n" if item else "\n\n" if joined.endswith("heading") else "" if joined[-1] in "。！？；”…" else " "
            )
        joined += s
    if "是……" in expected:  # an ellipsis alone ends nothing in Chinese: it trails off, and the sentence goes on
        expected = [*expected[:4], "是……不。"]
    assert cut(joined, segments.sentences(joined)) == expected


def test_pages_of_marks_take_no_longer_than_text() -> None:
    for text in ("!" * 200_000, "!?" * 100_000 + ")" * 100_000 + "x", "。" * 200_000, "." * 200_000 + "x"):
        assert segments.sentences(text) == [(0, len(text))]
    for text in ("\n" * 200_000, " \n" * 100_000):
        assert segments.sentences(text) == segments.paragraphs(text) == segments.documents(text) == []


def test_paragraphs_and_documents() -> None:
    text = "One\nstill one\n\n  \nTwo\r\n\r\n三"
    assert cut(text, segments.paragraphs(text)) == ["One\nstill one", "Two", "三"]
    assert cut("One\nTwo\r\n三\n", segments.paragraphs("One\nTwo\r\n三\n")) == ["One", "Two", "三"]
    text = "First\n\npart\n---\n第二\n ===== \r\nThird -- not a rule"
    assert cut(text, segments.documents(text)) == ["First\n\npart", "第二", "Third -- not a rule"]
    text = "Read these.\n\nDocument 1: a\n\nb\n[Document 2] c, see Document 3\n文档 3：好"
    assert cut(text, segments.documents(text)) == [
        "Read these.",
        "Document 1: a\n\nb",
        "[Document 2] c, see Document 3",
        "文档 3：好",
    ]
    assert cut("no marks\n\nhere", segments.documents("no marks\n\nhere")) == ["no marks\n\nhere"]


@pytest.fixture
def without_jieba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "jieba", None)
    segments.jieba_tokenizer.cache_clear()
    yield
    segments.jieba_tokenizer.cache_clear()


def test_words_without_jieba(without_jieba: None) -> None:
    text = "It's a well-known 3.5% rise，法国的。"
    expected = ["It's", "a", "well-known", "3.5%", "rise", "，", "法", "国", "的", "。"]
    assert cut(text, segments.words(text)) == expected
    assert segments.word_rule(text) == "characters"
    assert segments.word_rule("plain") is None


def test_chinese_words_by_jieba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jieba")
    import logging
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    handlers, filters = logging.root.handlers[:], list(__import__("warnings").filters)
    segments.jieba_tokenizer.cache_clear()
    text = "Paris 是法国的首都。天气对农业的影响很大 ok"
    expected = ["Paris", "是", "法国", "的", "首都", "。", "天气", "对", "农业", "的", "影响", "很大", "ok"]
    assert cut(text, segments.words(text)) == expected
    assert segments.word_rule(text) == "jieba"
    assert list(tmp_path.iterdir()) == []  # jieba itself would leave a cache there
    assert (logging.root.handlers, __import__("warnings").filters) == (handlers, filters)


KINDS: list[Any] = ["word", "sentence", "paragraph", "message", "document", "regex:[A-Z]\\w+", re.compile("的.|is")]


def tokens_of(encoded: Encoded, unit: Unit) -> str:
    """The text of the unit's tokens: first to last character."""
    own = [encoded.tokens[i] for i in unit.tokens]
    source = encoded.text if unit.message is None else encoded.messages[unit.message]["content"]
    return source[own[0].start : own[-1].end]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("prompt", [TEXT, CHAT], ids=["text", "chat"])
@pytest.mark.parametrize("raw", [False, True])
def test_tokens_are_in_one_unit_at_most_and_only_the_users(
    tiny,  # type: ignore[no-untyped-def]
    without_jieba: None,
    kind: Any,
    prompt: Any,
    raw: bool,
) -> None:
    if raw and not isinstance(prompt, str):
        pytest.skip("raw is one text")
    encoded = encode(tiny(), prompt, raw=raw)
    found = units(encoded, kind)
    owned = [i for u in found for i in u.tokens]
    assert len(owned) == len(set(owned))
    for u in found:
        source = encoded.text if u.message is None else encoded.messages[u.message]["content"]
        assert source[u.start : u.end] == u.text == u.text.strip()
        assert u.tokens
        for i in u.tokens:
            assert encoded.tokens[i].role not in ("template", "special")
            assert encoded.tokens[i].message == u.message
    places = [(-1 if u.message is None else u.message, u.start) for u in found]
    assert places == sorted(places)
    visible = {
        i
        for i, t in enumerate(encoded.tokens)
        if t.start is not None and t.role in ("user", "system") and t.text.strip()
    }
    if kind in ("word", "sentence", "paragraph", "message", "document"):
        assert visible <= set(owned), "every visible token of the user's is in a unit"
        if kind != "word":
            content = {i for i, t in enumerate(encoded.tokens) if t.start is not None}
            assert set(owned) == content, "blanks between go to the unit before"
            for u in found:
                assert tokens_of(encoded, u).strip() == u.text


def test_names_and_kinds(tiny, without_jieba: None) -> None:  # type: ignore[no-untyped-def]
    chat = encode(tiny(), CHAT)
    assert [(u.name, u.text) for u in units(chat, "message")] == [
        ("message 1 (system)", CHAT[0]["content"]),
        ("message 2 (user)", TEXT),
    ]
    assert [u.text for u in units(chat, "sentence")] == [
        "Be helpful.",
        "Be kind.",
        "The capital is Paris.",
        "It is old.",
        "Tell me, please!",
        "法国的首都是巴黎。",
        "天气很大？",
        "好。",
    ]
    assert [u.text for u in units(chat, "regex:Be \\w+")] == ["Be helpful", "Be kind"]
    assert units(chat, "token") == []
    named = units(chat, {"city": (1, 15, 20), "rule": (0, 0, 11)})
    assert [(u.name, u.text, u.message) for u in named] == [("rule", "Be helpful.", 0), ("city", "Paris", 1)]
    bare = encode(tiny(), TEXT)
    assert [u.text for u in units(bare, [(15, 20), (0, 0, 3)])] == ["The", "Paris"]


def test_words_that_share_a_token_become_one(embedded: pellucid.Model, without_jieba: None) -> None:
    encoded = encode(embedded.loaded, "What's (this)?), e.g. 3.5%?", raw=True)
    found = units(encoded, "word")
    assert "".join(u.text for u in found) == encoded.text.replace(" ", "")
    assert all(u.tokens for u in found)
    assert len(found) < len(segments.words(encoded.text)), "a token of several marks joins them"


@pytest.mark.parametrize(
    ("unit", "error", "message"),
    [
        ("sentense", OptionError, r"unknown unit 'sentense': expected one of token, .* Did you mean 'sentence'\?"),
        ("regex:(", OptionError, "the unit's pattern '\\(' cannot be read"),
        ("regex:zzz", InputError, "the unit's pattern 'zzz' matches nothing in the prompt"),
        ("regex:\\s", InputError, "matches nothing"),
        ([], OptionError, "not empty"),
        (
            [(1,)],
            OptionError,
            r"a unit should be \(start, end\) or \(message, start, end\) in characters, given \(1,\)",
        ),
        (["ab"], OptionError, "a unit should be"),
        (3, OptionError, "unit should be a name"),
        ([(0, 999)], InputError, r"the unit \(0, 999\) is not within the 5 characters of its text"),
        ([(2, 2)], InputError, "is not within"),
        ([(4, 0, 2)], InputError, "names a message that is not there: the prompt has 1"),
        ([(0, 3), (2, 5)], InputError, r"the units part 1 \(0, 3\) and part 2 \(2, 5\) overlap"),
    ],
)
def test_units_that_mean_nothing(tiny, unit: Any, error: type[Exception], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        explain(tiny(), "a b c", "d", unit=unit, trust=False)


def test_parts_that_share_a_token_are_refused(tiny) -> None:  # type: ignore[no-untyped-def]
    encoded = encode(tiny(), "The capital", raw=True)
    assert encoded.tokens[-1].text == " capital"
    with pytest.raises(InputError, match=r"the unit part 2 \(7, 11\) 'ital' covers no token of its own"):
        units(encoded, [(4, 7), (7, 11)])
    with pytest.raises(InputError, match="needs \\(message, start, end\\): the prompt has 2 messages"):
        units(encode(tiny(), CHAT), [(0, 3)])


def test_merging() -> None:
    total = np.array([1.0, -3.0, np.nan, 0.5], dtype=np.float32)
    assert merged(total, [0, 1, 2], "sum") == -2.0
    assert merged(total, [0, 1, 2], "mean") == -1.0
    assert merged(total, [0, 1, 2], "max_abs") == -3.0
    assert np.isnan(merged(total, [2], "sum"))


@pytest.mark.parametrize("merge", [None, "sum", "mean", "max_abs"])
def test_explanations_by_sentence(tiny, merge: str | None) -> None:  # type: ignore[no-untyped-def]
    trace = explain(
        tiny(), CHAT, "Paris 是", unit="sentence", merge=merge, method="input_x_gradient", spans={"是": "是"}
    )
    assert (trace.unit, trace.unit_merge, len(trace.units)) == ("sentence", merge or "sum", 8)
    function = {"mean": np.mean, "max_abs": lambda x: x[np.abs(x).argmax()]}.get(merge or "sum", np.sum)
    for k, u in enumerate(trace.units):
        assert trace.prompt.messages[u.message]["content"][u.start : u.end] == u.text
        assert u.score == pytest.approx(float(function(trace.total[list(u.tokens)].astype(np.float64))), rel=1e-6)
        theirs = trace.spans[0].total[list(u.tokens)].astype(np.float64)
        assert trace.spans[0].unit_scores[k] == pytest.approx(float(function(theirs)), rel=1e-6)
    data = json.loads(trace.to_json())
    jsonschema.validate(data, SCHEMA)
    again = pellucid.Trace.from_dict(data)
    assert again.to_json() == trace.to_json()
    assert again.units == trace.units
    ranked = trace.ranking()
    assert [r.rank for r in ranked] == list(range(1, 9))
    assert [abs(r.score) for r in ranked] == sorted((abs(u.score) for u in trace.units), reverse=True)
    assert trace.ranking(2) == ranked[:2]
    assert [trace.units[r.index].text for r in ranked] == [r.text for r in ranked]


def test_words_say_how_chinese_was_cut(tiny, without_jieba: None) -> None:  # type: ignore[no-untyped-def]
    assert explain(tiny(), TEXT, "x", unit="word", trust=False).details == {"chinese_words": "characters"}
    assert explain(tiny(), "plain", "x", unit="word", trust=False).details == {}


@pytest.fixture
def what_if(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """A method that takes units away, for the plumbing alone: unit k scores k + 1, the second comes out as NaN, and
    tokens outside units are not measured."""
    runs: list[Run] = []

    def function(run: Run, *, spread: bool = True) -> Scores:
        runs.append(run)
        run.values()
        total = torch.full((run.ids.shape[1],), torch.nan)
        for k, unit in enumerate(run.units):
            total[unit] = torch.nan if k == 1 else (k + 1) / len(unit)
        measured = torch.zeros(len(total), dtype=torch.bool)
        measured[[i for u in run.units for i in u]] = True
        return Scores(total, None, measured, {"not_finite": [1], "errors": torch.tensor([0.5, float("nan")])})

    fake = Method("fake", "d", "p", "f", "c", True, "forward", function, {"spread": True})
    known = registry.methods()
    monkeypatch.setattr(registry, "methods", lambda: {**known, "fake": fake})
    return runs


def test_what_if_methods_take_whole_units(tiny, what_if: list[Run]) -> None:  # type: ignore[no-untyped-def]
    trace = explain(tiny(), CHAT, "Paris", method="fake", unit="sentence", merge="max_abs", seed=5)
    (run,) = what_if
    assert run.units == [list(u.tokens) for u in trace.units]
    assert run.seed == 5
    assert trace.unit_merge == "method"
    scores = [u.score for u in trace.units]
    assert scores[0] == pytest.approx(1)
    assert np.isnan(scores[1])
    assert scores[2:] == pytest.approx([3, 4, 5, 6, 7, 8])
    assert trace.details == {"not_finite": [1], "errors": [0.5, None]}
    last = trace.ranking()[-1]
    assert (last.index, last.rank) == (1, None)
    written = [t.score for t in trace.top(999)]
    assert np.isnan(written[-1])
    assert not np.isnan(written[0])
    data = json.loads(trace.to_json())
    jsonschema.validate(data, SCHEMA)
    assert data["units"][1]["score"] is None
    again = pellucid.Trace.from_dict(data)
    assert again.to_json() == trace.to_json()
    assert np.isnan(again.units[1].score)
    tokens = explain(tiny(), "a b", "Paris", method="fake")
    assert tokens.units == ()
    assert what_if[-1].units == [[i] for i in tokens.content], "the user's tokens, one by one; the template stays"


def test_nan_that_nobody_named_is_an_error(tiny, what_if: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    model: LoadedModel = tiny()
    method = registry.methods()["fake"]

    def silent(run: Run, **options: Any) -> Scores:
        return replace(method.function(run, **options), details={})

    known = {"fake": replace(method, function=silent)}
    monkeypatch.setattr(registry, "methods", lambda: known)
    with pytest.raises(NumericError, match=r"1 of \d+ scores are NaN"):
        explain(model, "a b c", "Paris", method="fake", unit="word")


def test_named_spans_are_runs_of_their_own(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny()
    spans = {"city": "Paris", "首都": "法国的首都", "tail": (13, 17)}
    answer = "It is Paris, 法国的首都"
    for how in ("saliency", "input_x_gradient"):
        trace = explain(model, TEXT, answer, method=how, spans=spans, trust=False)
        assert trace.span is None
        assert [s.name for s in trace.spans] == list(spans)
        for s in trace.spans:
            alone = explain(model, TEXT, answer, method=how, span=spans[s.name], trust=False)
            assert (s.text, s.start, s.end, s.targets) == (
                alone.span.text,
                alone.span.start,
                alone.span.end,
                alone.span.targets,
            )
            np.testing.assert_allclose(s.total, alone.total, rtol=1e-5, atol=1e-7)
        assert trace.cost.backward_passes == 4
        data = json.loads(trace.to_json())
        jsonschema.validate(data, SCHEMA)
        again = pellucid.Trace.from_dict(data)
        assert again.to_json() == trace.to_json()
        np.testing.assert_array_equal(again.spans[1].total, trace.spans[1].total)


@pytest.mark.parametrize(
    ("spans", "error", "message"),
    [
        ({"city": "Pari5"}, InputError, r"the span 'city': 'Pari5' is not in the answer 'Paris it is'; .* is 'Paris'"),
        ({"city": ""}, InputError, "the span 'city': is empty"),
        ({"city": (3, 99)}, InputError, r"the span 'city': \(3, 99\) is not within"),
        ({"city": 3}, OptionError, r"the span 'city' should be a text or \(start, end\) in characters, given 3"),
        ({"": "Paris"}, OptionError, "a span's name should be a text"),
        (["Paris"], OptionError, "spans should be names with their parts"),
    ],
)
def test_bad_named_spans(tiny, spans: Any, error: type[Exception], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        explain(tiny(), TEXT, "Paris it is", spans=spans, trust=False)


def test_older_files_are_read_and_newer_parts_are_checked() -> None:
    trace = sample()
    data = trace.to_dict()
    for key in ("unit", "units", "unit_merge", "spans", "reduce", "details"):
        del data[key]
    jsonschema.validate(data, SCHEMA)
    assert pellucid.Trace.from_dict(data).to_json() == trace.to_json()
    with_units = replace(trace, unit="word", units=(UnitScore("word 1", "What", 0, 4, 0, (2,), 0.1),))
    for change, message in (
        (lambda u: u.update(tokens=[99]), r"'units\[0\].tokens' should hold places of 11 prompt tokens"),
        (lambda u: u.update(score="x"), r"'units\[0\].score' should be a number or null"),
        (lambda u: u.pop("name"), r"'units\[0\]' lacks 'name'"),
    ):
        data = with_units.to_dict()
        change(data["units"][0])
        with pytest.raises(pellucid.SchemaError, match=message):
            pellucid.Trace.from_dict(data)
    for key, value in (("details", [1]), ("units", {}), ("spans", [3])):
        with pytest.raises(pellucid.SchemaError):
            pellucid.Trace.from_dict({**trace.to_dict(), key: value})


def test_ties_share_a_rank() -> None:
    units_ = tuple(
        UnitScore(f"word {i}", "x", i, i + 1, 0, (2,), s) for i, s in enumerate([1.0, -2.0, 2.0, float("nan"), 1.0])
    )
    ranked = replace(sample(), units=units_).ranking()
    assert [(r.index, r.rank) for r in ranked] == [(1, 1), (2, 1), (0, 3), (4, 3), (3, None)]
    assert [r.index for r in sample().ranking(3)] == [t.index for t in sample().top(3)]
