"""The terminal view, read back from a screen that knows nothing of how it was made (pyte)."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pyte
import pytest
from rich.cells import cell_len
from rich.console import Console
from samples import sample

from pellucid.errors import OptionError
from pellucid.render.colors import scale
from pellucid.render.terminal import dark_background, render, show
from pellucid.render.words import LANGUAGES, TEXTS, language, score_text, trust_line
from pellucid.trace.result import Source, Trace, Trust


def drawn(trace: Trace, width: int = 100, *, color: bool = True, encoding: str = "utf-8", **options: object) -> str:
    """What is written, with colour to a terminal or without to a pipe."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    console = (
        Console(file=file, width=width, force_terminal=True, color_system="truecolor", _environ={})
        if color
        else Console(file=file, width=width, _environ={})
    )
    console.print(render(trace, **{"lang": "en", **options}), end="")  # type: ignore[arg-type]
    file.flush()
    return file.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined,no-any-return]


def screen(output: str, width: int = 100, height: int = 400) -> pyte.Screen:
    page = pyte.Screen(width, height)
    pyte.Stream(page).feed(output.replace("\n", "\r\n"))
    return page


def row_with(page: pyte.Screen, text: str) -> int:
    return next(i for i, line in enumerate(page.display) if text in line)


PROMPT = "What is the capital of France?"


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("signed", [True, False])
def test_each_token_has_the_scale_s_colour_and_stays_in_place(dark: bool, signed: bool) -> None:
    trace = sample(PROMPT, signed=signed)
    page = screen(drawn(trace, dark=dark))
    y = row_with(page, PROMPT)
    x0 = page.display[y].index(PROMPT)
    steps = scale(trace)
    shaded = 0
    for source, score in zip(trace.sources, trace.total, strict=True):
        if source.start is None or source.end is None:
            continue
        shade = steps.shade(float(score), dark=dark)
        blank = len(source.text) - len(source.text.lstrip())
        for x in range(source.start + blank, source.end):
            cell = page.buffer[y][x0 + x]
            assert cell.data == PROMPT[x]
            if shade is None:
                assert (cell.bg, cell.fg) == ("default", "default")
            else:
                assert (f"#{cell.bg}", f"#{cell.fg}") == (shade.background, shade.text)
                shaded += 1
    assert shaded > 15


def test_foreground_and_background_are_set_together() -> None:
    page = screen(drawn(sample(PROMPT, signed=True)))
    y = row_with(page, PROMPT)
    for cell in page.buffer[y].values():
        assert (cell.fg == "default") == (cell.bg == "default")


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_and_dumb_terminals_get_no_escape(environ: dict[str, str]) -> None:
    file = io.StringIO()
    env = {"TERM": "xterm-256color", "COLORTERM": "truecolor", **environ}
    Console(file=file, width=90, force_terminal=True, _environ=env).print(
        render(sample("法 [bold]x[/bold]\x1b[31m", span="Paris"), lang="en"), end=""
    )
    assert "\x1b" not in file.getvalue()
    assert "₉" in file.getvalue()


def test_sixteen_colours_get_marks() -> None:
    file = io.StringIO()
    Console(file=file, width=90, force_terminal=True, color_system="standard", _environ={}).print(
        render(sample(PROMPT), lang="en"), end=""
    )
    assert "\x1b" not in file.getvalue()
    assert "[is]₉" in file.getvalue()


def unmarked(text: str) -> str:
    return re.sub(r"\[([^\]]*)\][₊₋]?[₁-₉]", r"\1", text)


@pytest.mark.parametrize("signed", [True, False])
def test_marks_keep_the_text_and_tell_the_level(signed: bool) -> None:
    trace = sample(PROMPT, signed=signed)
    out = drawn(trace, color=False)
    line = next(x for x in out.splitlines() if "capital" in x and "user" in x)
    assert unmarked(line).strip() == f"user  ⟨2⟩ {PROMPT} ⟨2⟩"
    limit = max(abs(float(trace.total[i])) for i in trace.content)
    for i in trace.content:
        level = 9 * float(trace.total[i]) / limit
        word = trace.sources[i].text.strip()
        found = re.search(rf"\[{re.escape(word)}\]([₊₋]?)([₁-₉])", line)
        if abs(level) < 1.5:
            assert found is None
        else:
            assert found is not None
            assert abs("₀₁₂₃₄₅₆₇₈₉".index(found[2]) - abs(level)) <= 0.5
            assert (found[1] == "₋") == (level < 0)
    assert "level 1 to 9" in out


