"""What scores are given to: tokens, words, sentences, paragraphs, messages, documents, or parts that the user names.

    pellucid explain --unit sentence --file prompt.txt
    model.explain(text, unit=[(0, 120), (120, 300)])        # characters of the text; (message, start, end) in a chat

A unit is a stretch of what the user wrote, and the tokens in it: a token goes to the unit that its first visible
character lies in, so each is in one unit at most and none is cut. Blanks alone go to the unit before them, but for
words and parts of one's own. What-if methods take whole units away; for the others, token scores are merged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pellucid.errors import InputError, OptionError, unknown
from pellucid.models.encode import Encoded
from pellucid.trace import segments
from pellucid.trace.reference import texts
from pellucid.trace.result import Floats

KINDS: dict[str, Callable[[str], list[segments.Range]]] = {
    "word": segments.words,
    "sentence": segments.sentences,
    "paragraph": segments.paragraphs,
    "message": lambda text: [r for r in [segments.trimmed(text, 0, len(text))] if r is not None],
    "document": segments.documents,
}
NAMES = ("token", *KINDS)
MERGES = ("sum", "mean", "max_abs")
PATTERN = "regex:"

#: (start, end) in characters of a bare prompt; (message, start, end) in a chat.
Part = tuple[int, int] | tuple[int, int, int]
#: A kind, ``regex:...``, a compiled pattern, parts, or parts by name.
Kind = str | re.Pattern[str] | Sequence[Part] | Mapping[str, Part]


@dataclass(frozen=True)
class Unit:
    """A stretch of the prompt: ``text`` is what stands between ``start`` and ``end`` (characters of message
    ``message``, or of the bare prompt), ``tokens`` are places in the encoded prompt."""

    name: str
    text: str
    start: int
    end: int
    message: int | None
    tokens: tuple[int, ...]


def check(unit: Kind, merge: str | None = None) -> None:
    """Raise ``OptionError`` for a kind or a merge that there is not, before any work."""
    if merge is not None and merge not in MERGES:
        raise unknown("merge", merge, list(MERGES))
    if isinstance(unit, re.Pattern):
        return
    if isinstance(unit, str):
        if unit.startswith(PATTERN):
            _compiled(unit)
        elif unit not in NAMES:
            raise unknown("unit", unit, [*NAMES, f"{PATTERN}..."])
        return
    if not isinstance(unit, Sequence | Mapping) or not unit:
        raise OptionError(f"unit should be a name, a pattern, or parts (start, end), not empty, given {unit!r}")
    for part in unit.values() if isinstance(unit, Mapping) else unit:
        whole = isinstance(part, Sequence) and not isinstance(part, str) and len(part) in (2, 3)
        if not whole or not all(isinstance(x, int) for x in part):
            raise OptionError(f"a unit should be (start, end) or (message, start, end) in characters, given {part!r}")


def kind_name(unit: Kind) -> str:
    """What the trace says of the units: their kind, the pattern, or ``parts``."""
    if isinstance(unit, re.Pattern):
        return PATTERN + unit.pattern
    return unit if isinstance(unit, str) else "parts"


def _compiled(unit: str) -> re.Pattern[str]:
    try:
        return re.compile(unit.removeprefix(PATTERN))
    except re.error as e:
        raise OptionError(f"the unit's pattern {unit.removeprefix(PATTERN)!r} cannot be read: {e}") from None


def units(encoded: Encoded, unit: Kind) -> list[Unit]:
    """The units of a prompt, in reading order; none for ``token``. Raises ``OptionError``, ``InputError``."""
    check(unit)
    if unit == "token":
        return []
    if isinstance(unit, str) and not unit.startswith(PATTERN):
        return _of_kind(encoded, unit)
    if isinstance(unit, str | re.Pattern):
        pattern = _compiled(unit) if isinstance(unit, str) else unit
        places = [(m, *x.span()) for m, text in texts(encoded) for x in pattern.finditer(text) if x[0].strip()]
        if not places:
            raise InputError(f"the unit's pattern {pattern.pattern!r} matches nothing in the prompt")
        return _of_places(encoded, [(f"match {k + 1}", *place) for k, place in enumerate(places)])
    named = unit.items() if isinstance(unit, Mapping) else ((f"part {k + 1}", p) for k, p in enumerate(unit))
    return _of_places(encoded, [(name, *_place(encoded, part)) for name, part in named])


#: Coarse to fine: what methods that refine go down.
LEVELS = ("document", "paragraph", "sentence")


def levels(encoded: Encoded, unit: Kind) -> list[list[list[int]]]:
    """Groups of prompt tokens coarser than ``unit``, coarsest first: documents, paragraphs, sentences."""
    above = LEVELS[: LEVELS.index(unit)] if isinstance(unit, str) and unit in LEVELS else LEVELS
    if unit == "message":
        return []
    return [[list(u.tokens) for u in _of_kind(encoded, kind)] for kind in above]


def _of_kind(encoded: Encoded, kind: str) -> list[Unit]:
    found: list[tuple[int | None, int, int]] = [(m, a, b) for m, text in texts(encoded) for a, b in KINDS[kind](text)]
    owners = _owners(encoded, found, blanks=kind != "word")
    written = dict(texts(encoded))
    out: list[Unit] = []
    for (message, start, end), tokens in zip(found, owners, strict=True):
        last = out[-1] if out else None
        if not tokens and last is not None and last.message == message:
            # One token holds both (two Chinese words, say): they cannot be told apart, and become one.
            out[-1] = Unit(last.name, written[message][last.start : end], last.start, end, message, last.tokens)
        elif tokens:
            role = (
                f" ({encoded.messages[message]['role']})"
                if kind == "message" and encoded.messages and message is not None
                else ""
            )
            number = message if kind == "message" and message is not None else len(out)
            out.append(
                Unit(f"{kind} {number + 1}{role}", written[message][start:end], start, end, message, tuple(tokens))
            )
    if not out:
        raise InputError(f"the prompt holds no {kind}: expected some text")
    return out


def _place(encoded: Encoded, part: Part) -> tuple[int | None, int, int]:
    """(message, start, end) of a part that the user gave."""
    written = dict(texts(encoded))
    if len(part) == 2:
        if None not in written and len(written) > 1:
            raise InputError(f"the unit {part} needs (message, start, end): the prompt has {len(written)} messages")
        message, start, end = next(iter(written)), *part
    else:
        message, start, end = part
        if None in written and message == 0:
            message = None  # a bare prompt has one text, whatever its number
    text = written.get(message)
    if text is None:
        raise InputError(f"the unit {part} names a message that is not there: the prompt has {len(written)}")
    if not 0 <= start < end <= len(text):
        raise InputError(f"the unit {part} is not within the {len(text)} characters of its text")
    return message, start, end


def _of_places(encoded: Encoded, named: list[tuple[str, int | None, int, int]]) -> list[Unit]:
    order = sorted(named, key=lambda n: (-1 if n[1] is None else n[1], n[2]))
    for a, b in pairwise(order):
        if a[1] == b[1] and b[2] < a[3]:
            raise InputError(f"the units {a[0]} ({a[2]}, {a[3]}) and {b[0]} ({b[2]}, {b[3]}) overlap")
    owners = _owners(encoded, [(m, a, b) for _, m, a, b in order], blanks=False)
    written, out = dict(texts(encoded)), []
    for (name, message, start, end), tokens in zip(order, owners, strict=True):
        text = written[message][start:end]
        if not tokens:
            raise InputError(
                f"the unit {name} ({start}, {end}) {text!r} covers no token of its own: make it larger, or one "
                "with its neighbour"
            )
        out.append(Unit(name, text, start, end, message, tuple(tokens)))
    return out


def _owners(encoded: Encoded, places: list[tuple[int | None, int, int]], *, blanks: bool) -> list[list[int]]:
    """The tokens of each place (message, start, end), in order of the text."""
    owner: dict[int | None, list[int]] = {m: [-1] * len(text) for m, text in texts(encoded)}
    for k, (message, start, end) in enumerate(places):
        owner[message][start:end] = [k] * (end - start)
    written = dict(texts(encoded))
    out: list[list[int]] = [[] for _ in places]
    last: tuple[int | None, int] = (None, -1)  # message and unit of the token before
    for i, token in enumerate(encoded.tokens):
        if token.start is None or token.end is None:
            continue
        message = token.message if token.message in written else next(iter(written))
        inside = range(token.start, token.end)
        visible = [at for at in inside if not written[message][at].isspace()]
        found = next((owner[message][at] for at in visible if owner[message][at] >= 0), -1)
        if not visible and blanks and last[0] == message:
            found = last[1]
        elif not visible:
            found = next((owner[message][at] for at in inside if owner[message][at] >= 0), -1)
        if found >= 0:
            out[found].append(i)
        last = (message, found)
    return out


def merged(total: Floats, tokens: Sequence[int], rule: str) -> float:
    """One score from those of ``tokens``: their sum, mean, or the one with the largest magnitude (sign kept).

    Tokens without a score (NaN) are passed over; NaN where none has one.
    """
    values = [float(x) for x in total[list(tokens)] if not math.isnan(x)]
    if not values:
        return math.nan
    if rule == "max_abs":
        return max(values, key=abs)
    whole = float(np.sum(values))
    return whole / len(values) if rule == "mean" else whole


def score_details(unit: Kind, encoded: Encoded) -> dict[str, Any]:
    """What a reader of the trace should know of how the units were found."""
    if unit != "word":
        return {}
    rule = segments.word_rule("".join(text for _, text in texts(encoded)))
    return {} if rule is None else {"chinese_words": rule}
