"""Ids to characters: every token's span is the text that it stands for, in any script."""

from __future__ import annotations

import random

import pytest

from pellucid.models.align import align_ids, cover, words

TEXTS = [
    "The capital of France is Paris.",
    "  leading blanks, and trailing  ",
    "tabs\tand\r\nWindows\rline breaks\n\n",
    "法国的首都是巴黎。𠀀𪚥",
    "🎉🎊 family 👨‍👩‍👧 flags 🇫🇷",
    "combining e\u0301 a\u0308\u0323 and Zalgo t̷̢̛",
    "العربية עברית हिन्दी ไทย",
    "<|im_end|> is text here",
    "\u200b\u202e bidi and zero width \ufeff",
]


@pytest.mark.parametrize("text", TEXTS)
def test_round_trip(tokenizer, text: str) -> None:  # type: ignore[no-untyped-def]
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    found, spans = align_ids(tokenizer, ids)
    assert found == text
    assert len(spans) == len(ids)
    # Tiled: each span begins where the one before began or ended, and together they cover the text.
    assert "".join(text[a:b] for a, b in dict.fromkeys(spans)) == text
    # The bytes of a token are part of the bytes of the characters that it is given.
    for i, (a, b) in zip(ids, spans, strict=True):
        token_bytes = bytes(BYTES[c] for c in tokenizer.convert_ids_to_tokens(i))
        assert token_bytes in text[a:b].encode()


def _byte_table() -> dict[str, int]:
    """GPT-2's printable stand-ins for bytes: printable Latin-1 stands for itself, the rest from U+0100 on."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in keep]
    return {chr(b): b for b in keep} | {chr(256 + i): b for i, b in enumerate(others)}


BYTES = _byte_table()


def test_random_unicode(tokenizer) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(0)
    for _ in range(200):
        text = "".join(
            chr(rng.choice([rng.randrange(32, 127), rng.randrange(0x80, 0xD7FF), rng.randrange(0x1F300, 0x1F9FF)]))
            for _ in range(rng.randrange(1, 20))
        )
        found, spans = align_ids(tokenizer, tokenizer(text, add_special_tokens=False).input_ids)
        assert found == text
        assert "".join(text[a:b] for a, b in dict.fromkeys(spans)) == text


def test_bytes_that_are_no_text_end(tokenizer) -> None:  # type: ignore[no-untyped-def]
    broken = tokenizer("🎉", add_special_tokens=False).input_ids[:1]
    text, spans = align_ids(tokenizer, broken * 20)
    assert set(text) == {"�"}
    assert len(spans) == 20
    assert spans[-1][1] == len(text)


def test_cover_gives_gaps_to_the_next_token() -> None:
    assert cover([(1, 4), (5, 8)], 10) == [(0, 4), (4, 10)]
    assert cover([(0, 3), (3, 4), (3, 4), (4, 4)], 4) == [(0, 3), (3, 4), (3, 4), (4, 4)]
    assert cover([(0, 1), (1, 3), (2, 3), (2, 3), (3, 4)], 4) == [(0, 1), (1, 3), (1, 3), (1, 3), (3, 4)]
    assert cover([(0, 1), (0, 1)], 2) == [(0, 2), (0, 2)]
    assert cover([], 5) == []


def test_words() -> None:
    text = "It's 法国, e\u0301te\u0301 -- ok"
    spans = [
        (0, 2),
        (2, 4),
        (4, 6),
        (6, 7),
        (7, 8),
        (8, 11),
        (11, 13),
        (13, 14),
        (14, 15),
        (15, 16),
        (16, 20),
    ]
    pieces = [text[a:b] for a, b in spans]
    assert pieces == ["It", "'s", " 法", "国", ",", " e\u0301", "te", "\u0301", " ", "-", "- ok"]
    assert words(text, spans) == [0, 0, 1, 2, 3, 4, 4, 4, 5, 6, 7]
