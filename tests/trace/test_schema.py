"""``pellucid.trace/1``: real and hand-made traces against the JSON Schema; round trips; files that are not it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from samples import sample

import pellucid
from pellucid.errors import InputError, MissingExtraError, SchemaError
from pellucid.model import Model

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "pellucid.trace-1.schema.json").read_text())
TRACES = [
    sample(),
    sample(signed=True, span="Paris"),
    sample(chat=False, per_token=False, trust=False),
    sample("法国的首都🎉\r\n<script>", "巴黎。"),
]


def test_the_schema_is_a_schema_and_says_no() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for key in ("sources", "total", "model", "cost"):
        data = sample().to_dict()
        del data[key]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(data, SCHEMA)


@pytest.mark.parametrize("trace", TRACES)
def test_round_trip(trace: pellucid.Trace, tmp_path: Path) -> None:
    data = json.loads(trace.to_json())
    jsonschema.validate(data, SCHEMA)
    again = pellucid.Trace.from_dict(data)
    assert again.to_json() == trace.to_json()
    np.testing.assert_array_equal(again.total, trace.total)
    if trace.scores is not None:
        np.testing.assert_array_equal(again.scores, trace.scores)
    for name in ("sources", "targets", "span", "trust", "prompt", "answer", "model", "method", "cost"):
        assert getattr(again, name) == getattr(trace, name)
    path = trace.save(tmp_path / "t.json")
    assert pellucid.Trace.load(path).to_json() == trace.to_json()
    assert pellucid.Trace.load(str(path)).to_json() == trace.to_json()


def test_real_trace_is_valid(embedded: Model) -> None:
    for options in (
        {"per_token": True},
        {"span": "Paris", "method": "input_x_gradient"},
        {"trust": False, "raw": True},
    ):
        trace = embedded.explain("France 🎉 capital?", "It is Paris", **options)
        data = json.loads(trace.to_json())
        jsonschema.validate(data, SCHEMA)
        assert pellucid.Trace.from_dict(data).to_json() == trace.to_json()
        assert len(data["total"]) == len(data["sources"])


def test_strict_json() -> None:
    text = sample().to_json()
    assert "NaN" not in text
    json.loads(text, parse_constant=lambda name: pytest.fail(name))


def test_unknown_keys_are_ignored() -> None:
    data = sample().to_dict()
    data["later"] = 1
    data["model"]["later"] = data["sources"][0]["later"] = data["targets"][0]["later"] = [1]
    assert pellucid.Trace.from_dict(data).to_json() == sample().to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema="pellucid.trace/2"), r"schema pellucid\.trace/2, and pellucid .* update pellucid"),
        (lambda d: d.update(schema="other/1"), r"its schema is 'other/1', expected 'pellucid\.trace/1'"),
        (lambda d: d.pop("schema"), "not a trace"),
        (lambda d: d.pop("sources"), "lacks 'sources'"),
        (lambda d: d["model"].pop("name"), "'model' lacks 'name'"),
        (lambda d: d["targets"][1].pop("prob"), r"'targets\[1\]' lacks 'prob'"),
        (lambda d: d.update(sources={}), "'sources' should be a list and is dict"),
        (lambda d: d.update(cost=3), "'cost' should be an object and is int"),
        (lambda d: d["total"].pop(), r"'total' should have shape \(11,\) and has \(10,\)"),
        (lambda d: d["total"].__setitem__(0, "x"), "'total' should hold numbers"),
        (lambda d: d["scores"][0].pop(), "'scores' should hold numbers"),
        (lambda d: d["targets"].__setitem__(0, "x"), r"'targets\[0\]' should be an object"),
        (lambda d: d.update(prompt=[]), "'prompt' should be an object"),
        (lambda d: d.update(span=[1]), "'span'"),
        (lambda d: d.update(trust="high"), "'trust'"),
    ],
)
def test_what_is_not_a_trace_is_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    data = copy.deepcopy(sample().to_dict())
    change(data)
    with pytest.raises(SchemaError, match=message):
        pellucid.Trace.from_dict(data)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut short"),
        (b"{", "cut short"),
        (b"[1]", "not a trace"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        (b'"x"', "not"),
    ],
)
def test_files_that_are_not_traces(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(content)
    with pytest.raises(SchemaError, match=message):
        pellucid.Trace.load(path)
    with pytest.raises(InputError, match=r"cannot read .*none\.json: No such file"):
        pellucid.Trace.load(tmp_path / "none.json")


def test_top() -> None:
    trace = sample(signed=True)
    written = [i for i, s in enumerate(trace.sources) if s.role == "user"]
    order = sorted(written, key=lambda i: -abs(trace.total[i]))
    assert [t.index for t in trace.top(4)] == order[:4]
    assert [t.score for t in trace.top(2)] == [float(trace.total[i]) for i in order[:2]]
    assert len(trace.top(99)) == len(written)
    assert len(trace.top(99, frame=True)) == len(trace.sources)
    assert trace.top(0) == []


def test_to_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = sample()
    frame = trace.to_pandas()
    assert frame["text"].tolist() == [s.text for s in trace.sources]
    np.testing.assert_array_equal(frame["total"], trace.total)
    np.testing.assert_array_equal(frame[f"1: {trace.targets[1].text}"], trace.scores[1, : len(trace.sources)])
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pellucid\[pandas\]'"):
        trace.to_pandas()


def test_shapes_are_held() -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match=r"total: expected shape \(11,\)"):
        replace(sample(), total=np.zeros(3, dtype=np.float32))
    with pytest.raises(ValueError, match="scores: expected shape"):
        replace(sample(), scores=np.zeros((2, 2), dtype=np.float32))
