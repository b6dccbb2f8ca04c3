"""The component in a real browser: what a reader sees, points at, presses; and that no text is ever run."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import sample

from pellucid.render.html import asset, notebook, page
from pellucid.trace.result import Prompt, Source, Trace

pytestmark = pytest.mark.browser

ANSWER, PROMPT = ".answer .u", ".prompt .u:not(.frame)"
FOCUSED = "() => document.querySelector('pellucid-trace').shadowRoot.activeElement?.textContent"
Open = Callable[..., Any]


def names(tab: Any, selector: str) -> list[str]:
    return tab.locator(selector).evaluate_all("all => all.map((e) => e.className)")


def levels(tab: Any, selector: str) -> list[int | None]:
    """The drawn shade of each token, -20 to 20; None where it is drawn as not visible."""
    out: list[int | None] = []
    for name in (n.split() for n in names(tab, selector)):
        step = next((int(c[1:]) for c in name if c[0] == "l" and c[1:].isdigit()), 0)
        out.append(None if "x" in name else -step if "n" in name else step)
    return out


def expected(values: Any, top: float) -> list[int | None]:
    return [None if np.isnan(v) else int(np.sign(v) * min(20, np.floor(20 * abs(v) / top + 0.5))) for v in values]


def text_of(tab: Any, selector: str) -> list[str]:
    return tab.locator(selector).evaluate_all("all => all.map((e) => e.textContent)")


def settle(tab: Any) -> None:
    tab.wait_for_timeout(250)  # longer than the delay after which a pointer that left is believed


# ---- what is drawn ------------------------------------------------------------------------------------------


def test_prompt_and_answer_as_written(view: Open) -> None:
    prompt = "Roses are red,\n  violets  are blue,\n\n\tsugar is"
    tab = view(sample(prompt, " sweet,\nand so are you.", chat=False))
    assert text_of(tab, ".prompt .text") == [prompt]
    assert text_of(tab, ".answer .text") == [" sweet,\nand so are you."]
    assert tab.locator(".prompt .text").evaluate("e => getComputedStyle(e).whiteSpace").startswith("pre-wrap")
    assert tab.locator(".prompt h3").all_inner_texts() == ["Prompt"]


@pytest.mark.parametrize("signed", [False, True])
def test_shades_are_the_scores(view: Open, signed: bool) -> None:
    trace = sample(signed=signed)
    tab = view(trace)
    content = [trace.total[i] for i in trace.content]
    top = float(np.max(np.abs(content)))
    assert levels(tab, PROMPT) == expected(content, top)
    assert set(levels(tab, ANSWER)) == {0}
    legend = tab.locator(".legend").inner_text()
    assert f"{top:.3g}" in legend
    assert ("nats per unit of embedding norm" in legend) is not signed
    assert ("against" in legend) is signed
    if signed:  # told without colour too
        line = tab.locator(".prompt .u.n:not(.frame)").first.evaluate("e => getComputedStyle(e).textDecorationStyle")
        assert line == "dashed"


def test_messages_are_apart_and_named(view: Open) -> None:
    said = [("system", "Be brief."), ("user", "Hello?"), ("assistant", "Hi."), ("tool", "left out"), ("user", "Bye!")]
    sources: list[Source] = []
    for m, (role, text) in enumerate(said):
        sources.append(Source("<|s|>", 1, None, None, "special", None, 10 * m))
        for k, start in enumerate(range(0, len(text), 3) if role != "tool" else ()):
            part = text[start : start + 3]
            sources.append(Source(part, 2, start, start + len(part), role, m, 10 * m + 1 + k))
    messages = tuple({"role": r, "content": t} for r, t in said)
    base = sample(per_token=False)
    trace = replace(
        base,
        prompt=Prompt(None, messages, "", False),
        sources=tuple(sources),
        total=np.linspace(0, 1, len(sources), dtype=np.float32),
    )
    tab = view(trace)
    assert tab.locator(".prompt h3").all_inner_texts() == ["System", "User", "Assistant", "Tool", "User"]
    assert text_of(tab, ".message:not(.frames) .text") == [text for _, text in said]
    assert text_of(tab, ".prompt .gap") == ["left out"]  # by the template: shown, and told apart


def test_text_that_no_token_covers_is_shown(view: Open) -> None:
    trace = sample("one two three", chat=False, per_token=False)
    keep = (trace.sources[0], trace.sources[2])
    tab = view(replace(trace, sources=keep, total=trace.total[[0, 2]]))
    assert text_of(tab, ".prompt .text") == ["one two three"]
    assert text_of(tab, ".prompt .gap") == [" two"]


def test_template_is_quiet_until_asked_for(view: Open) -> None:
    tab = view(sample())
    frames = tab.locator(".prompt .frame")
    assert frames.count() == 4
    assert not frames.first.is_visible()
    tab.get_by_role("button", name="Template (4)").click()
    assert frames.first.is_visible()
    assert tab.get_by_role("button", name="Template (4)").get_attribute("aria-pressed") == "true"
    assert max(x or 0 for x in levels(tab, ".prompt .u")) == 20  # beyond the scale of the content: clipped


def test_a_prompt_of_template_only_is_shown(view: Open) -> None:
    trace = sample(per_token=False)
    keep = [0, 1]
    tab = view(replace(trace, sources=tuple(trace.sources[i] for i in keep), total=trace.total[keep], trust=None))
    assert tab.locator(".prompt .frame").first.is_visible()


def test_trust_in_words(view: Open) -> None:
    line = view(sample()).locator(".trust").inner_text()
    assert "1 highest-scored of 7 prompt tokens lowered the log-probability of the answer by 1.5 nats per token" in line
    assert "at random lowered it by 0.5 nats (mean of 2 draws)" in line
    assert "3 times the effect of chance" in line
    trace = sample()
    assert trace.trust is not None
    worse = replace(trace, trust=replace(trace.trust, top_drop=-0.25, ratio=-0.5))
    line = view(worse).locator(".trust").inner_text()
    assert "raised the log-probability of the answer by 0.25" in line
    assert "No better than chance" in line
    assert "asked not to measure it" in view(sample(trust=False)).locator(".trust").inner_text()


def test_where_it_came_from(view: Open) -> None:
    lines = view(sample()).locator("footer dl").inner_text()
    for part in ("sample-model", "saliency", "logprob", "full precision", "0.50 s", "10 forward and 1 backward"):
        assert part in lines


def test_span_is_marked(view: Open) -> None:
    trace = sample(signed=True, span="Paris")
    tab = view(trace)
    assert text_of(tab, ".answer .u.span") == ["Paris"]
    tab.locator(ANSWER).nth(0).hover()
    settle(tab)
    assert "outside the explained part" in tab.locator(".inspector").inner_text()


# ---- pointing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
def test_an_answer_token_shows_its_row(view: Open, signed: bool) -> None:
    trace = sample(signed=signed)
    assert trace.scores is not None
    tab = view(trace)
    tab.locator(ANSWER).nth(2).hover()
    settle(tab)
    n, row = len(trace.sources), trace.scores[2]
    seen = [row[i] for i in trace.content] + list(row[n : n + 2])
    top = float(np.max(np.abs(seen)))
    assert levels(tab, PROMPT) == expected([row[i] for i in trace.content], top)
    answer = expected(row[n:], top)
    answer[2] = 0  # itself: outlined, not hatched
    assert levels(tab, ANSWER) == answer
    assert "active" in names(tab, ANSWER)[2]
    panel = tab.locator(".inspector").inner_text()
    for part in ("is", "50.0%", "Rank\n3", "1.25 nats", "alt0", "alt4", "10.0%", "What caused it"):
        assert part in panel
    tab.mouse.move(5, 700)
    settle(tab)
    assert set(levels(tab, ANSWER)) == {0}
    assert "active" not in " ".join(names(tab, ANSWER))


def test_a_prompt_token_shows_its_column(view: Open) -> None:
    trace = sample()
    assert trace.scores is not None
    tab = view(trace)
    tab.locator(PROMPT).nth(5).hover()
    settle(tab)
    column = trace.scores[:, trace.content[5]]
    assert levels(tab, ANSWER) == expected(column, float(column.max()))
    panel = tab.locator(".inspector").inner_text()
    assert "What it caused" in panel
    assert f"{trace.total[trace.content[5]]:.3g} nats" in panel


def test_without_the_matrix_it_says_how_to_get_it(view: Open) -> None:
    tab = view(sample(per_token=False))
    for place in (tab.locator(ANSWER).nth(1), tab.locator(PROMPT).nth(1)):
        place.hover()
        settle(tab)
        panel = tab.locator(".inspector").inner_text()
        assert "per_token=True" in panel
        assert "--per-token" in panel
    tab.locator(ANSWER).nth(1).hover()
    settle(tab)
    assert "50.0%" in tab.locator(".inspector").inner_text()


def test_click_pins_and_escape_lets_go(view: Open) -> None:
    tab = view(sample())
    first, second = tab.locator(ANSWER).nth(3), tab.locator(ANSWER).nth(1)
    first.click()
    assert first.get_attribute("aria-pressed") == "true"
    before = levels(tab, PROMPT)
    second.hover()
    settle(tab)
    assert levels(tab, PROMPT) == before  # a pin holds
    second.click()
    assert (first.get_attribute("aria-pressed"), second.get_attribute("aria-pressed")) == ("false", "true")
    second.click()
    assert second.get_attribute("aria-pressed") == "false"
    first.click()
    tab.keyboard.press("Escape")
    assert first.get_attribute("aria-pressed") == "false"
    assert set(levels(tab, ANSWER)) == {0}


def test_tap(view: Open) -> None:
    tab = view(sample(), has_touch=True, is_mobile=True, viewport={"width": 390, "height": 700})
    tab.locator(ANSWER).nth(2).tap()
    assert tab.locator(ANSWER).nth(2).get_attribute("aria-pressed") == "true"
    assert "Rank" in tab.locator(".inspector").inner_text()
    settle(tab)
    token, panel = tab.locator(ANSWER).nth(2).bounding_box(), tab.locator(".inspector").bounding_box()
    assert token["y"] + token["height"] <= panel["y"]  # the panel does not cover what was tapped


def test_keyboard(view: Open) -> None:
    tab = view(sample())
    tab.locator(ANSWER).nth(0).focus()
    for key, wanted in [
        ("ArrowRight", "capital"),
        ("ArrowRight", "is"),
        ("ArrowLeft", "capital"),
        ("End", "."),
        ("ArrowRight", "."),
        ("Home", "The"),
    ]:
        tab.keyboard.press(key)
        assert tab.evaluate(FOCUSED) == wanted
    assert "active" in names(tab, ANSWER)[0]
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    assert tab.locator(ANSWER).nth(1).get_attribute("aria-pressed") == "true"
    assert "What caused it" in tab.locator(".sr").text_content()
    tab.keyboard.press(" ")
    assert tab.locator(ANSWER).nth(1).get_attribute("aria-pressed") == "false"
    stops = tab.locator(".u[tabindex='0']").evaluate_all("all => all.map((e) => e.textContent)")
    assert stops == ["What", "capital"]  # one stop for the prompt, one for the answer


def test_arrows_move_between_lines(view: Open) -> None:
    tab = view(sample("one two three\nfour five six\nseven", chat=False))
    tab.locator(PROMPT).nth(0).focus()
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate(FOCUSED) == "four"
    tab.keyboard.press("ArrowUp")
    assert tab.evaluate(FOCUSED) == "one"


def test_every_control_is_reached_by_tab(view: Open) -> None:
    tab = view(sample())
    reached = set()
    for _ in range(40):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate(FOCUSED))
    assert {"Tokens", "Words", "Template (4)", "中文", "What", "The", "The same as a table"} <= reached


def test_top_list(view: Open) -> None:
    trace = sample("a quick brown fox jumps over the lazy dog and then it sleeps", signed=True)
    tab = view(trace)
    lines = tab.locator(".top li").all_inner_texts()
    assert len(lines) == 10
    for line, best in zip(lines, trace.top(10), strict=True):
        name, value = line.split("\n")
        assert name.strip("␣") == best.text.strip()
        assert value == f"{best.score:+.3g}".replace("-", "−")
    tab.locator(".top button").nth(1).click()
    assert tab.locator(".prompt .pinned").text_content() == trace.top(2)[1].text.strip()


def test_top_list_scrolls_to_its_place(view: Open) -> None:
    prompt = " ".join(f"w{i}" for i in range(1500))
    trace = sample(prompt, per_token=False)
    total = trace.total.copy() / 10
    total[1400] = 5
    tab = view(replace(trace, total=total), reduced_motion="reduce")
    place = tab.locator(".prompt .u").nth(1400)
    inside = "e => { const a = e.getBoundingClientRect(), b = e.closest('.scroll').getBoundingClientRect();"
    inside += " return a.top >= b.top && a.bottom <= b.bottom; }"
    assert not place.evaluate(inside)
    tab.locator(".top button").nth(0).click()
    assert place.evaluate(inside)


# ---- words and characters -----------------------------------------------------------------------------------


def pieced() -> Trace:
    """'un' 'believ' 'able' is a word, an emoji is three tokens (the first holds the blank too), 法 is two."""
    base = sample("x", "y", chat=False, trust=False)
    text = "unbelievable 😀 法法!"
    spans = [(0, 2, 0), (2, 8, 0), (8, 12, 0), (12, 14, 1), (13, 14, 1), (13, 14, 1)]
    spans += [(14, 16, 2), (15, 16, 2), (16, 17, 3), (17, 18, 4)]
    sources = tuple(Source(text[a:b], i, a, b, "user", None, w) for i, (a, b, w) in enumerate(spans))
    made = [("é", 0, 1, 0), ("é", 0, 1, 0), ("té", 1, 3, 0), (" 好", 3, 5, 1)]
    sample_target = base.targets[0]
    targets = tuple(replace(sample_target, text=t, id=i, start=a, end=b, word=w) for i, (t, a, b, w) in enumerate(made))
    n, m = len(sources), len(targets)
    scores = np.arange(m * (n + m), dtype=np.float32).reshape(m, n + m)
    for i in range(m):
        scores[i, n + i :] = np.nan
    return replace(
        base,
        prompt=replace(base.prompt, text=text),
        answer=replace(base.answer, text="été 好"),
        sources=sources,
        targets=targets,
        total=np.array([1, 2, 3, 1, 1, 1, 2, 2, 1, 0], dtype=np.float32),
        scores=scores,
    )


def test_pieces_of_a_character_are_one(view: Open) -> None:
    trace = pieced()
    assert trace.scores is not None
    tab = view(trace)
    assert text_of(tab, ".prompt .text") == ["unbelievable 😀 法法!"]
    assert text_of(tab, PROMPT) == ["un", "believ", "able", "😀", "法", "法", "!"]
    assert levels(tab, PROMPT) == expected([1, 2, 3, 3, 4, 1, 0], 4)
    assert text_of(tab, ".answer .text") == ["été 好"]
    assert text_of(tab, ANSWER) == ["é", "té", "好"]
    tab.locator(ANSWER).nth(1).hover()
    settle(tab)
    row = trace.scores[2]
    merged = [row[0], row[1], row[2], row[3:6].sum(), row[6:8].sum(), row[8], row[9], row[10:12].sum()]
    assert levels(tab, PROMPT) + levels(tab, ANSWER)[:1] == expected(merged, max(merged))


def test_words(view: Open) -> None:
    trace = pieced()
    assert trace.scores is not None
    tab = view(trace)
    tab.get_by_role("button", name="Words").click()
    assert text_of(tab, PROMPT) == ["unbelievable", "😀", "法", "法", "!"]
    assert levels(tab, PROMPT) == expected([6, 3, 4, 1, 0], 6)
    assert text_of(tab, ANSWER) == ["été", "好"]
    tab.locator(ANSWER).nth(0).hover()
    settle(tab)
    rows = trace.scores[:3].sum(axis=0)
    merged = [rows[0:3].sum(), rows[3:6].sum(), rows[6:8].sum(), rows[8], rows[9]]
    assert levels(tab, PROMPT) == expected(merged, max(merged))
    assert levels(tab, ANSWER) == [0, None]
    tab.locator(PROMPT).nth(0).hover()
    settle(tab)
    column = trace.scores[:, :3].sum(axis=1)
    assert levels(tab, ANSWER) == expected([column[:3].sum(), column[3]], column[:3].sum())


def drag(tab: Any, first: int, last: int) -> None:
    """The pointer from one token of the answer to another, button held."""
    boxes = [tab.locator(ANSWER).nth(i).bounding_box() for i in (first, last)]
    (x, y), (to_x, to_y) = ((b["x"] + b["width"] / 2, b["y"] + b["height"] / 2) for b in boxes)
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(to_x, to_y, steps=8)
    tab.mouse.up()


@pytest.mark.parametrize("backwards", [False, True])
def test_a_drag_shows_the_sum_of_its_rows(view: Open, backwards: bool) -> None:
    trace = sample(signed=True)
    assert trace.scores is not None
    scores = trace.scores.copy()
    scores[2, trace.content[1]] = np.nan  # one of three that could not be seen is passed over
    scores[1:4, trace.content[2]] = np.nan  # none could: hatched
    tab = view(replace(trace, scores=scores))
    drag(tab, *((3, 1) if backwards else (1, 3)))
    settle(tab)
    n, rows = len(trace.sources), scores[1:4]
    summed = np.where(np.isnan(rows).all(axis=0), np.nan, np.nansum(rows, axis=0))
    seen = [*summed[list(trace.content)], *summed[[n, n + 4]]]
    top = float(np.nanmax(np.abs(seen)))
    assert levels(tab, PROMPT) == expected([summed[i] for i in trace.content], top)
    answer = expected(summed[n : n + 5], top)
    answer[1:4] = [0, 0, 0]  # the span itself is outlined
    assert levels(tab, ANSWER) == answer
    assert ["pinned" in c for c in names(tab, ANSWER)] == [False, True, True, True, False]
    panel = tab.locator(".inspector").inner_text()
    assert "capital is Paris" in panel
    assert "Tokens\n3" in panel
    assert f"{3 * np.log(0.5):.3g} nats".replace("-", "−") in panel
    tab.keyboard.press("Escape")
    assert set(levels(tab, ANSWER)) == {0}


def test_shift_and_arrows_stretch_a_span(view: Open) -> None:
    tab = view(sample())
    tab.locator(ANSWER).nth(2).focus()
    for _ in range(2):
        tab.keyboard.press("Shift+ArrowRight")
    assert text_of(tab, ".answer .pinned") == ["is", "Paris", "."]
    assert tab.evaluate(FOCUSED) == "."
    tab.keyboard.press("Shift+ArrowLeft")
    assert text_of(tab, ".answer .pinned") == ["is", "Paris"]
    assert "What caused it: " in (tab.locator(".sr").text_content() or "")
    tab.get_by_role("button", name="Words").click()  # outlives the switch, as one token does
    assert text_of(tab, ".answer .pinned") == ["is", "Paris"]
    tab.locator(ANSWER).nth(3).focus()
    tab.keyboard.press("ArrowLeft")
    assert text_of(tab, ".answer .pinned") == []


def test_sentences(view: Open) -> None:
    prompt = "It was 3.5 km off. “Go on!” he said?\nNo stop here\n你好。再见！ Well"
    trace = sample(prompt, "Yes. No, never. 好。", chat=False)
    assert trace.scores is not None
    tab = view(trace)
    tab.get_by_role("button", name="Sentences").click()
    parts = ["It was 3.5 km off.", "“Go on!”", "he said?", "No stop here", "你好。", "再见！", "Well"]
    assert text_of(tab, PROMPT) == parts
    assert text_of(tab, ANSWER) == ["Yes.", "No, never.", "好。"]
    # A token belongs to the sentence of its first letter.
    owner, at = [], 0
    starts = [prompt.index(p) for p in parts]
    for s in trace.sources:
        assert s.start is not None
        assert s.end is not None
        first = next((i for i in range(s.start, s.end) if not prompt[i].isspace()), s.start)
        at = max(k for k, start in enumerate(starts) if start <= first)
        owner.append(at)
    sums = [float(sum(t for t, o in zip(trace.total, owner, strict=True) if o == k)) for k in range(len(parts))]
    assert levels(tab, PROMPT) == expected(sums, max(sums))
    rows = trace.scores[[i for i, t in enumerate(trace.targets) if 5 <= t.end - 1 < 15]].sum(axis=0)
    merged = [float(sum(r for r, o in zip(rows, owner, strict=False) if o == k)) for k in range(len(parts))]
    tab.locator(ANSWER).nth(1).hover()
    settle(tab)
    first = float(sum(rows[len(owner) + i] for i, t in enumerate(trace.targets) if t.end <= 4))
    assert levels(tab, PROMPT) == expected(merged, max(*merged, first))


def test_a_pin_outlives_the_switch(view: Open) -> None:
    tab = view(pieced())
    tab.locator(PROMPT).nth(1).click()
    tab.get_by_role("button", name="Words").click()
    assert text_of(tab, ".prompt .pinned") == ["unbelievable"]
    assert tab.evaluate(FOCUSED) == "Words"


def test_unseen_is_hatched_not_zero(view: Open) -> None:
    trace = sample()
    total = trace.total.copy()
    total[3] = np.nan
    tab = view(replace(trace, total=total))
    place = tab.locator(".prompt .u").nth(3)
    assert "x" in (place.get_attribute("class") or "").split()
    assert "repeating-linear-gradient" in place.evaluate("e => getComputedStyle(e).backgroundImage")
    place.hover()
    settle(tab)
    assert "could not see" in tab.locator(".inspector").inner_text()


# ---- looks, languages, other ways to read -------------------------------------------------------------------

CONTRAST = r"""(element) => {
  const root = element.shadowRoot, text = root.querySelector(".prompt .text"), out = {};
  const rgb = (s) => { const [r, g, b, a = 1] = s.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = ([r, g, b, a], c) => [r, g, b].map((x, i) => x * a + c[i] * (1 - a));
  const linear = (x) => (x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
  const light = (c) => .2126 * linear(c[0] / 255) + .7152 * linear(c[1] / 255) + .0722 * linear(c[2] / 255);
  const ratio = (a, b) => (Math.max(light(a), light(b)) + .05) / (Math.min(light(a), light(b)) + .05);
  const color = (e, pseudo) => rgb(getComputedStyle(e, pseudo).color);
  const card = rgb(getComputedStyle(root.querySelector(".card")).backgroundColor);
  const paper = rgb(getComputedStyle(element).backgroundColor);
  for (const kind of ["u", "u frame", "u nl"]) for (const sign of ["p", "n"]) for (let l = 1; l <= 20; l++) {
    const token = document.createElement("span");
    token.className = `${kind} ${sign} l${l}`;
    text.append(token);
    const back = over(rgb(getComputedStyle(token).backgroundColor), card);
    out[token.className] = Math.min(ratio(color(token), back), ratio(color(token, "::before"), back));
    token.remove();
  }
  const shaded = new Set(Object.values(out).map((x) => x.toFixed(2))).size;
  for (const part of [".trust", "footer dt", "h1", ".legend .scale"]) {
    out[part] = ratio(color(root.querySelector(part)), paper);
  }
  for (const part of ["h2", "h3", ".top .value", ".hint", ".answer small"]) {
    out[part] = ratio(color(root.querySelector(part)), card);
  }
  return [out, shaded];
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_readable_on_every_shade(view: Open, theme: str) -> None:
    tab = view(sample(signed=True), color_scheme=theme)
    found, shaded = tab.locator("pellucid-trace").evaluate(CONTRAST)
    assert len(found) > 120
    assert shaded > 30  # the steps differ: what was measured are shades
    assert {k: v for k, v in found.items() if v < 4.5} == {}


def test_theme_switch(view: Open) -> None:
    tab = view(sample(), color_scheme="dark")
    back = "e => getComputedStyle(e).backgroundColor"
    dark = tab.locator("pellucid-trace").evaluate(back)
    tab.get_by_role("button", name="Light").click()
    light = tab.locator("pellucid-trace").evaluate(back)
    assert dark != light
    assert tab.get_by_role("button", name="Dark").is_visible()
    assert light == view(sample(), color_scheme="light").locator("pellucid-trace").evaluate(back)


def test_chinese(view: Open) -> None:
    tab = view(sample(), locale="zh-CN")
    assert tab.evaluate("document.documentElement.lang") == "zh-CN"
    assert "是什么让模型这样说" in tab.locator("h1").first.inner_text()
    assert "1 个提示词元（共 7 个），答案的对数概率平均每词元下降 1.5 奈特" in tab.locator(".trust").inner_text()
    tab.get_by_role("button", name="English").click()
    assert "What made the model say this" in tab.locator("h1").first.inner_text()
    assert tab.evaluate("document.documentElement.lang") == "en"
    assert tab.evaluate(FOCUSED) == "中文"


def test_every_word_is_in_both_languages(view: Open) -> None:
    tab = view(sample())
    source = asset("view.js")
    body = source[source.index("const WORDS") : source.index("/** Three significant digits")]
    keys = tab.evaluate(
        "(body) => { const num = String; " + body + "; const list = (o, at) => Object.entries(o)"
        ".flatMap(([k, v]) => (v && v.constructor === Object ? list(v, at + k + '.') : [at + k]));"
        " return [list(WORDS.en, ''), list(WORDS.zh, '')]; }",
        "",
    )
    assert sorted(keys[0]) == sorted(keys[1])


def test_names_for_screen_readers(view: Open) -> None:
    tab = view(sample("a\n\nb", chat=False))
    assert tab.locator(PROMPT).nth(1).get_attribute("aria-label").startswith("line break, Score")
    assert tab.locator(ANSWER).nth(0).get_attribute("aria-label") == "The, Probability 50.0%"
    assert tab.get_by_role("group", name="Prompt").count() == 1
    assert tab.get_by_role("group", name="Answer").count() == 1


def test_table(view: Open) -> None:
    trace = sample()
    tab = view(trace)
    assert tab.locator("table").count() == 0
    tab.locator("summary").click()
    tab.locator("table").nth(1).wait_for()
    assert tab.locator("tbody tr").count() == len(trace.sources) + len(trace.targets)


def test_without_scripts(view: Open) -> None:
    tab = view(sample(), java_script_enabled=False)
    assert tab.locator("noscript h1").is_visible()
    assert tab.locator("noscript td", has_text="France").is_visible()


def test_phone_width(view: Open) -> None:
    tab = view(sample("x" * 300 + " and more", signed=True), viewport={"width": 340, "height": 700}, is_mobile=True)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 340
    tab.get_by_role("button", name="Template").click()
    tab.locator("summary").click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 340


def test_reduced_motion(view: Open) -> None:
    tab = view(sample(), reduced_motion="reduce")
    assert tab.locator(".tools button").first.evaluate("e => getComputedStyle(e).transitionDuration") == "0s"


def test_not_a_trace(view: Open) -> None:
    tab = view(page(sample()).replace('"schema":"pellucid.trace/1"', '"schema":"pellucid.trace/9"'))
    assert "pellucid.trace/1" in tab.locator(".bad").inner_text()


# ---- security -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chat", [False, True])
def test_hostile_text_is_shown_and_not_run(view: Open, chat: bool) -> None:
    run = "window.__pwned=1;alert(1)"
    text = (
        f"<script>{run}</script> \"onload={run} ' onfocus={run} </script><img src=x onerror={run}> "
        f"\u2028{run}\u2029 </noscript></style><svg onload={run}> javascript:{run} {{{{7*7}}}} &lt;b&gt;"
    )
    trace = sample(text, text, chat=chat)
    trace = replace(
        trace,
        model=replace(trace.model, name=text, source=text, revision=text),
        method=replace(trace.method, name=text, parameters={text: text}),
        objective=text,
        targets=tuple(
            replace(t, alternatives=tuple(replace(a, text=text) for a in t.alternatives)) for t in trace.targets
        ),
        trust=None,
        trust_note=text,
        versions={text: text},
    )
    tab = view(trace)
    for press in ("Template", "Words", "中文"):
        if chat or press != "Template":
            tab.get_by_role("button", name=press).click()
    tab.locator(ANSWER).nth(2).click()
    tab.locator("summary").click()
    settle(tab)
    assert text_of(tab, ".message:not(.frames) .text") == [text]
    assert text_of(tab, ".answer .text") == [text]
    assert text in tab.locator(".trust").text_content()
    assert tab.evaluate("window.__pwned") is None
    made = "e => document.images.length + e.shadowRoot.querySelectorAll('img, script, svg').length"
    assert tab.locator("pellucid-trace").evaluate(made) == 0


def test_policy_stops_a_script_that_got_in(browser: Any, tmp_path: Path) -> None:
    """Were an escape ever wrong, the policy would still hold."""
    file = tmp_path / "x.html"
    broken = "<body>\n<script>window.__pwned = 1</script><img src='http://127.0.0.1:9/x' onerror='window.__pwned = 2'>"
    file.write_text(page(sample()).replace("<body>", broken), encoding="utf-8")
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(file.as_uri())
    assert tab.evaluate("window.__pwned") is None
    assert tab.locator(ANSWER).count() == 5  # and the view still works
    context.close()


# ---- notebooks, servers, size -------------------------------------------------------------------------------


def test_several_outputs_in_a_notebook(browser: Any, tmp_path: Path) -> None:
    """As JupyterLab does: innerHTML, in a page that knows nothing of us."""
    file = tmp_path / "lab.html"
    lab = "<!DOCTYPE html><body data-jp-theme-light='false'><div id=a></div><div id=b></div>"
    file.write_text(lab, encoding="utf-8")
    context = browser.new_context(viewport={"width": 1000, "height": 1600}, color_scheme="light", locale="en-US")
    tab = context.new_page()
    tab.goto(file.as_uri())
    for place, trace in (("a", sample()), ("b", sample("<b>Und</b> 'so' \"weiter\" &amp;", "Ja.", signed=True))):
        tab.locator(f"#{place}").evaluate("(e, html) => { e.innerHTML = html; }", notebook(trace))
    first, second = tab.frame_locator("#a iframe"), tab.frame_locator("#b iframe")
    first.locator(ANSWER).nth(2).hover()
    settle(tab)
    assert "Rank" in first.locator(".inspector").inner_text()
    assert second.locator(".prompt .text").nth(1).text_content() == "<b>Und</b> 'so' \"weiter\" &amp;"
    height = tab.locator("#a > div").bounding_box()["height"]
    inner = first.locator(".app").bounding_box()["height"]
    assert height == pytest.approx(min(inner, 860) + 2, abs=2)
    dark = first.locator("pellucid-trace").evaluate("e => getComputedStyle(e).colorScheme")
    assert dark == "dark"  # as the notebook, whatever the system says
    context.close()


@pytest.mark.parametrize("early", [False, True])
def test_served_under_a_strict_policy(browser: Any, early: bool) -> None:
    """The same files from a server: style beside the script, the trace set by a script of the page."""
    context = browser.new_context(locale="en-US")
    tab = context.new_page()
    log: list[str] = []
    tab.on("console", lambda m: log.append(m.text))
    tab.on("pageerror", lambda e: log.append(str(e)))
    data = sample().to_json()
    scripts = ["<script src=/s/view.js defer></script>", "<script src=/app.js defer></script>"]
    if early:  # the page sets the trace before the component is there
        scripts.reverse()
    html = f"<!DOCTYPE html><link rel=icon href=data:,>{''.join(scripts)}<pellucid-trace></pellucid-trace>"
    files = {
        "/": ("text/html", html),
        "/s/view.js": ("text/javascript", asset("view.js")),
        "/s/view.css": ("text/css", asset("view.css")),
        "/app.js": ("text/javascript", f"document.querySelector('pellucid-trace').trace = {data};"),
    }

    def answer(route: Any) -> None:
        kind, body = files[route.request.url.removeprefix("http://trace.test")]
        policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:"
        route.fulfill(body=body, headers={"content-type": f"{kind}; charset=utf-8", "content-security-policy": policy})

    tab.route("**/*", answer)
    tab.goto("http://trace.test/")
    tab.locator(ANSWER).nth(2).hover()
    settle(tab)
    assert "Rank" in tab.locator(".inspector").inner_text()
    assert tab.locator(".app").evaluate("e => getComputedStyle(e).display") == "grid"
    tab.evaluate(f"() => {{ document.querySelector('pellucid-trace').trace = {sample(answer='No.').to_json()}; }}")
    assert text_of(tab, ANSWER) == ["No", "."]
    assert log == []
    context.close()


def test_a_long_prompt_stays_quick(view: Open) -> None:
    """4,000 tokens. The bound is loose, for machines that are shared; a hover took 4 ms where it was written."""
    trace = sample(" ".join(f"w{i}" for i in range(4000)), "one two three four five six seven eight")
    assert trace.scores is not None
    tab = view(trace)
    assert tab.locator(PROMPT).count() == 4000
    cost = tab.locator("pellucid-trace").evaluate(WORK)
    assert statistics.median(cost) < 40
    tab.locator(ANSWER).nth(5).hover()
    settle(tab)  # what is out of view follows in parts
    row = trace.scores[5][: len(trace.sources)]
    assert levels(tab, PROMPT) == expected(row[list(trace.content)], float(np.nanmax(trace.scores[5][2:])))


WORK = """(element) => {
  // Style and layout are forced within the measurement; requestAnimationFrame is made immediate.
  const later = window.requestAnimationFrame, times = [];
  window.requestAnimationFrame = (f) => (f(), 0);
  const tokens = [...element.shadowRoot.querySelectorAll(".answer .u")], app = element.shadowRoot.querySelector(".app");
  for (let i = 0; i < 25; i++) {
    const token = tokens[(7 * i + 3) % tokens.length], start = performance.now();
    token.dispatchEvent(new PointerEvent("pointerover", { bubbles: true, composed: true, pointerType: "mouse" }));
    void app.offsetHeight;
    times.push(performance.now() - start);
  }
  window.requestAnimationFrame = later;
  return times;
}"""
