"""Cache entries are whole or absent: builds that die, damage of every kind, two processes at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from pellucid.errors import OutputError
from pellucid.models import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def build(key: str = "k", content: bytes = b"weights") -> Path:
    with cache.building(key, "a model") as (stage, ready):
        assert ready is None
        (stage / "config.json").write_text("{}")
        (stage / "model.safetensors").write_bytes(content)
    found = cache.find(key)
    assert found is not None
    return found


def test_a_whole_entry_is_found_and_listed() -> None:
    assert cache.find("k") is None
    assert cache.entries() == []
    path = build()
    assert [(e.name, e.path) for e in cache.entries()] == [("a model", path)]
    assert cache.entries()[0].size == sum(p.stat().st_size for p in path.iterdir())
    with cache.building("k", "a model") as (again, ready):
        assert again == ready == path


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_build_that_fails_leaves_nothing(own_cache: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), cache.building("k", "a model") as (stage, _):
        (stage / "half").write_text("x")
        raise error
    assert cache.find("k") is None
    assert [p.name for p in (own_cache / "models").iterdir() if p.is_dir()] == []


def test_a_full_disk_is_one_sentence(own_cache: Path) -> None:
    said = pytest.raises(OutputError, match=r"a model could not be written to the cache .*No space left on device")
    with said, cache.building("k", "a model") as (stage, _):
        (stage / "half").write_text("x")
        raise OSError(28, "No space left on device")
    assert [p.name for p in (own_cache / "models").iterdir() if p.is_dir()] == []


def _cut(path: Path) -> None:
    data = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(data[:-1])


def _flip(path: Path) -> None:
    (path / "model.safetensors").write_bytes(b"wEights")


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _flip,
        lambda p: (p / "config.json").unlink(),
        lambda p: (p / cache.MANIFEST).unlink(),
        lambda p: (p / cache.MANIFEST).write_text("{"),
        lambda p: (p / cache.MANIFEST).write_text('{"format": 1, "name": "x", "files": {}}'),
        lambda p: (p / cache.MANIFEST).write_text('{"format": 99, "name": "x", "files": {"config.json": {}}}'),
        lambda p: (p / cache.MANIFEST).write_text("[]"),
    ],
    ids=["cut", "flipped", "file gone", "manifest gone", "manifest cut", "no files", "newer", "no object"],
)
def test_damage_is_seen_and_rebuilt(damage) -> None:  # type: ignore[no-untyped-def]
    path = build()
    damage(path)
    assert cache.find("k") is None
    assert build() == path
    assert (path / "model.safetensors").read_bytes() == b"weights"


def test_large_files_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_WHOLE", 1000)
    monkeypatch.setattr(cache, "_SAMPLE", 16)
    f = tmp_path / "big"
    data = bytearray(os.urandom(10_000))
    f.write_bytes(data)
    before = cache.fingerprint(f)
    for at in (0, 9_999):  # both ends are always sampled
        changed = bytearray(data)
        changed[at] ^= 1
        f.write_bytes(changed)
        assert cache.fingerprint(f) != before
    f.write_bytes(data[:5000] + bytes(1000) + data[6000:])
    assert cache.fingerprint(f) != before
    f.write_bytes(data)
    assert cache.fingerprint(f) == before


def _slow_build(root: str, started: str, log: str) -> None:
    os.environ["PELLUCID_CACHE"] = root
    with cache.building("k", "a model") as (stage, ready):
        if ready is None:
            Path(started).touch()
            (stage / "half").write_text("x")
            time.sleep(1.0)
            (stage / "config.json").write_text("{}")
        with Path(log).open("a") as f:
            f.write("found\n" if ready else "built\n")


def test_two_processes_at_once_build_once(own_cache: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    both = [
        context.Process(target=_slow_build, args=(str(own_cache), str(tmp_path / "go"), str(log))) for _ in range(2)
    ]
    for p in both:
        p.start()
    for p in both:
        p.join(60)
        assert p.exitcode == 0
    assert sorted(log.read_text().split()) == ["built", "found"]
    assert cache.find("k") is not None


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_build_is_not_taken_for_whole(own_cache: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    go = tmp_path / "go"
    p = context.Process(target=_slow_build, args=(str(own_cache), str(go), str(tmp_path / "log")))
    p.start()
    while not go.exists():
        time.sleep(0.01)
    os.kill(p.pid or 0, signal.SIGKILL)
    p.join(60)
    left = [d for d in (own_cache / "models").iterdir() if d.is_dir()]
    assert len(left) == 1, "the kill came too late to test anything"
    assert cache.find("k") is None
    assert cache.entries() == []
    build()
    assert [d.name for d in (own_cache / "models").iterdir() if d.is_dir()] == ["k"]


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("PELLUCID_CACHE", str(blocked / "below"))
    with pytest.raises(OutputError, match="set PELLUCID_CACHE to a folder that can"), cache.building("k", "m"):
        pass


def test_a_damaged_entry_is_listed_as_such() -> None:
    path = build()
    (path / cache.MANIFEST).write_text(json.dumps([1]))
    assert [e.name for e in cache.entries()] == ["k (damaged; rebuilt at its next use)"]
