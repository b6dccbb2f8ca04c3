"""The page in a real browser, on the embedded model: typing, the answer as it comes, pointing, cancelling, languages,
themes, permalinks, a phone; and that axe-core finds nothing wrong. Lens and chats: ``test_browser_tabs``."""

from __future__ import annotations

import json
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import Site, serving

pytestmark = pytest.mark.browser

Visit = Callable[..., Any]
QUESTION = "What is the capital of France?"
ANSWER, PROMPT = ".answer .u", ".prompt .u:not(.frame)"
DONE = "pellucid-trace .trust"  # the explanation is drawn
SLOW = 180_000  # ms that a request of the model may take
TABS = ("explain", "highlight", "lens", "chat", "documents", "history")


@pytest.fixture(scope="module")
def explained(site: Site) -> dict[str, Any]:
    """A stored explanation, as the API gives it."""
    made = site.ask("POST", "/api/v1/explain", {"prompt": QUESTION, "max_new_tokens": 16})
    stored: dict[str, Any] = site.ask("GET", f"/api/v1/traces/{made['id']}")
    return stored


@pytest.fixture(scope="module")
def highlighted(site: Site) -> dict[str, Any]:
    """A stored highlight."""
    asked = {"query": "capital gains", "text": "The museum opens at nine.\n\nThe tax on capital gains rose.\n"}
    made = site.ask("POST", "/api/v1/relevance", asked)
    stored: dict[str, Any] = site.ask("GET", f"/api/v1/traces/{made['id']}")
    return stored


def drawn(tab: Any, selector: str) -> list[int | None]:
    """The shade of each token, -20 to 20; None where it is hatched as not visible."""
    out: list[int | None] = []
    for name in (n.split() for n in tab.locator(selector).evaluate_all("all => all.map((e) => e.className)")):
        step = next((int(c[1:]) for c in name if c[0] == "l" and c[1:].isdigit()), 0)
        out.append(None if "x" in name else -step if "n" in name else step)
    return out


def levels(values: Any, top: float) -> list[int | None]:
    return [None if np.isnan(v) else int(np.sign(v) * min(20, np.floor(20 * abs(v) / top + 0.5))) for v in values]


def shades_of(trace: dict[str, Any], rows: slice) -> list[int | None]:
    """The shades that the prompt should have for these tokens of the answer: by the file, without the page."""
    scores = np.array(trace["scores"], dtype=float)[rows]
    summed = np.where(np.isnan(scores).all(axis=0), np.nan, np.nansum(scores, axis=0))
    content = [i for i, s in enumerate(trace["sources"]) if s["start"] is not None]
    own = range(len(trace["sources"]) + rows.start, len(trace["sources"]) + rows.stop)
    later = [v for i, v in enumerate(summed) if i >= len(trace["sources"]) and i not in own]
    return levels(summed[content], float(np.nanmax(np.abs([*summed[content], *later]))))


# Milliseconds from an event to the next frame that shows what it changed.
STOPWATCH = """() => {
  const root = document.querySelector("pellucid-trace").shadowRoot;
  let from = null;
  window.took = [];
  for (const kind of ["click", "pointerup"]) root.addEventListener(kind, (e) => { from = e.timeStamp; }, true);
  new MutationObserver(() => {
    if (from === null) return;
    const at = from;
    from = null;
    requestAnimationFrame(() => setTimeout(() => window.took.push(performance.now() - at)));
  }).observe(root, { subtree: true, attributes: true, attributeFilter: ["class"] });
}"""


def test_first_page_is_small_and_soon_there(visit: Visit) -> None:
    tab = visit()
    tab.wait_for_function("() => customElements.get('pellucid-trace')")
    sizes = {r["name"]: r["decodedBodySize"] for r in tab.evaluate("() => performance.getEntriesByType('resource')")}
    files = {name.rpartition("/")[2]: size for name, size in sizes.items() if "/static/" in name}
    assert {"app.css", "app.js", "api.js", "dom.js", "words.js", "explain.js", "view.js", "view.css"} == set(files)
    page = tab.evaluate("() => performance.getEntriesByType('navigation')[0].decodedBodySize")
    assert page + sum(files.values()) < 150_000
    ready = "() => performance.getEntriesByName('pellucid-ready')[0].startTime"
    times = [visit().evaluate(ready) for _ in range(3)]
    print(f"first page {page + sum(files.values())} bytes; ready after {min(times):.0f} ms")
    assert min(times) < 1000


