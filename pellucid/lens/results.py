"""What the lens shows, as plain data: no torch, no model.

pellucid.lens.results.NextTokens.load("next.json").show()

Each kind of result has the name of its JSON form in ``SCHEMA``; ``rows`` is its table (``to_pandas``, CSV).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from pellucid.lens.plain import Result
from pellucid.trace.result import ModelInfo


@dataclass(frozen=True)
class Choice:
    """A token that could come next. ``logprob`` in nats; ``cumulative``: the probability of this and all likelier ones;
    ``rank`` from 1."""

    text: str
    id: int
    prob: float
    logprob: float
    logit: float
    cumulative: float
    rank: int


@dataclass(frozen=True)
class Next:
    """One step. ``text``: what had been said before it (without the prompt). ``choices``: the likeliest, best first;
    ``chosen``: what was taken; ``chance``: with which probability the strategy took it; ``entropy`` in nats; ``total``:
    log-probability of all that was said, this token too, in nats."""

    step: int
    text: str
    choices: tuple[Choice, ...]
    chosen: Choice
    chance: float
    entropy: float
    total: float


@dataclass(frozen=True)
class NextTokens(Result):
    """``prompt`` as the model read it; ``text``, what it said; ``ended``: the last step ended the text."""

    SCHEMA: ClassVar[str] = "pellucid.next/1"

    prompt: str
    text: str
    steps: tuple[Next, ...]
    ended: bool
    top_k: int
    strategy: str
    seed: int
    model: ModelInfo
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One row a step: ``step``, ``text``, ``token_1``, ``prob_1``, ... by rank, then ``chosen``, ``prob``,
        ``entropy`` and ``total``."""
        found = []
        for s in self.steps:
            row: dict[str, Any] = {"step": s.step, "text": s.text}
            for c in s.choices:
                row |= {f"token_{c.rank}": c.text, f"prob_{c.rank}": c.prob}
            found.append(row | {"chosen": s.chosen.text, "prob": s.chosen.prob, "entropy": s.entropy, "total": s.total})
        return found

    def __repr__(self) -> str:
        return f"NextTokens({len(self.steps)} steps, {self.strategy}: {self.text[:60]!r})"


@dataclass(frozen=True)
class Expected:
    """A token that was expected at a place, and its probability."""

    text: str
    id: int
    prob: float


@dataclass(frozen=True)
class Surprise:
    """A token of the text: its characters ``start`` to ``end``; ``bits`` = -log2 p; ``rank`` from 1; ``entropy`` in
    bits of what was expected at its place; the likeliest ``alternatives``. None of these for a token that nothing
    predicts."""

    text: str
    id: int
    start: int
    end: int
    bits: float | None
    prob: float | None
    rank: int | None
    entropy: float | None
    alternatives: tuple[Expected, ...]


@dataclass(frozen=True)
class Surprisal(Result):
    """A text with each token's surprisal. ``bos``: the token that the first one is predicted from, None without one;
    ``window``: tokens read at once; ``windows``: how many; ``context_least``: tokens before each scored one, at least,
    but at the text's start."""

    SCHEMA: ClassVar[str] = "pellucid.surprisal/1"

    text: str
    tokens: tuple[Surprise, ...]
    bits: float
    scored: int
    bytes: int
    bits_per_token: float
    bits_per_byte: float
    perplexity: float
    bos: str | None
    window: int
    windows: int
    context_least: int
    model: ModelInfo
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One row a token: text, start, end, bits, prob, rank, entropy, expected, expected_prob."""
        found = []
        for t in self.tokens:
            first = t.alternatives[0] if t.alternatives else None
            row: dict[str, Any] = {
                n: getattr(t, n) for n in ("text", "start", "end", "bits", "prob", "rank", "entropy")
            }
            found.append(
                row | {"expected": first.text if first else None, "expected_prob": first.prob if first else None}
            )
        return found

    def top(self, k: int = 10) -> list[Surprise]:
        """The ``k`` most surprising tokens, most surprising first."""
        return sorted((t for t in self.tokens if t.bits is not None), key=lambda t: -(t.bits or 0.0))[:k]

    def __repr__(self) -> str:
        each = f"{self.bits_per_token:.2f} bits a token, {self.bits_per_byte:.2f} a byte"
        return f"Surprisal({len(self.tokens)} tokens, {each})"


@dataclass(frozen=True)
class Position:
    """A token and what was expected after it; ``next`` is what follows, None at the end."""

    position: int
    text: str
    choices: tuple[Expected, ...]
    entropy: float
    next: str | None
    next_id: int | None
    next_prob: float | None
    next_rank: int | None


@dataclass(frozen=True)
class Positions(Result):
    """Every position of ``prompt``; entropies in nats."""

    SCHEMA: ClassVar[str] = "pellucid.positions/1"

    prompt: str
    positions: tuple[Position, ...]
    top_k: int
    model: ModelInfo
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One row a position: ``position``, ``text``, ``token_1``, ``prob_1``, ..., ``entropy``, ``next`` and its
        rank."""
        found = []
        for p in self.positions:
            row: dict[str, Any] = {"position": p.position, "text": p.text}
            for k, c in enumerate(p.choices, 1):
                row |= {f"token_{k}": c.text, f"prob_{k}": c.prob}
            rest = {"entropy": p.entropy, "next": p.next, "next_prob": p.next_prob, "next_rank": p.next_rank}
            found.append(row | rest)
        return found

    def __repr__(self) -> str:
        return f"Positions({len(self.positions)} positions, the {self.top_k} likeliest of each)"


