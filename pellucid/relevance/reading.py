"""A text as it is read for one query: the wording, and a question for each window.

reader = Reader(loaded, mode, Settings())
reading = reader.read(query, text)
reading.windows, reading.asked
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pellucid.errors import ContextError, OptionError
from pellucid.models.load import LoadedModel
from pellucid.models.pieces import read
from pellucid.relevance.modes import Mode
from pellucid.relevance.prompts import LANGUAGES, Wording, language_of, own, wording
from pellucid.relevance.question import Asked, ask, bare
from pellucid.relevance.windows import Window, cut

#: Where a model names no context, and as the most that is read at once: beyond it small models lose the thread.
WINDOW = 2048
_LEAST = 16  # tokens of text that a window should at least hold
_OVERLAP = 0.1


@dataclass(frozen=True)
class Settings:
    """``language``: en or zh, None by query and text; ``template`` instead of the project's; ``window``: tokens of
    text read at once; ``max_tokens``: of the text, the rest is cut off, and the result says so."""

    language: str | None = None
    template: Wording | None = None
    window: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True)
class Reading:
    """``text`` is what is left after a cut at ``cut_at`` (None: all of it)."""

    text: str
    language: str
    wording: Wording
    windows: list[Window]
    asked: list[Asked]
    cut_at: int | None


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads texts as one mode asks about them. What is the same for every text of a query is made once."""

    loaded: LoadedModel
    mode: Mode
    settings: Settings
    _frames: dict[tuple[str, Wording], Asked] = field(default_factory=dict)
    _neutral: dict[tuple[str, Wording], Asked] = field(default_factory=dict)

    def neutral(self, query: str, wording: Wording) -> Asked:
        """What a query's texts are compared with: the question about a text about nothing, or without a text."""
        key = query, wording
        if key not in self._neutral:
            if self.mode.question:
                found = ask(self.loaded, query, wording.neutral, mode=self.mode.name, wording=wording)
            else:
                found = bare(self.loaded, query, wording, mode=self.mode.name).said
            self._neutral[key] = found
        return self._neutral[key]

    def frame(self, query: str, wording: Wording) -> Asked:
        """The question around no text, whose length is what a text has to leave room for."""
        key = query, wording
        if key not in self._frames:
            self._frames[key] = ask(self.loaded, query, "\n", mode=self.mode.name, wording=wording)
        return self._frames[key]

    def read(self, query: str, text: str) -> Reading:
        """Raises ``OptionError`` for settings that make no sense, ``ContextError`` for a query that leaves the text no
        room."""
        loaded, mode, settings = self.loaded, self.mode, self.settings
        for name in ("window", "max_tokens"):
            value = getattr(settings, name)
            if value is not None and value < 1:
                raise OptionError(f"{name} should be at least 1, given {value}")
        if settings.language is not None and settings.language not in LANGUAGES:
            raise OptionError(f"language should be one of {', '.join(LANGUAGES)}, given '{settings.language}'")
        language = settings.language or language_of(query, text)
        words = wording(mode.name, language) if settings.template is None else own(settings.template, mode.name)
        spans = [(a, b) for a, b in read(loaded.tokenizer, text)[1] if b > a]
        cut_at = None
        if settings.max_tokens is not None and len(spans) > settings.max_tokens:
            cut_at = spans[settings.max_tokens][0]
            text, spans = text[:cut_at], spans[: settings.max_tokens]
        frame = self.frame(query, words)
        context = loaded.context or WINDOW
        room = context - len(frame.prompt) - len(frame.answer) - 4  # a few more where the cuts fall
        if room < _LEAST:
            raise ContextError(
                f"query and template are {len(frame.prompt) + len(frame.answer)} tokens, and '{loaded.name}' reads "
                f"{context}: shorten the query"
            )
        if settings.window is not None and settings.window > room:
            raise OptionError(
                f"window should be at most {room} with this query and '{loaded.name}', which reads {context} tokens, "
                f"given {settings.window}"
            )
        size = settings.window or min(room, WINDOW)
        windows = cut(text, spans, room=size, overlap=int(_OVERLAP * size))
        asked = [
            ask(loaded, query, text[w.start : w.end], mode=mode.name, wording=words, first=w.start) for w in windows
        ]
        return Reading(text, language, words, windows, asked, cut_at)
