"""The part of an answer that is explained: by its text, or by its characters; one, or several by name.

model.explain("...", "It was Paris in 1911.", spans={"city": "Paris", "year": (13, 17)})
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from pellucid.errors import InputError, OptionError
from pellucid.trace.result import Span

Place = str | tuple[int, int]


def check(spans: Mapping[str, Place] | None) -> None:
    """Raise ``OptionError`` for what cannot be a table of names and places, before any work."""
    if spans is None:
        return
    if not isinstance(spans, Mapping):
        raise OptionError(f"spans should be names with their parts, like {{'city': 'Paris'}}, given {spans!r}")
    for name, place in spans.items():
        if not isinstance(name, str) or not name:
            raise OptionError(f"a span's name should be a text, given {name!r}")
        pair = isinstance(place, Sequence) and len(place) == 2 and all(isinstance(x, int) for x in place)
        if not isinstance(place, str) and not pair:
            raise OptionError(f"the span '{name}' should be a text or (start, end) in characters, given {place!r}")


def find(span: Place, text: str, tokens: Sequence[tuple[int, int]], name: str = "span") -> Span:
    """The span in the answer ``text``, with the targets that overlap it; ``tokens`` are their characters.

    Raises ``InputError`` that says what is there, and what is near.
    """
    called = f"the {name}" if name == "span" else f"the span '{name}':"
    if isinstance(span, str):
        if not span:
            raise InputError(f"{called} is empty: expected a part of the answer")
        start = text.find(span)
        if start < 0:
            raise InputError(f"{called} {span!r} is not in the answer {shown(text)!r}{nearest(span, [text])}")
        end = start + len(span)
    else:
        start, end = span
        if not 0 <= start < end <= len(text):
            raise InputError(
                f"{called} ({start}, {end}) is not within the answer's {len(text)} characters {shown(text)!r}"
            )
    targets = tuple(i for i, (a, b) in enumerate(tokens) if a < end and b > start)
    if not targets:
        raise InputError(f"{called} ({start}, {end}) covers no token of the answer {shown(text)!r}")
    return Span(text[start:end], start, end, targets)


def shown(text: str, room: int = 200) -> str:
    """``text``, without the middle of a long one."""
    return text if len(text) <= room else f"{text[: room // 2]} … {text[-room // 2 :]}"


def nearest(part: str, written: Sequence[str]) -> str:
    """What to add to "``part`` is not in it": the stretch of as many words that comes nearest, or of as many characters
    in a text without blanks; nothing where none is near."""
    count = max(len(part.split()), 1)
    words = [text.split() for text in written]
    stretches = [" ".join(w[i : i + count]) for w in words for i in range(max(len(w) - count + 1, 0))]
    characters = [text[i : i + len(part)] for text in written for i in range(max(len(text) - len(part) + 1, 0))]
    for found in (stretches, characters):
        near = difflib.get_close_matches(part, list(dict.fromkeys(found)), n=1, cutoff=0.4)
        if near:
            what = "word" if found is stretches and count == 1 else "part"
            return f"; the nearest {what} in it is {near[0]!r}"
    return ""
