"""The index and its searches: BM25 and fusion by their formulas, what is read again, generations that survive."""

from __future__ import annotations

import io
import math
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
import torch
from samples_rag import a_pdf

from pellucid.apps.rag import indexing, store, terms
from pellucid.apps.rag.dense import MeanState
from pellucid.apps.rag.documents import read
from pellucid.apps.rag.fusion import fused
from pellucid.apps.rag.indexing import index, indexed
from pellucid.apps.rag.knowledge import Knowledge
from pellucid.apps.rag.passages import Passages
from pellucid.apps.rag.terms import Terms
from pellucid.cli.main import main
from pellucid.errors import Error, InputError, OptionError, OutputError, SchemaError
from pellucid.render.appviews import app_view

TEXTS = {
    "harbour.md": "# Harbour\n\nThe ferry leaves at nine. The ferry to the island needs forty minutes.\n\n"
    "## Tickets\n\nA ticket costs four coins; children travel free.\n",
    "garden.txt": "Tulips are planted in autumn. The gardener waters the tulips every evening.",
    "garden.zh.md": "# 花园\n\n郁金香在秋天种下。园丁每天傍晚给郁金香浇水。\n\n"
    "# 港口\n\n渡轮九点出发，四十分钟到达岛上。票价四枚硬币。\n",
    "code.py": "class Ferry:\n    def leave(self):\n        return 'nine'\n\n\ndef ticket(price):\n    return price\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Some documents."""
    at = tmp_path / "docs"
    at.mkdir()
    for name, text in TEXTS.items():
        (at / name).write_text(text, encoding="utf-8")
    return at


def encrypted() -> bytes:
    """A PDF that asks for a password."""
    import pypdf

    writer, out = pypdf.PdfWriter(clone_from=io.BytesIO(a_pdf("secret"))), io.BytesIO()
    writer.encrypt("password", algorithm="RC4-128")
    writer.write(out)
    return out.getvalue()


def test_what_cannot_be_read_is_named_and_the_rest_indexed(folder: Path, tmp_path: Path) -> None:
    bad = {
        "latin.txt": ("naïve café".encode("latin-1"), "latin.txt is not UTF-8: byte 0xef at 2 cannot be read"),
        "cut16.txt": (b"\xff\xfea\0b", "cut16.txt is not UTF-16: byte 0x62 at 4"),
        "binary.md": (b"PK\0\1", "binary.md is a binary file (it holds a NUL at 2)"),
        "empty.html": (b"", "empty.html is empty"),
        "blank.html": (b"<script>x</script>", "blank.html holds no text"),
        "scan.pdf": (a_pdf("", ""), "scan.pdf holds 2 pages without text (a scan?): run text recognition"),
        "secret.pdf": (encrypted(), "secret.pdf is encrypted: save a copy without a password"),
        "broken.pdf": (b"%PDF-1.4 and no more", "broken.pdf cannot be read as a PDF"),
    }
    for name, (data, _) in bad.items():
        (folder / name).write_bytes(data)
    (folder / "picture.jpg").write_bytes(b"\xff")
    report = index(folder, tmp_path / "kb")
    assert (len(report.added), report.documents, report.ignored) == (len(TEXTS), len(TEXTS), 1)
    said = {Path(s.path).name: s.reason for s in report.skipped}
    assert said.keys() == bad.keys()
    for name, (_, reason) in bad.items():
        assert reason in said[name]
    again = index([folder, folder / "picture.jpg"], tmp_path / "kb")
    assert again.unchanged == len(TEXTS)
    assert "expected a file that ends in .txt, .md" in again.skipped[-1].reason
    with pytest.raises(InputError, match=r"nothing to index: .*binary.md is a binary file .*2 files were tried"):
        index([folder / "binary.md", folder / "scan.pdf"], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def plain_bm25(query: list[str], passages: list[list[str]], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """The formula of bm25.py, term by term, in float64."""
    n, mean = len(passages), sum(map(len, passages)) / len(passages)
    scores = []
    for own in passages:
        score, counts = 0.0, Counter(own)
        for t in query:
            df = sum(t in p for p in passages)
            if counts[t]:
                idf = math.log(1 + (n - df + 0.5) / (df + 0.5))
                score += idf * counts[t] / (counts[t] + k1 * (1 - b + b * len(own) / mean))
        scores.append(score)
    return scores


def test_bm25_is_its_formula_and_the_sum_of_its_words(folder: Path, tmp_path: Path) -> None:
    index(folder, tmp_path / "kb", size=12)
    with Knowledge.open(tmp_path / "kb") as kb:
        rule = Terms("jieba")
        passages = list(kb.passages())
        corpus = [rule.of(indexed(p.heading, p.text)) for p in passages]
        for query in ("When does the ferry leave for the island?", "tulips tulips 郁金香 ticket", "code nine"):
            right = plain_bm25(rule.of(query), corpus)
            found = kb.find(query, 100)
            assert [f.rank for f in found.found] == list(range(1, sum(s > 0 for s in right) + 1))
            order = sorted(range(len(right)), key=lambda i: -right[i])
            assert found.found[0].passage == passages[order[0]]
            for f, why in zip(found.found, found.why, strict=True):
                assert f.score == pytest.approx(right[passages.index(f.passage)], rel=1e-5)
                assert sum(why.shares.values()) == pytest.approx(f.score, rel=1e-5)
                for start, end, word in why.places:
                    assert set(rule.of(f.passage.text[start:end])) & set(rule.of(word))
        assert kb.search("zebra 斑马") == []
        assert kb.search("the and of") == []
        assert kb.find("zebra").found == ()


def test_fusion_is_its_closed_form() -> None:
    found = fused({"bm25": [7, 3, 9], "dense": [3, 5]})
    assert [(i, r) for i, _, r in found] == [
        (3, {"bm25": 2, "dense": 1}),
        (7, {"bm25": 1}),
        (5, {"dense": 2}),
        (9, {"bm25": 3}),
    ]
    assert [s for _, s, _ in found] == pytest.approx([1 / 62 + 1 / 61, 1 / 61, 1 / 62, 1 / 63], rel=1e-12)


class Letters:
    """Vectors of how often each letter comes."""

    def __init__(self, name: str = "letters") -> None:
        self.name, self.embedded = name, 0

    def passages(self, texts: Any) -> Any:
        """[texts, 26]"""
        self.embedded += len(texts)
        return np.stack([self.query(t) for t in texts])

    def query(self, text: str) -> Any:
        """[26]"""
        counts = np.array([1e-3 + text.lower().count(chr(97 + k)) for k in range(26)])
        return (counts / np.linalg.norm(counts)).astype(np.float32)

    def cut(self, texts: Any) -> int:
        """Those over 60 characters."""
        return sum(len(t) > 60 for t in texts)


def test_dense_and_hybrid(folder: Path, tmp_path: Path) -> None:
    kb_path, letters = tmp_path / "kb", Letters()
    first = index(folder, kb_path, size=12)
    later = index(folder, kb_path, dense=letters)
    assert (later.unchanged, letters.embedded) == (len(TEXTS), first.passages)
    assert later.cut == sum(len(indexed(p.heading, p.text)) > 60 for p in Knowledge.open(kb_path).passages()) > 0
    kb = Knowledge.open(kb_path, model=letters)
    assert kb.retriever == "bm25"
    passages, query = list(kb.passages()), "ferry tickets"
    cosine = [float(letters.query(indexed(p.heading, p.text)) @ letters.query(query)) for p in passages]
    dense = kb.search(query, 3, retriever="dense")
    assert [f.score for f in dense] == pytest.approx(sorted(cosine, reverse=True)[:3], abs=1e-6)
    by = {r: [f.passage.id for f in kb.search(query, 100, retriever=r)] for r in ("bm25", "dense")}
    for f in kb.search(query, 100, retriever="hybrid"):
        ranks = {r: ids.index(f.passage.id) + 1 for r, ids in by.items() if f.passage.id in ids}
        assert f.ranks == ranks
        assert f.score == pytest.approx(sum(1 / (60 + r) for r in ranks.values()), rel=1e-9)
    (folder / "new.txt").write_text("One more.", encoding="utf-8")
    index(folder, kb_path, dense=letters)
    assert letters.embedded == first.passages + 1  # what has a vector keeps it
    with pytest.raises(OptionError, match="has vectors by 'letters', and 'other' was asked for"):
        index(folder, kb_path, dense="other")
    with pytest.raises(OptionError, match="has vectors by 'letters', and 'other' was given"):
        Knowledge.open(kb_path, model=Letters("other")).search("x", retriever="dense")
    with pytest.raises(OptionError, match="needs vectors"):
        index(folder, tmp_path / "words", retriever="dense")
    index(folder, tmp_path / "words")
    with pytest.raises(OptionError, match="has no vectors"):
        Knowledge.open(tmp_path / "words").search("x", retriever="hybrid")


def test_mean_hidden_state_is_transformers_own(tiny: Any) -> None:
    loaded = tiny("llama")
    mean = MeanState(loaded)
    text = "hello how are you"
    ids = loaded.tokenizer(text, return_tensors="pt", add_special_tokens=True).input_ids
    with torch.no_grad():
        own = loaded.network(ids, output_hidden_states=True).hidden_states[-1][0].double().mean(0)
    own = (own / own.norm()).numpy()
    assert np.abs(mean.query(text) - own).max() < 1e-5
    assert np.abs(mean.passages([text, "other"])[0] - own).max() < 1e-5
    assert mean.name == "mean:llama"


def test_only_what_changed_is_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, opened = tmp_path / "kb", []
    monkeypatch.setattr(indexing, "read", lambda p, data: opened.append(p.name) or read(p, data))
    monkeypatch.chdir(tmp_path)
    first = index(["docs"], path)
    assert sorted(opened) == sorted(TEXTS)
    assert first.added == tuple(f"docs/{n}" for n in sorted(TEXTS))
    kept = {p.id: p for p in Knowledge.open(path).passages()}
    opened.clear()
    for name in TEXTS:
        os.utime(folder / name, (1, 1))
    before = store.manifest_of(path)
    assert index(["docs"], path).unchanged == len(TEXTS)
    assert (opened, store.manifest_of(path)) == ([], before)
    (folder / "garden.txt").write_text("Roses are cut in spring.", encoding="utf-8")
    (folder / "code.py").unlink()
    held = Knowledge.open(path)
    assert {(s.document, s.reason) for s in held.stale()} == {
        ("docs/garden.txt", "changed"),
        ("docs/code.py", "missing"),
    }
    served = held.find("gardener waters tulips", 1)
    assert served.found[0].passage.text == TEXTS["garden.txt"]
    assert served.stale == {"docs/garden.txt": "changed"}
    after = index(["docs"], path)
    assert (after.changed, after.removed, after.unchanged) == (("docs/garden.txt",), ("docs/code.py",), 2)
    assert opened == ["garden.txt"]
    assert held.search("gardener waters tulips", 1) == list(served.found)  # what is open stays as it was
    kb = Knowledge.open(path)
    assert kb.search("gardener") == []
    assert kb.search("roses")[0].passage.text == "Roses are cut in spring."
    assert kb.stale() == []
    assert all(kept[p.id] == p for p in kb.passages() if p.document != "docs/garden.txt")
    whole = index(["docs"], tmp_path / "fresh")  # however it came to be, it is the same index
    assert whole.passages == after.passages
    asked = "The ferry leaves 郁金香"
    assert Knowledge.open(tmp_path / "fresh").search(asked, 9) == kb.search(asked, 9)
    data = (path / after_generation(path) / store.DATABASE).read_bytes()
    assert b"waters the tulips" not in data  # what was removed has gone
    with pytest.raises(InputError, match="nothing would be left in the index"):
        shutil.rmtree(folder)
        index(["docs"], path)
    assert Knowledge.open(path).search("roses")[0].passage.document == "docs/garden.txt"


def after_generation(path: Path) -> str:
    """The generation that holds; there is no other."""
    name = store.manifest_of(path).generation
    assert [p.name for p in path.glob("generation-*")] == [name]
    return name


KILLED = """
import os, signal, sys
from pellucid.apps.rag import store
from pellucid.apps.rag.indexing import index
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
def progress(stage, done, total):
    if stage == sys.argv[1]: die()
if sys.argv[1] == "flushing": store._flush = die
index("docs", "kb", progress=progress)
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is of POSIX")
@pytest.mark.parametrize("stage", ["writing", "flushing"])
def test_killed_while_it_writes(folder: Path, tmp_path: Path, stage: str) -> None:
    path = tmp_path / "kb"
    index(folder, path)
    before = Knowledge.open(path).search("ferry island", 9)
    (folder / "harbour.md").write_text("The ferry was sold.", encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", KILLED, stage], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(path.glob("generation-*"))) == 2  # it was in the midst of it
    assert Knowledge.open(path).search("ferry island", 9) == before
    index(folder, path)
    assert after_generation(path)
    assert Knowledge.open(path).search("ferry sold")[0].passage.text == "The ferry was sold."


def test_interrupted_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    def stop(stage: str, done: float, total: float | None) -> None:
        if stage == "writing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index(folder, tmp_path / "kb", progress=stop)
    assert not (tmp_path / "kb").exists()


def test_two_collections(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "kb"
    index(folder / "harbour.md", path, collection="sea", description="Boats")
    report = index([folder / "garden.txt", folder / "harbour.md"], path, collection="land", description="Plants")
    assert report.documents == 3
    with Knowledge.open(path) as kb:
        assert [(c.name, c.description, c.documents) for c in kb.collections] == [
            ("land", "Plants", 2),
            ("sea", "Boats", 1),
        ]
        assert kb.search("tulips", collection="sea") == []
        assert [f.passage.collection for f in kb.search("ferry island", 1, collection="sea")] == ["sea"]
        assert {f.passage.collection for f in kb.search("ferry island", 9)} == {"land", "sea"}
        with pytest.raises(
            OptionError, match=r"unknown collection 'sae': expected one of land, sea. Did you mean 'sea'"
        ):
            kb.search("ferry", collection="sae")


@pytest.mark.parametrize("rule", ["jieba", "bigrams"])
def test_chinese(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    if rule == "bigrams":
        monkeypatch.setattr(terms, "find_spec", lambda name: None)
    index(folder, tmp_path / "kb")
    monkeypatch.undo()
    with Knowledge.open(tmp_path / "kb") as kb:
        assert kb.manifest.chinese == kb.terms.rule == rule
        for query, right in (("郁金香怎么浇水？", "花园"), ("渡轮什么时候出发", "港口"), ("票价", "港口")):
            assert kb.search(query, 1)[0].passage.heading == right
    if rule == "jieba":
        monkeypatch.setattr(terms, "find_spec", lambda name: None)
        with pytest.raises(Error, match="cut Chinese with jieba, which is not installed"):
            Knowledge.open(tmp_path / "kb")


def test_bad_input_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    path = tmp_path / "kb"
    with pytest.raises(InputError, match=r"nothing to index in .*none: expected files that end in .txt"):
        index(tmp_path / "none", path)
    with pytest.raises(InputError, match=r"there is no file or folder .*gone"):
        index([folder, tmp_path / "gone"], path)
    with pytest.raises(OptionError, match="no files were given"):
        index([], path)
    with pytest.raises(OutputError, match="a folder with other things in it, and no index"):
        index(folder, folder)
    with pytest.raises(OutputError, match="it is a file"):
        index(folder, folder / "code.py")
    with pytest.raises(InputError, match="there is no index"):
        Knowledge.open(path)
    with pytest.raises(InputError, match=r"is no index: it holds no pellucid-index.json"):
        Knowledge.open(folder)
    assert not path.exists()
    index(folder, path)
    with pytest.raises(OptionError, match="has passages of size 150, and 99 was asked for"):
        index(folder, path, size=99)
    with filelock.FileLock(path / store.LOCK), pytest.raises(OutputError, match="being written by another process"):
        index(folder, path)
    kb = Knowledge.open(path)
    for query in ("", " \n"):
        with pytest.raises(InputError, match="question is empty"):
            kb.search(query)
    with pytest.raises(OptionError, match="k should be at least 1"):
        kb.search("ferry", 0)
    with pytest.raises(OptionError, match="unknown retriever 'bm52'"):
        kb.search("ferry", retriever="bm52")
    database = path / after_generation(path) / store.DATABASE
    database.write_bytes(database.read_bytes()[:5000])
    with pytest.raises(SchemaError, match="is damaged"):
        list(Knowledge.open(path).passages())
    manifest = path / "pellucid-index.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("knowledge/1", "knowledge/9"), encoding="utf-8")
    for use in (lambda: Knowledge.open(path), lambda: index(folder, path)):
        with pytest.raises(SchemaError, match="made by another version of Pellucid"):
            use()


def test_an_index_within_what_is_indexed(tmp_path: Path) -> None:
    (tmp_path / "marks.txt").write_text("!!! ...", encoding="utf-8")
    (tmp_path / ".hidden.txt").write_text("hidden", encoding="utf-8")
    assert index(tmp_path, tmp_path / "kb").passages == 1  # no words in it at all
    assert Knowledge.open(tmp_path / "kb").search("hidden") == []
    (tmp_path / "link.txt").symlink_to(tmp_path / "marks.txt")
    assert index(tmp_path, tmp_path / "kb").documents == 1


def test_result_and_commands(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kb = str(tmp_path / "kb")
    (folder / "empty.txt").touch()
    assert main(["rag", "index", str(folder), "--out", kb, "--describe", "All", "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("passed over: ") == 1
    assert (
        main(["rag", "search", kb, "ferry island", "-k", "2", "--json", str(tmp_path / "f.json"), "--lang", "en"]) == 0
    )
    assert "forty minutes" in capsys.readouterr().out
    found = Passages.load(tmp_path / "f.json")
    assert found.found[0].passage.text.startswith("# Harbour")
    assert Passages.from_dict(found.to_dict()) == found
    assert [r["rank"] for r in found.rows()] == [f.rank for f in found.found]
    (folder / "harbour.md").unlink()
    stale = Knowledge.open(kb).find("ferry island", 2)
    for lang, words in (("en", "file has gone"), ("zh", "该文件已不存在")):
        assert words in str(app_view(stale)(stale, lang))
    assert main(["rag", "list", kb]) == 0
    listed = capsys.readouterr().out
    assert "default\t4\t" in listed
    assert "missing" in listed
    assert main(["rag", "search", str(folder), "x"]) == 2
    assert capsys.readouterr().err == f"pellucid: {folder} is no index: it holds no pellucid-index.json\n"
