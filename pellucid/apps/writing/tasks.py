"""What can be written: each task's fields, and how it decodes unless told otherwise.

    TASKS["mail"].fields; task("article").decoding

A task's template is ``templates/NAME.LANGUAGE.txt``. Plain data: nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pellucid.apps.speaker import Decoding
from pellucid.errors import OptionError, unknown

#: Values of a prompt by field; a field that takes one has one at most.
Values = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Field:
    """What may be given. ``many``: several of it; ``required``: no text can be written without; ``prose``: its
    language may be told from it."""

    name: str
    about: str
    required: bool = False
    many: bool = False
    prose: bool = True


@dataclass(frozen=True)
class Task:
    """A kind of text. The first field is what it is about."""

    name: str
    about: str
    fields: tuple[Field, ...]
    decoding: Decoding

    @property
    def known(self) -> list[str]:
        """Names of the fields."""
        return [f.name for f in self.fields]

    @property
    def required(self) -> list[str]:
        """Names of those that have to be given."""
        return [f.name for f in self.fields if f.required]

    def field(self, name: str) -> Field:
        """A field by name."""
        return next(f for f in self.fields if f.name == name)


_STYLE = Field("style", "how it is written, e.g. 'plain, with examples'")
_TONE = Field("tone", "e.g. friendly, formal")
_LENGTH = Field("length", "what the model is told of the length, e.g. 'three paragraphs'")
_LANGUAGE = Field("language", "programming language", required=True, prose=False)
_DRAWN = "temperature:0.7+top_p:0.9"

TASKS: dict[str, Task] = {
    t.name: t
    for t in (
        Task(
            "article",
            "an article about a topic",
            (
                Field("topic", "what it is about", required=True),
                Field("points", "a point that it should make", many=True),
                Field("audience", "who reads it"),
                _STYLE,
                _TONE,
                _LENGTH,
            ),
            Decoding(_DRAWN, 400),
        ),
        Task(
            "story",
            "a story of a genre, with characters and a setting",
            (
                Field("genre", "e.g. mystery, fairy tale", required=True),
                Field("characters", "a character, e.g. 'Ada, a clockmaker'", many=True),
                Field("setting", "where and when"),
                Field("events", "something that happens", many=True),
                _STYLE,
                _LENGTH,
            ),
            Decoding(_DRAWN, 400),
        ),
        Task(
            "personal",
            "a text about a topic for one reader",
            (
                Field("topic", "what it is about", required=True),
                Field("audience", "who the reader is", required=True),
                Field("interests", "something that the reader likes", many=True),
                Field("level", "reading level, e.g. 'a child of eight'"),
                _STYLE,
                _LENGTH,
            ),
            Decoding(_DRAWN, 300),
        ),
        Task(
            "mail",
            "an email with a purpose",
            (
                Field("purpose", "what it is for", required=True),
                Field("recipient", "who it goes to"),
                Field("sender", "who signs it"),
                Field("points", "a point that it should make", many=True),
                _TONE,
                _LENGTH,
            ),
            Decoding(_DRAWN, 200),
        ),
        Task(
            "code",
            "a program that does what is described",
            (Field("description", "what it does", required=True), _LANGUAGE),
            Decoding("greedy", 400),
        ),
        Task(
            "function",
            "a function with a given signature",
            (
                Field("signature", "e.g. 'def mean(numbers: list[float]) -> float:'", required=True, prose=False),
                Field("description", "what it does", required=True),
                _LANGUAGE,
            ),
            Decoding("greedy", 400),
        ),
        Task(
            "fix",
            "code that fails, corrected",
            (
                Field("code", "the code", required=True, prose=False),
                Field("error", "what was said when it failed", required=True),
                _LANGUAGE,
            ),
            Decoding("greedy", 400),
        ),
    )
}
#: The tasks that write prose: those of ``write``.
PROSE = ("article", "story", "personal", "mail")


def task(name: str, among: Sequence[str] = tuple(TASKS)) -> Task:
    """The task of that name. Raises ``OptionError``."""
    if name not in among:
        raise unknown("task", name, list(among))
    return TASKS[name]


def values(what: Task, given: Mapping[str, object]) -> Values:
    """What was given by field, blanks at the ends taken off, empty ones left out. A field that takes several also takes
    one text. Raises ``OptionError`` for an unknown field, one that is no text, and a required one that is missing."""
    found: Values = {}
    for name, value in given.items():
        if name not in what.known:
            raise unknown(f"field of the task {what.name}", name, what.known)
        if value is None:
            continue
        several = isinstance(value, Sequence) and not isinstance(value, str)
        items = list(value) if isinstance(value, Sequence) and several else [value]
        many = what.field(name).many
        if (several and not many) or not all(isinstance(i, str) for i in items):
            raise OptionError(f"{name} should be {'texts' if many else 'a text'}, given {value!r}")
        kept = tuple(t for i in items if (t := _trimmed(str(i))))
        if kept:
            found[name] = kept
    for name in what.required:
        if name not in found:
            raise OptionError(f"the task {what.name} needs {name} ({what.field(name).about}): none was given")
    return {name: found[name] for name in what.known if name in found}


def _trimmed(text: str) -> str:
    """Without blank lines at its ends and blanks behind; how far the first line is set in may be code's meaning."""
    lines = text.replace("\r\n", "\n").split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    joined = "\n".join(lines).rstrip()
    return joined if "\n" in joined else joined.strip()
