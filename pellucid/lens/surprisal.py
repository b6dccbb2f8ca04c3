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
from pellucid.models.encode import encode
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
    check_causal(loaded)
    vocabulary = int(loaded.network.config.get_text_config().vocab_size)
    check_top_k(top_k, vocabulary)
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
    final = Final.of(loaded)
    ids = [t.id for t in own]
    windows = spans_of(len(ids), size)
    bits: list[float | None] = [None] * len(ids)
    ranks: list[int | None] = [None] * len(ids)
    entropies: list[float | None] = [None] * len(ids)
    expected: list[tuple[Expected, ...]] = [()] * len(ids)
    names: dict[int, str] = {}
    for k, (begin, first, end) in enumerate(windows):
        progress("surprisal", k, len(windows))
        fed = [*lead, *ids[begin:end]]
        states = last_states(loaded, final, fed, precision=precision)[:-1]  # [fed - 1, width]
        skip = max(len(lead) + first - begin - 1, 0)  # position p predicts token p + 1
        targets = torch.tensor(fed[1:], device=states.device)
        for at, found in by_chunks(final, states[skip:], targets[skip:], top_k=top_k):
            begin_at = begin + skip + at + 1 - len(lead)
            _fill(loaded, found, begin_at, names, bits, ranks, entropies, expected)
            progress("surprisal", k + (at + len(found.rank)) / max(len(targets) - skip, 1), len(windows))
    progress("surprisal", len(windows), len(windows))
    return _result(loaded, text, lead, own, (bits, ranks, entropies, expected), windows, size, began)


def _fill(
    loaded: LoadedModel,
    found: Any,
    at: int,
    names: dict[int, str],
    bits: list[float | None],
    ranks: list[int | None],
    entropies: list[float | None],
    expected: list[tuple[Expected, ...]],
) -> None:
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
        bits[k] = max(-logprob / math.log(2), 0.0)
        ranks[k], entropies[k] = int(rank), entropy / math.log(2)
        for i in which:
            if i not in names:
                names[i] = shown(loaded.tokenizer, i)
        expected[k] = tuple(Expected(names[i], i, min(q, 1.0)) for i, q in zip(which, p, strict=True))


def _result(
    loaded: LoadedModel, text: str, lead: list[int], own: Any, lists: Any, windows: Any, size: int, began: float
) -> Surprisal:
    bits, ranks, entropies, expected = lists
    found = tuple(
        Surprise(t.text, t.id, t.start, t.end, b, None if b is None else 2.0**-b, r, e, x)
        for t, b, r, e, x in zip(own, bits, ranks, entropies, expected, strict=True)
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
