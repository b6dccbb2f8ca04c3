"""What was seen of one prompt at every checkpoint of a run: plain data, JSON, tables.

found = watch("runs/mine", "ROMEO:\nBut soft")
found.rows(); found.save("watch.html")
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from pellucid.lens.plain import Result
from pellucid.lens.results import Expected
from pellucid.trace.result import ModelInfo


@dataclass(frozen=True)
class Point:
    """A loss in nats a target, after so many optimiser steps."""

    step: int
    nats: float


@dataclass(frozen=True)
class Seen:
    """A checkpoint: its held-out loss (nats a target; None where none was measured); ``logprob``, nats of the answer's
    log-probability a token; ``choices``, the likeliest next tokens; ``written``, how it would go on itself, greedily;
    ``scores`` [prompt tokens], what each did for the answer; ``like_last``: Spearman's rank correlation of their
    magnitudes with the last checkpoint's (None where all are equal)."""

    step: int
    held_out: float | None
    logprob: float
    choices: tuple[Expected, ...]
    written: str
    scores: tuple[float, ...]
    like_last: float | None


@dataclass(frozen=True)
class Followed:
    """A token that some checkpoint found likeliest, and its probability at each [checkpoints]."""

    text: str
    id: int
    probs: tuple[float, ...]


@dataclass(frozen=True)
class Watched(Result):
    """``tokens`` [prompt tokens], and which of them are the template's (``frame``); ``answer`` is the same at every
    checkpoint (``given``, or what the last one says); ``signed``: can scores be negative; ``loss`` and ``held_out`` are
    the run's curves; ``left_out``: checkpoints that were passed over to have few enough."""

    SCHEMA: ClassVar[str] = "pellucid.watch/1"

    run: str
    prompt: str
    answer: str
    given: bool
    tokens: tuple[str, ...]
    frame: tuple[bool, ...]
    method: str
    signed: bool
    checkpoints: tuple[Seen, ...]
    followed: tuple[Followed, ...]
    left_out: int
    loss: tuple[Point, ...]
    held_out: tuple[Point, ...]
    model: ModelInfo
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One row a checkpoint and prompt token: ``step``, ``held_out``, ``logprob``, ``next``, ``prob``, ``token``,
        ``score``."""
        return [
            {
                "step": c.step,
                "held_out": c.held_out,
                "logprob": c.logprob,
                "next": c.choices[0].text,
                "prob": c.choices[0].prob,
                "index": k,
                "token": t,
                "score": s,
            }
            for c in self.checkpoints
            for k, (t, s) in enumerate(zip(self.tokens, c.scores, strict=True))
        ]

    def __repr__(self) -> str:
        return f"Watched({self.run!r}, {len(self.checkpoints)} checkpoints, {len(self.tokens)} prompt tokens)"
