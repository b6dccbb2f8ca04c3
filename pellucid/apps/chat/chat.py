"""A conversation: bounded, streamed, and able to say why.

    chat = model.chat(system="You are brief.", max_history_tokens=1024)
    chat.say("What is the capital of France?", on_text=print).text
    chat.why().show()
    chat.save("chat.jsonl"); chat = Chat.load("chat.jsonl", model)

Chats are independent: each keeps the keys and values of its own last turn, also where several share one loaded model,
so that a turn reads only what is new. What leaves the history to make room is gone from it, and the reply says what.

An interrupt (Ctrl-C, or ``KeyboardInterrupt`` from ``on_text``) is passed on. What was written by then stays as the
answer, ``end`` says ``interrupted``, and ``chat.last`` holds the reply; where nothing was written yet, and after every
other error, the conversation is as it was before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.apps.chat.history import Turn, exchanges, fit, messages, pin, room
from pellucid.apps.chat.intent import INTENTS, Detect, check_way, detector
from pellucid.apps.chat.results import Message, Reply, Why
from pellucid.apps.chat.why import LEVELS, explained
from pellucid.apps.speaker import Decoding, OnText, Said, Speaker, check_text, speaker
from pellucid.errors import InputError, OptionError, unknown
from pellucid.progress import Progress, silent

if TYPE_CHECKING:
    from pellucid.apps.chat.store import Lost
    from pellucid.model import Model
    from pellucid.models.load import LoadedModel


@dataclass(frozen=True)
class Manner:
    """How an intent is answered: under another instruction, with another decoding; None: as usual."""

    system: str | None = None
    decoding: Decoding | None = None


@dataclass(frozen=True)
class State:
    """Where a conversation stands: its turns, what was said last, the user's own ``slots`` (the live dictionary)."""

    turns: tuple[Turn, ...]
    last_input: str | None
    last_answer: str | None
    slots: dict[str, Any]


@dataclass(frozen=True)
class _Said:
    """The conversation so far, replaced in one step, so that an interrupt finds it before or after."""

    turns: tuple[Turn, ...] = ()
    next_id: int = 1
    last: Reply | None = None


@dataclass
class _Heard:
    """The text that came, and when the first of it did."""

    on_text: OnText | None
    began: float
    pieces: list[str] = field(default_factory=list)
    first: float | None = None

    def __call__(self, piece: str) -> None:
        if self.first is None:
            self.first = time.perf_counter() - self.began
        self.pieces.append(piece)
        if self.on_text is not None:
            self.on_text(piece)