def test_ask_watch_point(visit: Visit, site: Site) -> None:
    tab = visit()
    prompt = tab.get_by_role("textbox", name="Prompt")
    prompt.fill("")
    prompt.press_sequentially(QUESTION)
    prompt.press("Control+Enter")
    written = tab.locator(".stream .answer .written")
    written.filter(has_text="The").wait_for(timeout=SLOW)
    assert tab.locator("pellucid-trace").count() == 0  # the answer is read before the matrix is there
    assert tab.locator(".busy progress").count() == 1
    tab.locator(DONE).wait_for(timeout=SLOW)
    assert tab.locator(".busy").count() == 0
    newest = site.ask("GET", "/api/v1/traces?limit=1")["results"][0]
    trace = site.ask("GET", f"/api/v1/traces/{newest['id']}")["result"]
    assert trace["prompt"]["text"] == QUESTION
    assert tab.locator(".answer .text").text_content() == trace["answer"]["text"]

    tab.evaluate(STOPWATCH)
    tab.locator(ANSWER).nth(4).click()
    assert drawn(tab, PROMPT) == shades_of(trace, slice(4, 5))
    boxes = [tab.locator(ANSWER).nth(i).bounding_box() for i in (1, 3)]
    (x, y), (to_x, to_y) = ((b["x"] + b["width"] / 2, b["y"] + b["height"] / 2) for b in boxes)
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(to_x, to_y, steps=5)
    tab.mouse.up()
    assert drawn(tab, PROMPT) == shades_of(trace, slice(1, 4))
    tab.wait_for_function("() => window.took.length >= 2")
    took = tab.evaluate("() => window.took")
    print(f"click to highlight {took[0]:.0f} ms, end of a drag to highlight {took[-1]:.0f} ms")
    assert max(took) < 100


def test_cancel_stops_the_server(visit: Visit, site: Site) -> None:
    tab = visit()
    before = site.ask("GET", "/api/v1/traces?limit=1")["results"][:1]
    tab.get_by_role("textbox", name="Prompt").fill("Write a long story about a lighthouse keeper and the sea.")
    tab.get_by_text("Options").click()
    tab.get_by_label("Longest answer (tokens)").fill("400")
    tab.get_by_role("button", name="Explain", exact=True).click()
    written = tab.locator(".stream .answer .written")
    written.filter(has_text=" ").wait_for(timeout=SLOW)
    assert "left" in tab.locator(".busy .left").filter(has_text="left").inner_text(timeout=SLOW)
    assert tab.locator(".busy .share").inner_text().endswith("%")
    tab.get_by_role("button", name="Cancel").click()
    tab.locator(".busy").wait_for(state="detached")
    assert written.inner_text()  # what was written stays
    assert tab.locator(".error").count() == 0
    text = written.inner_text()
    time.sleep(1)
    assert written.inner_text() == text
    assert site.busy(1.5) < 0.3  # nothing computes any more
    assert site.ask("GET", "/api/v1/traces?limit=1")["results"][:1] == before


def test_errors_are_told_in_the_servers_words(visit: Visit, site: Site) -> None:
    tab = visit()
    tab.get_by_role("button", name="Explain", exact=True).click()
    assert tab.get_by_role("alert").inner_text() == "Write a prompt first."
    long = "word " * 9000
    with pytest.raises(urllib.error.HTTPError) as refused:
        site.ask("POST", "/api/v1/explain", {"prompt": long})
    message = json.loads(refused.value.read())["error"]["message"]
    tab.get_by_role("textbox", name="Prompt").fill(long)
    tab.get_by_role("button", name="Explain", exact=True).click()
    tab.get_by_role("alert").filter(has_text="8192").wait_for(timeout=SLOW)
    assert tab.get_by_role("alert").inner_text() == message


