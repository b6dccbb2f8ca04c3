"""Code: the block that is meant, what Python's parser says of it, what a fix changed and which lines it rests on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pellucid.apps.code import Coded, code, difference, fix, new_lines
from pellucid.apps.fences import Block, blocks, chosen, language_name, says_something, syntax
from pellucid.apps.speaker import Decoding
from pellucid.cli.main import main
from pellucid.errors import InputError, OptionError
from pellucid.model import Model
from pellucid.render.lensviews import blocks_of
from pellucid.testing import KNOWN, UNKNOWN, Scripted

EACH = KNOWN - UNKNOWN


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("Here:\n```python\nprint(1)\n```\nend", [("print(1)", "python", "print(1)\n", True)]),
        ("~~~\nx\n```\ny\n~~~~ \nafter", [("x\n```\ny", "", "x\n```\ny\n", True)]),
        ("````md\n```\nin\n```\n````", [("```\nin\n```", "md", "```\nin\n```\n", True)]),
        ("```py title=x\nunclosed\nmore", [("unclosed\nmore", "py", "unclosed\nmore", False)]),
        ("```python\nx\n", [("x", "python", "x\n", False)]),
        ("- one\n  ```js\n  a\n    b\n  ```\n", [("a\n  b", "js", "  a\n    b\n", True)]),
        ("a\r\n```\r\nx\r\ny\r\n```\r\n", [("x\ny", "", "x\r\ny\r\n", True)]),
        ("```\n```", [("", "", "", True)]),
        ("```", [("", "", "", False)]),
        ("```c\n1\n```\ntext\n~~~ruby\n2\n~~~", [("1", "c", "1\n", True), ("2", "ruby", "2\n", True)]),
        ("not `code` and ``` not a fence", []),
    ],
)
def test_fenced_blocks(answer: str, found: list[tuple[str, str, str, bool]]) -> None:
    assert [(b.code, b.tag, answer[b.start : b.end], b.closed) for b in blocks(answer)] == found


def test_the_block_that_is_meant() -> None:
    def block(code: str, tag: str) -> Block:
        return Block(code, tag, 0, 0, True)

    empty, shell, plain, python = block(" ", "python"), block("ls", "sh"), block("x", ""), block("y", "PY3")
    assert chosen([empty, shell, plain, python], "Python") is python
    assert chosen([empty, shell, plain], "python") is plain
    assert chosen([shell, plain], "bash") is shell
    assert chosen([shell], "python") is shell
    assert chosen([empty], "python") is None
    assert language_name(" C++ ") == language_name("cpp")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("def f(x)\n    return x", 1, "expected ':'"),
        ("x = 1\nif x:\nprint(x)", 3, "expected an indented block"),
        ("a\x00b", None, "null bytes"),
        ("-" * 100000 + "1", None, "."),
    ],
)
def test_python_is_parsed_and_never_run(text: str, line: int | None, said: str) -> None:
    import re

    found = syntax(text, "py")
    assert found.ok is False
    assert line is None or found.line == line
    assert re.search(said, found.message)


def test_what_is_no_python(tmp_path: Path) -> None:
    assert syntax("int x;", "c").ok is None
    mark = tmp_path / "ran"
    assert syntax(f"open({str(mark)!r}, 'w')\nx = '\\d' is 'y'", "python").ok is True  # warnings of theirs are not ours
    assert not mark.exists()
    assert says_something("x = 1")
    assert not says_something("Sure")
    assert not says_something("I cannot do that.")


def test_code_is_taken_from_the_answer() -> None:
    me = Scripted(
        [
            "Two ways:\n```sh\npython x.py\n```\nor\n```python\nprint(1)\n```",
            "Sorry.",
            "x = 1\nprint(x)",
            "```js\nlet x",
            "",
        ]
    )
    first = code(me, "print one")
    assert (first.code, first.syntax.ok, first.note) == ("print(1)", True, "block 2 of 2 was taken")
    assert first.text[first.start : first.end] == "print(1)\n"
    assert me.decodings == [Decoding("greedy", 400)]
    assert "Language: python\nWhat it does: print one" in me.asked[0][0]["content"]
    none = code(me, "print one", trace=True)
    assert (none.code, none.syntax.ok, none.trace) == ("", None, None)
    assert none.note == "the answer holds no code in a fenced block; nothing was weighed"
    whole = code(me, "print one")
    assert (whole.code, whole.syntax.ok) == ("x = 1\nprint(x)", True)
    assert "taken whole" in whole.note
    other = code(me, "打印一", language="JS", function="function one()")
    assert (other.code, other.syntax.ok, other.note) == ("let x", None, "its fence is not closed")
    assert (other.task, other.lang, other.language) == ("function", "zh", "javascript")
    assert "函数：function one()" in me.asked[3][0]["content"]
    assert code(me, "print one").code == ""
    for done in (first, none, whole, other):
        assert Coded.from_dict(json.loads(done.to_json())).to_json() == done.to_json()
        for lang in ("en", "zh"):
            assert blocks_of(done, lang)
    assert "It was not run" in str(blocks_of(first, "en"))
    assert "javascript is not parsed here" in str(blocks_of(other, "en"))


BROKEN = "def double(x)\n    total = x * 2\n\n    return total\n"
FIXED = "def double(x):\n    total = x * 2\n\n    return total"


def test_a_fix_is_shown_as_a_difference_and_rests_on_its_lines() -> None:
    """The new line is 'def double ( x ) :'. By the double's rule each word that one given line alone holds costs 3.9
    nats where that line goes; 'x' stands elsewhere too."""
    answer = f"Here it is.\n\n```python\n{FIXED}\n```\n"
    me = Scripted([answer])
    done = fix(me, BROKEN, "SyntaxError: expected ':'\n  line 1", trace=True)
    assert done.code == FIXED
    assert done.syntax.ok
    assert done.diff.splitlines() == [
        "--- given",
        "+++ corrected",
        "@@ -1,4 +1,4 @@",
        "-def double(x)",
        "+def double(x):",
        "     total = x * 2",
        " ",
        "     return total",
    ]
    assert [done.text[p.start : p.end] for p in done.parts] == ["def double(x):"]
    assert [(p.field, p.number, p.text) for p in done.points] == [
        ("code", 1, "def double(x)"),
        ("code", 2, "total = x * 2"),
        ("code", 4, "return total"),
        ("error", 1, "SyntaxError: expected ':'"),
        ("error", 2, "line 1"),
    ]
    content = done.messages[0]["content"]
    assert all(content[p.start : p.end] == p.text for p in done.points)
    falls = [p.falls[0] for p in done.points]
    # 'def' and 'double' are in the first line alone.
    assert falls == pytest.approx([2 * EACH, 0, 0, 0, 0])
    assert [p.text for p in done.rests_on] == ["def double(x)"]
    assert len(done.unused) == 4
    assert done.rows()[0]["fall"] == pytest.approx(2 * EACH)
    assert Coded.from_dict(json.loads(done.to_json())).to_json() == done.to_json()
    for lang, said in (("en", "What was changed"), ("zh", "改动")):
        assert said in str(blocks_of(done, lang))


def test_stretches_that_are_new() -> None:
    answer = "```\na\nnew\n\nb\nc2\n```"
    (block,) = blocks(answer)
    assert [answer[a:b] for a, b in new_lines(answer, block, "a\nb\nc")] == ["new", "c2"]
    whole = [(block.start, block.end)]
    assert new_lines(answer, block, block.code) == whole  # nothing is new
    assert new_lines(answer, block, "a\nnew\n\nb\nold\nc2") == whole  # a line was taken away
    crlf = "~~~\r\na\r\nnew\r\n~~~"
    assert [crlf[a:b] for a, b in new_lines(crlf, blocks(crlf)[0], "a")] == ["new"]
    assert difference("a\n", "a") == ""


def test_what_cannot_be_coded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    me = Scripted(["never"])
    for ask, said in (
        (lambda: code(me, " "), "the task code needs description"),
        (lambda: fix(me, "\n", "error"), "the task fix needs code"),
        (lambda: fix(me, "x", ""), "the task fix needs error"),
        (lambda: code(me, "x", language=" "), "the task code needs language"),
    ):
        with pytest.raises(OptionError, match=said):
            ask()
    own = tmp_path / "mine.txt"
    own.write_text("{description}", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine.txt lacks \{language\}"):
        code(me, "x", template=own)
    broken = tmp_path / "broken.py"
    broken.write_text("print(", encoding="utf-8")
    for bad, said in (
        (["code"], "expected a description"),
        (["code", "x", "--error", "y"], "--error says what went wrong with --fix"),
        (["code", "--fix", str(broken)], "--fix needs --error"),
        (["code", "x", "--fix", str(broken), "--error", "y"], "leave the description out"),
        (["code", "--fix", str(tmp_path / "no.py"), "--error", "y" * 5000], "cannot read"),
        (["code", "x", "--max-new-tokens", "0"], "max_new_tokens should be at least 1"),
    ):
        assert main(bad) == 2
        assert said in capsys.readouterr().err


def test_a_real_model_writes_a_function(embedded: Model) -> None:
    done = embedded.code("Add two numbers.", function="def add(a, b):", trace=True, trust=False, max_new_tokens=40)
    assert done.task == "function"
    assert "def add(a, b)" in done.code
    assert [p.field for p in done.points] == ["signature", "description"]
    # The function's name and arguments are the signature's.
    assert done.points[0].used
    assert done.points[0].falls[0] > done.points[1].falls[0]
    assert done.trace is not None
    assert done.trace.method.name == "leave_one_out"
