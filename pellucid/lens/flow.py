"""Which token fed which: the strongest scores of an explained answer's matrix, as a graph.

    trace = model.explain("What is the capital of France?", per_token=True)
    flow(trace).save("flow.html")

Nodes are the tokens of prompt and answer; for each answer token, of its ``TOP`` strongest sources as many are drawn as
together make ``share`` of these, and none weaker than ``least`` of the strongest. Everything comes from the trace: no
model runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pellucid.errors import InputError, OptionError
from pellucid.lens.plain import Result
from pellucid.trace.result import FRAME_ROLES, ModelInfo, Trace


@dataclass(frozen=True)
class FlowNode:
    """A token: ``answer``: it was said, not read; ``incoming`` and ``outgoing``: sums of the magnitudes of its
    edges."""

    text: str
    answer: bool
    role: str
    incoming: float
    outgoing: float


@dataclass(frozen=True)
class Edge:
    """From ``source`` to ``target``, places among the nodes; ``score`` as in the trace; ``share`` of the target's
    strongest."""

    source: int
    target: int
    score: float
    share: float


@dataclass(frozen=True)
class Flow(Result):
    """``top``, ``share`` and ``least`` are what chose the edges; ``unit`` is the scores'."""

    SCHEMA: ClassVar[str] = "pellucid.flow/1"

    nodes: tuple[FlowNode, ...]
    edges: tuple[Edge, ...]
    method: str
    objective: str
    unit: str
    top: int
    share: float
    least: float
    model: ModelInfo

    def rows(self) -> list[dict[str, Any]]:
        """One row an edge."""
        return [
            {
                "source": e.source,
                "source_text": self.nodes[e.source].text,
                "target": e.target,
                "target_text": self.nodes[e.target].text,
                "score": e.score,
                "share": e.share,
            }
            for e in self.edges
        ]

    def __repr__(self) -> str:
        return f"Flow({len(self.nodes)} tokens, {len(self.edges)} edges)"


def flow(trace: Trace, *, top: int = 10, share: float = 0.7, least: float = 0.1, frame: bool = False) -> Flow:
    """The graph of an explained answer; ``frame``: with the template's tokens as sources.

    Raises ``InputError`` for a trace without a matrix (``per_token=True``), ``OptionError``.
    """
    if trace.scores is None:
        raise InputError("a flow needs a score for each pair of tokens: explain with per_token=True")
    if not isinstance(top, int) or top < 1:
        raise OptionError(f"top should be a number of sources, at least 1, given {top!r}")
    for name, value in (("share", share), ("least", least)):
        if not 0 <= value <= 1:
            raise OptionError(f"{name} should be from 0 to 1, given {value!r}")
    n = len(trace.sources)
    scores = np.asarray(trace.scores, dtype=float)
    allowed = np.ones(scores.shape[1], dtype=bool)
    if not frame:
        allowed[:n] = [s.role not in FRAME_ROLES for s in trace.sources]
    edges: list[Edge] = []
    for i in range(len(trace.targets)):
        row = np.abs(scores[i])
        row = np.where(np.isfinite(row) & allowed & (np.arange(len(row)) < n + i), row, 0.0)
        order = np.argsort(-row, kind="stable")[:top]
        values = row[order]
        if not len(values) or values[0] <= 0:
            continue
        before = np.concatenate([[0.0], np.cumsum(values)[:-1]]) / values.sum()
        for j, value, mass in zip(order.tolist(), values.tolist(), before.tolist(), strict=True):
            if mass < share and value >= least * values[0] and value > 0:
                edges.append(Edge(int(j), n + i, float(scores[i, j]), float(value / values[0])))
    incoming, outgoing = np.zeros(n + len(trace.targets)), np.zeros(n + len(trace.targets))
    for e in edges:
        incoming[e.target] += abs(e.score)
        outgoing[e.source] += abs(e.score)
    tokens = [(s.text, False, s.role) for s in trace.sources] + [(t.text, True, "assistant") for t in trace.targets]
    nodes = tuple(
        FlowNode(text, answer, role, float(a), float(b))
        for (text, answer, role), a, b in zip(tokens, incoming, outgoing, strict=True)
    )
    return Flow(nodes, tuple(edges), trace.method.name, trace.objective, trace.unit, top, share, least, trace.model)