def test_chat_contrast_and_comparison(visit: Visit, site: Site) -> None:
    tab = visit()
    tab.get_by_role("radio", name="Chat").check()
    tab.get_by_role("textbox", name="Message 1").fill("My name is Ada.")
    tab.get_by_role("button", name="Add a message").click()
    tab.get_by_role("textbox", name="Message 2").fill("Hello Ada.")
    tab.get_by_role("button", name="Add a message").click()
    tab.get_by_role("textbox", name="Message 3").fill("What is my name?")
    tab.get_by_role("button", name="Remove message 2").click()
    assert tab.get_by_role("textbox", name="Message 2").input_value() == "What is my name?"
    tab.get_by_text("Options").click()
    tab.get_by_label("Answer of your own").fill("Ada")
    tab.get_by_label("Why not …").fill("Bob")
    tab.get_by_role("checkbox", name="input_x_gradient").check()
    tab.get_by_role("button", name="Explain", exact=True).click()
    tab.locator(".side pellucid-trace .trust").nth(1).wait_for(timeout=SLOW)
    stored = site.ask("GET", "/api/v1/traces?limit=1")["results"][0]
    assert stored["kind"] == "comparison"
    found = site.ask("GET", f"/api/v1/traces/{stored['id']}")["result"]
    assert [m["content"] for m in found["traces"][0]["prompt"]["messages"]] == ["My name is Ada.", "What is my name?"]
    assert {t["objective"] for t in found["traces"]} == {"contrast"}
    assert tab.locator(".side > section > h2").all_inner_texts() == ["saliency", "input_x_gradient"]
    shown = float(tab.locator(".agreement table").first.locator("tbody tr").first.locator("td").nth(1).inner_text())
    assert shown == pytest.approx(found["agreement"]["spearman"][0][1], abs=0.006)


def test_language_follows_the_browser_and_is_remembered(visit: Visit, explained: dict[str, Any]) -> None:
    tab = visit(f"/r/{explained['id']}", locale="zh-CN")
    assert tab.get_by_role("tab").all_inner_texts() == ["解释", "高亮", "透视", "对话", "文档", "历史"]
    assert tab.evaluate("() => document.documentElement.lang") == "zh-CN"
    tab.locator(DONE).wait_for()
    assert "可信程度" in tab.locator(".trust").inner_text()
    tab.get_by_role("button", name="English").click()
    assert tab.get_by_role("tab").first.inner_text() == "Explain"
    assert "How far to trust it" in tab.locator(".trust").inner_text()
    assert tab.get_by_role("button", name="Explain", exact=True).is_visible()
    tab.reload()
    assert tab.get_by_role("tab").first.inner_text() == "Explain"


def test_theme_follows_the_system_and_is_remembered(visit: Visit, explained: dict[str, Any]) -> None:
    tab = visit(f"/r/{explained['id']}", color_scheme="dark")
    tab.locator(DONE).wait_for()
    colours = """() => [document.body, document.querySelector("pellucid-trace").shadowRoot.querySelector(".card")]
      .map((e) => getComputedStyle(e).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0))"""
    assert max(tab.evaluate(colours)) < 150
    tab.get_by_role("button", name="Light theme").click()
    assert min(tab.evaluate(colours)) > 600
    tab.reload()
    tab.locator(DONE).wait_for()
    assert min(tab.evaluate(colours)) > 600


def test_permalink_opens_the_same_view(visit: Visit, explained: dict[str, Any]) -> None:
    tab = visit(f"/r/{explained['id']}", permissions=["clipboard-read", "clipboard-write"])
    tab.locator(DONE).wait_for()
    tab.get_by_role("button", name="Copy link").click()
    tab.get_by_text("Link copied.").first.wait_for()
    link = tab.evaluate("() => navigator.clipboard.readText()")
    other = visit(link.partition("//")[2].partition("/")[1] + link.partition("//")[2].partition("/")[2])
    other.locator(DONE).wait_for()
    assert other.locator(".answer .text").text_content() == explained["result"]["answer"]["text"]
    assert other.get_by_role("textbox", name="Prompt").input_value() == QUESTION
    other.get_by_role("tab", name="Highlight").click()
    other.wait_for_url("**/#highlight")
    other.go_back()
    other.locator(DONE).wait_for()
    assert other.get_by_role("tab", name="Explain").get_attribute("aria-selected") == "true"


def test_flow_graph(visit: Visit, explained: dict[str, Any]) -> None:
    tab = visit(f"/r/{explained['id']}")
    tab.get_by_role("button", name="Flow graph").click()
    tab.locator(".fragment .flow path").first.wait_for(state="attached", timeout=SLOW)
    nodes = tab.locator(".fragment .flow button[data-n]").all_inner_texts()
    assert "Paris" in nodes
    tab.locator(".fragment .flow button", has_text="Paris").click()
    assert tab.locator(".fragment #tip").inner_text().strip() == "Paris"


