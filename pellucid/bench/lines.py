"""Texts one a line: what a classifier judges, a translator reads, or a language model goes on from.

    examples = read_any(Path("reviews.tsv"))     # or a SQuAD-style .json
    examples[0].context

Of a ``.tsv`` the first column is the text; what people marked is not known.
"""

from __future__ import annotations

from pathlib import Path

from pellucid.bench import squad
from pellucid.bench.squad import Example
from pellucid.errors import InputError

ENDINGS = (".txt", ".tsv")


def read_any(path: Path) -> list[Example]:
    """The examples of a file, by its ending: ``.txt``, ``.tsv``, or else SQuAD's layout. Raises ``InputError``."""
    return read(path) if path.suffix.lower() in ENDINGS else squad.read(path)


def read(path: Path) -> list[Example]:
    """An example a line that holds a text. Raises ``InputError``."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from None
    except UnicodeDecodeError as e:
        raise InputError(f"{path} is not UTF-8 text (byte {e.start}): expected a text a line") from None
    column = path.suffix.lower() == ".tsv"
    lines = [line.split("\t")[0] if column else line for line in text.split("\n")]
    found = [Example(str(n), line.strip(), "", ()) for n, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise InputError(f"{path} holds no text: expected one a line")
    return found
