"""Checkpoints that are whole or absent, and the way back to the newest whole one.

    checkpoints = Checkpoints(Path("runs/mine"), recipe.as_dict())
    found = checkpoints.newest()            # None, or what to go on from

Each is a folder ``checkpoints/step-00000500`` in the Hub's layout (weights as safetensors, so that ``pellucid.load``
reads it), with ``training.pt`` (optimisers, scaler, random states; read with ``weights_only``) and ``state.json``: the
step, the recipe, and every file's size and SHA-256. It is written under another name, flushed to the disk, and
renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import OptionError, OutputError

STATE = "state.json"
TRAINING = "training.pt"


@dataclass(frozen=True)
class Found:
    """A whole checkpoint: its folder, what ``state.json`` says, and ``passed``: newer ones that are torn, and why."""

    folder: Path
    state: dict[str, Any]
    passed: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        """How many optimiser steps were done."""
        return int(self.state["step"])


class Checkpoints:
    """Those of one run; ``recipe`` is plain data that a checkpoint must have been made by."""

    def __init__(self, run: Path, recipe: dict[str, Any]) -> None:
        self.folder = run / "checkpoints"
        self.recipe = recipe

    def save(
        self, step: int, write: Callable[[Path], None], more: dict[str, Any], *, keep_last: int, best: str = "loss"
    ) -> Path:
        """Write a checkpoint through ``write(folder)``, then let go of those that are neither among the last
        ``keep_last`` nor the best (0 keeps all).

        Raises ``OutputError`` where it cannot be written (a full disk); nothing of it is left then.
        """
        final = self.folder / f"step-{step:08d}"
        partial = self.folder / f".{final.name}.partial"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            write(partial)
            files = {p.name: _digest(p) for p in sorted(partial.iterdir()) if p.is_file()}
            state = {"step": step, "recipe": self.recipe, **more, "files": files}
            (partial / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
            _flush(partial)
            shutil.rmtree(final, ignore_errors=True)  # one that was found torn
            partial.rename(final)
            _flush_folder(self.folder)
        except BaseException as e:
            shutil.rmtree(partial, ignore_errors=True)
            if not _unwritable(e):
                raise
            last = next(iter(self._names()), None)
            rest = f"the last good one is {self.folder / last}" if last else "there is none before it"
            raise OutputError(f"the checkpoint of step {step} cannot be written ({_why(e)}): {rest}") from None
        self._prune(keep_last, best)
        return final

    def newest(self) -> Found | None:
        """The newest whole checkpoint, or None where there is none.

        Raises ``OptionError`` for one of another recipe.
        """
        passed: list[str] = []
        for name in self._names():
            folder = self.folder / name
            torn, state = _torn(folder)
            if torn is not None:
                passed.append(f"{folder} is passed over: {torn}")
                continue
            if state["recipe"] != self.recipe:
                raise OptionError(
                    f"{folder} was made by another configuration ({_difference(state['recipe'], self.recipe)}): go on "
                    "with that one, or start a new run with another --out"
                )
            return Found(folder, state, tuple(passed))
        return Found(self.folder, {"step": 0}, tuple(passed)) if passed else None

    def any(self) -> bool:
        """Is there one, whole or torn?"""
        return bool(self._names())

    def steps(self) -> list[Found]:
        """Every whole checkpoint, from the first."""
        found = []
        for name in reversed(self._names()):
            torn, state = _torn(self.folder / name)
            if torn is None:
                found.append(Found(self.folder / name, state))
        return found

    def _names(self) -> list[str]:
        """Newest first."""
        if not self.folder.is_dir():
            return []
        return sorted((p.name for p in self.folder.iterdir() if p.name.startswith("step-")), reverse=True)

    def _prune(self, keep_last: int, best: str) -> None:
        if keep_last == 0:
            return
        names = self._names()
        keep = set(names[:keep_last])
        measured = []
        for name in names:
            state = json.loads((self.folder / name / STATE).read_text(encoding="utf-8"))
            if state.get(best) is not None:
                measured.append((state[best], name))
        if measured:
            keep.add(min(measured)[1])
        for name in names:
            if name not in keep:
                shutil.rmtree(self.folder / name)


def _digest(path: Path) -> list[Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return [path.stat().st_size, digest.hexdigest()]


def _torn(folder: Path) -> tuple[str | None, dict[str, Any]]:
    """What is wrong with a checkpoint (None: nothing), and its state."""
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        files = state["files"]
    except (OSError, ValueError, KeyError):
        return f"it has no whole {STATE}", {}
    for name, digest in files.items():
        if not (folder / name).is_file():
            return f"{name} is missing", state
        if _digest(folder / name) != digest:
            return f"{name} is not what was written", state
    return None, state


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(e: BaseException) -> bool:
    """Is this a file that could not be written, as Python, safetensors or torch's zip writer say it?"""
    said = str(e).lower()
    torchs = isinstance(e, RuntimeError) and ("inline_container" in said or "unexpected pos" in said or "write" in said)
    return isinstance(e, OSError) or type(e).__name__ == "SafetensorError" or torchs


def _why(e: BaseException) -> str:
    under = e.__context__
    if isinstance(e, RuntimeError):  # torch's own words name a line of its source
        return (
            under.strerror or str(under) if isinstance(under, OSError) else "its file was cut short: is the disk full?"
        )
    return (getattr(e, "strerror", None) or str(e).splitlines()[0] or type(e).__name__).strip()


def _difference(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """The first options that differ, in words."""
    found = []
    for table in sorted({*theirs, *ours}):
        a, b = theirs.get(table), ours.get(table)
        if isinstance(a, dict) and isinstance(b, dict):
            found += [f"{n}: {a.get(n)!r}, now {b.get(n)!r}" for n in sorted({*a, *b}) if a.get(n) != b.get(n)]
        elif a != b:
            found.append(f"{table}: {a!r}, now {b!r}")
    return "; ".join(found[:3])
