"""Text to batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.errors import InputError, OptionError
from pellucid.lab.data import tokenizers
from pellucid.lab.data.batches import IGNORE, Blocks, consecutive
from pellucid.lab.data.packed import Part, dtype_of, pack
from pellucid.lab.data.sources import documents, files

TEXT = "The ferry leaves at noon.\n渡轮中午开船。\n" * 40


def part(tokens: int, ends: list[int] | None = None) -> Part:
    return Part(np.arange(tokens, dtype="uint16"), np.asarray(ends or [tokens]))


def test_characters_and_byte_pairs_give_the_text_back() -> None:
    for made in (tokenizers.characters([TEXT]), tokenizers.byte_pairs([TEXT], 290)):
        ids = made(TEXT).input_ids
        assert made.decode(ids) == TEXT
        assert [i for piece in tokenizers.encode(made, TEXT) for i in piece] == ids
    assert made.vocab_size == 290


def test_a_character_that_was_not_seen_is_told_as_such() -> None:
    made = tokenizers.characters(["abc"])
    assert made("axc").input_ids == [0, made.unk_token_id, 2]


def test_long_texts_are_encoded_in_pieces_as_if_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"line {i}\n\n  indented {i}\n续行 {i}\n" for i in range(200))
    made = tokenizers.byte_pairs([text], 400)
    monkeypatch.setattr(tokenizers, "PIECE", 50)
    pieces = list(tokenizers.encode(made, text))
    assert len(pieces) > 20
    assert [i for piece in pieces for i in piece] == made(text).input_ids


def test_documents_come_from_files_folders_and_lines(tmp_path: Path) -> None:
    (tmp_path / "corpus" / ".git").mkdir(parents=True)
    (tmp_path / "corpus" / "b.txt").write_text("second", encoding="utf-8")
    (tmp_path / "corpus" / "a.md").write_text("第一", encoding="utf-8")
    (tmp_path / "corpus" / "c.bin").write_bytes(b"\0\1")
    (tmp_path / "corpus" / ".git" / "d.txt").write_text("hidden", encoding="utf-8")
    lines = tmp_path / "x.jsonl"
    lines.write_text('{"body": "one"}\n\n{"body": "二"}\n', encoding="utf-8")
    assert [d.text for d in documents([str(tmp_path / "corpus")])] == ["第一", "second"]
    assert [d.text for d in documents([str(lines)], field="body")] == ["one", "二"]
    with pytest.raises(InputError, match=r"line 1 has no text in the field 'text' \(there is: body\)"):
        list(documents([str(lines)]))


def test_the_standard_library_is_there() -> None:
    found = files("stdlib")
    assert any(p.name == "argparse.py" for p in found)
    assert not any("site-packages" in p.parts for p in found)


def test_text_is_packed_split_and_opened_again(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text(TEXT, encoding="utf-8")
    made = pack([str(book)], tokenizer="characters", folder=tmp_path / "data")
    at = int(len(TEXT) * 0.9)
    assert made.tokenizer.decode(made.train.tokens.tolist()) == TEXT[:at]
    assert made.tokenizer.decode(made.held_out.tokens.tolist()) == TEXT[at:]
    assert made.train.tokens.dtype == np.uint16
    stamp = (tmp_path / "data" / "train.bin").stat().st_mtime_ns
    again = pack([str(book)], tokenizer="characters", folder=tmp_path / "data")
    assert (tmp_path / "data" / "train.bin").stat().st_mtime_ns == stamp
    assert again.manifest == made.manifest
    with pytest.raises(OptionError, match=r"packed with held_out = 0\.1, and now held_out = 0\.2"):
        pack([str(book)], tokenizer="characters", folder=tmp_path / "data", held_out=0.2)
    book.write_text(TEXT + "!", encoding="utf-8")
    with pytest.raises(InputError, match=r"book.txt is not what it was when this run began"):
        pack([str(book)], tokenizer="characters", folder=tmp_path / "data")


def test_several_documents_are_split_whole(tmp_path: Path) -> None:
    lines = tmp_path / "many.jsonl"
    texts = [f"document {i} 第{i}篇" for i in range(20)]
    lines.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts), encoding="utf-8")
    made = pack([str(lines)], tokenizer="bytepairs", vocab_size=300, folder=tmp_path / "data")
    found = []
    for some in (made.train, made.held_out):
        pieces = np.split(some.tokens, some.ends[:-1])
        assert all(p[-1] == made.tokenizer.eos_token_id for p in pieces)
        found.append([made.tokenizer.decode(p[:-1].tolist()) for p in pieces])
    assert len(found[1]) == 2
    assert sorted(found[0] + found[1]) == sorted(texts)


def test_a_step_reads_the_same_whenever_it_is_asked_for() -> None:
    a, b = (Blocks(part(1000), rows=4, length=16, seed=9) for _ in range(2))
    order = [a.batch(s).inputs.tolist() for s in range(40)]
    assert [b.batch(s).inputs.tolist() for s in (39, 3, 17)] == [order[39], order[3], order[17]]
    assert Blocks(part(1000), rows=4, length=16, seed=10).batch(0).inputs.tolist() != order[0]


def test_targets_are_what_follows_and_an_epoch_reads_each_block_once() -> None:
    blocks = Blocks(part(1000), rows=1, length=16, seed=1)
    seen: list[int] = []
    for step in range(blocks.blocks):
        batch = blocks.batch(step)
        assert torch.equal(batch.targets, batch.inputs + 1)
        seen += batch.inputs.flatten().tolist()
    assert len(set(seen)) == len(seen) == blocks.blocks * 16 >= 1000 - 3 * 16
    assert blocks.batch(blocks.blocks).inputs.tolist() != blocks.batch(0).inputs.tolist()


def test_isolated_documents_restart_and_do_not_ask_for_the_next_ones_beginning() -> None:
    blocks = Blocks(part(40, [7, 12, 40]), rows=1, length=10, isolate=True)
    batch = blocks.at([3])
    assert batch.inputs[0].tolist() == list(range(3, 13))
    assert batch.positions is not None
    assert batch.positions[0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 0]
    assert batch.targets[0].tolist() == [4, 5, 6, IGNORE, 8, 9, 10, 11, IGNORE, 13]
    assert batch.count == 8


@pytest.mark.parametrize("tokens", [65, 64, 100, 17, 16])
def test_consecutive_blocks_ask_for_every_token_once(tokens: int) -> None:
    wanted: list[int] = []
    for batch in consecutive(part(tokens), length=16, rows=2):
        assert batch.inputs.shape[1] == 16
        wanted += batch.targets[batch.targets != IGNORE].tolist()
    assert wanted == list(range(1, tokens))


def test_shares_of_a_batch_are_the_batch() -> None:
    batch = Blocks(part(1000), rows=8, length=16).batch(2)
    some = [batch.part(i, 4).inputs for i in range(4)]
    assert torch.equal(torch.cat(some), batch.inputs)


def test_vocabularies_find_their_dtype() -> None:
    assert (dtype_of(65536), dtype_of(65537)) == ("uint16", "uint32")
    with pytest.raises(OptionError, match=r"70,000 tokens does not fit uint16 \(65,536\): choose uint32"):
        dtype_of(70000, "uint16")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.txt", b"", "empty.txt is empty: expected some text"),
        ("blank.txt", b" \n \n", "blank.txt is empty"),
        ("binary.txt", b"abc\0def", "binary.txt is a binary file"),
        ("latin.txt", "Größe".encode("latin-1"), "is not UTF-8: byte 0xf6 at 2"),
        ("bad.jsonl", b'{"text": "a"}\n{text}\n', "line 2 is not JSON"),
        ("one.txt", b"a", "has 1 characters: too few to hold 10% of them out"),
    ],
)
def test_files_that_are_no_text_are_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        pack([str(path)], tokenizer="characters", folder=tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_text_shorter_than_a_block_is_refused() -> None:
    with pytest.raises(InputError, match="has 16 tokens, and one block needs 17"):
        Blocks(part(16), rows=1, length=16)


def test_sources_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file or folder"):
        list(documents([str(tmp_path / "no.txt")]))
    with pytest.raises(InputError, match="holds no text files"):
        list(documents([str(tmp_path)]))
    with pytest.raises(OptionError, match="a byte-pair vocabulary needs 257"):
        tokenizers.byte_pairs(["abc"], 100)


def test_a_line_of_json_ends_at_the_line_break_alone(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    texts = ["one\u2028two", "三\x85四", "five"]
    path.write_text("".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts), encoding="utf-8")
    assert [d.text for d in documents([str(path)], field="text")] == texts
