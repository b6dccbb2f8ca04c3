"""What becomes of each answer token when a part of the prompt goes.

    found = leave_out(me, messages, answer, {"1": (0, 0, 120), "2": (0, 122, 300)})
    found.falls        # [parts, answer tokens], nats; positive: the part held the token up

Exact: every number is a difference of log-probabilities of the model that wrote the answer, by leave-one-out
(``trace/methods/leave_one_out``), all parts in one set of what-if runs that share what they can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pellucid.apps.speaker import Messages, Speaker
from pellucid.progress import Progress, silent
from pellucid.trace.result import Trace

Floats = npt.NDArray[np.float64]
Part = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Falls:
    """``falls`` [parts, answer tokens] in nats; ``spans`` [answer tokens] are their characters in the answer, ``trace``
    is where they come from: leave-one-out with the parts as its units, the matrix included."""

    trace: Trace
    falls: Floats
    spans: tuple[tuple[int, int], ...]
    logprobs: Floats  # [answer tokens], with everything there

    def of(self, start: int, end: int) -> Floats:
        """The summed falls [parts] of the answer's characters ``start`` to ``end``, nats."""
        return np.asarray(self.falls[:, self.tokens(start, end)].sum(1), dtype=np.float64)

    def tokens(self, start: int, end: int) -> list[int]:
        """Answer tokens that begin in these characters (one that begins with the blank before them, too)."""
        return tokens_of(self.spans, start, end)


def tokens_of(spans: Sequence[tuple[int, int]], start: int, end: int) -> list[int]:
    """Which of ``spans`` lie in the characters ``start`` to ``end``: by their last character, which is theirs and no
    blank before it."""
    return [k for k, (a, b) in enumerate(spans) if start < b <= end or (a == b and start <= a < end)]


def leave_out(
    me: Speaker,
    messages: Messages,
    answer: str,
    parts: Mapping[str, Part],
    *,
    trust: bool = False,
    progress: Progress = silent,
) -> Falls:
    """Each part left out by itself. A forward pass a part, from the part on, and one for the whole; nine more with
    ``trust``, the trace's own."""
    trace = me.explain(
        messages, answer, method="leave_one_out", unit=dict(parts), per_token=True, trust=trust, progress=progress
    )
    assert trace.scores is not None
    matrix = np.asarray(trace.scores, dtype=np.float64)
    # A what-if method shares a unit's number among its tokens, so their sum is the number again. Units come in reading
    # order, which need not be that of ``parts``.
    by_name = {u.name: matrix[:, list(u.tokens)].sum(1) for u in trace.units}
    falls = np.array([by_name[name] for name in parts]).reshape(len(parts), -1)
    return Falls(
        trace,
        falls,
        tuple((t.start, t.end) for t in trace.targets),
        np.array([t.logprob for t in trace.targets], dtype=np.float64),
    )


def weighed(me: Speaker, prompts: Sequence[Messages], answer: str, *, progress: Progress = silent) -> list[Floats]:
    """Log-probability of each answer token under each of ``prompts``, nats [prompts][tokens]."""
    found = me.logprobs(prompts, [answer] * len(prompts), progress=progress)
    return [np.asarray(row, dtype=np.float64) for row in found]