@dataclass(frozen=True)
class Branch:
    """A hypothesis of a beam search; fields as in ``lens.beams.Node``, ``text`` is its last token's."""

    text: str
    id: int
    parent: int
    depth: int
    logprob: float
    total: float
    kept: bool
    ended: bool
    greedy: bool
    best: bool


@dataclass(frozen=True)
class Decoded:
    """What one strategy said. ``logprob``: mean log-probability a token, the one that ended it too, in nats;
    ``distinct``: share of different bigrams among its tokens' (distinct-2, Li et al. 2016; 1 where there is no
    bigram); ``seconds``: of the decoding alone. ``beams``: what a beam search found, best first, and ``tree`` all that
    it looked at."""

    strategy: str
    text: str
    ids: tuple[int, ...]
    tokens: int
    logprob: float
    total: float
    distinct: float
    ended: bool
    seconds: float
    beams: tuple[str, ...] = ()
    tree: tuple[Branch, ...] = ()


@dataclass(frozen=True)
class Decodings(Result):
    """One ``Decoded`` a strategy, in the order asked for."""

    SCHEMA: ClassVar[str] = "pellucid.decodings/1"

    prompt: str
    outcomes: tuple[Decoded, ...]
    steps: int
    seed: int
    model: ModelInfo
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One row a strategy."""
        names = ("strategy", "text", "tokens", "logprob", "total", "distinct", "ended", "seconds")
        return [{n: getattr(d, n) for n in names} for d in self.outcomes]

    def __repr__(self) -> str:
        return f"Decodings({', '.join(f'{d.strategy}: {d.text[:30]!r}' for d in self.outcomes)})"


@dataclass(frozen=True)
class Cell:
    """What one layer says at one position: its likeliest token with its probability, the entropy in nats, and the
    answer's probability and rank there."""

    text: str
    id: int
    prob: float
    entropy: float
    answer_prob: float | None
    answer_rank: int | None


@dataclass(frozen=True)
class Column:
    """A position: its token, the answer that it is read for (None: nothing follows), and its cells by layer, as
    ``LogitLens.layers`` has them. ``lead`` and ``settled`` are layers, None where the answer never leads."""

    position: int
    text: str
    answer: str | None
    answer_id: int | None
    lead: int | None
    settled: int | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class LogitLens(Result):
    """``kind``: residual, attention or mlp; ``layers``: their numbers, 0 is before the first; ``tuned``: whose maps."""

    SCHEMA: ClassVar[str] = "pellucid.logitlens/1"

    prompt: str
    kind: str
    of: str
    layers: tuple[int, ...]
    columns: tuple[Column, ...]
    tuned: str | None
    model: ModelInfo
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One row a layer and position."""
        return [
            {
                "layer": layer,
                "position": c.position,
                "token": c.text,
                "top": cell.text,
                "prob": cell.prob,
                "entropy": cell.entropy,
                "answer": c.answer,
                "answer_prob": cell.answer_prob,
                "answer_rank": cell.answer_rank,
            }
            for c in self.columns
            for layer, cell in zip(self.layers, c.cells, strict=True)
        ]

    def __repr__(self) -> str:
        return f"LogitLens({self.kind}, {len(self.layers)} layers x {len(self.columns)} positions)"


@dataclass(frozen=True)
class Part:
    """A module: its ``path`` (the first one's, of several alike) and its ``name`` there. ``count``: so many alike
    stand side by side; ``parameters`` and ``bytes`` are those of one of them, with all that is inside; ``shapes``: of
    its own parameters; ``tied``: the name of the parameter that it shares."""

    path: str
    name: str
    depth: int
    kind: str
    role: str
    count: int
    parameters: int
    bytes: int
    shapes: tuple[str, ...]
    tied: str | None


@dataclass(frozen=True)
class Shape:
    """A tensor of a real run: its name, its shape, what it is. ``key`` names the sentence that says so."""

    name: str
    shape: tuple[int, ...]
    key: str


@dataclass(frozen=True)
class Anatomy(Result):
    """``facts``: name to value, as text; ``by_role``: parameters by what they do; ``run``: shapes on ``sentence``;
    ``same``: the largest difference between the last hidden state and the last entry of ``hidden_states`` (None: not a
    model that gives both), ``normed``: whether that entry is behind the final norm."""

    SCHEMA: ClassVar[str] = "pellucid.anatomy/1"

    facts: dict[str, str]
    parts: tuple[Part, ...]
    by_role: dict[str, int]
    parameters: int
    bytes: int
    sentence: str
    tokens: tuple[str, ...]
    run: tuple[Shape, ...]
    same: float | None
    normed: bool | None
    model: ModelInfo
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One row a module."""
        return [
            {
                "path": p.path,
                "kind": p.kind,
                "role": p.role,
                "count": p.count,
                "parameters": p.parameters,
                "bytes": p.bytes,
                "shapes": "; ".join(p.shapes),
                "tied": p.tied,
            }
            for p in self.parts
        ]

    def __repr__(self) -> str:
        return f"Anatomy({self.model.name!r}, {self.parameters:,} parameters, {len(self.parts)} parts)"
