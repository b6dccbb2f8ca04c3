"""Prompt templates: text files with placeholders, and where each value stands in the prompt that they make.

    filled = find("mail", "en").fill({"purpose": ("ask for a day off",), "points": ("Friday", "Bo stands in")})
    filled.messages; filled.given[1].text, filled.given[1].start

The rules:

- ``{topic}`` is a placeholder; ``{{`` and ``}}`` are braces.
- A line whose placeholder has no value is left out.
- A line with the placeholder of a field that takes several values is written once for each of them.
- Blank lines that come to stand together become one; those at the ends go.

A placeholder stands once in a template, so that a value that is taken away is gone. A template of the user's own is a
file, or a folder of files with the same names.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pellucid.apps.writing.tasks import TASKS, Task, Values
from pellucid.errors import InputError, OptionError
from pellucid.relevance.prompts import LANGUAGES

#: (text as it is, the placeholder that follows it or None), of one line.
Pieces = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Given:
    """A value in the prompt: characters ``start`` to ``end`` of ``messages[message]``; ``number`` counts, from 1, what
    a field that takes several was given."""

    field: str
    number: int
    text: str
    message: int
    start: int
    end: int


@dataclass(frozen=True)
class Filled:
    """A prompt, and its values in reading order."""

    messages: tuple[dict[str, str], ...]
    given: tuple[Given, ...]


@dataclass(frozen=True)
class Template:
    """A template that was read and found whole. ``name`` is its file's."""

    name: str
    task: str
    lines: tuple[Pieces, ...]

    def fill(self, values: Values) -> Filled:
        """The prompt: one message of the user's. ``values`` are what ``tasks.values`` gave."""
        text, given = "", []
        for pieces in self.lines:
            for line, places in _written(pieces, values):
                if not line.strip() and (not text or text.endswith("\n\n")):
                    continue
                given += [Given(f, n, line[a:b], 0, len(text) + a, len(text) + b) for f, n, a, b in places]
                text += f"{line}\n"
        return Filled(({"role": "user", "content": text.rstrip("\n")},), tuple(given))


def _written(pieces: Pieces, values: Values) -> list[tuple[str, list[tuple[str, int, int, int]]]]:
    """The lines that a template's line becomes, each with its values (field, number, start, end)."""
    names = [name for _, name in pieces if name is not None]
    counts = [len(values.get(name, ())) for name in names]
    found = []
    for k in range(min(counts, default=1) and max(counts, default=1)):
        line, places = "", []
        for literal, name in pieces:
            line += literal
            if name is not None:
                value = values[name][min(k, len(values[name]) - 1)]
                places.append((name, k + 1, len(line), len(line) + len(value)))
                line += value
        found.append((line, places))
    return found


def read(text: str, name: str, task: Task) -> Template:
    """A template from its text; ``name`` says in errors which. Raises ``InputError`` for one that is empty, has a brace
    that is not closed, an unknown placeholder, one twice, one of several values beside another, or lacks a required
    one."""
    known = "known are " + ", ".join(f"{{{n}}}" for n in task.known)
    if not text.strip():
        raise InputError(f"the template {name} is empty: expected the prompt of the task {task.name}; {known}")
    lines, seen = [], set()
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        pieces = _pieces(line, f"the template {name}, line {number},", known)
        names = [n for _, n in pieces if n is not None]
        for n in names:
            if n not in task.known:
                raise InputError(
                    f"the template {name}, line {number}, holds {{{n}}}, which the task {task.name} does not have; "
                    f"{known}"
                )
            if n in seen:
                raise InputError(f"the template {name}, line {number}, holds {{{n}}} again: expected it once")
            seen.add(n)
        several = [n for n in names if task.field(n).many]
        if several and len(names) > 1:
            raise InputError(
                f"the template {name}, line {number}, is written once for each of {{{several[0]}}}: expected no other "
                "placeholder in that line"
            )
        lines.append(pieces)
    for n in task.required:
        if n not in seen:
            raise InputError(f"the template {name} lacks {{{n}}}, which the task {task.name} needs; {known}")
    return Template(name, task.name, tuple(lines))


def _pieces(line: str, where: str, known: str) -> Pieces:
    """A line cut at its placeholders. Raises ``InputError``."""
    found: list[tuple[str, str | None]] = []
    try:
        for literal, name, form, conversion in string.Formatter().parse(line):
            if name is not None and (form or conversion or not name.isidentifier()):
                raise ValueError(f"{{{name}{f'!{conversion}' if conversion else ''}{f':{form}' if form else ''}}}")
            found.append((literal, name))
    except ValueError as e:
        said = str(e) if str(e).startswith("{") else "a brace without its other half"
        raise InputError(
            f"{where} holds {said}: expected a name in braces, or {{{{ and }}}} for braces themselves; {known}"
        ) from None
    return tuple(found)


def file_name(task: str, lang: str) -> str:
    """Of the template of a task in a language."""
    return f"{task}.{lang}.txt"


def find(task: str, lang: str, *, file: str | Path | None = None, folder: str | Path | None = None) -> Template:
    """The template of a task: the user's ``file``, the one of that name in the user's ``folder``, or the project's.

    Raises ``OptionError`` for both, or a language without templates; ``InputError`` for one that is missing, cannot be
    read, or is not whole.
    """
    if lang not in LANGUAGES:
        raise OptionError(f"there are templates in {' and '.join(LANGUAGES)}, given '{lang}'")
    if file is not None and folder is not None:
        raise OptionError("a template's file and a folder of templates exclude each other: give one of them")
    name = file_name(task, lang)
    if folder is not None:
        if not Path(folder).is_dir():
            raise InputError(f"there is no folder {folder}: expected one with {name}")
        file = Path(folder) / name
        if not file.exists():
            held = sorted(p.name for p in Path(folder).glob("*.txt")) or ["no .txt file"]
            raise InputError(f"the folder {folder} has no {name}: it holds {', '.join(held)}")
    if file is None:
        own = resources.files("pellucid.apps.writing").joinpath("templates").joinpath(name)
        return read(own.read_text(encoding="utf-8"), name, TASKS[task])
    try:
        data = Path(file).read_bytes()
    except OSError as e:
        raise InputError(f"cannot read the template {file}: {e.strerror or e}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise InputError(
            f"the template {file} is not UTF-8: byte 0x{data[e.start]:02x} at {e.start} cannot be read; convert it, "
            "e.g. with iconv"
        ) from None
    return read(text, str(file), TASKS[task])
