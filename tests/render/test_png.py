"""The picture, read back with pillow."""

from __future__ import annotations

import io
import itertools
import os
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image
from samples import sample

from pellucid.render import fonts as fonts_module
from pellucid.render.canvas import Typesetter
from pellucid.render.colors import Scale, hex_of, scale
from pellucid.render.fonts import fonts_for
from pellucid.render.png import figure, save_png
from pellucid.render.pngmatrix import cells, strongest
from pellucid.render.units import source_units
from pellucid.trace.result import Source, Trace


def pixels(trace: Trace, lang: str = "en") -> np.ndarray:
    buffer = io.BytesIO()
    save_png(trace, buffer, lang=lang)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


def colors_along(row: np.ndarray, least: int = 4) -> list[str]:
    """Colours of the runs of at least ``least`` equal pixels, from left to right."""
    runs = [(c, len(list(g))) for c, g in itertools.groupby(map(tuple, row.tolist()))]
    return [hex_of(c) for c, n in runs if n >= least]  # type: ignore[arg-type]


def first_row_with(picture: np.ndarray, color: str, least: int = 4) -> int:
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    hits = (picture == rgb).all(axis=2).sum(axis=1)
    return int(np.argmax(hits >= least))


@pytest.mark.parametrize("signed", [False, True])
def test_boxes_have_the_scale_s_colour_in_reading_order(signed: bool) -> None:
    trace = sample("What is the capital of France?", signed=signed)
    steps = scale(trace)
    shades = [steps.shade(float(trace.total[i])) for i in trace.content]
    expected = [s.background for s in shades if s is not None]
    picture = pixels(trace)
    y = first_row_with(picture, expected[0])
    found = [c for c in colors_along(picture[y + 1]) if c != "#ffffff"]
    assert found == expected


def test_a_box_is_as_wide_as_its_text() -> None:
    trace = sample("iii WWWWWWWWWWWW", chat=False, per_token=False)
    trace = replace(trace, total=np.array([1.0, 0.5], dtype=np.float32))
    picture = pixels(trace)
    steps = scale(trace)
    widths = []
    for score in (1.0, 0.5):
        color = hex_of(steps.color(score))
        y = first_row_with(picture, color) + 1
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        widths.append(int((picture[y] == rgb).all(axis=1).sum()))
    setter = Typesetter(fonts_for([]), 144)
    for width, text in zip(widths, ("iii", "WWWWWWWWWWWW"), strict=True):
        assert width == pytest.approx(setter.width(text, 11) * 2, abs=3)


def test_the_matrix_has_the_scale_s_colours_and_hatches_what_is_not_explained() -> None:
    trace = sample(span="Paris", signed=True)
    picture = pixels(trace)
    units = source_units(trace)
    values = cells(trace, units)
    steps = Scale(float(np.nanmax(np.abs(values))), True)
    row = [hex_of(steps.color(float(x))) for x in values[3]]

    def close(a: str, b: str) -> bool:
        return all(abs(int(a[i : i + 2], 16) - int(b[i : i + 2], 16)) <= 2 for i in (1, 3, 5))

    def is_row(y: int) -> bool:
        found = [c for c in colors_along(picture[y], 30) if c != "#ffffff"]
        return len(found) == len(row) and all(map(close, found, row))

    hits = [y for y in range(len(picture)) if is_row(y)]
    assert 25 <= len(hits) <= 34  # one row of the matrix, 16 points high
    above = picture[hits[0] - 40]
    assert len({tuple(p) for p in above.tolist()}) > 3  # the hatch and its edges


def test_cells_add_up_pieces_and_bins_keep_the_strongest() -> None:
    trace = sample("法国", "巴黎", chat=False)
    sources = (*trace.sources, Source("国", 9, 1, 2, "user", None, 1))
    scores = np.array([[1, 2, 3, np.nan, np.nan], [np.nan, 5, np.nan, 6, np.nan]], dtype=np.float32)
    trace = replace(trace, sources=sources, total=np.ones(3, dtype=np.float32), scores=scores)
    np.testing.assert_array_equal(cells(trace, source_units(trace)), [[1, 5], [np.nan, 5]])
    binned, step = strongest(np.array([[1.0, -3.0, np.nan, 2.0, np.nan, np.nan, 4.0]]), 4, 1)
    np.testing.assert_array_equal(binned, [[-3.0, 2.0, np.nan, 4.0]])
    assert step == 2


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("words and more words. " * 1000, "an answer here. " * 75),
        ("法国的首都" * 800, "巴黎" * 150),
        ("\n" * 4000, "\n" * 300),
        ("🎉" * 2000, "🎉" * 300),
        ("W" * 30000, "W" * 30000),
        ("\u200b" * 4000, "\x1b" * 300),
    ],
)
def test_size_is_bounded(prompt: str, answer: str) -> None:
    picture = pixels(sample(prompt, answer))
    assert picture.shape[1] <= 4000
    assert picture.shape[0] <= 6000


def test_many_messages_are_bounded_too() -> None:
    sources = tuple(Source("hi", i, 0, 2, ("user", "assistant")[i % 2], i, i) for i in range(3000))
    trace = replace(sample(per_token=False), sources=sources, total=np.arange(3000, dtype=np.float32))
    assert pixels(trace).shape[0] <= 6000


