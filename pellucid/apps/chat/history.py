"""The turns of a conversation, and which of them still fit into what the model reads.

    fitted = fit(turns, count, limit=512)     # the oldest exchanges go first; fitted.cut says which, and what it saved

An exchange is a question with its answer; they come and go together, so that roles keep alternating as chat templates
expect. A pinned exchange is never cut. ``count`` is the speaker's own: tokens of the whole prompt, template included.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pellucid.errors import ContextError, OptionError


@dataclass(frozen=True)
class Turn:
    """What one side said. ``id`` counts from 1 and is never given twice. Of a question, ``intent`` is what it was taken
    for; of an answer, ``system`` is the instruction that it was written under, and ``end`` why it ended: ``stop``,
    ``length`` or ``interrupted``."""

    id: int
    role: str
    content: str
    pinned: bool = False
    intent: str | None = None
    system: str | None = None
    end: str | None = None

    @property
    def message(self) -> dict[str, str]:
        """As a speaker reads it."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class Cut:
    """What had to go: whole ``turns``, oldest first, and by how many ``tokens`` the prompt is shorter for it; ``limit``
    is how many tokens it may have."""

    turns: tuple[Turn, ...]
    tokens: int
    limit: int


@dataclass(frozen=True)
class Fitted:
    """The turns that stay, and what was cut (None: nothing)."""

    turns: tuple[Turn, ...]
    cut: Cut | None


def messages(system: str | None, turns: Sequence[Turn], question: str | None = None) -> list[dict[str, str]]:
    """What a speaker reads: the instruction where there is one, the turns, a new question."""
    first = [] if system is None else [{"role": "system", "content": system}]
    last = [] if question is None else [{"role": "user", "content": question}]
    return [*first, *(t.message for t in turns), *last]


def exchanges(turns: Sequence[Turn]) -> list[tuple[Turn, ...]]:
    """Each question with what followed it, in order."""
    found: list[list[Turn]] = []
    for turn in turns:
        if turn.role == "user" or not found:
            found.append([])
        found[-1].append(turn)
    return [tuple(e) for e in found]


def room(context: int | None, wanted: int) -> int | None:
    """How many tokens a prompt may have in a window of ``context``: all but those that the answer may take, for which
    at most a quarter of the window is held free. None where no limit is known."""
    return None if context is None else max(1, context - min(wanted, max(1, context // 4)))


def fit(turns: Sequence[Turn], count: Callable[[Sequence[Turn]], int], limit: int | None) -> Fitted:
    """As few of the oldest exchanges cut as it takes for ``count(turns)`` to be at most ``limit`` tokens.

    Raises ``ContextError`` where it does not fit with all of them cut; the pinned ones stay whatever happens.
    """
    turns = tuple(turns)
    if limit is None:
        return Fitted(turns, None)
    whole = count(turns)
    if whole <= limit:
        return Fitted(turns, None)
    loose = [{t.id for t in e} for e in exchanges(turns) if not any(t.pinned for t in e)]

    def without(cuts: int) -> tuple[Turn, ...]:
        gone = set().union(*loose[:cuts])
        return tuple(t for t in turns if t.id not in gone)

    # A shorter conversation is never longer in tokens, so the fewest cuts are found by halving.
    cuts = bisect_left(range(len(loose) + 1), True, key=lambda k: count(without(k)) <= limit)
    if cuts > len(loose):
        pinned = sum(t.pinned for t in turns)
        beside = f", with the system message and {pinned} pinned turns" if pinned else ", with any system message"
        raise ContextError(
            f"the message is {count(without(len(loose)))} tokens{beside}, and {limit} are read beside the answer: "
            "shorten it" + (", or unpin some" if pinned else "")
        )
    left = without(cuts)
    stays = {t.id for t in left}
    return Fitted(left, Cut(tuple(t for t in turns if t.id not in stays), whole - count(left), limit))


def pin(turns: Sequence[Turn], number: int, pinned: bool) -> tuple[Turn, ...]:
    """The turns, with the exchange that turn ``number`` belongs to pinned or not. Raises ``OptionError``."""
    from dataclasses import replace

    chosen = next(({t.id for t in e} for e in exchanges(turns) if any(t.id == number for t in e)), None)
    if chosen is None:
        there = f"expected one of {', '.join(str(t.id) for t in turns)}" if turns else "nothing was said yet"
        raise OptionError(f"there is no turn {number!r}: {there}")
    return tuple(replace(t, pinned=pinned) if t.id in chosen else t for t in turns)