EVIL = "ok \x1b[31mred \x1b]0;title\x07 \x9b2J tab\there \r\x08 [bold]b[/bold] \u202eevil\u2066 end"


@pytest.mark.parametrize("color", [True, False])
@pytest.mark.parametrize("full", [True, False])
def test_no_escape_of_the_text_reaches_the_terminal(color: bool, full: bool) -> None:
    trace = sample(EVIL, EVIL, trust=False, span="evil")
    trace = replace(
        trace,
        trust_note="\x1b[2Jnote",
        objective="\x1b[2Jobjective",
        model=replace(trace.model, name="\x1b[2J[red]name", dtype="\x1bD", device="\x1bd"),
        method=replace(trace.method, name="\x1b]0;m\x07"),
        sources=tuple(replace(s, role="\x1b[5mrole" if i == 3 else s.role) for i, s in enumerate(trace.sources)),
        targets=tuple(replace(t, logprob=-5.0) for t in trace.targets),
    )
    out = drawn(trace, color=color, full=full)
    ours = re.sub(r"\x1b\[[0-9;]*m", "", out) if color else out
    bad = set(map(chr, [*range(10), *range(11, 32), 127, *range(128, 160), *range(0x202A, 0x202F), 0x2066]))
    assert not bad & set(ours)
    if color:  # what colour there is was set by us: never 31 (red), 5 (blink)
        assert not re.search(r"\x1b\[(31|5)m", out)
    assert "␛" in ours
    assert "[" in ours
    assert "b[/bold]" in ours or "[bold]" in unmarked(ours) or "bold" in ours
    assert "‹U+202E›" in ours


@pytest.mark.parametrize("width", [24, 40, 61, 100])
@pytest.mark.parametrize("color", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "法国的首都是哪里？请用一个词回答。" * 8,
        "mixed 中文 and English，再来一点。" * 9,
        "🎉👨\u200d👩\u200d👧🇫🇷 e\u0301 ok " * 20,
    ],
)
def test_wide_characters_stay_within_the_width(text: str, color: bool, width: int) -> None:
    out = drawn(sample(text, text, signed=True), width, color=color, lang="zh")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
    assert max(cell_len(line) for line in plain.splitlines()) <= width
    running = plain.split("影响最大")[0]  # a token in the list may be a mark
    assert not re.search(r"^\s*[，。！？]", running, re.M)


def test_wide_characters_sit_where_the_screen_expects_them() -> None:
    text = "法国的首都是哪里？请回答。"
    trace = sample(text, "巴黎")
    page = screen(drawn(trace))
    y = row_with(page, "法")
    cells = [page.buffer[y][x] for x in range(page.columns)]
    x = next(i for i, c in enumerate(cells) if c.data == "法")
    steps = scale(trace)
    for char, score in zip(text, trace.total[2:], strict=False):
        assert cells[x].data == char
        assert cells[x + 1].data == ""  # the second half
        shade = steps.shade(float(score), dark=True)
        assert cells[x].bg == ("default" if shade is None else shade.background[1:])
        x += 2


def test_pieces_of_a_character_are_drawn_once() -> None:
    trace = sample("x", per_token=False, chat=False)
    sources = tuple(Source("🎉", i, 0, 1, "user", None, 0) for i in range(4))
    trace = replace(trace, sources=sources, total=np.ones(4, dtype=np.float32))
    out = drawn(trace, color=False)
    prompt = out.split("Prompt")[1].split("Answer")[0]
    assert prompt.count("🎉") == 1
    assert "4.00" in out


def test_line_feeds_break_the_line_behind_a_mark() -> None:
    page = screen(drawn(sample("one\ntwo\n\nthree", chat=False)))
    y = row_with(page, "one↵")
    assert [page.display[y + i].strip() for i in range(4)] == ["one↵", "two↵", "↵", "three"]


