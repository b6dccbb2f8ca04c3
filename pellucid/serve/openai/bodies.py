"""Bodies of ``/v1``: the fields that are heeded, and those that are refused because heeding them is not possible here.

Fields that are not named are passed over, as other servers do: clients send many that change nothing.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pellucid.errors import OptionError
from pellucid.serve.requests import MOST, Name, Parameters, Text

Stop = Annotated[str, Field(min_length=1, max_length=200)]


class Extension(BaseModel):
    """The field ``pellucid``: with ``explain`` the answer comes with a trace of it (``pellucid.trace/1``)."""

    model_config = ConfigDict(extra="forbid")
    explain: bool = False
    method: Name = "saliency"
    budget: Literal["fast", "balanced", "thorough"] | None = None
    per_token: bool = False
    trust: bool = True
    parameters: Parameters = Field(default_factory=dict)


class StreamOptions(BaseModel):
    """``include_usage``: a last event says how many tokens it was."""

    include_usage: bool = False


class Wanted(BaseModel):
    """What both kinds of request have."""

    model_config = ConfigDict(extra="ignore")
    model: Name | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=8)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    pellucid: Extension = Extension()

    @property
    def strategy(self) -> str:
        """By ``lens.strategies``: drawn at temperature 1 where nothing is said, as OpenAI has it."""
        if self.temperature == 0:
            return "greedy"
        parts = [f"temperature:{1.0 if self.temperature is None else self.temperature!r}"]
        if self.top_p is not None and self.top_p < 1:
            parts.append(f"top_p:{self.top_p!r}")
        return "+".join(parts)

    @property
    def start(self) -> int:
        """The seed: another each time where none is given, as OpenAI has it."""
        return secrets.randbelow(2**31) if self.seed is None else self.seed

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end the answer."""
        return () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def check(self) -> None:
        """Raise ``OptionError`` for what would change the answer and is not known here."""
        for name in ("frequency_penalty", "presence_penalty"):
            if getattr(self, name):
                raise OptionError(f"{name} is not known here: leave it out, or give 0")
        if self.logit_bias:
            raise OptionError("logit_bias is not known here: leave it out")


class Completion(Wanted):
    """A text that is gone on with. ``echo`` puts the prompt before the answer; with ``logprobs`` its tokens too."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=16)]
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool = False
    suffix: str | None = None
    best_of: int | None = None

    def check(self) -> None:
        """See ``Wanted.check``."""
        super().check()
        if self.suffix:
            raise OptionError("suffix is not known here: leave it out")
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise OptionError("best_of is not known here: leave it out")


class Part(BaseModel):
    """A part of a message: text alone."""

    type: Literal["text"]
    text: Annotated[str, Field(max_length=MOST)]


class ChatMessage(BaseModel):
    """A message: its text, or parts that are text."""

    model_config = ConfigDict(extra="ignore")
    role: Annotated[str, Field(min_length=1, max_length=20)]
    content: Annotated[str, Field(max_length=MOST)] | Annotated[list[Part], Field(max_length=100)]

    @property
    def text(self) -> str:
        """The whole."""
        return self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)


class ChatCompletion(Wanted):
    """A chat that is answered."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=500)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None

    def check(self) -> None:
        """See ``Wanted.check``."""
        super().check()
        if self.tools or self.functions:
            raise OptionError("tools are not known here: leave them out")
        if self.response_format and self.response_format.get("type", "text") != "text":
            raise OptionError("response_format is text here: leave it out")
        if self.top_logprobs and not self.logprobs:
            raise OptionError("top_logprobs is given without logprobs: give logprobs: true")