def test_nothing_leaves_the_page() -> None:
    """The margins stay white, whatever the text."""
    for trace in (
        sample("The quick brown fox jumps over it. " * 60, "W" * 3000),
        sample("法国的首都是哪里？🎉" * 40, "巴黎" * 200, signed=True),
        sample("W" * 3000, "a b " * 400, chat=False),
    ):
        picture = pixels(trace, "zh")
        for edge in (picture[:, :40], picture[:, -40:], picture[:40], picture[-30:]):
            assert (edge == 255).all()


def test_dollar_signs_are_characters() -> None:
    pixels(sample("it costs $5 and $x^2$ or $\\frac{1$ % # _ {", "$\\bad$ {"))


def ink(text: str) -> int:
    """Dark pixels of a prompt in a picture without the rest that varies."""
    trace = sample("x", chat=False, per_token=False)
    source = replace(trace.sources[0], text=text)
    picture = pixels(replace(trace, sources=(source,), total=np.zeros(1, dtype=np.float32)))
    return int((picture < 128).any(axis=2).sum())


@pytest.mark.skipif(
    fonts_for(["法国"]).drawable("法国") != "法国", reason="no font with Chinese characters is installed"
)
def test_chinese_is_drawn_as_characters() -> None:
    assert fonts_for(["法国首都"]).drawable("法国首都") == "法国首都"
    # Characters differ in ink; boxes for missing glyphs would not.
    assert len({ink(c) for c in "一国鬱龘"}) == 4
    assert ink("一") < ink("国") < ink("龘")


def test_a_font_that_was_installed_after_matplotlib_listed_them_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """matplotlib keeps its list on disk: whoever follows our note would go on seeing boxes."""
    here = fonts_for(["国"])
    if "国" not in here.drawable("国"):
        pytest.skip("no font with Chinese characters is installed")
    manager = fonts_module.fontManager
    listed = [f for f in manager.ttflist if ord("国") not in fonts_module._code_points(f.fname)]
    monkeypatch.setattr(manager, "ttflist", listed)
    assert fonts_for(["国"]).drawable("国") == "国"
    assert len(manager.ttflist) > 0


def test_emoji_without_a_glyph_are_named() -> None:
    fonts = fonts_for([])
    assert fonts.drawable("a 🎉 b") == "a :party popper: b"
    assert fonts.drawable("👨\u200d👩\u200d👧") == ":man+woman+girl:"
    assert fonts.drawable("🇫🇷") == ":flag FR:"
    assert fonts.drawable("👍🏽!") == ":thumbs up sign:!"
    assert fonts.drawable("␛") == "‹U+001B›"
    assert fonts.drawable("\U000fffff") == "‹U+FFFFF›"


def test_where_no_font_has_chinese_one_note_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    only = {fonts_module.BASE: fonts_module._installed()[fonts_module.BASE]}
    monkeypatch.setattr(fonts_module, "_installed", lambda: only)
    with pytest.warns(UserWarning, match="fonts-noto-cjk") as caught:
        figure(sample("法国的首都", "巴黎"), lang="en")
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="fonts-noto-core"):
        figure(sample("ኢትዮጵያ", "x"), lang="en")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure(sample("plain 🎉", "x"), lang="en")


@pytest.mark.parametrize(
    "rc",
    [
        {"text.usetex": True, "savefig.bbox": "tight", "figure.autolayout": True, "axes.linewidth": 9},
        {"text.color": "red", "figure.facecolor": "black", "font.family": "serif", "image.interpolation": "bicubic"},
    ],
)
def test_the_user_s_settings_change_nothing_and_are_not_changed(rc: dict[str, object]) -> None:
    trace = sample("法国 capital", signed=True)
    plain = pixels(trace)
    with matplotlib.rc_context(rc):
        before = dict(matplotlib.rcParams)
        picture = pixels(trace)
        assert dict(matplotlib.rcParams) == before
    np.testing.assert_array_equal(picture, plain)


def test_pyplot_is_not_touched(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from samples import sample; sample().save(sys.argv[1]);"
        "assert 'matplotlib.pyplot' not in sys.modules; assert 'torch' not in sys.modules"
    )
    place = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "t.png")], check=True, env=place)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_odd_traces(lang: str) -> None:
    pixels(sample("", "", per_token=False, chat=False), lang)
    pixels(sample("", "x"), lang)
    pixels(sample(trust=False, per_token=False), lang)
    trace = sample()
    pixels(replace(trace, total=np.zeros(11, dtype=np.float32), scores=np.zeros_like(trace.scores)), lang)
    pixels(
        replace(
            trace,
            total=np.full(11, np.nan, dtype=np.float32),
            scores=np.full((len(trace.targets), 11 + len(trace.targets)), np.nan, dtype=np.float32),
        ),
        lang,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No installed font has")
        pixels(sample(EVIL, EVIL), lang)


EVIL = "ok \x1b[31mred \x07 tab\there \r\x08 [bold] \u202eevil\u2066 \ud800 عربى ไทย हिन्दी 𝔘 end"


def test_two_pictures_of_one_trace_are_the_same() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    save_png(sample("法国"), first, lang="en")
    save_png(sample("法国"), second, lang="en")
    assert first.getvalue() == second.getvalue()