def test_keyboard_alone(visit: Visit, explained: dict[str, Any]) -> None:
    tab = visit(f"/r/{explained['id']}")
    tab.locator(DONE).wait_for()
    tab.get_by_role("tab", name="Explain").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("() => document.activeElement.id") == "tab-highlight"
    tab.keyboard.press("End")
    assert tab.get_by_role("tab", name="History").get_attribute("aria-selected") == "true"
    tab.keyboard.press("Home")
    assert tab.locator("#panel-explain").is_visible()
    focus = """() => { let e = document.activeElement;
      while (e?.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;
      return e; }"""
    token = ""
    for _ in range(40):  # into the answer, by Tab alone
        tab.keyboard.press("Tab")
        token = tab.evaluate(f"() => ({focus})().closest('.answer') ? ({focus})().textContent : ''")
        ring = tab.evaluate(f"() => getComputedStyle(({focus})()).outlineStyle")
        assert ring != "none" or tab.evaluate(f"() => ({focus})().type === 'radio'")
        if token:
            break
    assert token == "The"
    for _ in range(2):
        tab.keyboard.press("Shift+ArrowRight")
    assert drawn(tab, PROMPT) == shades_of(explained["result"], slice(0, 3))


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_no_tab_is_wider_than_a_phone(
    visit: Visit, explained: dict[str, Any], highlighted: dict[str, Any], locale: str
) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "locale": locale}
    tab = visit(f"/r/{explained['id']}", **phone)
    tab.locator(DONE).wait_for()
    tab.evaluate("() => document.querySelector('.composer details').setAttribute('open', '')")
    for name in TABS:
        tab.locator(f"#tab-{name}").tap()
        tab.locator(f"#panel-{name} .stack > *:not(.wait)").first.wait_for(state="attached")
        assert tab.evaluate("() => document.documentElement.scrollWidth") <= 360, name
    tab.goto(f"{tab.url.partition('/#')[0]}/r/{highlighted['id']}")
    tab.locator(".found mark").first.wait_for()
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= 360


def test_highlight_follows_the_query(visit: Visit, site: Site, tmp_path: Path) -> None:
    text = "The museum opens at nine.\n\nThe tax on capital gains rose.\n"
    file = tmp_path / "news.txt"
    file.write_text(text, encoding="utf-8")
    tab = visit("/#highlight")
    stored = len(site.ask("GET", "/api/v1/traces?kind=relevance")["results"])
    tab.locator("input[type=file]").set_input_files(file)
    tab.wait_for_function("(t) => document.querySelector('#panel-highlight textarea').value === t", arg=text)
    with tab.expect_response("**/api/v1/relevance") as first:
        tab.get_by_role("searchbox", name="Query").press_sequentially("museum", delay=20)
    asked = json.loads(first.value.request.post_data)
    assert asked["query"] == "museum"  # once, when the typing rested
    assert asked["keep"] is False
    tab.locator(".found mark").first.wait_for(timeout=SLOW)
    drawn_now = "() => [...document.querySelectorAll('.found mark')].map((e) => e.textContent + e.style.cssText).join()"
    museum = tab.evaluate(drawn_now)
    tab.get_by_role("searchbox", name="Query").fill("capital gains tax")
    tab.wait_for_function(f"(old) => ({drawn_now})() !== old", arg=museum, timeout=SLOW)
    assert len(site.ask("GET", "/api/v1/traces?kind=relevance")["results"]) == stored
    tab.get_by_role("button", name="Highlight").click()
    tab.locator(".found .tools button", has_text="JSON").wait_for(timeout=SLOW)
    newest = site.ask("GET", "/api/v1/traces?kind=relevance&limit=1")["results"][0]
    found = site.ask("GET", f"/api/v1/traces/{newest['id']}")["result"]
    assert found["query"] == "capital gains tax"
    shown = tab.locator(".found .text")
    assert shown.text_content() == text  # line breaks kept, nothing lost
    assert shown.evaluate("e => getComputedStyle(e).whiteSpace").startswith("pre-wrap")
    tab.get_by_role("radio", name="Tokens").check()
    best = max(found["tokens"], key=lambda t: t["score"])
    strength = """all => { const at = (e) => Number(e.style.getPropertyValue("--at"));
      return all.sort((a, b) => at(b) - at(a))[0].textContent; }"""
    assert tab.locator(".found mark").evaluate_all(strength) == best["text"].strip()
    assert tab.locator("meter").evaluate("e => e.value") == pytest.approx(found["degree"], abs=1e-3)
    tab.get_by_label("Show from").fill("90")
    kept = [t["text"].strip() for t in found["tokens"] if t["score"] >= 0.9 * best["score"] and t["text"].strip()]
    assert tab.locator(".found mark").all_inner_texts() == kept


