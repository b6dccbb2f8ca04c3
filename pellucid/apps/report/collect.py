"""Files to traces: every trace that a file holds, wherever in it; what holds none is named, with the reason.

    found = collect(["capital.json", "runs/", "chats.jsonl"])
    found.traces, found.origins, found.passed

A file is JSON, or JSON Lines (``.jsonl``, ``.ndjson``, or lines that are each an object). Whatever object in it says
``"schema": "pellucid.trace/..."`` is read: so a trace, a comparison, a saved conversation, and any other result that
holds traces. Of a folder every ``.json``, ``.jsonl`` and ``.ndjson`` in it and below it is read, hidden ones left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import InputError, SchemaError
from pellucid.progress import Progress, silent
from pellucid.trace.result import Trace

ENDINGS = (".json", ".jsonl", ".ndjson")
LINES = (".jsonl", ".ndjson")
_TRACE = "pellucid.trace/"


@dataclass(frozen=True)
class Origin:
    """Where a trace was found: the file (empty: in memory), and the place in it (empty: the whole file)."""

    file: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.file} {self.place}".strip()


@dataclass(frozen=True)
class Passed:
    """What was passed over, and why."""

    file: str
    place: str
    why: str


@dataclass(frozen=True)
class Collected:
    """Traces with their origins, in order, and what was passed over."""

    traces: tuple[Trace, ...]
    origins: tuple[Origin, ...]
    passed: tuple[Passed, ...]


def collect(paths: Sequence[str | Path], *, progress: Progress = silent) -> Collected:
    """Every trace in ``paths``. A trace that is there twice, character for character, is read once.

    Raises ``InputError`` for a path that is not there, and where nothing in any of them is a trace.
    """
    if not paths:
        raise InputError("there is nothing to report on: expected files or folders that hold traces")
    files = [f for p in paths for f in _files(Path(p))]
    traces: list[Trace] = []
    origins: list[Origin] = []
    passed = [Passed(str(p), "", "a folder without any JSON file") for p in paths if Path(p).is_dir() and not _in(p)]
    seen: dict[bytes, Origin] = {}
    for k, file in enumerate(dict.fromkeys(files)):
        progress("reading", k, len(files))
        for place, found in _read(file):
            if isinstance(found, str):
                passed.append(Passed(str(file), place, found))
                continue
            mark = hashlib.sha256(found.to_json().encode("utf-8", "surrogatepass")).digest()
            if mark in seen:
                passed.append(Passed(str(file), place, f"the same trace as {seen[mark]}"))
                continue
            seen[mark] = Origin(str(file), place)
            traces.append(found)
            origins.append(seen[mark])
    progress("reading", len(files), len(files))
    if not traces:
        first = passed[0]
        more = f"; and {len(passed) - 1} more like it" if len(passed) > 1 else ""
        raise InputError(f"there is no trace to report on: {Origin(first.file, first.place)}: {first.why}{more}")
    return Collected(tuple(traces), tuple(origins), tuple(passed))


def _in(folder: str | Path) -> list[Path]:
    return sorted(
        f
        for f in Path(folder).rglob("*")
        if f.suffix.lower() in ENDINGS
        and f.is_file()
        and not any(part.startswith(".") for part in f.relative_to(folder).parts)
    )


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return _in(path)
    if not path.exists():
        raise InputError(f"cannot read {path}: there is no such file or folder")
    return [path]


def _read(file: Path) -> Iterator[tuple[str, Trace | str]]:
    """(place, trace or why it is none) for whatever the file holds."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as e:
        yield "", f"it cannot be read: {e.strerror or e}"
        return
    except UnicodeDecodeError as e:
        yield "", f"not a trace: byte {e.start} is not UTF-8"
        return
    if not text.strip():
        yield "", "it is empty"
        return
    if file.suffix.lower() in LINES or _is_lines(text):
        for k, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield from _traces(line, f"line {k}")
        return
    yield from _traces(text, "")


def _is_lines(text: str) -> bool:
    """Several lines, of which the first is a whole object: JSON Lines under another name."""
    first, _, rest = text.strip().partition("\n")
    if not rest.strip() or not first.startswith("{"):
        return False
    try:
        json.loads(first)
    except (json.JSONDecodeError, RecursionError):
        return False
    return True


def _traces(text: str, where: str) -> Iterator[tuple[str, Trace | str]]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as e:
        line = "" if where else f" at line {e.lineno}"
        yield where, f"not JSON, or cut short: {e.msg}{line}"
        return
    except RecursionError:
        yield where, "not a trace: its JSON is nested too deeply to be read"
        return
    any_trace = False
    for place, part in _objects(data):
        any_trace = True
        yield f"{where} {place}".strip(), _trace(part)
    if not any_trace:
        yield where, f'no trace in it: {_kind(data)}, and no part of it says "schema": "{_TRACE}1"'


def _kind(data: Any) -> str:
    if isinstance(data, dict) and isinstance(data.get("schema"), str):
        return f"it is a {data['schema'][:60]}"
    return f"it holds {'a JSON object' if isinstance(data, dict) else f'a JSON {type(data).__name__}'}"


def _objects(data: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, object) of every trace, in reading order; nothing is looked for inside a trace."""
    todo: list[tuple[str, Any]] = [("", data)]
    while todo:
        path, part = todo.pop()
        if isinstance(part, dict):
            if str(part.get("schema", "")).startswith(_TRACE):
                yield path, part
                continue
            todo += [(f"{path}.{k}".lstrip("."), v) for k, v in reversed(part.items())]
        elif isinstance(part, list):
            todo += [(f"{path}[{k}]", v) for k, v in reversed(list(enumerate(part)))]


def _trace(data: dict[str, Any]) -> Trace | str:
    """The trace, or why it is none."""
    try:
        found = Trace.from_dict(data)
        fault = _fault(found)
    except SchemaError as e:
        return str(e)
    except (TypeError, ValueError, AttributeError, KeyError) as e:
        return f"not a whole trace: {e}"
    return found if fault is None else f"not a whole trace: {fault}"


def _fault(trace: Trace) -> str | None:
    """What would make the trace unreadable: places outside its own texts, numbers that are none."""
    texts = texts_of(trace)
    if not all(isinstance(text, str) for text in texts.values()):
        return "a message's content is no text"
    for i, s in enumerate(trace.sources):
        if s.start is None or s.end is None:
            continue
        held = texts.get(s.message)
        if held is None:
            return f"sources[{i}] is of message {s.message}, which is not there"
        if not 0 <= s.start <= s.end <= len(held):
            return f"sources[{i}] is at {s.start} to {s.end} of a text of {len(held)} characters"
    numbers = [x for t in trace.targets for x in (t.logprob, t.entropy)]
    numbers += [trace.cost.seconds, trace.cost.forward_passes, trace.cost.backward_passes, trace.cost.generate_seconds]
    if trace.trust is not None:
        numbers += [trace.trust.top_drop, trace.trust.random_drop, *trace.trust.random_drops]
    if not all(isinstance(x, int | float) for x in numbers):
        return "'targets', 'cost' or 'trust' hold something else than numbers"
    names = (trace.model.name, trace.method.name, trace.answer.text)
    return None if all(isinstance(x, str) for x in names) else "'model', 'method' or 'answer' lack their texts"


def texts_of(trace: Trace) -> dict[int | None, str]:
    """What the user wrote, by message (None: a bare prompt)."""
    if trace.prompt.messages is None:
        return {None: trace.prompt.text or ""}
    return {k: m["content"] for k, m in enumerate(trace.prompt.messages)}
