"""Display units, safe text, the colour scale, and what a long prompt is folded to."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from samples import sample

from pellucid.render import fold
from pellucid.render.colors import FAINT, NIGHT, PAPER, Scale, scale
from pellucid.render.graphemes import clusters
from pellucid.render.units import content, ranked, source_units, target_units
from pellucid.render.visible import label, one_line, visible
from pellucid.trace.result import Source, Target, Trace


def with_sources(rows: list[tuple[str, int | None, int | None, str, int | None]], totals: list[float]) -> Trace:
    sources = tuple(Source(t, i, a, b, r, m, i) for i, (t, a, b, r, m) in enumerate(rows))
    return replace(sample(per_token=False), sources=sources, total=np.array(totals, dtype=np.float32), scores=None)


def test_pieces_of_one_character_become_one_unit_with_summed_score() -> None:
    trace = with_sources(
        [("Hi ", 0, 3, "user", 0), *[("🎉", 3, 4, "user", 0)] * 3, ("法", 4, 5, "user", 0)], [1, 0.5, 0.25, 2, 4]
    )
    units = source_units(trace)
    assert [(u.text, u.score, u.indices) for u in units] == [
        ("Hi ", 1.0, (0,)),
        ("🎉", 2.75, (1, 2, 3)),
        ("法", 4.0, (4,)),
    ]


def test_pieces_that_overlap_in_part_repeat_nothing() -> None:
    # " \xe4" + "\xbd\xa0": the first holds the blank and a byte of the character, the second the other bytes.
    trace = with_sources([(" 你", 0, 2, "user", 0), ("你", 1, 2, "user", 0), ("好吗", 2, 4, "user", 0)], [1, 1, 1])
    assert [u.text for u in source_units(trace)] == [" 你", "好吗"]
    trace = with_sources([("你好", 0, 2, "user", 0), ("好吗", 1, 3, "user", 0)], [1, 1])
    assert [u.text for u in source_units(trace)] == ["你好吗"]


def test_the_same_offsets_in_two_messages_or_in_the_template_stay_apart() -> None:
    trace = with_sources(
        [
            ("a", 0, 1, "user", 0),
            ("b", 0, 1, "assistant", 1),
            ("<s>", None, None, "special", None),
            ("<s>", None, None, "special", None),
        ],
        [1, 2, 3, 4],
    )
    assert [u.indices for u in source_units(trace)] == [(0,), (1,), (2,), (3,)]


def test_a_token_without_width_is_not_swallowed() -> None:
    trace = with_sources([("a", 0, 1, "user", 0), ("", 1, 1, "user", 0), ("b", 1, 2, "user", 0)], [1, 2, 3])
    assert len(source_units(trace)) == 3


def test_a_family_of_joined_emoji_is_one_unit_though_its_tokens_are_not() -> None:
    rows = [(c, i, i + 1, "user", 0) for i, c in enumerate("x👨\u200d👩\u200d👧y")]
    trace = with_sources(rows, [1] * 7)
    assert [(u.text, u.score) for u in source_units(trace)] == [("x", 1), ("👨\u200d👩\u200d👧", 5), ("y", 1)]


def test_words_join_tokens_of_one_word() -> None:
    trace = sample("capital city", per_token=False)
    cut = list(trace.sources)
    cut[2:3] = [replace(cut[2], text="cap", end=3), replace(cut[2], text="ital", start=3)]
    trace = replace(trace, sources=tuple(cut), total=np.arange(len(cut), dtype=np.float32))
    assert [u.text for u in content(source_units(trace))] == ["cap", "ital", " city"]
    words = content(source_units(trace, words=True))
    assert [(u.text, u.score) for u in words] == [("capital", 5.0), (" city", 4.0)]
    assert sum(len(u.indices) for u in source_units(trace, words=True)) == len(cut)


def test_target_pieces_join_and_their_log_probabilities_add_up() -> None:
    piece = Target("🎉", 1, 0, 1, 0.5, math.log(0.5), 1, 1.0)
    trace = replace(sample(per_token=False), targets=(piece, piece))
    (unit,) = target_units(trace)
    assert unit.text == "🎉"
    assert math.exp(unit.score) == pytest.approx(0.25)


def test_units_lose_no_token_and_no_score() -> None:
    trace = sample("法国的首都🎉 is Paris. 👩🏽\u200d🚀 e\u0301!", signed=True)
    units = source_units(trace)
    assert sorted(i for u in units for i in u.indices) == list(range(len(trace.sources)))
    assert sum(u.score for u in units) == pytest.approx(float(trace.total.sum()), abs=1e-5)


def test_ranking_leaves_the_frame_out_and_puts_missing_scores_last() -> None:
    trace = with_sources(
        [("<s>", None, None, "special", None), ("a", 0, 1, "user", 0), ("b", 1, 2, "user", 0), ("c", 2, 3, "user", 0)],
        [9, math.nan, -2, 1],
    )
    assert [u.text for u in ranked(source_units(trace))] == ["b", "c", "a"]


def test_clusters() -> None:
    assert clusters("e\u0301👍🏽🇫🇷🇩🇪a\n") == ["e\u0301", "👍🏽", "🇫🇷", "🇩🇪", "a", "\n"]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31m", "␛[31m"),
        ("\x07\r\x00\x7f", "␇␍␀␡"),
        ("\x9b1m", "‹U+009B›1m"),
        ("a\u202eb\u2069", "a‹U+202E›b‹U+2069›"),
        ("\u200b\ufeff\U000e0041", "‹U+200B›‹U+FEFF›‹U+E0041›"),
        ("\ud800", "‹U+D800›"),
        ("a\nb", "a↵\nb"),
        ("[bold]法🎉", "[bold]法🎉"),
    ],
)
def test_control_characters_become_visible(raw: str, shown: str) -> None:
    assert visible(raw) == shown
    assert "\n" not in one_line(raw)


def test_no_control_or_bidi_character_gets_through() -> None:
    everything = "".join(map(chr, range(0x3000))) + "\u2028\u2029\u202a\u2066"
    allowed = set("\n")
    bad = set(map(chr, [*range(0x20), 0x7F, *range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]))
    assert not (bad - allowed) & set(visible(everything))


def test_labels_of_blanks() -> None:
    assert (label(" a"), label("  "), label("\n"), label("")) == ("a", "␣␣", "↵", "")


def wcag(color: str) -> float:
    """Relative luminance, written from the text of WCAG 2.2."""
    parts = []
    for i in (1, 3, 5):
        c = int(color[i : i + 2], 16) / 255
        parts.append(c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4)
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_text_on_every_shade_has_contrast(dark: bool, signed: bool) -> None:
    steps = Scale(1.0, signed)
    for i in range(-200, 201):
        shade = steps.shade(i / 200, dark=dark)
        if shade is not None:
            high, low = sorted((wcag(shade.background), wcag(shade.text)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5


@pytest.mark.parametrize("dark", [False, True])
def test_more_is_further_from_the_background(dark: bool) -> None:
    steps = Scale(2.0, True)
    ground = NIGHT if dark else PAPER
    for sign in (1, -1):
        far = [
            sum((a - b) ** 2 for a, b in zip(steps.color(sign * x / 50, dark=dark), ground, strict=True))
            for x in range(101)
        ]
        assert far == sorted(far)
        assert far[0] <= 3


def test_blue_for_orange_against_and_faint_unshaded() -> None:
    steps = Scale(1.0, True)
    for dark in (False, True):
        r, _, b = steps.color(1.0, dark=dark)
        assert b > r
        r, _, b = steps.color(-1.0, dark=dark)
        assert r > b
    assert steps.shade(FAINT / 2) is None
    assert steps.shade(math.nan) is None
    assert Scale(0.0, False).shade(0.0) is None


def test_the_scale_is_that_of_the_user_not_of_the_template() -> None:
    trace = with_sources([("<s>", None, None, "special", None), ("a", 0, 1, "user", 0)], [50, 2])
    steps = scale(trace)
    assert steps.limit == 2.0
    assert steps.level(50) == 1.0


def tokens_of(sections: list[fold.Section]) -> int:
    """Every token is drawn, in a gap, or in a frame."""
    return sum(
        len(i.indices) if not isinstance(i, (fold.Gap, fold.Frame)) else i.tokens for s in sections for i in s.items
    )


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("text", ["short", "word and more, " * 900, "\n" * 3000, "法" * 5000, "\u200b" * 900])
def test_folding_accounts_for_every_token(text: str, full: bool) -> None:
    trace = sample(text, per_token=False)
    sections = fold.arrange(source_units(trace), full=full)
    assert tokens_of(sections) == len(trace.sources)
    assert fold.folded(sections) == (not full and len(text) > 100)
    if not full:
        drawn = sum(fold.cost(i) for s in sections for i in s.items if not isinstance(i, (fold.Gap, fold.Frame)))
        assert drawn <= fold.LIMIT


def test_folding_keeps_what_matters() -> None:
    trace = sample("some plain words that do not matter " * 300, per_token=False)
    total = np.zeros(len(trace.sources), dtype=np.float32)
    total[[700, 1400]] = 1.0
    trace = replace(trace, total=total)
    units = source_units(trace)
    sections = fold.arrange(units, full=False)
    drawn = {i for s in sections for u in s.items if not isinstance(u, (fold.Gap, fold.Frame)) for i in u.indices}
    for at in (700, 1400):
        assert set(range(at - 5, at + 6)) <= drawn


def test_whole_messages_that_are_folded_become_one_gap() -> None:
    rows: list[tuple[str, int | None, int | None, str, int | None]] = []
    for message in range(40):
        rows += [("<m>", None, None, "special", None)]
        rows += [(f" w{i}", 4 * i, 4 * i + 4, ("user", "assistant")[message % 2], message) for i in range(40)]
    totals = [0.0] * len(rows)
    totals[41 * 20 + 5] = 1.0
    trace = with_sources(rows, totals)
    sections = fold.arrange(source_units(trace), full=False)
    assert tokens_of(sections) == len(rows)
    assert any(isinstance(s.items[0], fold.Gap) and s.items[0].messages > 10 for s in sections)
    assert len(sections) < 15