class Chat:
    """A conversation with a model.

    - ``system``: the instruction. ``decoding``: how answers are written.
    - ``max_history_tokens``: how long a prompt may be, instruction, turns, question and template together; the model's
      own window, less room for the answer, bounds it too.
    - ``intents``: ``rules``, ``model``, ``none`` or a function of the message; ``manners``: how each is answered.
    - ``slots``: whatever the user wants to keep with the conversation; saved where it is JSON.

    Raises ``OptionError``.
    """

    def __init__(
        self,
        model: Model | LoadedModel | Speaker,
        *,
        system: str | None = None,
        max_history_tokens: int | None = None,
        decoding: Decoding = Decoding(),  # noqa: B008  # frozen
        intents: str | Detect | None = "rules",
        manners: Mapping[str, Manner] | None = None,
        slots: Mapping[str, Any] | None = None,
    ) -> None:
        check_way(intents)
        if max_history_tokens is not None and (
            not isinstance(max_history_tokens, int) or isinstance(max_history_tokens, bool) or max_history_tokens < 1
        ):
            raise OptionError(f"max_history_tokens should be a whole number above 0, given {max_history_tokens!r}")
        for name, manner in (manners or {}).items():
            if name not in INTENTS and not callable(intents):
                raise unknown("intent", name, list(INTENTS))
            if not isinstance(manner, Manner):
                raise OptionError(f"the manner of '{name}' should be a Manner, given a {type(manner).__name__}")
            if manner.system is not None:
                check_text(manner.system, f"the instruction for '{name}'")
        self.system = system
        self.max_history_tokens, self.decoding = max_history_tokens, decoding
        self.intents, self.manners = intents, dict(manners or {})
        self.slots: dict[str, Any] = dict(slots or {})
        #: What could not be read of the file that this conversation came from.
        self.lost: Lost | None = None
        self._now = _Said()
        self.use(model)

    @property
    def system(self) -> str | None:
        """The instruction; a new one counts from the next turn on."""
        return self._system

    @system.setter
    def system(self, text: str | None) -> None:
        self._system = None if text is None else check_text(text, "the instruction")

    def use(self, model: Model | LoadedModel | Speaker) -> None:
        """Go on with another model."""
        me = speaker(model)
        self._detect = detector(self.intents, me)
        self._speaker = me

    @property
    def speaker(self) -> Speaker:
        """Who answers."""
        return self._speaker

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was said and not cut."""
        return self._now.turns

    @property
    def last(self) -> Reply | None:
        """The last reply; None before the first, after ``forget`` and in a conversation just loaded."""
        return self._now.last

    @property
    def state(self) -> State:
        """Where the conversation stands."""

        def newest(role: str) -> str | None:
            return next((t.content for t in reversed(self.turns) if t.role == role), None)

        return State(self.turns, newest("user"), newest("assistant"), self.slots)

    def say(self, text: str, on_text: OnText | None = None, *, progress: Progress = silent) -> Reply:
        """The model's answer to ``text``, streamed to ``on_text``.

        Raises ``ContextError`` where it does not fit even with all cut that may be, and what ``Speaker.write`` raises;
        the conversation is then as before. See above for interrupts.
        """
        check_text(text, "the message")
        heard, me, before = _Heard(on_text, time.perf_counter()), self._speaker, self._now
        intent = self._detect(text)
        manner = self.manners.get(intent or "", Manner())
        system = self.system if manner.system is None else manner.system
        decoding = self.decoding if manner.decoding is None else manner.decoding
        question = Turn(before.next_id, "user", text, intent=intent)

        def count(turns: Any) -> int:
            return me.count(messages(system, turns, text))

        fitted = fit(before.turns, count, self._limit(decoding))
        prompt = messages(system, fitted.turns, text)

        def done(said: Said) -> Reply:
            answer = Turn(question.id + 1, "assistant", said.text, system=system, end=said.end)
            part = said.end == "interrupted"
            reply = Reply(
                me.info,
                text,
                said.text,
                answer.id,
                intent,
                system,
                decoding.strategy,
                said.end,
                None if part else said.tokens,
                None if part else said.logprob,
                said.prompt,
                None if part else said.reused,
                fitted.cut,
                None if heard.first is None else round(heard.first, 4),
                round(time.perf_counter() - heard.began, 4),
            )
            self._now = _Said((*fitted.turns, question, answer), answer.id + 1, reply)
            return reply

        try:
            said = me.write(prompt, decoding, on_text=heard, progress=progress)
        except KeyboardInterrupt:
            if "".join(heard.pieces).strip():
                done(Said("".join(heard.pieces), 0, 0.0, "interrupted", count(fitted.turns)))
            raise
        return done(said)

    def _limit(self, decoding: Decoding) -> int | None:
        found = [n for n in (self.max_history_tokens, room(self._speaker.context, decoding.max_new_tokens)) if n]
        return min(found, default=None)

    def why(
        self,
        levels: str | tuple[str, ...] = LEVELS,
        *,
        span: str | None = None,
        progress: Progress = silent,
        **options: Any,
    ) -> Why:
        """What the last answer rests on, of all that stands before it: by ``message``, ``sentence`` and ``token``.

        ``span``: only this part of the answer. ``options`` are those of ``Model.explain`` for the level ``token``.
        Raises ``InputError`` before the first answer and for an empty one.
        """
        if not self.turns:
            raise InputError("nothing was answered yet, so there is nothing to explain: say something first")
        *before, answer = self.turns
        system = [] if answer.system is None else [Message("system", answer.system, None)]
        read = [*system, *(Message(t.role, t.content, t.id) for t in before)]
        return explained(self._speaker, read, answer.content, levels=levels, span=span, progress=progress, **options)

    def forget(self, n: int | None = None) -> tuple[Turn, ...]:
        """Forget the last ``n`` questions with their answers, or all (None), pinned ones too: the turns that went. The
        instruction and the slots stay. Raises ``OptionError``."""
        if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
            raise OptionError(f"forget takes how many of the last exchanges go, a whole number above 0, given {n!r}")
        said = exchanges(self.turns)
        gone = said if n is None else said[-n:]
        stays = said[: len(said) - len(gone)]
        self._now = _Said(tuple(t for e in stays for t in e), self._now.next_id, None)
        return tuple(t for e in gone for t in e)

    def pin(self, turn: int | Turn, pinned: bool = True) -> None:
        """Keep the exchange that ``turn`` (or its number) belongs to, whatever has to be cut; ``pinned=False``: no
        longer. Raises ``OptionError`` for one that is not there."""
        turns = pin(self.turns, turn.id if isinstance(turn, Turn) else turn, pinned)
        self._now = _Said(turns, self._now.next_id, self._now.last)

    def save(self, path: str | Path) -> Path:
        """Write the conversation to ``path``, whole or not at all: see ``apps/chat/store.py``. Raises ``OutputError``,
        and ``OptionError`` for slots that are no JSON."""
        from pellucid.apps.chat.store import save

        return save(self, Path(path))

    @classmethod
    def load(
        cls,
        path: str | Path,
        model: Model | LoadedModel | Speaker,
        *,
        on_loss: Callable[[Lost], None] | None = None,
        **options: Any,
    ) -> Chat:
        """The conversation in ``path``, to be gone on with; ``options`` are those of ``Chat`` and come before what was
        saved. Of a file that was cut short what is whole is loaded, and the loss is reported: to ``on_loss``, as a
        warning where there is none, and in ``lost``.

        Raises ``InputError`` for a file that cannot be read, ``SchemaError`` for a foreign, newer or damaged one.
        """
        from pellucid.apps.chat.store import load

        return load(cls, Path(path), model, on_loss, options)

    def restore(self, turns: tuple[Turn, ...]) -> None:
        """Put ``turns`` in place of those that are there: questions and answers by turns, numbers rising. Raises
        ``InputError``."""
        for k, turn in enumerate(turns):
            expected = ("user", "assistant")[k % 2]
            if turn.role != expected:
                raise InputError(f"turn {turn.id} should be the {expected}'s, and is the {turn.role}'s")
            if k and turn.id <= turns[k - 1].id:
                raise InputError(f"turn {turn.id} follows turn {turns[k - 1].id}: numbers should rise")
        if len(turns) % 2:
            raise InputError(f"turn {turns[-1].id} has no answer: expected questions with their answers")
        self._now = _Said(tuple(turns), turns[-1].id + 1 if turns else 1, None)

    def __repr__(self) -> str:
        return f"Chat({self._speaker.name!r}, {len(self.turns)} turns)"
