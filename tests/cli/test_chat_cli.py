"""``pellucid chat``: piped lines to answers, commands, errors that end a line alone; a real terminal, with Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pellucid.apps.chat.chat import Chat
from pellucid.cli.main import main
from pellucid.errors import UnknownModelError
from pellucid.model import load
from pellucid.testing import Scripted

ANSWERS = {"capital": "Paris\nit is.", "escape": "a\x1b[31mb\rc", "long": "word " * 300, "": "Yes."}


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """What the command says to piped lines: (exit code, standard output, standard error)."""

    def fake(name: str, **_: object) -> Scripted:
        if name == "none":
            raise UnknownModelError("there is no model 'none'")
        return Scripted(ANSWERS, name=name)

    def run(lines: str | bytes, *options: str) -> tuple[int, str, str]:
        data = lines.encode() if isinstance(lines, str) else lines
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        monkeypatch.setattr("pellucid.model.load", fake)
        code = main(["chat", "--lang", "en", *options])
        out, err = capfd.readouterr()
        return code, out, err

    return run


def test_a_line_is_a_message_and_an_answer_is_a_line(talk) -> None:  # type: ignore[no-untyped-def]
    code, out, err = talk("the capital?\r\n\n//quit\nescape\n")
    assert (code, out) == (0, "Paris↵it is.\nYes.\na␛[31mb␍c\n")
    assert err == ""
    code, out, err = talk('"""the\ncapital"""\n/turns\nlast', "--system", "Be brief.")
    assert out == "Paris↵it is.\n1 user: the↵capital\n2 assistant: Paris↵it is.\nYes.\n"
    code, out, err = talk("the capital\nlong\n", "--json", "--quiet", "--max-new-tokens", "7")
    replies = [json.loads(line) for line in out.splitlines()]
    assert [(r["schema"], r["end"], r["tokens"]) for r in replies] == [
        ("pellucid.reply/1", "stop", 4), ("pellucid.reply/1", "length", 7),
    ]  # fmt: skip
    assert (replies[0]["text"], err) == ("Paris\nit is.", "")


def test_an_error_is_a_sentence_and_the_chat_goes_on(talk) -> None:  # type: ignore[no-untyped-def]
    lines = {
        "/wyh": "unknown command '/wyh': .* Did you mean '/why'",
        "/why": "nothing was answered yet",
        "/why words": "nothing was answered yet",
        "/forget x": "/forget takes a whole number above 0, given 'x'",
        "/pin": "nothing was said yet",
        "/help me": "/help takes nothing after it, given 'me'",
        "/model": "/model takes a model's name",
        "/model none": "there is no model 'none'",
        "/save": "/save takes the name of a file",
        "/load /no/such": "cannot read /no/such",
        "word " * 40: "the message is 41 tokens",
        '"""never ended': "has no end",
    }
    code, out, err = talk("\n".join(["hello", "/forget", *lines]) + "\n", "--max-history-tokens", "20")
    assert (code, out) == (2, "Yes.\n")
    told = [line for line in err.splitlines() if line.startswith("pellucid:")]
    for k, (line, sentence) in enumerate(zip(told, lines.values(), strict=True), 3):
        assert re.match(f"pellucid: line {k}: .*{sentence}", line), line
    code, out, err = talk(b"\xffbad\nhello\n")
    assert (code, out) == (2, "Yes.\n")
    assert "line 1: not UTF-8: byte 0xff at 0" in err
    for options, sentence in (
        (("--strategy", "gredy"), "Did you mean 'greedy'"),
        (("--max-new-tokens", "0"), "at least 1"),
        (("--intents", "rule"), "Did you mean 'rules'"),
        (("--load", "/no/such"), "cannot read /no/such"),
        (("--save", "/no/such"), "cannot write /no/such"),
    ):
        code, out, err = talk("hello\n", *options)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert sentence in err


