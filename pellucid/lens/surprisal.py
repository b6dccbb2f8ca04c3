"""How surprising each token of a given text was: -log2 p, its rank, the entropy, what was expected instead.

    pellucid surprisal --file essay.txt --html essay.html
    model.surprisal(text).bits_per_byte

One pass over the text, the head on some positions at a time. The first token is predicted from the beginning-of-text
token where the model has one, and not scored where it has none. A text longer than the context is read in overlapping
windows, in which each token is scored once, with at least ``context_least`` tokens before it (but at the text's start).

Totals: bits per token = sum / tokens, perplexity = 2 ^ bits per token, bits per byte = sum / bytes of UTF-8 of what was
scored: sums over all tokens, never means of windows' means.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import InputError, OptionError
from pellucid.lens.final import Final
from pellucid.lens.nexttokens import check_top_k
from pellucid.lens.predictions import by_chunks
from pellucid.lens.results import Expected, Surprisal, Surprise
from pellucid.lens.states import last_states
from pellucid.lens.steps import check_causal
from pellucid.models.encode import Token, encode
from pellucid.models.load import LoadedModel
from pellucid.models.vocabulary import shown
from pellucid.progress import Progress, silent
from pellucid.trace.provenance import model_info, versions

#: Of a window, the share whose tokens were scored by the one before: they are context alone.
OVERLAP = 0.5
WINDOW = 2048  # where a model names no context


def spans_of(length: int, window: int) -> list[tuple[int, int, int]]:
    """(begin, first that is scored, end) of each window over ``length`` tokens: every token is scored in one of
    them."""
    found: list[tuple[int, int, int]] = []
    at, fresh = 0, window - int(OVERLAP * window)
    while at < length or not found:
        begin = 0 if at == 0 else max(0, min(at - (window - fresh), length - window))
        end = min(begin + window, length)
        found.append((begin, at, end))
        at = end
    return found


def surprisal(
    loaded: LoadedModel,
    text: str,
    *,
    top_k: int = 5,
    window: int | None = None,
    bos: bool = True,
    precision: str = "full",
    progress: Progress = silent,
) -> Surprisal:
    """Each token's surprisal; ``top_k`` alternatives a token; ``window`` tokens are read at once, at most (default:
    the model's context); ``bos``: the text begins with the model's beginning-of-text token, where it has one. Raises
    ``InputError``, ``OptionError``, ``ModelError``.
    """
    began = time.perf_counter()
    asked = read(loaded, text, top_k=top_k, window=window, bos=bos)
    final, lead, ids, windows = Final.of(loaded), asked.lead, asked.ids, asked.windows
    lists = Lists.empty(len(ids))
    for k, (begin, first, end) in enumerate(windows):
        progress("surprisal", k, len(windows))
        fed = [*lead, *ids[begin:end]]
        states = last_states(loaded, final, fed, precision=precision)
        for share in weighed(loaded, final, asked, states, (begin, first, end), lists):
            progress("surprisal", k + share, len(windows))
    progress("surprisal", len(windows), len(windows))
    return result(loaded, asked, lists, began)


@dataclass(frozen=True, eq=False)
class Asked:
    """A text as the model reads it, checked: ``lead`` stands before its ``own`` tokens, whose numbers are ``ids``;
    ``windows`` of ``size`` tokens as ``spans_of`` gives them."""

    text: str
    lead: list[int]
    own: list[Token]
    windows: list[tuple[int, int, int]]
    size: int
    top_k: int

    @property
    def ids(self) -> list[int]:
        """Of the text's own tokens."""
        return [t.id for t in self.own]


@dataclass(frozen=True, eq=False)
class Lists:
    """What is known of each token [own], None and nothing where it is not: bits, rank, entropy in bits, expected."""

    bits: list[float | None]
    ranks: list[int | None]
    entropies: list[float | None]
    expected: list[tuple[Expected, ...]]
    names: dict[int, str]

    @classmethod
    def empty(cls, length: int) -> Lists:
        """For so many tokens."""
        return cls([None] * length, [None] * length, [None] * length, [()] * length, {})


