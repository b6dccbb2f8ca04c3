"""Conversations for supervised fine-tuning: lines of a file, and batches of them.

    from pellucid.lab.data.chats import Chats, read
    from pellucid.lab.data.replies import encode
    examples, left = encode(loaded, read(["chats.jsonl"]), length=1024)
    Chats([e for e in examples if e], rows=16, pad=loaded.tokenizer.pad_token_id).batch(0)

A line of a .jsonl file is ``{"messages": [{"role": ..., "content": ...}, ...]}`` or ``{"prompt": ..., "completion":
...}``. Which tokens of it are learned is the affair of ``replies``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pellucid.errors import InputError, OptionError
from pellucid.lab.data import sources
from pellucid.lab.data.batches import IGNORE, Batch
from pellucid.models.encode import ROLES, check_text

if TYPE_CHECKING:
    import numpy as np

FORMS = '{"messages": [{"role": ..., "content": ...}]} or {"prompt": ..., "completion": ...}'
ASSISTANT = "assistant"
_WINDOW = 16  # batches among which conversations are put with others of their length


@dataclass(frozen=True)
class Chat:
    """A line: ``messages``, or a single ``prompt`` with its ``completion``; ``where`` names file and line."""

    where: str
    messages: tuple[dict[str, str], ...] = ()
    prompt: str = ""
    completion: str = ""


@dataclass(frozen=True, eq=False)
class Example:
    """``ids`` [tokens], and which of them are ``learned`` [tokens]; ``prompt``: how many stand before the last reply,
    which is where a model would be asked for it; ``asked``: the text that it answers."""

    ids: np.ndarray[Any, Any]
    learned: np.ndarray[Any, Any]
    prompt: int
    asked: str = ""

    @property
    def targets(self) -> int:
        """How many tokens are learned (the first of all has nothing before it)."""
        return int(self.learned[1:].sum())


def read(given: Sequence[str]) -> list[Chat]:
    """The conversations of all .jsonl files (and folders of such), in order.

    Raises ``InputError`` with the file and the line for what is no conversation, or holds nothing to learn, and
    ``OptionError`` where nothing is given.
    """
    if not given:
        raise OptionError("no conversations were given: name a .jsonl file with --data")
    chats = []
    for source in given:
        found = False
        for path in sources.files(source):
            # By line breaks alone: JSON may hold others (U+2028) inside its strings.
            for number, line in enumerate(sources.read(path).split("\n"), 1):
                if line.strip():
                    chats.append(_chat(line, f"{path}, line {number}"))
                    found = True
        if not found:
            raise InputError(f"{source} is empty: expected lines like {FORMS}")
    return chats


def _chat(line: str, where: str) -> Chat:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as e:
        raise InputError(f"{where} is not JSON: {e.msg}") from None
    there = sorted(row) if isinstance(row, dict) else []
    if isinstance(row, dict) and ("messages" in row) != ("prompt" in row and "completion" in row):
        return _conversation(row["messages"], where) if "messages" in row else _pair(row, where)
    what = f"the fields {', '.join(there)}" if there else type(row).__name__
    raise InputError(f"{where} should be {FORMS}, given {what}")


def _pair(row: dict[str, Any], where: str) -> Chat:
    for name in ("prompt", "completion"):
        if not isinstance(row[name], str) or not row[name].strip():
            raise InputError(f"{where}: the {name} should be some text, given {row[name]!r}")
        check_text(row[name], f"{where}: the {name}")
    return Chat(where, prompt=row["prompt"], completion=row["completion"])


def _conversation(messages: Any, where: str) -> Chat:
    if not isinstance(messages, list):
        raise InputError(f"{where}: messages should be a list, given {type(messages).__name__}")
    kept = []
    for i, m in enumerate(messages):
        if not isinstance(m, dict) or not isinstance(m.get("role"), str) or not isinstance(m.get("content"), str):
            raise InputError(f'{where}: message {i} should be {{"role": text, "content": text}}, given {m!r}')
        if m["role"] not in ROLES:
            raise InputError(f"{where}: message {i} has the role '{m['role']}': expected one of {', '.join(ROLES)}")
        check_text(m["content"], f"{where}: message {i}")
        if m["role"] == ASSISTANT and not m["content"].strip():
            raise InputError(f"{where}: message {i} is an empty reply: expected some text")
        kept.append({"role": m["role"], "content": m["content"]})
    if not any(m["role"] == ASSISTANT for m in kept):
        raise InputError(f"{where} has no reply of the assistant: there is nothing to learn from it")
    if kept[0]["role"] == ASSISTANT:
        raise InputError(f"{where} begins with the assistant: a reply needs something that it answers")
    while kept[-1]["role"] != ASSISTANT:  # nothing answers these
        kept.pop()
    return Chat(where, messages=tuple(kept))


def split(chats: Sequence[Any], share: float, seed: int) -> tuple[list[Any], list[Any]]:
    """Whole conversations to train on, and ``share`` of them (0 to 1; 0: none) held out, chosen by ``seed``.

    Raises ``InputError`` where there are too few, ``OptionError`` for another share.
    """
    if not 0 <= share < 1:
        raise OptionError(f"held_out should be a share from 0 to below 1, given {share}")
    if share == 0:
        return list(chats), []
    if len(chats) < 2:
        raise InputError(
            f"there is {len(chats)} conversation, too few to hold {share:.0%} of them out: give more, or hold none out "
            "(--held-out 0)"
        )
    count = min(max(1, round(len(chats) * share)), len(chats) - 1)
    chosen = set(random.Random(seed).sample(range(len(chats)), count))
    return [c for i, c in enumerate(chats) if i not in chosen], [c for i, c in enumerate(chats) if i in chosen]


class Chats:
    """Batches of ``rows`` conversations, each once an epoch in an order that depends on the seed and the epoch alone.

    Rows of a batch are padded behind their end to the longest, with ``mask`` 0 there and nothing asked for; so that
    little is padding, a batch holds conversations of like lengths. An epoch's last batch is filled up with rows of
    which nothing is asked.
    """

    def __init__(self, examples: Sequence[Example], *, rows: int, pad: int, seed: int = 0) -> None:
        if not examples:
            raise InputError("no conversation fits the block: give a longer one (--context), or shorter conversations")
        self.examples, self.rows, self.pad, self.seed = list(examples), rows, pad, seed
        self.per_epoch = -(-len(self.examples) // rows)
        self._epoch: tuple[int, list[list[int]]] | None = None

    def batch(self, step: int) -> Batch:
        """The batch of a step (from 0)."""
        epoch, place = divmod(step, self.per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, self._order(epoch)
        return padded([self.examples[i] for i in self._epoch[1][place]], pad=self.pad, rows=self.rows)

    def _order(self, epoch: int) -> list[list[int]]:
        import numpy as np

        draw = np.random.default_rng((self.seed, epoch))
        order = draw.permutation(len(self.examples)).tolist()
        near = self.rows * _WINDOW
        alike = [
            i
            for start in range(0, len(order), near)
            for i in sorted(order[start : start + near], key=lambda i: -len(self.examples[i].ids))
        ]
        batches = [alike[start : start + self.rows] for start in range(0, len(alike), self.rows)]
        return [batches[i] for i in draw.permutation(len(batches))]


def padded(examples: Sequence[Example], *, pad: int, rows: int = 0) -> Batch:
    """One batch [rows, longest - 1] of whole examples, at least ``rows`` of them: targets are what follows each input
    where that is learned, and nothing elsewhere."""
    import numpy as np
    import torch

    count, length = max(rows, len(examples)), max(len(e.ids) for e in examples) - 1
    inputs = np.full((count, length), pad, dtype=np.int64)
    targets = np.full((count, length), IGNORE, dtype=np.int64)
    mask = np.zeros((count, length), dtype=np.int64)
    for row, e in enumerate(examples):
        size = len(e.ids) - 1
        inputs[row, :size], mask[row, :size] = e.ids[:-1], 1
        targets[row, :size] = np.where(e.learned[1:], e.ids[1:], IGNORE)
    whole = bool(mask.all())
    return Batch(torch.from_numpy(inputs), torch.from_numpy(targets), None, None if whole else torch.from_numpy(mask))


def in_order(examples: Sequence[Example], *, rows: int, pad: int) -> Iterator[Batch]:
    """Every example once, those of like lengths together."""
    some = sorted(examples, key=lambda e: len(e.ids))
    for start in range(0, len(some), rows):
        yield padded(some[start : start + rows], pad=pad)
