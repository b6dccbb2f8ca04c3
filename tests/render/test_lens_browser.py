"""Lens pages in a real browser: what pointer and keyboard tell, the flow that follows a token, dark, long texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pellucid.lens.flow import Edge, Flow, FlowNode
from pellucid.lens.results import Cell, Column, Expected, LogitLens, Surprisal, Surprise
from pellucid.render.lenshtml import asset, fragment, page, styles
from pellucid.trace.result import ModelInfo

pytestmark = pytest.mark.browser

Open = Callable[..., Any]
MODEL = ModelInfo("tiny", "tiny", None, "float32", "cpu", 10)
TOLD = "() => document.getElementById('tip').textContent"


def surprises(words: list[str]) -> Surprisal:
    """A text of these words, the k-th with k % 20 bits."""
    tokens, at = [], 0
    for k, word in enumerate(words):
        expected = (Expected(" <b>it</b>", 1, 0.5), Expected("\n", 2, 0.25))
        tokens.append(Surprise(word, k, at, at + len(word), float(k % 20), 2.0 ** -(k % 20), k + 1, 3.5, expected))
        at += len(word)
    text = "".join(words)
    return Surprisal(text, tuple(tokens), 1.0, len(words), at, 1.0, 1.0, 2.0, "<s>", 8192, 1, 0, MODEL, 1.0)


def lens() -> LogitLens:
    """Three positions, four layers; the answer is the last layer's."""
    columns = []
    for p, word in enumerate(["The", " capital", "天"]):
        cells = tuple(Cell(f" w{p}{n}", 10 * p + n, 0.2 * (n + 1), 1.0, 0.1 * n, 4 - n) for n in range(4))
        columns.append(Column(p, word, f" w{p}3", 10 * p + 3, 3, 3, cells))
    return LogitLens("The capital天", "residual", "predicted", (0, 1, 2, 3), tuple(columns), None, MODEL, 1.0)


def graph() -> Flow:
    """a b c -> X Y: X from a and b, Y from c and X."""
    nodes = tuple(FlowNode(t, t.isupper(), "user", 1.0, 1.0) for t in ("a", " b", " c", "X", "Y"))
    edges = (Edge(0, 3, 1.0, 1.0), Edge(1, 3, -0.5, 0.5), Edge(2, 4, 0.8, 1.0), Edge(3, 4, 0.6, 0.75))
    return Flow(nodes, edges, "gim", "logprob", "nats", 10, 0.7, 0.1, MODEL)


def test_the_pointer_and_the_keyboard_tell(view: Open) -> None:
    """Hover and arrows say the same; a text is never run; Escape clears; Tab stops once."""
    tab = view(page(surprises(["One", " two", "\n", " <i>three</i>"]), lang="en"))
    tokens = tab.locator(".heat [data-t]")
    assert tokens.count() == 4
    tokens.nth(1).hover()
    assert tab.evaluate(TOLD) == ("“␣two”: 1.00 bits, rank 2, entropy 3.50 bits. Expected: “␣<b>it</b>” 50 %, “↵” 25 %")
    tab.keyboard.press("Tab")
    assert tab.evaluate("() => document.activeElement.textContent") == "One"
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    assert tab.evaluate("() => document.activeElement.textContent") == "<i>three</i>"
    assert "“␣<i>three</i>”: 3.00 bits" in tab.evaluate(TOLD)
    assert tab.locator("[data-t][tabindex='0']").count() == 1
    tab.keyboard.press("Escape")
    assert tab.evaluate(TOLD) == ""
    assert tab.locator(".heat").evaluate("e => getComputedStyle(e).whiteSpace").startswith("pre-wrap")


def test_the_grid_goes_up_and_down(view: Open) -> None:
    tab = view(page(lens(), lang="en"))
    rows = tab.locator("table.grid tbody tr")
    assert [rows.nth(k).locator("td").first.inner_text() for k in range(4)] == ["3", "2", "1", "0"]
    assert tab.locator("td.strong[data-t]").all_inner_texts() == [" w03", " w13", " w23"]
    tab.locator("td[data-t]").first.focus()
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate(TOLD).startswith("layer 2, after “␣capital”: “␣w12” 60 %")
    tab.keyboard.press("ArrowUp")
    assert tab.evaluate(TOLD).startswith("layer 3, after “␣capital”")


