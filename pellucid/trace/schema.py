"""``pellucid.trace/1``: a ``Trace`` to JSON and back.

    pellucid explain --json - "..." | python -m json.tool

The schema is described in ``docs/trace-schema.md``, and by ``docs/pellucid.trace-1.schema.json`` for validators.
Reading ignores keys that it does not know, so that a later release may add some; a later number is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pellucid.errors import InputError, SchemaError
from pellucid.trace.result import (
    Alternative,
    Answer,
    Cost,
    Floats,
    MethodInfo,
    ModelInfo,
    NamedSpan,
    Prompt,
    Source,
    Span,
    Target,
    Trace,
    Trust,
    UnitScore,
)
from pellucid.version import __version__

NAME = "pellucid.trace"
VERSION = 1
T = TypeVar("T")


def _number(x: float) -> float | None:
    # The shortest decimal that reads back as the same float32; NaN ("could not see") is null.
    return float(str(np.float32(x))) if np.isfinite(x) else None


def plain(value: Any) -> Any:
    """Details as JSON can hold them: tensors and arrays as lists, tuples as lists, NaN and infinities as None."""
    if hasattr(value, "tolist"):  # tensors, arrays and numpy's own numbers
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def to_dict(trace: Trace) -> dict[str, Any]:
    """Plain data in schema ``pellucid.trace/1``."""
    return {
        "schema": f"{NAME}/{VERSION}",
        "pellucid": __version__,
        "created": trace.created,
        "model": asdict(trace.model),
        "method": asdict(trace.method),
        "objective": trace.objective,
        "precision": trace.precision,
        "prompt": {
            "text": trace.prompt.text,
            "messages": None if trace.prompt.messages is None else [dict(m) for m in trace.prompt.messages],
            "rendered": trace.prompt.rendered,
            "raw": trace.prompt.raw,
        },
        "answer": asdict(trace.answer),
        "span": None if trace.span is None else {**asdict(trace.span), "targets": list(trace.span.targets)},
        "sources": [asdict(s) for s in trace.sources],
        "targets": [{**asdict(t), "alternatives": [asdict(a) for a in t.alternatives]} for t in trace.targets],
        "total": [_number(x) for x in trace.total],
        "scores": None if trace.scores is None else [[_number(x) for x in row] for row in trace.scores],
        "merge": trace.merge,
        "unit": trace.unit,
        "units": [{**asdict(u), "tokens": list(u.tokens), "score": plain(u.score)} for u in trace.units],
        "unit_merge": trace.unit_merge,
        "spans": [
            {
                "name": s.name,
                "text": s.text,
                "start": s.start,
                "end": s.end,
                "targets": list(s.targets),
                "total": [_number(x) for x in s.total],
                "unit_scores": plain(s.unit_scores),
            }
            for s in trace.spans
        ],
        "reduce": trace.reduce,
        "details": plain(trace.details),
        "trust": None
        if trace.trust is None
        else {**asdict(trace.trust), "random_drops": list(trace.trust.random_drops)},
        "trust_note": trace.trust_note,
        "cost": asdict(trace.cost),
        "seed": trace.seed,
        "versions": dict(trace.versions),
    }


def to_json(trace: Trace, *, indent: int | None = None) -> str:
    """A JSON text (strict: no NaN), characters as they are."""
    return json.dumps(to_dict(trace), ensure_ascii=False, allow_nan=False, indent=indent)


def _build(cls: type[T], data: Any, where: str, **converted: Any) -> T:
    """A dataclass from a dict: unknown keys are ignored, missing ones and wrong kinds are a ``SchemaError``."""
    if not isinstance(data, dict):
        raise SchemaError(f"not a whole trace: '{where}' should be an object and is {type(data).__name__}")
    known = {}
    for f in fields(cls):  # type: ignore[arg-type]  # every caller passes a dataclass
        if f.name in converted:
            known[f.name] = converted[f.name]
        elif f.name in data:
            known[f.name] = data[f.name]
        elif f.default is MISSING and f.default_factory is MISSING:
            raise SchemaError(f"not a whole trace: '{where}' lacks '{f.name}'")
    return cls(**known)


def _list(data: Any, where: str) -> list[Any]:
    if not isinstance(data, list):
        raise SchemaError(f"not a whole trace: '{where}' should be a list and is {type(data).__name__}")
    return data


def _get(data: Any, key: str, where: str) -> Any:
    if not isinstance(data, dict):
        raise SchemaError(f"not a whole trace: '{where}' should be an object and is {type(data).__name__}")
    return data.get(key)


def _array(data: Any, where: str, shape: tuple[int, ...]) -> Floats:
    rows = _list(data, where)
    try:
        array = np.array(rows, dtype=np.float64).astype(np.float32)  # None becomes NaN
    except (TypeError, ValueError):
        raise SchemaError(
            f"not a whole trace: '{where}' should hold numbers and nulls, in rows of one length"
        ) from None
    if array.shape != shape:
        raise SchemaError(f"not a whole trace: '{where}' should have shape {shape} and has {array.shape}")
    return array


def from_dict(data: object) -> Trace:
    """A ``Trace`` from plain data. Raises ``SchemaError`` that says what is missing, wrong or too new."""
    if not isinstance(data, dict) or not isinstance(data.get("schema"), str):
        raise SchemaError(f'not a trace: expected an object with "schema": "{NAME}/{VERSION}"')
    match = re.fullmatch(re.escape(NAME) + r"/(\d+)", data["schema"])
    if match is None:
        raise SchemaError(f"not a trace: its schema is '{data['schema']}', expected '{NAME}/{VERSION}'")
    if int(match[1]) > VERSION:
        raise SchemaError(
            f"this trace is in schema {data['schema']}, and pellucid {__version__} reads up to {NAME}/{VERSION}: "
            "update pellucid to read it"
        )
    for key in (
        "model",
        "method",
        "objective",
        "prompt",
        "answer",
        "sources",
        "targets",
        "total",
        "cost",
        "seed",
    ):
        if key not in data:
            raise SchemaError(f"not a whole trace: it lacks '{key}'")
    sources = tuple(_build(Source, s, f"sources[{i}]") for i, s in enumerate(_list(data["sources"], "sources")))
    targets = tuple(
        _build(
            Target,
            t,
            f"targets[{i}]",
            alternatives=tuple(
                _build(Alternative, a, f"targets[{i}].alternatives")
                for a in _list(t.get("alternatives", []) if isinstance(t, dict) else [], f"targets[{i}].alternatives")
            ),
        )
        for i, t in enumerate(_list(data["targets"], "targets"))
    )
    span, trust, scores = data.get("span"), data.get("trust"), data.get("scores")
    prompt = data["prompt"]
    messages = prompt.get("messages") if isinstance(prompt, dict) else None
    n, m = len(sources), len(targets)
    return Trace(
        model=_build(ModelInfo, data["model"], "model"),
        method=_build(MethodInfo, data["method"], "method"),
        objective=str(data["objective"]),
        prompt=_build(
            Prompt,
            prompt,
            "prompt",
            messages=None if messages is None else tuple(_list(messages, "prompt.messages")),
        ),
        answer=_build(Answer, data["answer"], "answer"),
        sources=sources,
        targets=targets,
        total=_array(data["total"], "total", (n,)),
        scores=None if scores is None else _array(scores, "scores", (m, n + m)),
        cost=_build(Cost, data["cost"], "cost"),
        seed=int(data["seed"]),
        span=None
        if span is None
        else _build(Span, span, "span", targets=tuple(_list(_get(span, "targets", "span"), "span.targets"))),
        trust=None
        if trust is None
        else _build(
            Trust, trust, "trust", random_drops=tuple(_list(_get(trust, "random_drops", "trust"), "trust.random_drops"))
        ),
        trust_note=data.get("trust_note"),
        precision=str(data.get("precision", "full")),
        merge=str(data.get("merge", "sum")),
        unit=str(data.get("unit", "token")),
        units=_units(data.get("units", []), n),
        unit_merge=str(data.get("unit_merge", "sum")),
        spans=_spans(data.get("spans", []), n),
        reduce=str(data.get("reduce", "sum")),
        details=dict(_object(data.get("details", {}), "details")),
        versions=dict(data.get("versions") or {}),
        created=str(data.get("created", "")),
    )


def _object(data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise SchemaError(f"not a whole trace: '{where}' should be an object and is {type(data).__name__}")
    return data


def _score(value: Any, where: str) -> float:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise SchemaError(f"not a whole trace: '{where}' should be a number or null")
    return math.nan if value is None else float(value)


def _places(data: Any, where: str, count: int) -> tuple[int, ...]:
    places = tuple(_list(data, where))
    if not all(isinstance(i, int) and 0 <= i < count for i in places):
        raise SchemaError(f"not a whole trace: '{where}' should hold places of {count} prompt tokens")
    return places


def _units(data: Any, tokens: int) -> tuple[UnitScore, ...]:
    return tuple(
        _build(
            UnitScore,
            u,
            f"units[{i}]",
            tokens=_places(_get(u, "tokens", f"units[{i}]"), f"units[{i}].tokens", tokens),
            score=_score(_get(u, "score", f"units[{i}]"), f"units[{i}].score"),
        )
        for i, u in enumerate(_list(data, "units"))
    )


def _spans(data: Any, tokens: int) -> tuple[NamedSpan, ...]:
    out = []
    for i, s in enumerate(_list(data, "spans")):
        where = f"spans[{i}]"
        scores = _list(_object(s, where).get("unit_scores", []), f"{where}.unit_scores")
        out.append(
            _build(
                NamedSpan,
                s,
                where,
                targets=tuple(_list(s.get("targets"), f"{where}.targets")),
                total=_array(s.get("total"), f"{where}.total", (tokens,)),
                unit_scores=tuple(_score(x, f"{where}.unit_scores") for x in scores),
            )
        )
    return tuple(out)


def load(path: Path) -> Trace:
    """Read a trace from a JSON file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from None
    except UnicodeDecodeError as e:
        raise SchemaError(f"{path} is not a trace: byte {e.start} is not UTF-8") from None
    try:
        data = json.loads(text)
    except json.JSONDecodeError as e:
        raise SchemaError(f"{path} is not a trace, or was cut short: {e.msg} at line {e.lineno}") from None
    return from_dict(data)
