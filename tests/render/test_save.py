"""``save``: the right format by the ending, whole or not at all, and errors that say what is wrong."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest
from PIL import Image
from samples import sample

import pellucid.render as render
from pellucid.errors import OutputError
from pellucid.trace.result import Trace


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_json_is_read_back(tmp_path: Path) -> None:
    trace = sample("法国 🎉", signed=True)
    assert trace.save(tmp_path / "t.json") == tmp_path / "t.json"
    assert Trace.load(tmp_path / "t.json").to_dict() == trace.to_dict()
    assert names(tmp_path) == ["t.json"]


def test_a_lone_surrogate_survives_json(tmp_path: Path) -> None:
    trace = sample("a\ud800b", chat=False)
    trace.save(tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_bytes())["prompt"]["text"] == "a\ud800b"


def test_png_and_upper_case_ending(tmp_path: Path) -> None:
    sample().save(tmp_path / "t.PNG")
    with Image.open(tmp_path / "t.PNG") as image:
        image.load()
        assert image.format == "PNG"
    assert names(tmp_path) == ["t.PNG"]


def test_html_comes_from_its_own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    html = pytest.importorskip("pellucid.render.html")
    monkeypatch.setattr(html, "page", lambda trace: "<p>法\ud800")
    sample().save(tmp_path / "t.html")
    assert (tmp_path / "t.html").read_bytes() == "<p>法&#55296;".encode()


@pytest.mark.parametrize("name", ["t.pdf", "t", "t.json.gz", ".json"])
def test_other_endings_are_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"\.json, \.html, \.png"):
        sample().save(tmp_path / name)
    assert names(tmp_path) == []


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    for check in (render.check_writable, lambda p: sample().save(p)):
        with pytest.raises(OutputError, match="there is no folder"):
            check(tmp_path / "no" / "t.json")


def test_a_folder_in_place_of_the_file_or_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "t.json").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        render.check_writable(tmp_path / "t.json")
    (tmp_path / "f").write_text("")
    with pytest.raises(OutputError, match="is not a folder"):
        render.check_writable(tmp_path / "f" / "t.json")


@pytest.mark.parametrize(("kind", "sentence"), [("folder", "no permission"), ("file", "may not be changed")])
def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, sentence: str) -> None:
    # root may write anywhere, so what the system says is set here
    path = tmp_path / "t.json"
    path.write_text("old")
    denied = tmp_path.resolve() if kind == "folder" else path
    real = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: Path(p) != denied and real(p, mode))
    with pytest.raises(OutputError, match=sentence):
        sample().save(path)
    assert path.read_text() == "old"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_for_real(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="no permission"):
            render.check_writable(tmp_path / "t.json")
    finally:
        tmp_path.chmod(0o700)


def test_check_writable_makes_nothing(tmp_path: Path) -> None:
    render.check_writable(tmp_path / "t.json")
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RuntimeError])
def test_failure_while_drawing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    (tmp_path / "t.json").write_text("old")

    def fail(trace: Trace) -> bytes:
        raise error

    monkeypatch.setitem(render.WRITERS, ".json", fail)
    with pytest.raises(error):
        sample().save(tmp_path / "t.json")
    assert (tmp_path / "t.json").read_text() == "old"
    assert names(tmp_path) == ["t.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_failure_while_writing_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    (tmp_path / "t.json").write_text("old")

    def fail(*_: object) -> None:
        raise error

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        sample().save(tmp_path / "t.json")
    if isinstance(error, OSError):
        assert "No space left on device" in str(caught.value)
    assert (tmp_path / "t.json").read_text() == "old"
    assert names(tmp_path) == ["t.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes and links")
def test_modes_and_links(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        sample().save(tmp_path / "new.json")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new.json").stat().st_mode) == 0o640
    (tmp_path / "new.json").chmod(0o604)
    (tmp_path / "link.json").symlink_to("new.json")
    sample("other").save(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert stat.S_IMODE((tmp_path / "new.json").stat().st_mode) == 0o604
    assert Trace.load(tmp_path / "new.json").prompt.messages == ({"role": "user", "content": "other"},)


def test_a_name_of_full_length(tmp_path: Path) -> None:
    name = "n" * 250 + ".json"
    sample().save(tmp_path / name)
    assert names(tmp_path) == [name]
