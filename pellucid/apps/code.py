"""Code from a description or a signature, and code that fails, corrected: with the lines that it rests on.

    done = code(model, "print the first ten squares")
    done = code(model, "the mean, 0 of none", function="def mean(numbers: list[float]) -> float:")
    done = fix(model, "def f(x)\n    return x", "SyntaxError: expected ':'", trace=True)
    done.code; done.syntax.ok; done.diff; done.unused

The code is the fenced block of the answer that is meant (``apps/fences.py``). Python is read with ``ast``; nothing is
ever run. With ``trace`` each line that was given (each sentence of a description) is taken away, and the fall of the
code's log-probability said: of a fix, of those lines alone that are new in it.
"""

from __future__ import annotations

import difflib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.apps.fences import Block, Syntax, blocks, chosen, language_name, says_something, syntax
from pellucid.apps.speaker import Decoding, OnText, speaker
from pellucid.apps.writing.evidence import Part
from pellucid.apps.writing.result import Point
from pellucid.apps.writing.tasks import TASKS
from pellucid.apps.writing.template import Given
from pellucid.apps.writing.write import decoding_of, points, prepared, traced
from pellucid.lens.plain import Result
from pellucid.progress import Progress, silent
from pellucid.trace.result import ModelInfo, Trace
from pellucid.trace.segments import sentences

if TYPE_CHECKING:
    from pellucid.apps.speaker import Asked

#: Fields that are cut at their lines; descriptions are cut at their sentences, the rest stays whole.
_BY_LINE = ("code", "error", "signature")


@dataclass(frozen=True)
class Coded(Result):
    """Code that was written. ``task``: ``code``, ``function`` or ``fix``; ``text`` is the whole answer, ``code`` what
    was taken out of it (empty: there is none, and ``note`` says so), characters ``start`` to ``end`` of it; ``blocks``
    are all that it holds. ``diff`` is unified, from what was given to ``code``, of a fix alone. ``tokens`` new ones,
    ``logprob`` their mean (nats a token). ``parts`` are the stretches of the answer that ``points`` were weighed for:
    the code, or of a fix its new lines."""

    SCHEMA: ClassVar[str] = "pellucid.code/1"

    task: str
    language: str
    lang: str
    fields: dict[str, tuple[str, ...]]
    template: str
    messages: tuple[dict[str, str], ...]
    text: str
    code: str
    start: int
    end: int
    blocks: tuple[Block, ...]
    syntax: Syntax
    diff: str
    tokens: int
    logprob: float
    ended: str
    decoding: Decoding
    points: tuple[Point, ...]
    parts: tuple[Part, ...]
    model: ModelInfo
    seconds: float
    note: str = ""
    trace: Trace | None = None

    @property
    def unused(self) -> tuple[Point, ...]:
        """What was given and not used; nothing where nothing was traced."""
        return tuple(p for p in self.points if p.used is False)

    @property
    def rests_on(self) -> tuple[Point, ...]:
        """What was given and used, the largest fall first."""
        return tuple(sorted((p for p in self.points if p.used), key=lambda p: -sum(p.falls)))

    def rows(self) -> list[dict[str, Any]]:
        """One row a line (or sentence) that was given: field, number, text, used, fall (nats, of all parts)."""
        return [
            {"field": p.field, "number": p.number, "text": p.text, "used": p.used, "fall": sum(p.falls)}
            if p.falls
            else {"field": p.field, "number": p.number, "text": p.text, "used": p.used}
            for p in self.points
        ]


def code(
    model: Asked,
    description: str,
    *,
    language: str = "python",
    function: str | None = None,
    **options: Any,
) -> Coded:
    """A program that does what is described, or with ``function`` (its signature) that function.

    ``options`` are those of ``make``. Raises ``OptionError``, ``InputError``, ``ContextError``, ``ModelError``.
    """
    if function is None:
        return make(model, "code", {"description": description}, language, **options)
    return make(model, "function", {"signature": function, "description": description}, language, **options)


def fix(model: Asked, code: str, error: str, *, language: str = "python", **options: Any) -> Coded:
    """``code``, corrected after the ``error`` that it gave, and the diff. Errors and ``options`` as of ``code``."""
    return make(model, "fix", {"code": code, "error": error}, language, **options)