def read(loaded: LoadedModel, text: str, *, top_k: int = 5, window: int | None = None, bos: bool = True) -> Asked:
    """Check and encode; raises as ``surprisal`` does."""
    check_causal(loaded)
    check_top_k(top_k, int(loaded.network.config.get_text_config().vocab_size))
    encoded = encode(loaded, text, raw=True)
    lead = [t.id for t in encoded.tokens if t.start is None] if bos else []
    if bos and not lead and loaded.tokenizer.bos_token_id is not None:
        lead = [int(loaded.tokenizer.bos_token_id)]
    own = [t for t in encoded.tokens if t.start is not None]
    most = loaded.context or WINDOW
    if window is not None and not (isinstance(window, int) and 2 <= window <= most):
        raise OptionError(f"window should be from 2 to {most}, what '{loaded.name}' reads, given {window!r}")
    size = (window or most) - len(lead)
    if size < 2:
        raise OptionError(f"window should be at least {len(lead) + 2} for '{loaded.name}', given {window}")
    if not lead and len(own) < 2:
        raise InputError(
            f"the text is one token, and nothing stands before it that '{loaded.name}' could predict it from: give "
            "more text"
        )
    return Asked(text, lead, own, spans_of(len(own), size), size, top_k)


def weighed(
    loaded: LoadedModel, final: Final, asked: Asked, states: Tensor, window: tuple[int, int, int], lists: Lists
) -> Iterator[float]:
    """Put what normed ``states`` [lead + window, width] say of one window's tokens into ``lists``; yields the share
    that is done."""
    begin, first, end = window
    lead = asked.lead
    fed = [*lead, *asked.ids[begin:end]]
    skip = max(len(lead) + first - begin - 1, 0)  # position p predicts token p + 1
    targets = torch.tensor(fed[1:], device=states.device)
    for at, found in by_chunks(final, states[:-1][skip:], targets[skip:], top_k=asked.top_k):
        _fill(loaded, found, begin + skip + at + 1 - len(lead), lists)
        yield (at + len(found.rank)) / max(len(targets) - skip, 1)


def _fill(loaded: LoadedModel, found: Any, at: int, lists: Lists) -> None:
    """Put what was seen of the tokens from ``at`` on into the lists."""
    best: Tensor = found.best.exp()
    rows = zip(
        found.logprob.tolist(),
        found.rank.tolist(),
        found.entropy.tolist(),
        best.tolist(),
        found.best_ids.tolist(),
        strict=True,
    )
    for k, (logprob, rank, entropy, p, which) in enumerate(rows, at):
        lists.bits[k] = max(-logprob / math.log(2), 0.0)
        lists.ranks[k], lists.entropies[k] = int(rank), entropy / math.log(2)
        for i in which:
            if i not in lists.names:
                lists.names[i] = shown(loaded.tokenizer, i)
        lists.expected[k] = tuple(Expected(lists.names[i], i, min(q, 1.0)) for i, q in zip(which, p, strict=True))


def result(loaded: LoadedModel, asked: Asked, lists: Lists, began: float) -> Surprisal:
    """What ``lists`` say of ``asked``."""
    text, lead, windows, size = asked.text, asked.lead, asked.windows, asked.size
    places = [(t.start or 0, t.end or 0) for t in asked.own]  # its own tokens all have one
    found = tuple(
        Surprise(t.text, t.id, place[0], place[1], b, None if b is None else 2.0**-b, r, e, x)
        for t, place, b, r, e, x in zip(
            asked.own, places, lists.bits, lists.ranks, lists.entropies, lists.expected, strict=True
        )
    )
    scored = [t for t in found if t.bits is not None]
    total = math.fsum(t.bits or 0.0 for t in scored)
    size_of = len(text[scored[0].start :].encode("utf-8"))
    each = total / len(scored)
    return Surprisal(
        text=text,
        tokens=found,
        bits=total,
        scored=len(scored),
        bytes=size_of,
        bits_per_token=each,
        bits_per_byte=total / size_of,
        perplexity=2.0 ** min(each, 1000.0),
        bos=str(loaded.tokenizer.convert_ids_to_tokens(lead[-1])) if lead else None,
        window=size + len(lead),
        windows=len(windows),
        context_least=min((first - begin for begin, first, _ in windows[1:]), default=0) + len(lead),
        model=model_info(loaded),
        seconds=round(time.perf_counter() - began, 4),
        versions=versions(),
    )
