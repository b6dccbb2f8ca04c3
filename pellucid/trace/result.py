"""The result: a ``Trace`` says which tokens of the input made the model give its answer.

    trace = model.explain("What is the capital of France?")
    trace.top(5); trace.total; trace.save("t.html"); pellucid.Trace.load("t.json")

A trace holds plain data (numpy arrays and small dataclasses), needs no model and no torch, and computes nothing
but look-ups. Its JSON form is ``pellucid.trace/1`` (``docs/trace-schema.md``, ``pellucid/trace/schema.py``).
Drawing is the work of the room ``render``; ``show``, ``save`` and the notebook hook only forward to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas

Role = Literal["system", "user", "assistant", "tool", "first", "second", "question", "context", "template", "special"]
Floats = npt.NDArray[np.float32]

#: Roles of tokens that the user did not write: shown, scored, but left out of rankings unless asked for.
FRAME_ROLES = ("template", "special")


@dataclass(frozen=True)
class Source:
    """One prompt token.

    ``start`` and ``end`` are character offsets into the text that the user wrote: the prompt's text, or
    ``messages[message]["content"]``. Both are None for a token that lies wholly in the template. Byte-level
    pieces of one character carry the same ``text`` and the same offsets. ``word`` numbers the words, in order,
    so that scores of tokens can be shown by word.
    """

    text: str
    id: int
    start: int | None
    end: int | None
    role: str
    message: int | None = None
    word: int = 0


@dataclass(frozen=True)
class Alternative:
    """A token that the model might have given instead."""

    text: str
    id: int
    prob: float
    logprob: float


@dataclass(frozen=True)
class Target:
    """One token of the answer, with what the model thought of it.

    ``start`` and ``end`` are character offsets into the answer's text; ``prob`` is the token's probability,
    ``logprob`` its natural logarithm (nats), ``rank`` its place among all tokens (1 is the likeliest),
    ``entropy`` that of the whole next-token distribution (nats).
    """

    text: str
    id: int
    start: int
    end: int
    prob: float
    logprob: float
    rank: int
    entropy: float
    alternatives: tuple[Alternative, ...] = ()
    word: int = 0


@dataclass(frozen=True)
class Span:
    """The part of the answer that ``total`` explains: characters, and the target tokens that overlap them."""

    text: str
    start: int
    end: int
    targets: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class NamedSpan:
    """A part of the answer that is explained by itself, beside the trace's own ``total``.

    ``total`` [prompt tokens] is the attribution of these ``targets`` alone, from a run of the method of its own (the
    norm of a sum is not the sum of norms); ``unit_scores`` are its scores of the trace's ``units``, in their order.
    """

    name: str
    text: str
    start: int
    end: int
    targets: tuple[int, ...]
    total: Floats
    unit_scores: tuple[float, ...] = ()


@dataclass(frozen=True)
class UnitScore:
    """A stretch of the prompt with its score: a word, a sentence, a document, a part that the user named.

    ``text`` stands between ``start`` and ``end``, characters of the bare prompt or of ``messages[message]``; ``tokens``
    are places in ``sources``. ``score`` is NaN where none of them has one.
    """

    name: str
    text: str
    start: int
    end: int
    message: int | None
    tokens: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class Trust:
    """Does the explanation hold: what removing the top-scored input does, against removing random input.

    ``top_drop`` is the fall of the answer's log-probability, in nats per answer token, when the ``removed``
    tokens with the largest scores by magnitude (a share ``fraction`` of the ``candidates``, which are the tokens
    that the user wrote) are taken out of the prompt; ``random_drops`` are the same for seeded random choices of as
    many tokens, ``random_drop`` their mean. ``ratio`` = top_drop / random_drop, None where random_drop is not
    positive.
    """

    fraction: float
    candidates: int
    removed: int
    top_drop: float
    random_drop: float
    random_drops: tuple[float, ...]
    ratio: float | None
    seed: int


@dataclass(frozen=True)
class Cost:
    """What the explanation took; generation of the answer is counted apart, trust is included.

    ``forward_passes`` and ``backward_passes`` count sequences, not calls: a batch of eight is eight.
    ``peak_memory_bytes`` is memory added above the start (the resident set on CPU, the allocator's on CUDA).
    """

    seconds: float
    forward_passes: int
    backward_passes: int
    peak_memory_bytes: int
    generate_seconds: float = 0.0


@dataclass(frozen=True)
class ModelInfo:
    """Which model it was."""

    name: str
    source: str
    revision: str | None
    dtype: str
    device: str
    parameters: int = 0


@dataclass(frozen=True)
class MethodInfo:
    """Which method it was: ``signed`` says whether negative scores mean 'against'."""

    name: str
    signed: bool
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prompt:
    """What the model was given: ``text`` or ``messages`` as the user wrote them, ``rendered`` as the model read it."""

    text: str | None
    messages: tuple[dict[str, str], ...] | None
    rendered: str
    raw: bool


@dataclass(frozen=True)
class Answer:
    """What is explained: ``generated`` by the model, or given by the user."""

    text: str
    generated: bool
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenScore:
    """An entry of ``Trace.top``: a prompt token with its score; ``index`` is its place in ``sources``."""

    text: str
    score: float
    index: int
    role: str


@dataclass(frozen=True)
class Ranked:
    """An entry of ``Trace.ranking``: ``rank`` 1 has the largest magnitude, equal ones share the smaller rank, and what
    was not measured has none; ``index`` is its place in ``units``, or in ``sources`` where there are no units."""

    rank: int | None
    text: str
    score: float
    index: int


@dataclass(frozen=True, eq=False)
class Trace:
    """Which tokens of the input made the model give its answer.

    ``total`` [prompt tokens] is the attribution of the whole answer (or of ``span``) to each prompt token.
    ``scores`` [targets, prompt tokens + targets] is the matrix, one row an answer token, columns the prompt tokens
    then the answer tokens; None unless it was asked for with ``per_token=True``. NaN where a target could not see a
    source (itself and later tokens), and in the rows of targets outside ``span``. Scores are in the unit of the
    objective for ``input_x_gradient``, and per unit of embedding norm for ``saliency``. NaN in ``total`` is a token
    that the method did not measure.

    ``units`` are the scores of what ``unit`` names (none for tokens), merged from those of their tokens by
    ``unit_merge`` (``method`` where the method took whole units away). ``spans`` are further parts of the answer with a
    ``total`` of their own. ``reduce`` says whether targets were summed or averaged. ``details`` is plain data from
    method and objective.
    """

    model: ModelInfo
    method: MethodInfo
    objective: str
    prompt: Prompt
    answer: Answer
    sources: tuple[Source, ...]
    targets: tuple[Target, ...]
    total: Floats
    scores: Floats | None
    cost: Cost
    seed: int
    span: Span | None = None
    trust: Trust | None = None
    trust_note: str | None = None
    precision: str = "full"
    merge: str = "sum"
    unit: str = "token"
    units: tuple[UnitScore, ...] = ()
    unit_merge: str = "sum"
    spans: tuple[NamedSpan, ...] = ()
    reduce: str = "sum"
    details: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""

    def __post_init__(self) -> None:
        prompt, answer = len(self.sources), len(self.targets)
        if self.total.shape != (prompt,):
            raise ValueError(f"total: expected shape ({prompt},), one score a prompt token, got {self.total.shape}")
        if self.scores is not None and self.scores.shape != (answer, prompt + answer):
            raise ValueError(f"scores: expected shape {(answer, prompt + answer)}, got {self.scores.shape}")
        for s in self.spans:
            if s.total.shape != (prompt,):
                raise ValueError(f"span {s.name!r}: expected a total of shape ({prompt},), got {s.total.shape}")

    @property
    def content(self) -> tuple[int, ...]:
        """Indices of the prompt tokens that the user wrote (all of them where there is only a frame)."""
        written = tuple(i for i, s in enumerate(self.sources) if s.role not in FRAME_ROLES)
        return written or tuple(range(len(self.sources)))

    def top(self, n: int = 10, *, frame: bool = False) -> list[TokenScore]:
        """The ``n`` prompt tokens with the largest scores by magnitude, largest first; ties in reading order, tokens
        that were not measured last.

        Tokens of the template and special tokens count only with ``frame=True``.
        """
        indices = range(len(self.sources)) if frame else self.content
        ranked = sorted(indices, key=lambda i: _order(float(self.total[i])))[: max(n, 0)]
        return [TokenScore(self.sources[i].text, float(self.total[i]), i, self.sources[i].role) for i in ranked]

    def ranking(self, top_k: int | None = None) -> list[Ranked]:
        """The units by magnitude, largest first (the user's tokens where there are no units); at most ``top_k``."""
        if self.units:
            entries = [(i, u.text, u.score) for i, u in enumerate(self.units)]
        else:
            entries = [(i, self.sources[i].text, float(self.total[i])) for i in self.content]
        entries.sort(key=lambda e: _order(e[2]))
        out: list[Ranked] = []
        for place, (i, text, score) in enumerate(entries):
            rank: int | None = place + 1
            if score != score:
                rank = None
            elif out and abs(out[-1].score) == abs(score):
                rank = out[-1].rank
            out.append(Ranked(rank, text, score, i))
        return out if top_k is None else out[: max(top_k, 0)]

    def to_dict(self) -> dict[str, Any]:
        """The trace as ``pellucid.trace/1``: plain dicts, lists, numbers, None for NaN."""
        from pellucid.trace.schema import to_dict

        return to_dict(self)

    def to_json(self, *, indent: int | None = None) -> str:
        """The trace as a JSON text in schema ``pellucid.trace/1``."""
        from pellucid.trace.schema import to_json

        return to_json(self, indent=indent)

    @classmethod
    def from_dict(cls, data: object) -> Trace:
        """A trace from ``pellucid.trace/1`` data. Raises ``SchemaError``."""
        from pellucid.trace.schema import from_dict

        return from_dict(data)

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """A trace from a JSON file. Raises ``SchemaError``, or ``InputError`` where the file cannot be read."""
        from pellucid.trace.schema import load

        return load(Path(path))

    def to_pandas(self) -> pandas.DataFrame:
        """One row a prompt token: text, id, start, end, role, message, word, total, and with the matrix one column
        an answer token, named ``'0: Paris'`` by place and text. Needs the extra ``pandas``."""
        from pellucid.errors import MissingExtraError

        try:
            import pandas
        except ImportError:
            raise MissingExtraError(
                "to_pandas needs pandas, which is not installed: pip install 'pellucid[pandas]'"
            ) from None
        from dataclasses import asdict

        frame = pandas.DataFrame([asdict(s) for s in self.sources])
        frame["total"] = self.total
        if self.scores is not None:
            for i, target in enumerate(self.targets):
                frame[f"{i}: {target.text}"] = self.scores[i, : len(self.sources)]
        return frame

    def show(self, *, full: bool = False) -> None:
        """Print the trace in the terminal; ``full`` leaves nothing of a long prompt out."""
        from pellucid.render.terminal import show

        show(self, full=full)

    def save(self, path: str | Path) -> Path:
        """Write the trace to ``path``: ``.json``, ``.html`` or ``.png`` by its ending. Whole or not at all.

        Raises ``OutputError`` for another ending or an unwritable path.
        """
        from pellucid.render import save

        return save(self, Path(path))

    def _repr_html_(self) -> str:
        from pellucid.render.html import notebook

        return notebook(self)

    def __repr__(self) -> str:
        best = ", ".join(f"{t.text!r} {t.score:.3g}" for t in self.top(3))
        return (
            f"Trace({self.method.name}, {self.objective}, {len(self.sources)} prompt tokens -> "
            f"{self.answer.text[:60]!r}; top: {best})"
        )


def _order(score: float) -> tuple[bool, float]:
    """Sorts by magnitude, largest first, what was not measured last."""
    return (score != score, -abs(score))
