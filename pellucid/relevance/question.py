"""A query and a text as the model reads them: ids, where the answer is, and which ids are the text's.

    asked = ask(loaded, "debts", text, mode="fill_blank", wording=wording("fill_blank", "en"))
    asked.prompt, asked.answer, asked.places        # the answer's ids: the negative answer's first, or the query's

In the answer mode ``answer`` is the query, what stands between it and the model's own answer, and one more token, which
is read by nothing: its place is where the model's answer is predicted.

The chat template is followed where there is one, thinking switched off where it knows the word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    """``prompt`` ids, up to the very token that the answer begins with; ``answer`` ids, of which the first ``query``
    are the query's; the text's ``places``."""

    prompt: list[int]
    answer: list[int]
    places: list[Place]
    query: int = 0

    @property
    def read(self) -> list[int]:
        """Which of the answer's tokens are read: all, or the query's and the last where others stand between."""
        last = len(self.answer) - 1
        return [*range(self.query), last] if 0 < self.query < last else list(range(last + 1))

    @property
    def said(self) -> Asked:
        """Up to the query's end, which is all that a degree needs; a question as it is."""
        return replace(self, answer=self.answer[: self.query]) if self.query else self


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
    query = query.strip()
    message, begin, at = wording.filled(query, text)
    encoded = encode(loaded, message, thinking=False)
    places = _places(encoded, begin, begin + len(text), first)
    if mode == "likelihood":
        answer = encode_target(loaded, encoded, query)
        return Asked(encoded.ids, answer, places, len(answer))
    before = encode_target(loaded, encoded, wording.answer)
    if mode == "answer":
        assert at is not None
        return _answered(encoded, before, places, (at, at + len(query)))
    return Asked(encoded.ids + before, [negative(loaded, encoded, wording)], places)


def bare(loaded: LoadedModel, query: str, wording: Wording, *, mode: str) -> Asked:
    """The likelihood or the answer mode's question without a text."""
    query = query.strip()
    message = wording.bare.replace("{query}", query)
    encoded = encode(loaded, message, thinking=False)
    if mode == "answer":
        at = wording.bare.index("{query}")
        return _answered(encoded, [], [], (at, at + len(query)))
    answer = encode_target(loaded, encoded, query)
    return Asked(encoded.ids, answer, [], len(answer))


def _answered(encoded: Encoded, opening: list[int], places: list[Place], query: tuple[int, int]) -> Asked:
    """The sequence cut where the query begins: its tokens, and what follows them, are the answer's. A query that the
    model's very first token belongs to has that token left out: nothing predicts it."""
    tokens = [p.index for p in _places(encoded, *query, 0)]
    if places:  # a token that the text and the query share is the text's
        tokens = [i for i in tokens if i > places[-1].index]
    tokens = [i for i in tokens if i > 0]
    if not tokens:
        raise OptionError("the template leaves nothing to predict the query from: put some words before {query}")
    ids = encoded.ids + opening
    begin = tokens[0]
    return Asked(ids[:begin], [*ids[begin:], ids[-1]], places, len(tokens))


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
