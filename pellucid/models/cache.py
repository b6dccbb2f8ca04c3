"""The user's cache: each entry is a folder that is whole or is not there.

    pellucid models            # what is in it, and how large

``PELLUCID_CACHE`` names another place. An entry is built in a staging folder beside its final place, under a lock
that other processes wait on, gets a manifest as its last file, and is moved into place by one rename: a build that
dies leaves a staging folder, which the next build of that entry removes. ``find`` checks the manifest (every size,
the whole hash of small files, hashes of spread samples of large ones) and treats what fails as absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import filelock
import platformdirs

from pellucid.errors import OutputError
from pellucid.progress import Progress, silent

MANIFEST = "pellucid-manifest.json"
FORMAT = 1  # of entries; part of their names, so that a change of format rebuilds
_WHOLE = 64 << 20  # files up to this many bytes are hashed whole at each load (64 MiB: 50 ms)
_SAMPLES, _SAMPLE = 64, 64 << 10


@dataclass(frozen=True)
class Entry:
    """A whole cache entry: ``name`` as the user knows it, its folder, its size in bytes."""

    name: str
    path: Path
    size: int


def root() -> Path:
    """The cache folder (not made here)."""
    given = os.environ.get("PELLUCID_CACHE")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("pellucid", appauthor=False))


def _folder() -> Path:
    return root() / "models"


def fingerprint(path: Path) -> str:
    """SHA-256 of a file: of all of it up to 64 MiB, else of its size and 64 samples of 64 KiB spread over it.

    Samples find a file that was cut, overwritten at either end or zeroed over a stretch, at the price of
    milliseconds; a single flipped bit between samples goes unseen.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as f:
        if size <= _WHOLE:
            digest.update(f.read())
        else:
            for i in range(_SAMPLES):
                f.seek(i * (size - _SAMPLE) // (_SAMPLES - 1))
                digest.update(f.read(_SAMPLE))
    return digest.hexdigest()


def _manifest(path: Path, name: str) -> dict[str, object]:
    files = {
        p.relative_to(path).as_posix(): {"size": p.stat().st_size, "sha256": fingerprint(p)}
        for p in sorted(path.rglob("*"))
        if p.is_file() and p.name != MANIFEST
    }
    return {"format": FORMAT, "name": name, "files": files}


def _whole(path: Path) -> bool:
    """Is the entry at ``path`` as its manifest says?"""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        return (
            manifest["format"] == FORMAT
            and bool(files)
            and all(
                (path / name).stat().st_size == f["size"] and fingerprint(path / name) == f["sha256"]
                for name, f in files.items()
            )
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def find(key: str) -> Path | None:
    """The folder of entry ``key`` if it is there and whole, else None."""
    path = _folder() / key
    return path if path.is_dir() and _whole(path) else None


def entries() -> list[Entry]:
    """All entries with a manifest, by name; sizes from the file system, contents not checked."""
    found = []
    for manifest in sorted(_folder().glob(f"*/{MANIFEST}")):
        if manifest.parent.name.startswith("."):
            continue
        try:
            name = str(json.loads(manifest.read_text(encoding="utf-8"))["name"])
        except (OSError, ValueError, KeyError, TypeError):
            name = f"{manifest.parent.name} (damaged; rebuilt at its next use)"
        size = sum(p.stat().st_size for p in manifest.parent.rglob("*") if p.is_file())
        found.append(Entry(name, manifest.parent, size))
    return found


@contextmanager
def building(key: str, name: str, progress: Progress = silent) -> Iterator[tuple[Path, Path | None]]:
    """Build entry ``key``: yields ``(staging folder, None)``, or ``(folder, entry)`` if another process was first.

    Filled and left without an error, the staging folder becomes the entry. Any error, Ctrl-C included, removes it.
    """
    folder = _folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / f".{key}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            progress(f"waiting for another process that prepares {name}", 0, None)
            lock.acquire()
    except OSError as e:
        raise OutputError(
            f"the cache folder {folder} cannot be written ({e.strerror or e}): set PELLUCID_CACHE to a folder that can"
        ) from None
    try:
        ready = find(key)
        if ready is not None:
            yield ready, ready
            return
        for stale in folder.glob(f".stage-{key}-*"):  # the lock is ours, so whoever made it is gone
            shutil.rmtree(stale, ignore_errors=True)
        stage = folder / f".stage-{key}-{uuid4().hex[:8]}"
        stage.mkdir()
        try:
            yield stage, None
            text = json.dumps(_manifest(stage, name), indent=1)
            (stage / MANIFEST).write_text(text, encoding="utf-8")
            final = folder / key
            if final.exists():  # damaged: find() said so
                damaged = folder / f".stage-{key}-damaged-{uuid4().hex[:8]}"
                final.rename(damaged)
                shutil.rmtree(damaged, ignore_errors=True)
            stage.rename(final)
        except OSError as e:
            raise OutputError(
                f"{name} could not be written to the cache {folder} ({e.strerror or e}), and nothing of it was kept: "
                "free some space, or set PELLUCID_CACHE to another folder"
            ) from None
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    finally:
        lock.release()
