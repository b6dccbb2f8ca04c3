"""Documents as they are read: headings, exact characters of passages, terms."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from samples_rag import a_pdf

from pellucid.apps.rag.chunks import chunks, size_of
from pellucid.apps.rag.documents import read
from pellucid.apps.rag.indexing import index
from pellucid.apps.rag.knowledge import Knowledge
from pellucid.apps.rag.reading import Reading
from pellucid.apps.rag.terms import Terms
from pellucid.errors import OptionError


def under(reading: Reading) -> list[tuple[str, str]]:
    """(heading, its own characters) of a reading."""
    return [(h.text, reading.text[h.start : h.end].strip()) for h in reading.headings]


def test_headings_stand_at_their_characters() -> None:
    source = "---\ntitle: x\n---\r\n# One\r\n\r\n```\n# no heading\n```\n## Two `code`\ntext\n\nThree\n=====\n"
    page = read(Path("a.md"), b"\xef\xbb\xbf" + source.encode())
    assert page.text == source
    assert under(page) == [("One", "# One"), ("One > Two code", "## Two `code`"), ("Three", "Three\n=====")]
    web = "<html><head><title>T</title></head><body><h1>A &amp; <i>B</i></h1><script>var no;</script>"
    web += "<p>one\n  two<br>three<ul><li>x<li>y</ul><h2> C </h2><pre>a\n  b</pre><table><tr><td>1<td>2</table>"
    found = read(Path("a.html"), web.encode())
    assert found.text == "A & B\n\none two\nthree\n\nx\ny\n\nC\n\na\n  b\n\n1\t2"
    assert under(found) == [("A & B", "A & B"), ("A & B > C", "C")]
    declared = '<meta charset="gb2312"><h1>花园</h1>'.encode("gb2312")
    assert under(read(Path("b.htm"), declared)) == [("花园", "花园")]
    deep = read(Path("deep.html"), (b"<div>" * 5000) + b"end")
    assert deep.text == "end"
    code = read(
        Path("a.py"), b"import os\n\n@wraps\nclass A:\n    x = 1\n    async def f(self): ...\n    y = 2\n\nz = 3\n"
    )
    assert [(code.text[h.start :].split("\n")[0], h.text) for h in code.headings] == [
        ("@wraps", "A"),
        ("    async def f(self): ...", "A.f"),
        ("    y = 2", "A"),
        ("", ""),
    ]
    assert read(Path("old.py"), b"print 'python 2'\n").headings == ()
    assert read(Path("bare.py"), b"x = 1\n").headings == ()
    pdf = read(Path("a.pdf"), a_pdf("First words", "", "Third page"))
    assert [c.heading for c in chunks(pdf)] == ["page 1", "page 3"]
    assert [pdf.text[c.start : c.end] for c in chunks(pdf)] == ["First words", "Third page"]
    assert read(Path("a.txt"), "über 中文".encode("utf-16")).text == "über 中文"


PIECES = [
    *"abc de.,;:!?()-_\"'",
    "word ",
    "sentence. ",
    "\r\n",
    "\n",
    "\n\n",
    "\t",
    "\u3000",
    "中文",
    "句子。",
    "“引”",
    "！",
]
PIECES += [
    "👩‍👩‍👧‍👦",
    "🏳️‍🌈",
    "e\u0301",
    "한국",
    "カナ",
    "𠀀",
    "x" * 70,
    "# head\n",
    "1. item\n",
    "3.14 ",
    "\u2028",
    "\u200b",
    "\ufeff",
]


def test_passages_are_exact_characters_of_their_text(tmp_path: Path) -> None:
    """On random texts: passages in order, within their size, exact, and together all that can be seen."""
    draw = random.Random(7)
    for round_ in range(150):
        text = "".join(draw.choices(PIECES, k=draw.randint(1, 200)))
        size, overlap = draw.choice([(1, 0), (7, 3), (30, 0), (30, 10), (150, 20)])
        reading = read(Path("x.md"), text.encode()) if text.strip() and text[0] != "\ufeff" else Reading(text)
        assert reading.text == text
        cuts, seen = list(chunks(reading, size=size, overlap=overlap)), set()
        for c, following in zip(cuts, [*cuts[1:], None], strict=True):
            own = text[c.start : c.end]
            assert own
            assert own == own.strip()
            # A mark and what hangs on it is one unit, and headings go with the text below them.
            assert size_of(own) <= size or own.startswith("#"), (round_, own)
            seen |= set(range(c.start, c.end))
            if following:
                assert following.start > c.start
                assert following.start >= c.end or overlap
        assert "".join(ch for k, ch in enumerate(text) if k not in seen).strip() == ""
        if overlap == 0:
            assert sum(c.end - c.start for c in cuts) == len(seen)
    folder = tmp_path / "d"
    folder.mkdir()
    for k in range(20):
        (folder / f"{k}.md").write_bytes(("A" + "".join(draw.choices(PIECES, k=300))).encode())
    index(folder, tmp_path / "kb", size=20, overlap=5)
    with Knowledge.open(tmp_path / "kb") as kb:
        found = list(kb.passages())
        assert len(found) > 100
        assert len({p.id for p in found}) == len(found)
        for p in found:
            assert kb.text(p.document)[p.start : p.end] == p.text
            assert (folder / Path(p.document).name).read_bytes().decode()[p.start : p.end] == p.text


def test_sentences_and_headings_end_passages() -> None:
    text = "# A\n## B\nOne two three. Four five six. Seven eight.\n## C\nNine ten.\n# D\n"
    cuts = list(chunks(read(Path("a.md"), text.encode()), size=10))
    assert [(c.heading, text[c.start : c.end]) for c in cuts] == [
        ("A > B", "# A\n## B\nOne two three."),
        ("A > B", "Four five six. Seven eight."),
        ("A > C", "## C\nNine ten."),
        ("D", "# D"),
    ]
    lapped = list(chunks(Reading("One two. Three four. Five six. Seven eight."), size=6, overlap=3))
    assert [(c.start, c.end) for c in lapped] == [(0, 20), (9, 30), (21, 43)]
    with pytest.raises(OptionError, match="less than size"):
        list(chunks(Reading("a"), size=5, overlap=5))


def test_terms() -> None:
    jieba, pairs = Terms("jieba"), Terms("bigrams")
    assert jieba.of("The trainings, max_new-tokens: 2,048!") == ["train", "max", "new", "token", "2,048"]
    assert jieba.of("中华人民共和国的首都") == ["中华", "华人", "人民", "共和", "共和国", "中华人民共和国", "首都"]
    assert pairs.of("浇水的B书") == ["浇水", "水的", "b", "书"]
    text = "The gardener 给郁金香浇水 カナ한국"
    for rule in (jieba, pairs):
        for term, start, end in rule.spans(text):
            assert text[start:end] == term or (term, text[start:end]) == ("garden", "gardener")
    assert "カナ" in jieba.of(text)
