"""A query and a text as the model reads them: ids, where the answer is, and which ids are the text's.

    asked = ask(loaded, "debts", text, mode="fill_blank", wording=wording("fill_blank", "en"))
    asked.prompt, asked.answer, asked.places        # the answer's ids: the negative answer's first, or the query's

The chat template is followed where there is one, thinking switched off where it knows the word.
"""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.errors import ContextError, InputError, OptionError
from pellucid.models.encode import Encoded, check_text, encode, encode_target
from pellucid.models.load import LoadedModel
from pellucid.relevance.prompts import Wording


@dataclass(frozen=True)
class Place:
    """A token of the text: its place in the prompt, and its characters in the user's text."""

    index: int
    start: int
    end: int


@dataclass(frozen=True)
class Asked:
    """``prompt`` ids, up to the very token that the answer begins with; ``answer`` ids; the text's ``places``."""

    prompt: list[int]
    answer: list[int]
    places: list[Place]


def check_query(query: str) -> None:
    """Raise ``InputError`` for a query with nothing in it."""
    check_text(query, "the query")
    if not query.strip():
        raise InputError("the query is empty: expected a few words to look for")


def check_content(text: str) -> None:
    """Raise ``InputError`` for a text with nothing in it."""
    check_text(text, "the text")
    if not text.strip():
        raise InputError("the text is empty, or holds only blanks: expected some text to look through")


def ask(loaded: LoadedModel, query: str, text: str, *, mode: str, wording: Wording, first: int = 0) -> Asked:
    """Put query and text into the wording; ``first`` is where ``text`` begins in the user's whole text."""
    message, begin = wording.filled(query, text)
    encoded = encode(loaded, message, thinking=False)
    if mode == "likelihood":
        prompt, answer = encoded.ids, encode_target(loaded, encoded, query.strip())
    else:
        prompt = encoded.ids + encode_target(loaded, encoded, wording.answer)
        answer = [negative(loaded, encoded, wording)]
    return Asked(prompt, answer, _places(encoded, begin, begin + len(text), first))


def bare(loaded: LoadedModel, query: str, wording: Wording) -> Asked:
    """The likelihood mode's question without a text."""
    encoded = encode(loaded, wording.bare, thinking=False)
    return Asked(encoded.ids, encode_target(loaded, encoded, query.strip()), [])


def negative(loaded: LoadedModel, encoded: Encoded, wording: Wording) -> int:
    """The first token of the negative answer, where the answer begins. Raises ``OptionError`` where the beginning of
    the answer and it are read as one token."""
    before = encode_target(loaded, encoded, wording.answer)
    both = encode_target(loaded, encoded, wording.answer + wording.negative)
    if both[: len(before)] != before or len(both) == len(before):
        raise OptionError(
            f"'{loaded.name}' reads the end of {wording.answer!r} and the negative answer {wording.negative!r} as one "
            "token: end the template's answer in a quote or another mark"
        )
    return both[len(before)]


def _places(encoded: Encoded, begin: int, end: int, first: int) -> list[Place]:
    """Tokens that hold characters of the text, which stands from ``begin`` to ``end`` in the message."""
    found = []
    for i, t in enumerate(encoded.tokens):
        if t.start is None or t.end is None or t.role != "user" or not max(t.start, begin) < min(t.end, end):
            continue
        found.append(Place(i, first + max(t.start, begin) - begin, first + min(t.end, end) - begin))
    return found


def check_room(asked: Asked, room: int, loaded: LoadedModel) -> None:
    """Raise ``ContextError`` where the question is longer than the model's context."""
    length = len(asked.prompt) + len(asked.answer)
    if length > room:
        raise ContextError(
            f"query, text and template are {length} tokens, and '{loaded.name}' reads {room}: shorten the query"
        )
