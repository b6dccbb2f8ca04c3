"""What a run has measured, in a file that survives a kill: one whole JSON line a record, and the settings beside it.

    records = Records.open(out, settings)
    records.add({"example": "...", "method": "ifr", ...})

A line that was cut short by a kill is dropped when the file is opened again; settings that differ from those of an
earlier run in the same folder are an error, because the numbers would not belong together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pellucid.errors import InputError, OutputError

SETTINGS, LINES = "settings.json", "records.jsonl"


class Records:
    """The records of one output folder, in order."""

    def __init__(self, folder: Path, lines: list[dict[str, Any]]) -> None:
        self.folder, self.lines = folder, lines

    @classmethod
    def open(cls, folder: Path, settings: Mapping[str, Any]) -> Records:
        """Begin, or go on where an earlier run stopped. Raises ``OutputError`` where the folder cannot be written,
        ``InputError`` where it belongs to other settings."""
        wanted = json.loads(json.dumps(dict(settings)))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            place, path = folder / SETTINGS, folder / LINES
            if place.is_file():
                before = json.loads(place.read_text(encoding="utf-8"))
                differ = sorted(k for k in {*before, *wanted} if before.get(k) != wanted.get(k))
                if differ:
                    k = differ[0]
                    raise InputError(
                        f"{folder} holds a run with other settings ({k}: {before.get(k)!r}, now {wanted.get(k)!r}): "
                        "give another folder, or the same settings to go on with it"
                    )
            else:
                whole(place, json.dumps(wanted, ensure_ascii=False, indent=2) + "\n")
            lines, good = [], 0
            if path.is_file():
                data = path.read_bytes()
                good = data.rfind(b"\n") + 1
                lines = [json.loads(line) for line in data[:good].splitlines()]
                if good < len(data):  # a kill in the middle of a line
                    with path.open("r+b") as f:
                        f.truncate(good)
        except json.JSONDecodeError as e:
            raise InputError(
                f"{folder} holds a damaged run ({e.msg}): remove the folder, or give another one"
            ) from None
        except OSError as e:
            raise OutputError(f"cannot write to {folder}: {e.strerror or e}") from None
        return cls(folder, lines)

    def add(self, *records: Mapping[str, Any]) -> None:
        """Append records, together and on disk before this returns. Raises ``OutputError``."""
        text = "".join(json.dumps(dict(r), ensure_ascii=False, allow_nan=False) + "\n" for r in records)
        try:
            with (self.folder / LINES).open("ab") as f:
                f.write(text.encode("utf-8"))
                f.flush()
                os.fsync(f.fileno())
        except OSError as e:
            raise OutputError(f"cannot write to {self.folder}: {e.strerror or e}") from None
        self.lines += [json.loads(line) for line in text.splitlines()]


def whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all. Raises ``OSError``."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