def make(
    model: Asked,
    name: str,
    fields: dict[str, str],
    language: str,
    *,
    lang: str | None = None,
    template: str | Path | None = None,
    templates: str | Path | None = None,
    strategy: str | None = None,
    max_new_tokens: int | None = None,
    seed: int = 0,
    stream: OnText | None = None,
    trace: bool = False,
    trust: bool = True,
    progress: Progress = silent,
) -> Coded:
    """One of the three tasks. Options as of ``writing.write.write``; greedy, at most 400 tokens, unless told."""
    given, tongue, read, filled = prepared(
        name, {**fields, "language": language}, lang=lang, template=template, templates=templates
    )
    decoding = decoding_of(TASKS[name], strategy, max_new_tokens, seed)
    me, began = speaker(model), time.perf_counter()
    said = me.write(filled.messages, decoding, on_text=stream, progress=progress)
    found = blocks(said.text)
    block, note = _meant(said.text, found, language)
    before = given["code"][0] if name == "fix" else ""
    filled = replace(filled, given=tuple(p for g in filled.given for p in _cut(g)))
    evidence = None
    if trace and not block.code:
        note = f"{note}; nothing was weighed" if note else "nothing was weighed"
    elif trace:
        ranges = new_lines(said.text, block, before) if name == "fix" else [(block.start, block.end)]
        evidence, why = traced(me, filled, name, said, ranges, tongue, trust=trust, progress=progress)
        note = "; ".join(n for n in (note, why) if n)
    return Coded(
        task=name,
        language=language_name(language),
        lang=tongue,
        fields=given,
        template=read.name,
        messages=filled.messages,
        text=said.text,
        code=block.code,
        start=block.start,
        end=block.end,
        blocks=tuple(found),
        syntax=syntax(block.code, language) if block.code else Syntax(None),
        diff=difference(before, block.code) if name == "fix" and block.code else "",
        tokens=said.tokens,
        logprob=said.logprob,
        ended=said.end,
        decoding=decoding,
        points=points(filled, evidence),
        parts=() if evidence is None else evidence.parts,
        model=me.info,
        seconds=round(time.perf_counter() - began, 4),
        note=note,
        trace=None if evidence is None else evidence.trace,
    )


def _meant(text: str, found: list[Block], language: str) -> tuple[Block, str]:
    """The code of an answer, and what is to be said of how it was found."""
    block = chosen(found, language)
    if block is None:
        if not found and language_name(language) == "python" and says_something(text):
            whole = Block(text.rstrip(), "", 0, len(text.rstrip()), False)
            return whole, "the answer has no fenced block and is Python: it was taken whole"
        return Block("", "", 0, 0, False), "the answer holds no code in a fenced block"
    said = []
    if sum(bool(b.code.strip()) for b in found) > 1:
        said.append(f"block {found.index(block) + 1} of {len(found)} was taken")
    if block.tag and language_name(block.tag) != language_name(language):
        said.append(f"it is tagged '{block.tag}'")
    if not block.closed:
        said.append("its fence is not closed")
    return block, "; ".join(said)


def difference(before: str, after: str) -> str:
    """The unified diff from what was given to the corrected code; empty where they are the same."""
    a, b = before.splitlines(), after.splitlines()
    return "\n".join(difflib.unified_diff(a, b, "given", "corrected", lineterm=""))


def new_lines(answer: str, block: Block, before: str) -> list[tuple[int, int]]:
    """The stretches of the answer (characters) whose lines are new in its code, those that stand together as one; the
    whole code where a fix only takes lines away, or changes nothing."""
    after = block.code.splitlines()
    places, at = [], block.start
    for line in answer[block.start : block.end].splitlines(keepends=True):
        places.append((at, at + len(line.rstrip("\r\n"))))
        at += len(line)
    found = []
    for kind, _, _, first, last in difflib.SequenceMatcher(
        None, before.splitlines(), after, autojunk=False
    ).get_opcodes():
        visible = [k for k in range(first, last) if after[k].strip()] if kind in ("replace", "insert") else []
        if visible:
            found.append((places[visible[0]][0], places[visible[-1]][1]))
    return found or [(block.start, block.end)]


def _cut(given: Given) -> list[Given]:
    """A value in its lines, or its sentences."""
    if given.field == "language":
        return []
    if given.field in _BY_LINE:
        ranges, at = [], 0
        for number, line in enumerate(given.text.split("\n"), 1):
            if line.strip():
                begins = at + len(line) - len(line.lstrip())
                ranges.append((number, begins, at + len(line.rstrip())))
            at += len(line) + 1
    else:
        ranges = [(k, a, b) for k, (a, b) in enumerate(sentences(given.text), 1)]
    return [
        Given(given.field, number, given.text[a:b], given.message, given.start + a, given.start + b)
        for number, a, b in ranges
    ]
