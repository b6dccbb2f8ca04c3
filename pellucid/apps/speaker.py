"""What an application asks of a model, and nothing more: write, weigh, explain.

    me = speaker(model)                                   # a Model, a LoadedModel, or a Speaker as it is
    said = me.write([{"role": "user", "content": "Hello"}], Decoding("top_p:0.9", 64), on_text=print)
    me.logprobs([messages], [said.text]); me.explain(messages, said.text, unit="sentence")

``Speaker`` is the seam between the applications' logic and the engine: ``ModelSpeaker`` (``apps/voice.py``) asks a real
model, ``pellucid.testing.Scripted`` follows a script, so that the logic is tested without one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from pellucid.errors import OptionError
from pellucid.progress import Progress, silent

if TYPE_CHECKING:
    from pellucid.model import Model
    from pellucid.models.load import LoadedModel
    from pellucid.trace.result import ModelInfo, Trace

Messages = Sequence[Mapping[str, str]]
#: Is called with each new stretch of the answer's text as it is written; may raise, which ends the writing.
OnText = Callable[[str], None]


@dataclass(frozen=True)
class Decoding:
    """How an answer is written: ``strategy`` by ``lens.strategies`` (``greedy``, ``top_p:0.9+temperature:0.7``), at
    most ``max_new_tokens``, draws seeded with ``seed``; the text ends before the first of ``stop`` that would come."""

    strategy: str = "greedy"
    max_new_tokens: int = 256
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Said:
    """What was written: ``tokens`` new ones, ``logprob`` their mean natural log-probability by the model itself (nats a
    token, whatever the strategy), ``end``: ``stop`` (the model ended, or a stop text came) or ``length``; ``prompt``
    tokens were read before, of which ``reused`` were known from an earlier turn."""

    text: str
    tokens: int
    logprob: float
    end: str
    prompt: int = 0
    reused: int = 0


@runtime_checkable
class Speaker(Protocol):
    """A model as the applications see it."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def chats(self) -> bool:
        """It reads messages through a template of its own; otherwise it goes on with a text."""
        ...

    @property
    def context(self) -> int | None:
        """The longest prompt with answer that it reads, in tokens; None: no limit is known."""
        ...

    @property
    def info(self) -> ModelInfo:
        """What results say of it."""
        ...

    def count(self, messages: Messages) -> int:
        """How many tokens the messages take, with the template."""
        ...

    def write(
        self,
        messages: Messages,
        decoding: Decoding = Decoding(),  # frozen
        *,
        on_text: OnText | None = None,
        progress: Progress = silent,
    ) -> Said:
        """The model's answer; may be empty. Raises ``ContextError``, ``OptionError``, ``ModelError``."""
        ...

    def logprobs(
        self, prompts: Sequence[Messages], answers: Sequence[str], *, progress: Progress = silent
    ) -> list[list[float]]:
        """Of each prompt with its answer [prompts]: the natural log-probability of each answer token, nats [tokens]."""
        ...

    def explain(self, messages: Messages, answer: str | None = None, **options: Any) -> Trace:
        """A trace of ``answer`` (the model's own where None); ``options`` are those of ``Model.explain``. Parts are
        (message, start, end)."""
        ...


if TYPE_CHECKING:
    #: What an application may be given: for typing alone, so that only this file names the handle.
    Asked: TypeAlias = Model | LoadedModel | Speaker


def speaker(model: Asked) -> Speaker:
    """``model`` as a speaker. Raises ``OptionError`` for what is none."""
    from pellucid.models.load import LoadedModel

    found = getattr(model, "loaded", model)
    if isinstance(found, LoadedModel):
        from pellucid.apps.voice import ModelSpeaker

        return ModelSpeaker(found)
    if isinstance(found, Speaker):
        return found
    raise OptionError(f"expected a model (pellucid.load) or a speaker, given a {type(model).__name__}")


def check_text(text: object, what: str) -> str:
    """``text``, where it holds some. Raises ``OptionError`` otherwise: ``what`` says which."""
    if not isinstance(text, str) or not text.strip():
        given = "an empty one" if isinstance(text, str) else f"a {type(text).__name__}"
        raise OptionError(f"{what} should be a text, given {given}")
    return text
