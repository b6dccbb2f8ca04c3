"""Places of pieces against sentencepiece's own, and by hand where it gives none."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece
from tiny_seq2seq import marian_tokenizer, spm, t5_tokenizer

from pellucid.models.pieces import locate, read

PLAIN = [
    "the house",
    "the  house   is",
    "Ｈｅｌｌｏ　ｗｏｒｌｄ",
    "cafe\u0301 tre\u0300s naïve",
    "这座房子很小。unknown 龘龘 end",
    "emoji 😀😀 x",
    "zero\u200bwidth \ufeff joiner",
    "a\tb\nc\r\n d",
    "한국어 \u1112\u1161\u11ab",
    "TÜV ß İstanbul Æ",
    "x" * 300 + " 字" * 40,
]


@pytest.fixture(scope="module")
def model() -> bytes:
    return spm()


def theirs(model: bytes, text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Pieces, and their places in characters, by sentencepiece itself."""
    from sentencepiece import sentencepiece_pb2

    found = sentencepiece_pb2.SentencePieceText()
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    found.ParseFromString(processor.encode(text, out_type="serialized_proto"))
    data = text.encode()
    return [p.piece for p in found.pieces], [
        (len(data[: p.begin].decode()), len(data[: p.end].decode())) for p in found.pieces
    ]


@pytest.mark.parametrize("text", PLAIN)
def test_places_are_sentencepieces(model: bytes, text: str) -> None:
    pieces, places = theirs(model, text)
    assert locate(text, pieces) == places


@pytest.mark.parametrize(
    ("text", "pieces", "places"),
    [
        ("  a b  ", ["▁a", "▁b"], [(0, 3), (3, 7)]),  # blanks at the ends go to what is next to them
        ("  a", ["▁", "a"], [(0, 2), (2, 3)]),
        ("你好", ["▁", "你", "好"], [(0, 0), (0, 1), (1, 2)]),  # a blank that no text stands for
        ("½ …", ["▁1", "⁄2", "▁.", ".."], [(0, 1), (0, 1), (1, 3), (1, 3)]),  # one character in two pieces
        (
            "é😀x",
            ["▁", "<0xC3>", "<0xA9>", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "x"],
            [(0, 0), (0, 1), (0, 1), (1, 2), (1, 2), (1, 2), (1, 2), (2, 3)],
        ),
        ("A Big DOG", ["a</w>", "b", "ig</w>", "dog</w>"], [(0, 1), (1, 3), (3, 5), (5, 9)]),  # lower case, BPE
        ("say “hi” now", ["▁say", '▁"', "hi", '"', "▁now"], [(0, 3), (3, 5), (5, 7), (7, 8), (8, 12)]),  # exchanged
        ("a\u0007b and c", ["▁ab", "▁and", "▁c"], [(0, 3), (3, 7), (7, 9)]),  # dropped
        ("never the same", ["▁zzzz", "▁yyyy"], [(0, 14), (0, 14)]),
        (">>fra<< hello", [">>fra<<", "▁hello"], [(0, 7), (7, 13)]),
        ("", [], []),
    ],
)
def test_places_by_hand(text: str, pieces: list[str], places: list[tuple[int, int]]) -> None:
    assert locate(text, pieces) == places


@pytest.mark.parametrize("text", [*PLAIN, "  both ends  ", "½ …", "¨ x ´", "ﷺ"])
def test_places_tile_the_text(model: bytes, text: str) -> None:
    for found in (theirs(model, text)[0], theirs(spm(400, byte_fallback=True), text)[0]):
        reached = 0
        for start, end in locate(text, found):
            assert start <= reached <= max(reached, end)
            reached = max(reached, end)
        assert reached == len(text)


def test_ids_are_the_tokenizers(tmp_path: Path) -> None:
    for tokenizer in (marian_tokenizer(tmp_path), t5_tokenizer()):
        for text in ("The house is small.", "café  这座"):
            assert read(tokenizer, text)[0] == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_control_tokens_are_text_unless_asked_for(tmp_path: Path) -> None:
    tokenizer = marian_tokenizer(tmp_path)
    ids, spans = read(tokenizer, "The</s> house")
    assert tokenizer.eos_token_id not in ids
    assert spans[-1][1] == 13
    ids, spans = read(tokenizer, "The</s> house", control=True)
    assert spans[ids.index(tokenizer.eos_token_id)] == (3, 7)