def test_messages_are_labelled_and_the_template_is_folded_unless_full() -> None:
    rows = [
        ("<|s|>", None, None, "special", None),
        ("system\n", None, None, "template", None),
        ("Be", 0, 2, "system", 0),
        (" brief", 2, 8, "system", 0),
        ("<|e|>", None, None, "special", None),
        ("Hello", 0, 5, "user", 1),
        ("<|a|>", None, None, "special", None),
    ]
    sources = tuple(Source(t, i, a, b, r, m, i) for i, (t, a, b, r, m) in enumerate(rows))
    trace = replace(
        sample(per_token=False),
        sources=sources,
        total=np.array([8, 0, 1, 2, 0, 1, 0], dtype=np.float32),
    )
    out = drawn(trace, color=False)
    assert re.search(r"system +⟨2⟩ \[Be\]₅ \[brief\]₉", out)
    assert re.search(r"user +⟨1⟩ \[Hello\]₅ ⟨1⟩", out)
    assert "<|s|>" not in out
    assert "4 tokens of the template, 67 % of all magnitude" in out
    out = drawn(trace, color=False, full=True)
    assert "[<|s|>]₉system↵" in out  # clipped at the user's largest
    assert "⟨" not in out
    assert "系统" in drawn(trace, color=False, lang="zh")


def test_a_long_prompt_is_folded_and_full_shows_it_all() -> None:
    words = [f"word{i}" for i in range(2000)]
    trace = sample(" ".join(words), per_token=False)
    total = np.zeros(len(trace.sources), dtype=np.float32)
    total[1002] = 1.0  # word1000, after two tokens of the template
    trace = replace(trace, total=total)
    out = drawn(trace, color=False)
    assert "[word1000]₉" in out
    assert "word998" in out
    assert "word400" not in out
    assert re.search(r"… \d+ tokens …", out)
    shown = int(re.search(r"(\d+) of 2000 tokens shown", out)[1])  # type: ignore[index]
    gaps = sum(int(n) for n in re.findall(r"… (\d+) tokens …", out))
    assert shown + gaps == 2000
    assert len(out.splitlines()) < 45
    whole = drawn(trace, color=False, full=True)
    assert all(w in whole for w in words)


def test_the_top_list_is_the_ranking() -> None:
    trace = sample("a b c d e f g h i j k l m n", signed=True)
    out = drawn(trace, color=False)
    table = out.split("What mattered most")[1].split("\n\n")[0].splitlines()[2:]
    found = [(line.split()[0], line.split()[1]) for line in table]
    assert found == [(t.text.strip(), score_text(t.score, True)) for t in trace.top(10)]
    assert {score[0] for _, score in found} == {"+", "−"}


def test_unlikely_tokens_of_the_answer_are_underlined_and_named() -> None:
    trace = sample(answer="It is Paris now")
    targets = list(trace.targets)
    targets[2] = replace(targets[2], prob=0.04, logprob=float(np.log(0.04)))
    trace = replace(trace, targets=tuple(targets))
    page = screen(drawn(trace))
    y = row_with(page, "Answer") + 1
    assert page.display[y].strip() == "It is Paris now"
    underlined = "".join(c.data for _, c in sorted(page.buffer[y].items()) if c.underscore)
    assert underlined == "Paris"
    assert "Least likely: “Paris” 4 %." in drawn(trace, color=False)


def test_the_span_is_marked() -> None:
    out = drawn(sample(span="capital is"), color=False)
    assert "The ⟦capital is⟧ Paris." in out
    assert "What made sample-model say “capital is”" in out


def trust(**facts: object) -> Trace:
    base = Trust(0.1, 29, 3, 1.52, 0.31, (0.1, 0.52), 4.903, 0)
    return replace(sample(), trust=replace(base, **facts))  # type: ignore[arg-type]


def test_trust_in_words() -> None:
    assert trust_line(trust(), "en") == (
        "Trust: without the top 3 of 29 tokens (10 %) the answer loses 1.52 nats per token; "
        "without 3 random ones it loses 0.31 (mean of 2 draws): 4.9 times as much."
    )
    assert "no better than random" in trust_line(trust(top_drop=0.2, ratio=0.6), "en")
    assert "no better than random" in trust_line(trust(top_drop=-0.2, ratio=-0.6), "en")
    assert "gains 0.20" in trust_line(trust(top_drop=-0.2, ratio=-0.6), "en")
    assert "no better than random" in trust_line(trust(top_drop=-0.2, random_drop=-0.1, ratio=None), "en")
    assert "no ratio" in trust_line(trust(random_drop=-0.1, ratio=None), "en")
    assert "1 of the random draws did as much harm" in trust_line(trust(random_drops=(0.1, 1.6)), "en")
    assert trust_line(sample(trust=False), "en") == "Trust: not measured (asked not to measure it)."
    assert "不比随机" in trust_line(trust(top_drop=0.2, ratio=0.6), "zh")