def test_history(visit: Visit, site: Site, explained: dict[str, Any]) -> None:
    hostile = "<img src=x onerror=alert(1)> & </script><script>alert(2)</script>"
    made = site.ask("POST", "/api/v1/next", {"prompt": hostile, "steps": 2, "raw": True})
    flow = site.ask("POST", "/api/v1/flow", {"id": explained["id"]})  # of a kind that has no tab of its own
    tab = visit("/#history")
    tab.locator(f".stored li:first-child a[href$='{flow['id']}']").wait_for()  # newest first
    assert hostile in tab.locator(".stored li").nth(1).locator("a").inner_text()  # text, and not run
    tab.get_by_label("Search").fill("capital of France")
    tab.wait_for_function(
        "() => [...document.querySelectorAll('.stored a')].every((a) => a.textContent.includes('France'))"
    )
    line = tab.locator(f".stored li:has(a[href$='{explained['id']}'])")
    line.get_by_role("button", name="Link and files").click()
    with tab.expect_download() as got:
        line.get_by_role("button", name="JSON").click()
    assert json.loads(Path(got.value.path()).read_text("utf-8")) == explained["result"]
    with tab.expect_download() as got:
        line.get_by_role("button", name="PNG").click()
    assert Path(got.value.path()).read_bytes().startswith(b"\x89PNG\r\n")
    tab.get_by_label("Search").fill("")
    tab.get_by_label("Kind").select_option("flow")
    tab.wait_for_function(
        """() => { const all = [...document.querySelectorAll(".stored .badge")];
      return all.length && all.every((b) => b.textContent === "Flow graph"); }"""
    )
    tab.locator(".stored a").first.click()
    tab.wait_for_url("**/r/*")
    tab.locator(".fragment .flow button", has_text="Paris").wait_for()
    tab.get_by_role("button", name="Back to the list").click()
    tab.get_by_label("Kind").select_option("next")
    tab.locator(f".stored a[href$='{made['id']}']").wait_for()
    bin = tab.locator(f".stored li:has(a[href$='{made['id']}'])").get_by_role("button", name="Delete")
    bin.click()
    tab.get_by_role("dialog").get_by_role("button", name="Keep").click()
    assert site.ask("GET", f"/api/v1/traces/{made['id']}")["kind"] == "next"
    bin.click()
    tab.get_by_role("dialog").get_by_role("button", name="Delete").click()
    tab.locator(f".stored a[href$='{made['id']}']").wait_for(state="detached")
    assert made["id"] not in [r["id"] for r in site.ask("GET", "/api/v1/traces?kind=next")["results"]]


def test_token_is_asked_for_and_leaves_the_address(
    visit: Visit, browser: Any, tiny_folder: Path, tmp_path: Path
) -> None:
    with serving(tmp_path, "--model", str(tiny_folder), "--no-history", "--token", "open-sesame") as closed:
        tab = visit("/#token=open-sesame", address=closed.address)
        tab.locator(".models .model").wait_for()
        assert "sesame" not in tab.url
        assert tab.get_by_role("dialog").count() == 0
        context = browser.new_context(locale="en-US")
        without = context.new_page()
        without.goto(closed.address)
        without.get_by_role("dialog").get_by_role("textbox").fill("wrong")
        without.keyboard.press("Enter")
        without.get_by_text("did not take this token").wait_for()
        without.get_by_role("dialog").get_by_role("textbox").fill("open-sesame")
        without.keyboard.press("Enter")
        without.locator(".models .model").wait_for()
        assert without.get_by_role("dialog").count() == 0
        context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(visit: Visit, explained: dict[str, Any], highlighted: dict[str, Any], theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    tab = visit(f"/r/{explained['id']}", color_scheme=theme, reduced_motion="reduce")

    def check(place: str) -> None:
        found = axe.run(tab).response["violations"]
        told = [
            f"{v['id']}: {n['html'][:150]} {n.get('failureSummary', '')[:200]}" for v in found for n in v["nodes"][:3]
        ]
        assert told == [], place

    tab.locator(DONE).wait_for()
    tab.locator(ANSWER).nth(2).click()
    tab.evaluate("() => document.querySelector('.composer details').setAttribute('open', '')")
    check("explain")
    for name in TABS[1:]:
        tab.locator(f"#tab-{name}").click()
        tab.locator(f"#panel-{name} .stack > *:not(.wait)").first.wait_for(state="attached")
        if name == "history":
            tab.locator(".stored a").first.wait_for()
        check(name)
    tab.goto(f"{tab.url.partition('/#')[0]}/r/{highlighted['id']}")
    tab.locator(".found mark").first.wait_for()
    check("a highlight")
