"""Perplexity of held-out text, and bits per byte, by which models of different tokenizers can be compared.

    pellucid lab eval runs/mine --data held-out.txt --window 1024 --stride 512
    perplexity(loaded, [Document("a", text)]).bits_per_byte.value

    perplexity         = exp(sum of -ln p / number of tokens)
    bits per byte      = sum of -ln p / (ln 2 * bytes of UTF-8)
    bits per character = sum of -ln p / (ln 2 * characters)

Sums over all that was scored, never means of batches' means: those weigh short batches like long ones. A document
longer than the window is read in windows, each ``stride`` tokens on from the one before; every token is scored once,
in the first window that reaches it, with at least ``window`` - ``stride`` tokens before it (but near the document's
start). ``window`` counts the tokens that are fed, so the last of them predicts one more. A document's first token is
scored where the tokenizer puts a beginning-of-text token before it, and else left out, with its bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.errors import InputError, OptionError
from pellucid.lab.evaluation.bootstrap import Estimate, Numbers, of_sums, ratio
from pellucid.lab.evaluation.inputs import Document
from pellucid.lab.evaluation.likelihood import Scored, check_causal, lead, nats, tokens
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent

#: Tokens read at once where nothing is asked for, at most: longer windows cost more and change little.
WINDOW = 2048
#: From so many documents on, documents are what the bootstrap draws; from fewer, windows.
DOCUMENTS = 10
#: Beyond this, exp() has no float.
_LARGEST = 700.0


@dataclass(frozen=True)
class Sums:
    """Of one document: the sum of -ln p, and over how many tokens, bytes, characters and windows."""

    name: str
    nats: float
    tokens: int
    bytes: int
    characters: int
    windows: int


@dataclass(frozen=True)
class Perplexity:
    """Sums over all documents, three ratios of them with intervals, and each document's own sums. ``units`` is what
    the bootstrap drew, ``before`` the tokens that the tokenizer puts before every window."""

    nats: float
    tokens: int
    bytes: int
    characters: int
    perplexity: Estimate
    bits_per_byte: Estimate
    bits_per_character: Estimate
    documents: tuple[Sums, ...]
    window: int
    stride: int
    before: tuple[str, ...]
    units: str


def windows(length: int, window: int, stride: int, before: int = 0) -> Iterator[tuple[int, int, int]]:
    """(begin, first, end) of each window over ``length`` tokens: ``begin`` to ``end`` - 1 are fed behind ``before``
    tokens of the tokenizer's own, ``first`` to ``end`` - 1 are scored. Every token is, in one of them; but the first
    where nothing stands before it."""
    first = 0 if before else 1
    end = min(length, window - before + 1)
    begin = 0
    while first < end:
        yield begin, first, end
        first, end = end, min(end + stride, length)
        begin = max(0, end - 1 - (window - before))


def sizes(loaded: LoadedModel, window: int | None, stride: int | None, before: int) -> tuple[int, int]:
    """Window and stride: what was asked for, checked; else the context, at most ``WINDOW``, and half of the
    window."""
    most = loaded.context or max(window or 0, WINDOW)
    size = min(most, WINDOW) if window is None else window
    if not before + 1 <= size <= most:
        raise OptionError(f"window should be from {before + 1} to {most}, what '{loaded.name}' reads, given {window}")
    largest = size - max(before - 1, 0)
    step = max(1, min(size // 2, largest)) if stride is None else stride
    if not 1 <= step <= largest:
        raise OptionError(
            f"stride should be from 1 to {largest}, given {stride}: further apart, windows would leave tokens out"
        )
    return size, step


def check_sizes(window: int | None, stride: int | None) -> None:
    """What is wrong with them whatever the model. Raises ``OptionError``."""
    for name, value in (("window", window), ("stride", stride)):
        if value is not None and value < 1:
            raise OptionError(f"{name} should be 1 token or more, given {value}")
    if window is not None and stride is not None and stride > window:
        raise OptionError(f"stride should not be over the window of {window}, given {stride}: tokens would be left out")


def perplexity(
    loaded: LoadedModel,
    documents: Sequence[Document],
    *,
    window: int | None = None,
    stride: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Perplexity:
    """How likely ``documents`` are. Raises ``ModelError`` for a model that is not causal, ``OptionError`` for sizes,
    ``InputError`` where there is nothing to score, ``NumericError``."""
    check_causal(loaded, "perplexity")
    check_sizes(window, stride)
    before = lead(loaded)
    size, step = sizes(loaded, window, stride, len(before))
    rows: list[Scored] = []
    regions: list[tuple[int, int, int]] = []  # document, bytes, characters of each row
    for number, document in enumerate(documents):
        progress("splitting", number, len(documents))
        read = tokens(loaded, document.text, before)
        at = None
        for begin, first, end in windows(len(read.ids), size, step, len(before)):
            rows.append(Scored((*before, *read.ids[begin:end]), end - first))
            start = (read.spans[first - 1][1] if first else 0) if at is None else at
            at = len(document.text) if end == len(read.ids) else read.spans[end - 1][1]
            piece = document.text[start:at]
            regions.append((number, len(piece.encode("utf-8", "surrogatepass")), len(piece)))
    if not rows:
        raise InputError(
            f"there is nothing to score: {len(documents)} document{'s' * (len(documents) != 1)} of one token at most, "
            f"and '{loaded.name}' has nothing before the first; give more text"
        )
    values = nats(loaded, rows, stage="perplexity", progress=progress)
    each = np.array(
        [(math.fsum(v), len(v), size_of, long) for v, (_, size_of, long) in zip(values, regions, strict=True)]
    )  # [rows, nats tokens bytes characters]
    owner = np.array([number for number, _, _ in regions])
    whole = np.zeros((len(documents), 4))
    np.add.at(whole, owner, each)
    scored = [k for k in range(len(documents)) if whole[k, 1]]
    by_document = len(scored) >= DOCUMENTS
    parts = whole[scored] if by_document else each
    total = [math.fsum(column) for column in each.T]
    return Perplexity(
        nats=total[0],
        tokens=int(total[1]),
        bytes=int(total[2]),
        characters=int(total[3]),
        perplexity=of_sums(parts[:, [0, 1]], _perplexity, seed=seed),
        bits_per_byte=of_sums(parts[:, [0, 2]], _bits, seed=seed),
        bits_per_character=of_sums(parts[:, [0, 3]], _bits, seed=seed),
        documents=tuple(
            Sums(documents[k].name, float(s[0]), int(s[1]), int(s[2]), int(s[3]), int((owner == k).sum()))
            for k, s in enumerate(whole)
        ),
        window=size,
        stride=step,
        before=tuple(str(loaded.tokenizer.convert_ids_to_tokens(i)) for i in before),
        units="documents" if by_document else "windows",
    )


def _perplexity(sums: Numbers) -> Numbers:
    found: Numbers = np.exp(np.minimum(ratio(sums), _LARGEST))
    return found


def _bits(sums: Numbers) -> Numbers:
    found: Numbers = ratio(sums) / math.log(2)
    return found