def test_commands(talk, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a chat.jsonl"
    code, out, err = talk(
        f"the capital\n/pin\n/system Be kind.\n/save {path}\n/model other\nhello\n/quit\nnever read\n"
    )
    assert (code, out) == (0, "Paris↵it is.\nYes.\n")
    assert err.splitlines() == [
        "(turns 1, 2 are pinned)", "(instruction: Be kind.)", f"(saved to {path})", "(now other)",
    ]  # fmt: skip
    code, out, err = talk(
        "/turns\n/pin 2\n/system off\nhello\n/forget 1\n/why\n", "--load", str(path), "--save", str(path)
    )
    assert out.startswith("1 user [pinned]: the capital\n2 assistant [pinned]: Paris↵it is.\nYes.\nWhy this answer")
    assert "By message" in out
    assert [s.split(" (")[0] for s in err.splitlines()] == [
        "(2 turns loaded)", "(turns 1, 2 are no longer pinned)", "(no instruction)", "(forgot 2 turns)",
    ]  # fmt: skip
    assert len(Chat.load(path, Scripted(ANSWERS)).turns) == 4  # as it was after the last answer
    path.write_bytes(path.read_bytes()[:-9])
    code, out, err = talk("/turns\n/help\n", "--load", str(path), "--lang", "zh")
    assert "2 of 4 turns were whole and are loaded, 2 are lost" in err
    assert "已载入 2 条消息" in err
    assert "上一个回答依据什么" in out


def test_the_real_model_answers_as_in_python(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("What is it?\n天气\n".encode())))
    options = ["--model", str(tiny_folder), "--device", "cpu", "--max-new-tokens", "6", "--json", "--quiet"]
    assert main(["chat", *options]) == 0
    said = [json.loads(line)["text"] for line in capfd.readouterr().out.splitlines()]
    from pellucid.apps.speaker import Decoding

    chat = load(tiny_folder, device="cpu").chat(decoding=Decoding(max_new_tokens=6))
    assert said == [chat.say(text).text for text in ("What is it?", "天气")]


DRIVER = """
import argparse, time
from pellucid.apps.chat.chat import Chat
from pellucid.cli.apps.chatting import Session
from pellucid.testing import Scripted

class Slow(Scripted):
    def write(self, messages, decoding, *, on_text=None, **options):
        def slowly(piece):
            on_text(piece)
            time.sleep(0.05)
        return super().write(messages, decoding, on_text=slowly, **options)

me = Slow({"long": "word " * 200 + "end", "": "A \\x1b[31mred\\nline."})
options = argparse.Namespace(json=False, quiet=False, save=None)
raise SystemExit(Session(Chat(me), options, "en").run())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminal")
def test_in_a_terminal(tmp_path: Path) -> None:
    """Streamed and safe; Ctrl-C stops an answer; two at the prompt end it, as Ctrl-D does."""
    import pyte

    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    # pty.spawn in a process of its own: what is written to its input is typed, what it prints is the terminal.
    wrap = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn([sys.executable, sys.argv[1]])))"
    env = {**os.environ, "TERM": "xterm", "LANG": "C.UTF-8", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", wrap, str(driver)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
    assert process.stdin is not None
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    screen = pyte.Screen(100, 40)
    stream = pyte.ByteStream(screen)

    def until(pattern: str) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            stream.feed(process.stdout.read() or b"")  # type: ignore[union-attr]
            shown = "\n".join(line.rstrip() for line in screen.display).rstrip()
            if re.search(pattern, shown):
                return shown
            time.sleep(0.02)
        raise AssertionError(f"no {pattern!r} in:\n{shown}")

    def type_in(keys: str) -> None:
        process.stdin.write(keys.encode())  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]

    until(r"scripted\. Ctrl-C stops.*\n>$")
    type_in("hi\n")
    until(r"A ␛\[31mred\nline\.\n>$")
    type_in("a long one\n")
    until("word word word")
    type_in("\x03")
    shown = until(r"\(stopped; what was written stays\)\n>$")
    assert "end" not in shown.split("a long one")[1]
    type_in("/turns\n")
    until(r"4 assistant: word word")
    type_in("half a line\x03")
    until(r"\(Ctrl-C once more.*\n>$")
    type_in("\x1b[A\n")  # the line before, out of the history
    until(r"> /turns\n1 user: hi[^>]*\n>$")
    type_in("\x03")
    until(r"(?s)\(Ctrl-C once more.*\(Ctrl-C once more.*\n>$")
    type_in("\x03")
    assert process.wait(timeout=60) == 0
    process.stdin.close()
    process.stdout.close()
