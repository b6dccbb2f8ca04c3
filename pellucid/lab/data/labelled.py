"""Texts with a class each: read from a file, checked line by line, and put into batches of texts of about one length.

    task = read("train.tsv", "dev.tsv", names={"0": "negative", "1": "positive"})
    task.classes                            # ("negative", "positive")

A line is ``text<TAB>label``, or ``{"text": ..., "label": ...}`` in a .jsonl file. Which labels there are is read off
the training file. A batch is padded to its own longest text, so texts of about one length go together: the order of an
epoch is random, then sorted by length within pools of ``POOL`` batches, then the batches are shuffled. It depends on
the seed and the step alone, so that a run that goes on after a stop sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import InputError, OptionError
from pellucid.lab.data.batches import Batch
from pellucid.lab.data.sources import fingerprint

if TYPE_CHECKING:
    import numpy as np

POOL = 50  # batches that are sorted by length together
#: Labels in a sentence.
_LISTED = 12


@dataclass(frozen=True)
class Labelled:
    """A text, its label as the file has it, and where that stands ("train.tsv, line 3")."""

    text: str
    label: str
    place: str


@dataclass(frozen=True)
class Task:
    """``labels`` as the files name them and ``classes`` as the model will, in the same order; ``hashes``: SHA-256 of
    each file, by which a run notices that one changed; ``share``: of the first file that is held out, where there is
    but one."""

    train: tuple[Labelled, ...]
    held_out: tuple[Labelled, ...]
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    hashes: dict[str, str]
    share: float | None = None

    def number(self, example: Labelled) -> int:
        """The number of its class."""
        return self.labels.index(example.label)


def read(
    data: str | Path,
    held_out: str | Path | None = None,
    *,
    names: Mapping[str, str] | None = None,
    share: float = 0.1,
    seed: int = 0,
) -> Task:
    """Read and check; ``held_out``: a file, or None for a random ``share`` of ``data``; ``names``: label to class name.

    Raises ``InputError`` with the line for a text or label that cannot be used, or where there are fewer than two
    labels; ``OptionError`` for names that do not fit the labels.
    """
    path = Path(data)
    train = _lines(path)
    if held_out is not None:
        rest = _lines(Path(held_out))
    else:
        train, rest = _split(train, path, share, seed)
    files = [str(path)] if held_out is None else [str(path), str(held_out)]
    labels = _labels(train, path)
    for example in rest:
        if example.label not in labels:
            raise InputError(
                f"{example.place}: no text that is trained on has the label '{example.label}': expected one of "
                f"{_listed(labels)}"
            )
    classes = _named(labels, dict(names or {}))
    return Task(tuple(train), tuple(rest), labels, classes, fingerprint(files), None if held_out else share)


class Texts:
    """Batches of ``rows`` texts: their ``ids``, and ``numbers`` of their classes.

    Texts that do not fill the last batch of an epoch are left out of that epoch; which, is drawn each time. Raises
    ``InputError`` for fewer texts than ``rows``.
    """

    def __init__(
        self, ids: Sequence[Sequence[int]], numbers: Sequence[int], *, rows: int, pad: int, seed: int = 0
    ) -> None:
        if len(ids) < rows:
            raise InputError(
                f"there are {len(ids)} texts to train on, and one step takes {rows}: give more, or fewer rows"
            )
        self.ids, self.numbers, self.rows, self.pad, self.seed = ids, numbers, rows, pad, seed
        self.steps = len(ids) // rows  # of an epoch
        self._epoch: tuple[int, np.ndarray[Any, Any]] | None = None

    def batch(self, step: int) -> Batch:
        """The batch of a step (from 0)."""
        epoch, place = divmod(step, self.steps)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self.order(epoch))
        return self.of(self._epoch[1][place].tolist())

    def order(self, epoch: int) -> np.ndarray[Any, Any]:
        """Which texts each batch of an epoch holds [steps, rows]."""
        import numpy as np

        random = np.random.default_rng((self.seed, epoch))
        drawn = random.permutation(len(self.ids))[: self.steps * self.rows]
        lengths = np.array([len(i) for i in self.ids])
        size = POOL * self.rows
        pools = [drawn[k : k + size] for k in range(0, len(drawn), size)]
        order = np.concatenate([p[np.argsort(lengths[p], kind="stable")] for p in pools])
        return random.permutation(order.reshape(self.steps, self.rows))

    def of(self, places: Sequence[int]) -> Batch:
        """The texts at ``places`` as a batch, padded on the right; targets [rows]."""
        return padded([self.ids[k] for k in places], [self.numbers[k] for k in places], self.pad)


def padded(ids: Sequence[Sequence[int]], numbers: Sequence[int], pad: int) -> Batch:
    """Texts of any length as one batch: inputs and mask [rows, longest], targets [rows]."""
    import torch

    length = max(map(len, ids))
    inputs = torch.full((len(ids), length), pad)
    mask = torch.zeros((len(ids), length), dtype=torch.long)
    for k, row in enumerate(ids):
        inputs[k, : len(row)] = torch.tensor(row)
        mask[k, : len(row)] = 1
    return Batch(inputs, torch.tensor(list(numbers)), None, mask)


def _lines(path: Path) -> list[Labelled]:
    from pellucid.lab.evaluation.inputs import table, text_of

    rows = table(path, ["text", "label"])
    text = text_of(path)
    lines = text.split("\n")  # not at U+2028, which may stand in a text
    numbers = [n for n, line in enumerate(lines, 1) if line.strip()]
    found = []
    for number, row in zip(numbers, rows, strict=True):
        place = f"{path}, line {number}"
        if not row["text"].strip():
            raise InputError(f"{place}, has an empty text: expected some text and its label")
        if not row["label"].strip():
            raise InputError(f"{place}, has an empty label: expected the name or number of a class")
        found.append(Labelled(row["text"], row["label"].strip(), place))
    return found


def _split(rows: list[Labelled], path: Path, share: float, seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """A random share is held out, the order kept."""
    import numpy as np

    if not 0 < share < 1:
        raise OptionError(f"the held-out share should be between 0 and 1, given {share:g}")
    count = round(len(rows) * share)
    if count == 0:
        raise InputError(f"{path} has {len(rows)} lines, and {share:.0%} of them is none to hold out: give more")
    out = set(np.random.default_rng(seed).permutation(len(rows))[:count].tolist())
    return [r for k, r in enumerate(rows) if k not in out], [rows[k] for k in sorted(out)]


def _labels(rows: Sequence[Labelled], path: Path) -> tuple[str, ...]:
    """In the order of their names, or of their numbers where all are such."""
    found = sorted({r.label for r in rows})
    if len(found) < 2:
        raise InputError(f"{path} has one label alone, '{found[0]}': expected texts of two classes or more")
    if all(label.isdecimal() for label in found):
        found.sort(key=int)
    return tuple(found)


def _named(labels: Sequence[str], names: dict[str, str]) -> tuple[str, ...]:
    for label in names:
        if label not in labels:
            raise OptionError(f"a name is given for '{label}', which is no label: expected one of {_listed(labels)}")
    classes = tuple(names.get(label, label) for label in labels)
    if len(set(classes)) < len(classes):
        raise OptionError(f"two classes would have one name: {', '.join(classes)}")
    return classes


def _listed(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:_LISTED])
    return shown if len(labels) <= _LISTED else f"{shown}, ... ({len(labels)} in all)"
