"""The command line: what it prints and where, its exit codes; every bad input in one sentence, nothing half-written."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

import pellucid
from pellucid.cli.main import main

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "pellucid.trace-1.schema.json").read_text())


@pytest.fixture
def model(tiny_folder: Path) -> list[str]:
    return ["--model", str(tiny_folder), "--device", "cpu"]


def test_json_to_standard_output_and_nothing_else_there(model: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *model, "--target", "Paris", "--json", "-", "What is the capital?"]) == 0
    out = capfd.readouterr().out
    assert out.count("\n") == 1
    data = json.loads(out)
    jsonschema.validate(data, SCHEMA)
    assert data["prompt"]["text"] == "What is the capital?"
    assert data["answer"]["text"] == "Paris"


def test_every_output_at_once(model: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = {k: tmp_path / f"t.{k}" for k in ("json", "html", "png")}
    flags = [x for k, p in paths.items() for x in (f"--{k}", str(p))]
    options = ["--per-token", "--method", "input_x_gradient", "--objective", "logit", "--span", "Paris", "--timings"]
    assert main(["explain", *model, *flags, *options, "--target", "In Paris", "What is <the> capital? 🎉"]) == 0
    out, err = capfd.readouterr()
    for p in paths.values():
        assert f"wrote {p}" in err
    assert re.search(r"import [\d.]+ s, load .*explain and trust .* s in all", err)
    trace = pellucid.Trace.load(paths["json"])
    assert (trace.method.name, trace.objective, trace.span.text) == ("input_x_gradient", "logit", "Paris")
    assert trace.scores is not None
    assert paths["png"].read_bytes().startswith(b"\x89PNG")
    assert "What is <the> capital" not in paths["html"].read_text()
    assert "capital" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.html", "t.json", "t.png"]


def test_prompt_from_file_keeps_its_characters(
    model: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    f = tmp_path / "p.txt"
    f.write_bytes("\ufeff天气\r\n and tabs\t\r\n".encode())
    assert main(["explain", *model, "--target", "x", "--json", "-", "--file", str(f)]) == 0
    assert json.loads(capfd.readouterr().out)["prompt"]["text"] == "天气\r\n and tabs\t"


def test_messages_and_system(model: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    f = tmp_path / "chat.json"
    f.write_text(json.dumps([{"role": "user", "content": "Hi"}]))
    assert main(["explain", *model, "--target", "x", "--json", "-", "--messages", str(f), "--system", "Be brief"]) == 0
    chat = json.loads(capfd.readouterr().out)["prompt"]["messages"]
    assert chat == [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}]


def test_lists(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert main(["methods"]) == 0
    out = capfd.readouterr().out
    for word in ("saliency", "input_x_gradient", "arXiv:1312.6034", "logprob", "nats"):
        assert word in out
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path))
    assert main(["models"]) == 0
    out = capfd.readouterr().out
    assert "smollm2-135m-instruct (default)" in out
    assert "not fetched yet, 93 MB to fetch" in out
    assert str(tmp_path) not in out.replace(str(tmp_path / "x"), "") or "cache" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain"], "expected one prompt, as an argument, with --file or with --messages; none was given"),
        (["explain", ""], "the prompt is empty"),
        (["explain", "  \n "], "the prompt is empty"),
        (["explain", "x", "--file", "y"], "prompt and file were given"),
        (["explain", "x", "--target", ""], "the target is empty"),
        (["explain", "x\0y"], "the prompt holds a NUL character at 1"),
        (["explain", "x\ud800"], "the prompt holds a lone surrogate (U+D800) at 1"),
        (["explain", "x", "--target", "\udfff"], "the target holds a lone surrogate"),
        (["explain", "x", "--method", "magic"], "unknown method 'magic'"),
        (["explain", "x", "--objective", "magic"], "unknown objective 'magic'"),
        (["explain", "x", "--device", "magic"], "device 'magic' is not there"),
        (["explain", "x", "--dtype", "magic"], "unknown dtype 'magic'"),
        (["explain", "x", "--precision", "magic"], "unknown precision 'magic'"),
        (["explain", "x", "--memory", "magic"], "memory 'magic' is not understood"),
        (["explain", "x", "--param", "steps"], "--param should look like name=value"),
        (["explain", "x", "--param", "steps=3"], "method 'saliency' has no parameter 'steps'"),
        (["explain", "x", "--span", "zzz", "--target", "abc"], "the span 'zzz' is not in the answer 'abc'"),
        (["explain", "x", "--span-chars", "4"], "--span-chars should be two numbers like 4:10"),
        (["explain", "x", "--html", "-"], "only --json can go to standard output"),
        (["explain", "x", "--png", "t.jpg"], "--png writes a .png file, given t.jpg"),
        (["explain", "x", "--html", "/nowhere/t.html"], "/nowhere"),
        (["explain", "x", "--max-new-tokens", "0"], "max_new_tokens should be at least 1"),
        (["explain", "word " * 300, "--target", "y"], "do not fit the 128 tokens"),
        (["explain", "--file", "/nowhere/p.txt"], "cannot read /nowhere/p.txt: No such file or directory"),
        (["explain", "x", "--parse-special"], "parse_special needs raw=True"),
        (["explain", "x", "--max-new-tokens", "many"], "argument --max-new-tokens: invalid int value: 'many'"),
        (["magic"], "invalid choice: 'magic'"),
        ([], "COMMAND"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str],
    message: str,
    model: list[str],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments and arguments[0] == "explain":
        arguments = ["explain", *model, "--quiet", "--json", "t.json", *arguments[1:]]
    try:
        code = main(arguments)
    except SystemExit as e:  # argparse's own
        code = e.code
    out, err = capfd.readouterr()
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert err.startswith("pellucid")
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b"good \xff bad", "is not UTF-8: byte 0xff at 5 cannot be read"),
        ("p.txt", b"", "the prompt is empty"),
        ("p.txt", b"a\x00b", "NUL character at 1"),
    ],
)
def test_bad_prompt_files(
    name: str, content: bytes, message: str, model: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    f = tmp_path / name
    f.write_bytes(content)
    assert main(["explain", *model, "--quiet", "--file", str(f)]) == 2
    assert message in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("{}", "should hold a list of messages"),
        ("[]", "not empty"),
        ('["x"]', "message 0 should be"),
    ],
)
def test_bad_message_files(
    content: str, message: str, model: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    f = tmp_path / "chat.json"
    f.write_text(content)
    assert main(["explain", *model, "--quiet", "--messages", str(f)]) == 2
    assert message in capfd.readouterr().err


def test_unwritable_output_is_found_before_the_work(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("the model was loaded before the output was checked")

    monkeypatch.setattr("pellucid.model.load", never)
    (tmp_path / "folder.html").mkdir()
    for path in (tmp_path / "none" / "t.html", tmp_path / "folder.html"):
        assert main(["explain", "x", "--html", str(path)]) == 2
        assert str(tmp_path) in capfd.readouterr().err


def test_failed_write_leaves_the_old_file(
    model: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "t.json"
    old.write_text("old")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert main(["explain", *model, "--quiet", "--json", str(old), "--target", "y", "x"]) == 2
    assert "No space left on device" in capfd.readouterr().err
    assert old.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["t.json"]


def test_interrupt_is_130_and_writes_nothing(
    model: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pellucid.trace.engine.Run._by_graph", stop)
    assert main(["explain", *model, "--json", str(tmp_path / "t.json"), "--target", "y", "x"]) == 130
    assert capfd.readouterr().err.endswith("pellucid: interrupted; nothing half-written is left\n")
    assert list(tmp_path.iterdir()) == []


def test_interrupt_inside_exec_is_130_too(tmp_path: Path) -> None:
    """Imports run generated code through exec (dataclasses, named tuples), and a Ctrl-C may fall there: the
    interpreter then remembers an unhandled interrupt, though ours is handled, and would end by the signal (``-m``)."""
    (tmp_path / "stopped.py").write_text(
        "import sys\n"
        "from pellucid.cli import main, methods\n"
        "def stop(options): exec('raise KeyboardInterrupt')\n"
        "methods.run = stop\n"
        "sys.argv = ['pellucid', 'methods']\n"
        "main.run()\n"
    )
    place = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(pellucid.__file__).parents[1])])}
    command = [sys.executable, "-m", "stopped"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=place)
    assert done.stderr == "pellucid: interrupted; nothing half-written is left\n"
    assert done.returncode == 130


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process")
@pytest.mark.parametrize("delay", [0.05, 1.0, 1.8])
def test_real_ctrl_c_never_shows_a_traceback(tiny_folder: Path, tmp_path: Path, delay: float) -> None:
    """Wherever it falls: in the imports, the load or the computation."""
    command = [
        sys.executable,
        "-m",
        "pellucid",
        "explain",
        "--model",
        str(tiny_folder),
        "--device",
        "cpu",
        "--per-token",
    ]
    command += ["--max-new-tokens", "100", "--json", str(tmp_path / "t.json"), "a " * 10]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    if process.returncode == 0:  # it was done before the signal came
        pytest.skip("finished before the signal")
    if delay > 0.5:  # before that, the interpreter itself may still be starting
        assert "Traceback" not in err, err
        assert process.returncode == 130
    assert not (tmp_path / "t.json").exists()


def test_closed_pipe_is_no_error(tiny_folder: Path) -> None:
    command = f"{sys.executable} -m pellucid methods | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


def test_help_is_quick_and_whole(capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["explain", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as e:
            main(arguments)
        assert e.value.code == 0
    assert pellucid.__version__ in capfd.readouterr().out
