"""What a query found in a text: plain data, no torch.

    r = model.relevance("capital gains", text)
    r.degree, r.top(10), r.sentences
    r.save("r.json"); pellucid.Relevance.load("r.json")

``pellucid.relevance/1`` is its JSON. Characters are those of the text that the user gave.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pellucid.errors import InputError, SchemaError
from pellucid.trace.result import ModelInfo
from pellucid.trace.segments import sentences, words

SCHEMA = "pellucid.relevance/1"
DIGITS = 5  # significant figures of scores in JSON


@dataclass(frozen=True)
class Part:
    """A token, word or sentence of the text: characters ``start`` to ``end``. A score that came out as no number is
    None."""

    text: str
    start: int
    end: int
    score: float | None


@dataclass(frozen=True)
class WindowDegree:
    """A stretch of the text that was judged by itself; ``calibrated`` as in ``Relevance``."""

    start: int
    end: int
    degree: float
    calibrated: float


@dataclass(frozen=True)
class Answer:
    """A likely answer token, its probability, and whether it says that there is nothing."""

    text: str
    probability: float
    negative: bool


@dataclass(frozen=True)
class Relevance:
    """A degree for the text, and a score for every token of it.

    - ``degree`` 0..1, the largest of its ``windows``; ``calibrated``: its log-odds less those of a text about nothing
      (question modes), in nats, because the degree itself is near 1 for most texts in small models.
    - ``tokens``: in order; empty with ``degree_only``. ``unit`` is what their scores are in.
    - ``cut_at``: the character at which ``max_tokens`` cut the text, None where nothing was cut.
    - ``not_finite``: how many scores came out as NaN or infinite; they are None.
    """

    query: str
    text: str
    degree: float
    calibrated: float
    degree_mode: str
    token_mode: str
    language: str
    method: str
    unit: str
    tokens: tuple[Part, ...]
    windows: tuple[WindowDegree, ...]
    answer: tuple[Answer, ...]
    model: ModelInfo
    seconds: float
    cut_at: int | None = None
    not_finite: int = 0
    note: str | None = None
    debug: dict[str, Any] | None = None
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def words(self) -> tuple[Part, ...]:
        """The text's words with the sums of their tokens' scores."""
        return self._merged(words(self.text), mean=False)

    @property
    def sentences(self) -> tuple[Part, ...]:
        """The text's sentences with the means of their tokens' scores: a long one is not better for being long."""
        return self._merged(sentences(self.text), mean=True)

    def top(self, k: int = 10) -> list[Part]:
        """The ``k`` tokens with the largest scores, best first; blanks and marks without a letter are left out."""
        able = [t for t in self.tokens if t.score is not None and any(c.isalnum() for c in t.text)]
        return sorted(able, key=lambda t: -(t.score or 0.0))[:k]

    def _merged(self, ranges: Sequence[tuple[int, int]], *, mean: bool) -> tuple[Part, ...]:
        """Each token's score spread evenly over its characters, and collected by the ranges."""
        if not self.tokens:
            return ()
        found = []
        k = 0
        tokens = self.tokens
        for start, end in ranges:
            while k < len(tokens) and tokens[k].end <= start:
                k += 1
            total, weight, i = 0.0, 0.0, k
            while i < len(tokens) and tokens[i].start < end:
                t = tokens[i]
                share = (min(t.end, end) - max(t.start, start)) / (t.end - t.start)
                if t.score is not None and share > 0:
                    total, weight = total + share * t.score, weight + share
                i += 1
            score = None if weight == 0 else total / weight if mean else total
            found.append(Part(self.text[start:end], start, end, score))
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; scores rounded to five significant figures."""

        def plain(x: Any) -> Any:
            if isinstance(x, dict):
                return {k: plain(v) for k, v in x.items()}
            if isinstance(x, list | tuple):
                return [plain(v) for v in x]
            if isinstance(x, float):
                return float(f"{x:.{DIGITS}g}") if math.isfinite(x) else None
            return x

        found: dict[str, Any] = {"schema": SCHEMA, **plain(asdict(self))}
        return found

    def to_json(self, *, indent: int | None = None) -> str:
        """A JSON text (strict: no NaN), characters as they are."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=indent)

    @classmethod
    def from_dict(cls, data: object) -> Relevance:
        """From plain data; keys that are not known are passed over. Raises ``SchemaError``."""
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise SchemaError(f'not a relevance result: expected an object with "schema": "{SCHEMA}"')
        try:
            known = {f.name for f in fields(cls)}
            given = {k: v for k, v in data.items() if k in known}
            given["tokens"] = tuple(_read(Part, t) for t in data["tokens"])
            given["windows"] = tuple(_read(WindowDegree, w) for w in data["windows"])
            given["answer"] = tuple(_read(Answer, a) for a in data["answer"])
            given["model"] = _read(ModelInfo, data["model"])
            return cls(**given)
        except (KeyError, TypeError) as e:
            raise SchemaError(f"not a whole relevance result: {e}") from None

    @classmethod
    def load(cls, path: str | Path) -> Relevance:
        """From a JSON file. Raises ``SchemaError``, or ``InputError`` where the file cannot be read."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as e:
            raise InputError(f"cannot read {path}: {e.strerror or e}") from None
        except (UnicodeDecodeError, json.JSONDecodeError) as e:
            raise SchemaError(f"{path} is not a relevance result, or was cut short: {e}") from None

    def show(self, *, lang: str | None = None) -> None:
        """Print the text in the terminal, highlighted."""
        from pellucid.render.relevance import show

        show(self, lang=lang)

    def save(self, path: str | Path) -> Path:
        """Write to ``path``: ``.json``, ``.html`` or ``.png`` by its ending. Whole or not at all."""
        from pellucid.render import save_relevance

        return save_relevance(self, Path(path))

    def _repr_html_(self) -> str:
        from pellucid.render.relevancehtml import notebook

        return notebook(self)

    def __repr__(self) -> str:
        best = ", ".join(repr(t.text.strip()) for t in self.top(3))
        return f"Relevance({self.query!r}: {self.degree:.2f}; top: {best})"


def _read(kind: type[Any], data: dict[str, Any]) -> Any:
    """One part of a result from plain data, without the keys that it does not know."""
    return kind(**{f.name: data[f.name] for f in fields(kind)})
