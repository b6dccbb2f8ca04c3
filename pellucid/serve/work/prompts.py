"""Prompts of requests as the rooms take them, their titles, and how long they may be.

prompt = plain(asked.prompt); check_length(voice, prompt, settings)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pellucid.errors import ContextError, OptionError
from pellucid.serve.lane import Voice
from pellucid.serve.settings import Settings

Prompt = str | list[dict[str, str]]


def plain(prompt: Any) -> Prompt:
    """A prompt as the rooms take it."""
    return prompt if isinstance(prompt, str) else [{"role": m.role, "content": m.content} for m in prompt]


def title(prompt: Any) -> str:
    """What a result is found by: the prompt, or the last message of a chat."""
    return prompt if isinstance(prompt, str) else str(prompt[-1].content)


def size_of(prompt: Any) -> int:
    """About how many tokens: one has some four bytes of UTF-8, in any script."""
    texts = [prompt] if isinstance(prompt, str) else [m.content for m in prompt]
    return sum(len(t.encode("utf-8", "replace")) for t in texts) // 4 + 1


def check_new(tokens: int, settings: Settings) -> None:
    """Raise ``OptionError`` for more new tokens than one request may write."""
    if tokens > settings.new_tokens:
        raise OptionError(f"max_new_tokens should be at most {settings.new_tokens} on this server, given {tokens}")


def check_length(voice: Voice, prompt: Prompt, settings: Settings, *, raw: bool = False, more: str = "") -> None:
    """Raise ``ContextError`` for more tokens than one request may have: of the prompt, and of the text ``more``."""
    from pellucid.models.encode import encode

    tokens = len(encode(voice.loaded, prompt, raw=raw).ids)
    if more:
        tokens += len(voice.loaded.tokenizer(more, add_special_tokens=False)["input_ids"])
    check_tokens(tokens, settings)


@contextmanager
def usable(parameters: Mapping[str, Any]) -> Iterator[None]:
    """While it is open, an error of type or value is said to be that of a method's ``parameters``, which may hold
    anything. Raises ``OptionError``; without any parameters the fault is ours, and stays what it is."""
    try:
        yield
    except (TypeError, ValueError) as e:
        if not parameters:
            raise
        raise OptionError(f"the parameters {dict(parameters)} cannot be used: {e}") from e


def check_tokens(tokens: int, settings: Settings) -> None:
    """Raise ``ContextError`` for more tokens than one request may have."""
    if tokens > settings.tokens:
        raise ContextError(f"the text is {tokens} tokens, and this server takes {settings.tokens}: shorten it")
