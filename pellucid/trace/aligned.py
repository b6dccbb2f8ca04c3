"""Traces of the same prompt on the same tokens, whatever tokenizers their models have.

    from pellucid.trace.aligned import aligned
    totals = aligned([trace_a, trace_b])        # [traces, prompt tokens of trace_a]

Where the ids are the same, tokens are. Otherwise each score is spread evenly over the characters of its token, and a
token of the first trace collects those of its own characters: sums are kept, and a word that stands twice stays two
entries, because it is places that are matched and not texts. Tokens of a template have no place in the user's text, and
no partner in another tokenizer's: NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pellucid.errors import InputError
from pellucid.trace.result import Trace

Matrix = npt.NDArray[np.float64]


def same_ids(a: Trace, b: Trace) -> bool:
    """Were both prompts read as the same tokens?"""
    return [s.id for s in a.sources] == [s.id for s in b.sources] and a.prompt.rendered == b.prompt.rendered


def same_units(traces: Sequence[Trace]) -> bool:
    """Have all traces the same units (and any)?"""
    first = [(u.start, u.end, u.message) for u in traces[0].units]
    return bool(first) and all([(u.start, u.end, u.message) for u in t.units] == first for t in traces[1:])


def aligned(traces: Sequence[Trace]) -> Matrix:
    """The totals of all traces on the tokens of the first [traces, prompt tokens], NaN where one has none.

    Raises ``InputError`` for prompts that are not the same, with the first difference.
    """
    first = traces[0]
    for other in traces[1:]:
        check_prompts(first, other)
    return np.stack([t.total.astype(np.float64) if same_ids(first, t) else _moved(first, t) for t in traces])


def _moved(a: Trace, b: Trace) -> Matrix:
    """The total of ``b`` on the tokens of ``a``; NaN where ``b`` has no score for a part of one."""
    part = shares(a, b)
    unknown = (part[:, np.isnan(b.total)] > 0).any(axis=1) | ~(part > 0).any(axis=1)
    return np.where(unknown, np.nan, part @ np.nan_to_num(b.total.astype(np.float64)))


def shares(a: Trace, b: Trace) -> Matrix:
    """[tokens of a, tokens of b]: which part of a token of ``b`` falls to a token of ``a``; columns add up to 1 where
    all characters of it are in tokens of ``a``. Byte-level pieces of one character share it evenly."""
    out = np.zeros((len(a.sources), len(b.sources)))
    owners = _owners(a)
    for j, s in enumerate(b.sources):
        if s.start is None or s.end is None or s.end <= s.start:
            continue
        for at in range(s.start, s.end):
            mine = owners.get((s.message, at), [])
            for i in mine:
                out[i, j] += 1 / (len(mine) * (s.end - s.start))
    return out


def _owners(trace: Trace) -> dict[tuple[int | None, int], list[int]]:
    """(message, character) to the tokens that hold it."""
    out: dict[tuple[int | None, int], list[int]] = {}
    for i, s in enumerate(trace.sources):
        if s.start is not None and s.end is not None:
            for at in range(s.start, s.end):
                out.setdefault((s.message, at), []).append(i)
    return out


def check_prompts(a: Trace, b: Trace) -> None:
    """Raise ``InputError`` that names the first difference of two prompts."""
    mine, theirs = _texts(a), _texts(b)
    if len(mine) != len(theirs):
        raise InputError(
            f"the prompts differ: {a.method.name} explains {len(mine)} message{'s' * (len(mine) != 1)} and "
            f"{b.method.name} {len(theirs)}"
        )
    for k, ((role, text), (other_role, other)) in enumerate(zip(mine, theirs, strict=True)):
        where = f"message {k}" if a.prompt.messages is not None else "the text"
        if role != other_role:
            raise InputError(f"the prompts differ: {where} is by {role or 'nobody'} and by {other_role or 'nobody'}")
        if text != other:
            shortest = min(len(text), len(other))
            at = next((i for i in range(shortest) if text[i] != other[i]), shortest)
            raise InputError(
                f"the prompts differ: {where} at character {at}, {text[at : at + 20]!r} and {other[at : at + 20]!r}: "
                "only traces of the same prompt can be put together"
            )


def _texts(trace: Trace) -> list[tuple[str | None, str]]:
    if trace.prompt.messages is None:
        return [(None, trace.prompt.text or "")]
    return [(m["role"], m["content"]) for m in trace.prompt.messages]


def ranks(values: npt.ArrayLike) -> Matrix:
    """Ranks from 1 (the smallest), ties sharing the mean of theirs; NaN keeps NaN and has no part in it."""
    x = np.asarray(values, dtype=np.float64)
    out = np.full(x.shape, np.nan)
    here = np.flatnonzero(~np.isnan(x))
    order = here[np.argsort(x[here], kind="stable")]
    sorted_ = x[order]
    edges = [0, *(np.flatnonzero(np.diff(sorted_)) + 1).tolist(), len(order)]
    for start, end in pairwise(edges):
        out[order[start:end]] = (start + 1 + end) / 2
    return out
