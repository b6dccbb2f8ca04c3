"""Documents packed into one array on disk, a part of them held out.

    from pellucid.lab.data.packed import pack
    data = pack(["book.txt"], tokenizer="characters", folder=Path("runs/mine/data"))
    data.train.tokens[:10]

Token ids lie one behind the other as uint16 (uint32 where the vocabulary needs it), each document with the end token
behind it where there are several; ``ends`` says where each one stops. Of several documents whole ones are held out, of
a single one its last part.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import InputError, OptionError
from pellucid.lab.data import tokenizers
from pellucid.lab.data.sources import Document, documents, fingerprint
from pellucid.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np

MANIFEST = "data.json"
PARTS = ("train", "held-out")


@dataclass(frozen=True)
class Part:
    """``tokens`` [tokens], memory-mapped; ``ends`` [documents]: where each document stops."""

    tokens: np.ndarray[Any, Any]
    ends: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Packed:
    """Both parts, the tokenizer, and what was written about them."""

    train: Part
    held_out: Part
    tokenizer: Any
    manifest: dict[str, Any]


def dtype_of(vocabulary: int, wanted: str = "auto") -> str:
    """The narrowest dtype that holds every token's number. Raises ``OptionError`` where ``wanted`` does not."""
    sizes = {"uint16": 1 << 16, "uint32": 1 << 32}
    if wanted == "auto":
        return next(name for name, size in sizes.items() if vocabulary <= size)
    if wanted not in sizes:
        raise OptionError(f"unknown dtype for tokens '{wanted}': expected auto, uint16 or uint32")
    if vocabulary > sizes[wanted]:
        raise OptionError(
            f"a vocabulary of {vocabulary:,} tokens does not fit {wanted} ({sizes[wanted]:,}): choose uint32"
        )
    return wanted


def pack(
    sources: Sequence[str],
    *,
    tokenizer: str,
    folder: Path,
    vocab_size: int = 4096,
    held_out: float = 0.1,
    field: str = "text",
    dtype: str = "auto",
    seed: int = 0,
    anew: bool = False,
    progress: Progress = silent,
) -> Packed:
    """Pack ``sources`` into ``folder``, or open what an earlier run packed there.

    ``held_out`` is the share that training never sees; ``anew``: nothing has come of what is there, so that other data
    or options take its place instead of being refused. Raises ``InputError`` where the data is not what it was when it
    was packed, or cannot be read; ``OptionError`` for options that do not fit it.
    """
    if not 0 < held_out < 1:
        raise OptionError(f"held_out should be a share between 0 and 1, given {held_out}")
    wanted = {
        "sources": fingerprint(sources),
        "tokenizer": tokenizer,
        "vocab_size": vocab_size if tokenizer == "bytepairs" else None,
        "held_out": held_out,
        "field": field,
        "seed": seed,
    }
    if (folder / MANIFEST).is_file():
        try:
            return _open(folder, wanted)
        except (InputError, OptionError):
            if not anew:
                raise
    found = list(documents(sources, field=field))
    train, held = split(found, held_out, seed)
    progress("tokenizer", 0, None)
    made = tokenizers.make(tokenizer, (d.text for d in found), vocab_size=vocab_size)
    # By its largest number, not its length: some vocabularies have holes.
    vocabulary = max(made.get_vocab().values()) + 1
    kind = dtype_of(vocabulary, dtype)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    total = sum(len(d.text) for d in found)
    done = 0
    separate = len(found) > 1
    for name, some in zip(PARTS, (train, held), strict=True):
        done = _write(partial, name, some, made, kind, separate, done, total, progress)
    made.save_pretrained(partial / "tokenizer")
    counts = {"vocabulary": vocabulary, "dtype": kind, "documents": len(found), "characters": total}
    (partial / MANIFEST).write_text(json.dumps({**wanted, **counts}, indent=1), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return _open(folder, wanted)


def split(found: list[Document], share: float, seed: int) -> tuple[list[Document], list[Document]]:
    """Training and held-out documents; a single document is cut in two."""
    if len(found) == 1:
        text = found[0].text
        at = int(len(text) * (1 - share))
        if not 0 < at < len(text):
            raise InputError(f"{found[0].name} has {len(text)} characters: too few to hold {share:.0%} of them out")
        return [Document(found[0].name, text[:at])], [Document(found[0].name, text[at:])]
    count = min(max(1, round(len(found) * share)), len(found) - 1)
    chosen = set(random.Random(seed).sample(range(len(found)), count))
    return [d for i, d in enumerate(found) if i not in chosen], [d for i, d in enumerate(found) if i in chosen]


def _write(
    folder: Path,
    name: str,
    some: list[Document],
    tokenizer: Any,
    dtype: str,
    separate: bool,
    done: int,
    total: int,
    progress: Progress,
) -> int:
    """One part's two files; how many characters are done."""
    import numpy as np

    ends, count = [], 0
    with (folder / f"{name}.bin").open("wb") as file:
        for document in some:
            for ids in tokenizers.encode(tokenizer, document.text):
                file.write(np.asarray(ids, dtype=dtype).tobytes())
                count += len(ids)
            if separate:
                file.write(np.asarray([tokenizer.eos_token_id], dtype=dtype).tobytes())
                count += 1
            ends.append(count)
            done += len(document.text)
            progress("tokens", done, total)
    np.save(folder / f"{name}.ends.npy", np.asarray(ends, dtype="int64"))
    return done


def _open(folder: Path, wanted: dict[str, Any]) -> Packed:
    import numpy as np
    from transformers import AutoTokenizer

    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for source, digest in wanted["sources"].items():
        if manifest["sources"].get(source, digest) != digest:
            raise InputError(
                f"{source} is not what it was when this run began (its hash differs): bring the file back, or start a "
                "new run with another --out"
            )
    before, now = (", ".join(m["sources"]) for m in (manifest, wanted))
    if before != now:
        raise OptionError(
            f"this run's data was packed from {before}, and now {now} is given: start a new run with another --out"
        )
    for name, value in wanted.items():
        if manifest[name] != value:
            raise OptionError(
                f"this run's data was packed with {name} = {manifest[name]}, and now {name} = {value} is asked for: "
                "start a new run with another --out"
            )
    train, held = (
        Part(
            np.memmap(folder / f"{name}.bin", dtype=manifest["dtype"], mode="r"),
            np.load(folder / f"{name}.ends.npy"),
        )
        for name in PARTS
    )
    return Packed(train, held, AutoTokenizer.from_pretrained(folder / "tokenizer"), manifest)