def test_fragments_stand_beside_each_other_in_a_page(view: Open) -> None:
    """Each in a shadow root of its own: it tells at its own foot, and its style leaves the page as it was."""
    parts = [fragment(surprises(["One", " <i>two</i>"]), lang="en"), fragment(lens(), lang="en")]
    assert not any(mark in part for part in parts for mark in ("<h1", "<script", "<style"))
    js = (
        f"{asset('lens.js')}\nfor (const e of document.querySelectorAll('template')) {{"
        + """
      const root = e.parentElement.attachShadow({ mode: "open" });
      root.append(e.content.cloneNode(true));
      pellucidLens(root);
    }"""
    )
    body = "".join(
        f'<div id="d{k}"><template><style>{styles()}</style>{part}</template></div>' for k, part in enumerate(parts)
    )
    tab = view(
        f"<!DOCTYPE html><meta charset='utf-8'><table><td>x</table>{body}<script>{js}</script>", color_scheme="dark"
    )
    tab.locator("#d0 .heat [data-t]").first.focus()
    tab.keyboard.press("ArrowRight")
    tab.locator("#d1 td[data-t]").first.hover()
    told = tab.locator("#tip").all_inner_texts()
    assert told[0].startswith("“␣<i>two</i>”: 1.00 bits")
    assert told[1].startswith("layer 3, after “The”")
    assert tab.locator("#d0 [data-t][tabindex='0'], #d1 [data-t][tabindex='0']").count() == 2
    assert tab.locator("table").first.evaluate("e => getComputedStyle(e).fontSize") == "16px"


@pytest.mark.parametrize("layout", ["arcs", "steps", "layers"])
def test_a_flow_follows_its_tokens(view: Open, layout: str) -> None:
    """Sources and consequences of the token under pointer or focus; paths end at their tokens, in each layout."""
    tab = view(page(graph(), lang="en"))
    tab.locator(f".choose button[value={layout}]").click()
    assert tab.locator(f".choose button[value={layout}]").get_attribute("aria-pressed") == "true"
    nodes = tab.locator(".flow button")
    nodes.nth(3).hover()
    assert tab.locator(".flow .source").all_inner_texts() == ["a", "b"]
    assert tab.locator(".flow .consequence").all_inner_texts() == ["Y"]
    assert tab.locator(".flow path.off").count() == 1
    assert tab.locator(".flow path.neg").count() == 1
    tab.mouse.move(0, 0)
    assert tab.locator(".flow .off").count() == 0
    nodes.nth(2).focus()
    assert tab.locator(".flow .consequence").all_inner_texts() == ["Y"]
    # Where each path ends, beside the boxes of its two tokens.
    ends = tab.evaluate(
        """() => {
          const paths = [...document.querySelectorAll('.flow path')];
          const boxes = [...document.querySelectorAll('.flow button')].map((b) => b.getBoundingClientRect());
          const at = (p, l) => { const q = p.getPointAtLength(l), m = p.getScreenCTM();
            return [q.x * m.a + m.e, q.y * m.d + m.f]; };
          const far = ([x, y], b) =>
            Math.hypot(Math.max(b.left - x, x - b.right, 0), Math.max(b.top - y, y - b.bottom, 0));
          return [[0, 3], [1, 3], [2, 4], [3, 4]].map(([s, t], k) =>
            Math.max(far(at(paths[k], 0), boxes[s]), far(at(paths[k], paths[k].getTotalLength()), boxes[t])));
        }"""
    )
    assert max(ends) < 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_reader(view: Open, scheme: str) -> None:
    """Full surprise stands out from the page, and its text from it, in both."""
    tab = view(page(surprises([f" w{k}" for k in range(20)]), lang="zh"), color_scheme=scheme)
    assert tab.locator("html").get_attribute("lang") == "zh-CN"
    light = """([selector, what]) => { const c = getComputedStyle(document.querySelector(selector))[what]
      .match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
      .map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
      return .2126 * c[0] + .7152 * c[1] + .0722 * c[2]; }"""
    back, ink = (tab.evaluate(light, [".heat .l20", w]) for w in ("backgroundColor", "color"))
    high, low = max(back, ink), min(back, ink)
    assert (high + 0.05) / (low + 0.05) >= 4.5
    weak = tab.evaluate(light, [".heat .l1", "backgroundColor"])
    assert (weak < 0.1) == (scheme == "dark")


def test_two_thousand_tokens_do_not_stall(view: Open) -> None:
    """First paint under a second, and an arrow is answered in under 50 ms: the median of several, because whatever else
    the machine does adds to some."""
    document, firsts = page(surprises([f" word{k}" for k in range(2000)]), lang="en"), []
    for _ in range(3):
        tab = view(document)
        tab.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length > 0")
        firsts.append(tab.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    assert sorted(firsts)[1] < 1000
    tab.locator(".heat [data-t]").first.focus()
    usual = tab.evaluate(
        """() => { const times = []; for (let k = 0; k < 50; k++) { const began = performance.now();
          document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}));
          document.body.offsetHeight; times.push(performance.now() - began); }
          return times.sort((a, b) => a - b)[25]; }"""
    )
    assert usual < 50
    assert tab.evaluate("() => document.activeElement.textContent") == "word50"
