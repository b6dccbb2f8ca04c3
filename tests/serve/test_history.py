"""The file of results: found again, bounded, and what becomes of one that is newer, damaged, or full."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from pellucid.errors import InputError, OutputError
from pellucid.serve.history import History

LOTS = {"bytes": 10**9, "days": 30.0}


def filled(path: Path | None, titles: list[str], **options: Any) -> tuple[History, list[str]]:
    history = History(path, **{**LOTS, **options})
    return history, [history.add("trace", t, "tiny", {"title": t}) for t in titles]


def names(history: History, text: str = "", **options: Any) -> list[str]:
    return [k.title for k in history.find(text, **options)[0]]


def test_what_is_written_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "h.db"
    data = {"scores": [0.1, None, 1e-30], "text": "法国 🙂 \u202e \x00 \ud800", "nested": [[{}]]}
    history = History(path, **LOTS)
    key = history.add("trace", "a\n title\t of lines", "tiny", data)
    history.close()
    again = History(path, **LOTS)
    found = again.get(key)
    assert found is not None
    assert found[1] == data
    assert (found[0].title, found[0].kind, found[0].model) == ("a title of lines", "trace", "tiny")
    assert again.get("none") is None
    assert again.set_aside is None
    again.close()


def test_titles_are_found_by_what_they_hold() -> None:
    history, _ = filled(None, ["100% sure", "100 sure", "a_b", "aXb", "back\\slash", "Ümlaut", "plain"])
    assert names(history, "100%") == ["100% sure"]
    assert names(history, "_") == ["a_b"]
    assert names(history, "\\") == ["back\\slash"]
    assert names(history, "PLAIN") == ["plain"]
    assert names(history, "' OR 1=1 --") == []
    assert len(names(history, "tiny")) == 7
    assert names(history, kind="next") == []


def test_pages_hold_each_result_once_though_more_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.serve.history.time.time", lambda: 1000.0)  # all of one moment: the id decides
    history, _ = filled(None, [str(k) for k in range(10)])
    seen, before = [], None
    while True:
        found, before = history.find(limit=3, before=before)
        seen += [k.title for k in found]
        if before is None:
            break
        monkeypatch.setattr("pellucid.serve.history.time.time", lambda: 2000.0)
        history.add("trace", "late", "tiny", {})
    assert sorted(seen) == [str(k) for k in range(10)]
    with pytest.raises(InputError, match="before"):
        history.find(before="yesterday")
    assert history.find(before="nan~x") == ([], None)


def test_the_oldest_go_where_it_is_too_much_and_what_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1e9]
    monkeypatch.setattr("pellucid.serve.history.time.time", lambda: now[0])
    noise = random.Random(1).randbytes(2000).hex()
    size = len(zlib.compress(f'{{"x": "{noise}"}}'.encode(), 1))
    history = History(None, bytes=int(size * 3.5), days=10)
    for k in range(5):
        now[0] += 86400
        history.add("trace", str(k), "tiny", {"x": noise})
    assert names(history) == ["4", "3", "2"]
    now[0] += 8.5 * 86400
    history.prune()
    assert names(history) == ["4", "3"]
    now[0] += 86400
    history.add("trace", "new", "tiny", {})
    assert names(history) == ["new", "4"]
    small = History(None, bytes=10, days=10)
    key = small.add("trace", "larger than all that is kept", "tiny", {"x": noise})
    assert small.get(key) is not None  # its id was given away
    small.add("trace", "next", "tiny", {})
    assert names(small) == ["next"]


def test_a_file_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.execute("CREATE TABLE future (x)")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"newer release .*version 99"):
        History(path, **LOTS)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*damaged*"))


def test_a_damaged_file_is_set_aside_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    history, _ = filled(path, [f"title {k}" * 20 for k in range(200)])
    history.close()
    whole = path.read_bytes()
    damages = {
        "foreign": b"no database at all, but a letter of some length" * 50,
        "cut": whole[: len(whole) // 2 + 100],
        "overwritten": whole[:4096] + bytes(3 * 4096) + whole[4 * 4096 :],
        "header": b"SQLite format 3\x00" + b"\xff" * 84 + whole[100:],
    }
    for k, damaged in enumerate(damages.values(), 1):
        path.write_bytes(damaged)
        history = History(path, **LOTS)
        assert history.set_aside is not None
        assert history.set_aside.read_bytes() == damaged
        assert names(history) == []
        key = history.add("trace", "again", "tiny", {})
        assert history.get(key) is not None
        history.close()
        assert len(list(tmp_path.glob("*damaged*"))) == k  # none lies over another


def test_a_damaged_result_is_that_ones_affair(tmp_path: Path) -> None:
    history, keys = filled(tmp_path / "h.db", ["a", "b"])
    history._db.execute("UPDATE results SET body = ? WHERE id = ?", (b"\x00broken", keys[0]))
    with pytest.raises(OutputError, match="damaged and cannot be read: delete it"):
        history.get(keys[0])
    assert history.get(keys[1]) is not None
    assert names(history) == ["b", "a"]
    assert history.delete(keys[0]) == 1
    history.close()


def test_a_full_disk_is_told_and_room_helps(tmp_path: Path) -> None:
    history, keys = filled(tmp_path / "h.db", ["before"])
    pages = history._db.execute("PRAGMA page_count").fetchone()[0]
    history._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    noise = {"x": random.Random(1).randbytes(50_000).hex()}
    with pytest.raises(OutputError, match=r"cannot be written .*full"):
        history.add("trace", "too much", "tiny", noise)
    assert names(history) == ["before"]
    assert history.get(keys[0]) is not None
    history._db.execute("PRAGMA max_page_count = 100000")
    assert history.get(history.add("trace", "now", "tiny", noise)) is not None
    history.close()


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "h.db", tmp_path):
        with pytest.raises(OutputError, match="cannot"):
            History(path, **LOTS)


def test_many_threads_write_and_read_at_once(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db", **LOTS)
    wrong: list[Any] = []

    def work(name: int) -> None:
        for k in range(25):
            data = {"name": name, "k": k}
            key = history.add("trace", f"{name}", "tiny", data)
            found = history.get(key)
            if found is None or found[1] != data:
                wrong.append((name, k))
            history.find("1", limit=5)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    assert len(history.find(limit=1000)[0]) == 150
    history.close()


WRITER = """
import sys
from pathlib import Path
from pellucid.serve.history import History
history = History(Path(sys.argv[1]), bytes=300_000, days=30.0)
while True:
    key = history.add("trace", "title", "tiny", {"own": sys.argv[2] * 400})
    print(key, flush=True)
"""


def test_killed_at_any_moment_the_file_is_whole_and_holds_what_was_told(tmp_path: Path) -> None:
    """Nine times, in the middle of writing and pruning."""
    path, moments = tmp_path / "h.db", random.Random(5)
    for name in "abcdefghi":
        told = []
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stdout=subprocess.PIPE, text=True) as p:
            assert p.stdout is not None
            until = time.monotonic() + moments.uniform(0.1, 0.4)
            for line in p.stdout:
                told.append(line)
                if len(told) > 3 and time.monotonic() > until:
                    p.kill()
        db = sqlite3.connect(path)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()
        history = History(path, bytes=300_000, days=30.0)
        assert history.set_aside is None
        whole = [t.strip() for t in told if t.endswith("\n")]
        for key in whole[-20:]:  # those before may have made room
            found = history.get(key)
            assert found is not None
            assert found[1] == {"own": name * 400}
        history.close()