def test_both_languages_say_everything() -> None:
    for key, entry in TEXTS.items():
        if key in ("no_cjk", "no_script"):  # shown where no font has Chinese
            continue
        assert set(entry) == set(LANGUAGES), key
        fields = [set(re.findall(r"{(\w+)}", text)) for text in entry.values()]
        assert fields[0] == fields[1], key
    out = drawn(sample("法国", signed=True), color=False, lang="zh")
    assert "提示词" in out
    assert "可信度" in out
    with pytest.raises(OptionError, match="language"):
        render(sample(), lang="fr")


@pytest.mark.parametrize(
    ("env", "lang"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LC_ALL": "", "LC_MESSAGES": "zh_TW", "LANG": "en_US"}, "zh"),
        ({"LANG": "de_DE"}, "en"),
    ],
)
def test_the_language_is_the_locale_s(env: dict[str, str], lang: str) -> None:
    assert language(env) == lang


@pytest.mark.parametrize(
    ("value", "dark"),
    [("", True), ("15;0", True), ("0;15", False), ("0;default;15", False), ("0;7", False), ("x", True)],
)
def test_the_background_is_read_from_colorfgbg(value: str, dark: bool) -> None:
    assert dark_background({"COLORFGBG": value}) is dark


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "latin-1"])
def test_an_output_that_cannot_write_every_character(encoding: str) -> None:
    out = drawn(sample("法 France 🎉", span="Paris"), color=False, encoding=encoding)
    assert "[France:9]" in out
    assert ("法" in out) == (encoding == "gbk")
    assert "\\U0001f389" in out


@pytest.mark.parametrize("width", [1, 5, 12])
def test_very_narrow_terminals_do_not_fail(width: int) -> None:
    drawn(sample("法国 capital🎉", span="Paris"), width)
    drawn(sample("法国 capital🎉", span="Paris"), width, color=False)


def test_empty_and_odd_traces() -> None:
    trace = sample("", "", per_token=False, chat=False)
    assert "(empty)" in drawn(trace)
    frame_only = sample("", "x", per_token=False)
    assert "<|im_start|>" in drawn(frame_only, color=False)
    zero = replace(sample(), total=np.zeros(11, dtype=np.float32))
    assert "What mattered most" not in drawn(zero)
    missing = replace(sample(), total=np.full(11, np.nan, dtype=np.float32))
    drawn(missing)
    drawn(missing, color=False)


def test_width_and_words() -> None:
    out = drawn(sample(PROMPT * 5), color=False, width=100, full=True)
    assert max(map(cell_len, out.splitlines())) > 60
    file = io.StringIO()
    Console(file=file, width=100, _environ={}).print(
        render(sample(PROMPT * 5), width=50, words=True, lang="en"), end=""
    )
    assert max(map(cell_len, file.getvalue().splitlines())) <= 50


def test_show_prints_with_one_line_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    sample().show()
    out = capsys.readouterr().out
    assert out.startswith("What made sample-model say")
    assert out.endswith("MB\n")
    file = io.StringIO()
    show(sample(), console=Console(file=file, width=80), lang="zh")
    assert "为什么说" in file.getvalue()


def test_a_ratio_beyond_a_hundred_is_not_given_digits() -> None:
    """Random removal that does next to nothing makes a ratio of thousands, whose digits are noise."""
    import io
    from dataclasses import replace

    from rich.console import Console

    from pellucid.render.terminal import show

    trace = sample()
    assert trace.trust is not None
    for ratio, said in ((11229.0, "100+ times as much"), (99.4, "99.4 times as much")):
        out = io.StringIO()
        drops = (1.5 / ratio,) * 2
        shown = replace(trace, trust=replace(trace.trust, ratio=ratio, random_drop=1.5 / ratio, random_drops=drops))
        show(shown, console=Console(file=out, width=200), lang="en")
        assert said in " ".join(out.getvalue().split())
