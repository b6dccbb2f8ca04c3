"""The tabs Lens, Chat and Documents in a real browser, on the embedded model: what they show is what the API says;
another token is chosen and the text goes on; an answer's reasons lie over the conversation; a citation opens its
sentence; axe-core finds nothing wrong in any of these views."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import Site

pytestmark = pytest.mark.browser

Visit = Callable[..., Any]
PROMPT = "The capital of France is"
QUESTION = "Who built the third tower, and how high is it?"
TALK = [
    {"role": "system", "content": "You answer in one short sentence."},
    {"role": "user", "content": "My cat is called Ada. She likes fish."},
    {"role": "assistant", "content": "That is a lovely name."},
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "The capital of France is Paris."},
]
WORDS = re.compile(r"\w \w")
SLOW = 60_000  # ms that a request of the model may take
CANDIDATES = "table.next tbody tr:nth-child({}) .candidate"
TAKEN = "table.next .candidate[aria-pressed=true]"


@pytest.fixture(scope="module")
def stored(site: Site) -> dict[str, dict[str, Any]]:
    """A result of each kind, kept: what the API says of them."""
    requests = {
        "next": {"prompt": PROMPT, "raw": True, "steps": 6},
        "decode": {"prompt": PROMPT, "raw": True, "steps": 6, "strategies": ["greedy", "beam:3"]},
        "surprisal": {"text": "The cat sat on the purple mat. 猫在睡觉。"},
        "lens": {"prompt": PROMPT, "raw": True},
        "anatomy": {},
        "why": {"messages": TALK},
        "rag/kb/ask": {"question": QUESTION},
    }
    made = {path: site.ask("POST", f"/api/v1/{path}", body) for path, body in requests.items()}
    return {kept["kind"]: kept for kept in made.values()}


def ids(result: dict[str, Any]) -> list[int]:
    return [s["chosen"]["id"] for s in result["steps"]]


def asked(site: Site, **options: Any) -> dict[str, Any]:
    """The API's next tokens, as the page asks for them."""
    body = {"prompt": PROMPT, "raw": True, "steps": 5, "top_k": 5, "keep": False, **options}
    found: dict[str, Any] = site.ask("POST", "/api/v1/next", body)["result"]
    return found


# ---- lens ----------------------------------------------------------------------------------------------------------


def test_another_token_is_chosen_and_the_text_goes_on(visit: Visit, site: Site) -> None:
    tab = visit("/#lens")
    tab.get_by_label("Tokens", exact=True).fill("5")
    tab.get_by_role("button", name="Look").click()
    tab.locator("table.next").wait_for(timeout=SLOW)
    own = asked(site)
    said = tab.locator("p.said")
    assert said.text_content() == PROMPT + own["text"]
    assert tab.locator(CANDIDATES.format(1)).count() == 5
    shown = tab.locator("table.next tbody tr").all()
    for row, step in zip(shown, own["steps"], strict=True):
        percents = [float(p.rstrip(" %").lstrip("<>")) for p in row.locator(".p").all_inner_texts()]
        assert percents == pytest.approx([100 * c["prob"] for c in step["choices"]], abs=0.11)
        assert row.locator("[aria-pressed=true]").count() == 1

    # The second candidate of the third step, by the keyboard alone.
    tab.locator(CANDIDATES.format(1)).first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "Enter"):
        tab.keyboard.press(key)
    tab.locator(".candidate.mine").wait_for(timeout=SLOW)
    other = own["steps"][2]["choices"][1]
    begin = [*ids(own)[:2], other["id"]]
    goes_on = asked(site, begin=begin)
    assert ids(goes_on)[:3] == begin
    assert len(goes_on["steps"]) == 8
    assert said.text_content() == PROMPT + goes_on["text"]
    assert said.locator("mark").text_content().strip() == other["text"].strip()
    assert tab.evaluate("() => document.activeElement.matches('tr:nth-child(3) .candidate.mine')")
    # What follows is what the model says after that text, asked without ``begin``.
    plain = asked(site, prompt=PROMPT + "".join(c["text"] for c in (s["chosen"] for s in goes_on["steps"][:3])))
    assert ids(plain) == ids(goes_on)[3:]

    # Again, further down; then back by one, and to the beginning.
    tab.locator(CANDIDATES.format(5)).nth(2).click()
    tab.locator(".way li").nth(2).wait_for(timeout=SLOW)
    assert tab.locator(".candidate.mine").count() == 2
    tab.get_by_role("button", name="Step back").click()
    assert said.text_content() == PROMPT + goes_on["text"]
    tab.locator(".way button").first.click()
    assert said.text_content() == PROMPT + own["text"]
    assert tab.locator(".way").count() == 0
    tab.get_by_role("button", name="5 more tokens").click()
    tab.locator("table.next tbody tr:nth-child(10)").wait_for(timeout=SLOW)
    assert said.text_content() == PROMPT + asked(site, begin=ids(own))["text"]


def test_a_chat_goes_on_inside_its_template(visit: Visit, site: Site) -> None:
    """The chosen token continues the assistant's turn: the template's own tokens are not spelt anew."""
    tab = visit("/#lens")
    tab.get_by_label("Text", exact=True).fill("What is the capital of France?")
    tab.get_by_role("radio", name="a message in a chat").check()
    tab.get_by_label("Tokens", exact=True).fill("4")
    tab.get_by_role("button", name="Look").click()
    tab.locator("table.next").wait_for(timeout=SLOW)
    own = asked(site, prompt="What is the capital of France?", raw=False, steps=4)
    tab.locator(CANDIDATES.format(1)).nth(1).click()
    tab.locator(".candidate.mine").wait_for(timeout=SLOW)
    begin = [own["steps"][0]["choices"][1]["id"]]
    found = asked(site, prompt="What is the capital of France?", raw=False, steps=4, begin=begin)
    assert "<|im_start|>assistant" in tab.locator("p.said").text_content()
    assert tab.locator("p.said").text_content() == found["prompt"] + found["text"]


def test_stored_views_are_those_of_the_library(visit: Visit, stored: dict[str, dict[str, Any]]) -> None:
    """Beam tree, surprisal map, logit lens and anatomy by their permalinks; keys tell; the language changes them."""
    tab = visit(f"/r/{stored['decodings']['id']}")
    tree = stored["decodings"]["result"]["outcomes"][1]["tree"]
    tab.locator(".fragment .tree li").first.wait_for()
    assert tab.locator(".fragment .tree code").count() == len(tree)
    assert tab.locator(".fragment .tree code.best").count() == sum(b["best"] for b in tree)
    assert tab.get_by_role("radio", name="Strategies").is_checked()

    tab = visit(f"/r/{stored['surprisal']['id']}")
    tokens = tab.locator(".fragment .heat [data-t]")
    tokens.first.focus()
    tab.keyboard.press("ArrowRight")
    second = stored["surprisal"]["result"]["tokens"][1]
    told = tab.locator(".fragment #tip")
    assert told.inner_text().startswith(f"“␣cat”: {second['bits']:.2f} bits, rank {second['rank']}")
    tab.get_by_role("button", name="中文").click()
    tab.locator(".fragment h2", has_text="意外程度").or_(tab.locator(".fragment h2", has_text="意外")).first.wait_for()

    tab = visit(f"/r/{stored['logit_lens']['id']}")
    tab.locator(".fragment table.grid").wait_for()
    lens = stored["logit_lens"]["result"]
    assert tab.locator(".fragment tbody tr").count() == len(lens["layers"]) + 3
    last = tab.locator(".fragment tbody tr").first.locator("td").last
    assert last.inner_text().strip() == lens["columns"][-1]["cells"][-1]["text"].strip() == "Paris"
    last.hover()  # at the top of a tall grid: what is told of it is still within the window
    told = tab.locator(".fragment #tip")
    assert told.inner_text().startswith(f"layer {lens['layers'][-1]}")
    assert told.evaluate("e => e.getBoundingClientRect().bottom <= innerHeight")

    tab = visit(f"/r/{stored['anatomy']['id']}", locale="zh-CN")
    tab.locator(".fragment", has_text=f"{stored['anatomy']['result']['parameters']:,}").wait_for()
    assert tab.get_by_role("radio", name="结构").is_checked()


def test_every_view_answers_its_button(visit: Visit, site: Site) -> None:
    tab = visit("/#lens")
    for view, kind in (
        ("Strategies", "decodings"),
        ("Surprise", "surprisal"),
        ("Layers", "logit_lens"),
        ("Anatomy", "anatomy"),
    ):
        tab.get_by_role("radio", name=view).check()
        if view == "Strategies":
            tab.get_by_label("Tokens", exact=True).fill("3")
            tab.get_by_label("Others").fill("top_k:3, grady")
            tab.get_by_role("button", name="Look").click()
            tab.get_by_role("alert").filter(has_text="Did you mean 'greedy'").wait_for(timeout=SLOW)
            tab.get_by_label("Others").fill("top_k:3")
        tab.get_by_role("button", name="Look").click()
        tab.locator(".view:visible .fragment h2").wait_for(timeout=SLOW)
        assert site.ask("GET", "/api/v1/traces?limit=1")["results"][0]["kind"] == kind
    newest = site.ask("GET", "/api/v1/traces?kind=decodings&limit=1")["results"][0]["id"]
    outcomes = site.ask("GET", f"/api/v1/traces/{newest}")["result"]["outcomes"]
    assert [o["strategy"] for o in outcomes] == ["greedy", "beam:4", "top_p:0.9", "top_k:3"]


# ---- chat ----------------------------------------------------------------------------------------------------------


def test_chat_streams_and_says_why(visit: Visit, site: Site) -> None:
    tab = visit("/#chat")
    tab.get_by_text("Options").click()
    tab.get_by_label("Tokens at most").fill("12")
    message = tab.get_by_label("Your message")
    message.fill("My cat is called Ada.")
    message.press("Enter")
    tab.locator(".talk .live .written").filter(has_text=WORDS).wait_for(timeout=SLOW)  # it is read while it is written
    tab.locator(".ask-why").wait_for(timeout=SLOW)
    first = tab.locator(".talk .assistant .written").inner_text()
    message.fill("What is the capital of France?")
    message.press("Enter")
    tab.locator(".ask-why").nth(1).wait_for(timeout=SLOW)
    talk = [
        {"role": "user", "content": "My cat is called Ada."},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "What is the capital of France?"},
    ]
    said = site.ask("POST", "/api/v1/generate", {"messages": talk, "decoding": {"max_new_tokens": 12}})["result"][
        "text"
    ]
    assert tab.locator(".talk .assistant .written").nth(1).text_content() == said

    tab.locator(".ask-why").nth(1).click()
    tab.locator(".because").wait_for(timeout=SLOW)
    newest = site.ask("GET", "/api/v1/traces?kind=why&limit=1")["results"][0]["id"]
    why = site.ask("GET", f"/api/v1/traces/{newest}")["result"]
    assert why["messages"][1]["content"] == first
    assert why["answer"] == said
    check_why(tab, why)
    # by sentence; the figures are told by keys, too
    tab.get_by_role("radio", name="Sentences").check()
    best = max(why["traces"]["sentence"]["units"], key=lambda u: u["score"])
    assert strongest(tab) == best["text"].strip()
    tab.locator(".talk .shade").first.focus()
    tab.keyboard.press("ArrowRight")
    assert "nats" in tab.locator("output.tip").inner_text()
    tab.get_by_role("button", name="Hide").click()
    assert tab.locator(".talk .shade").count() == 0
    tab.get_by_role("button", name="Clear").click()
    assert tab.locator(".talk > li").count() == 0


def check_why(tab: Any, why: dict[str, Any]) -> None:
    """Each message's own figure, and the most strongly shaded token, are those of the result."""
    scores = [u["score"] for u in why["traces"]["message"]["units"]]
    shown = [float(x.split()[0].replace("−", "-")) for x in tab.locator(".worth").all_inner_texts()]
    assert shown == pytest.approx(scores, rel=0.01)
    trace = why["traces"]["token"]
    placed = [(x, s["text"]) for x, s in zip(trace["total"], trace["sources"], strict=True) if s["message"] is not None]
    assert strongest(tab) == max(placed)[1].strip()


def strongest(tab: Any) -> str:
    """The text that is shaded most, of what speaks for the answer."""
    found: str = tab.locator(".talk .shade.for").evaluate_all(
        """all => { const at = (e) => Number(e.style.getPropertyValue("--share"));
      return all.sort((a, b) => at(b) - at(a))[0].textContent; }"""
    )
    return found


def test_a_stored_why_opens_its_conversation(visit: Visit, stored: dict[str, dict[str, Any]]) -> None:
    tab = visit(f"/r/{stored['why']['id']}")
    tab.locator(".because").wait_for()
    assert tab.locator(".talk .written").evaluate_all("all => all.map((e) => e.textContent)") == [
        m["content"] for m in TALK
    ]
    assert tab.get_by_label("Instruction").input_value() == TALK[0]["content"]
    check_why(tab, stored["why"]["result"])
    assert tab.locator(".talk .explained").count() == 1


def test_stop_keeps_what_was_said(visit: Visit, site: Site) -> None:
    tab = visit("/#chat")
    tab.get_by_text("Options").click()
    tab.get_by_label("Tokens at most").fill("600")
    tab.get_by_label("Your message").fill("Write a very long story about the sea.")
    tab.get_by_label("Your message").press("Enter")
    tab.locator(".live .written").filter(has_text=WORDS).wait_for(timeout=SLOW)
    tab.get_by_role("button", name="Stop").click()
    tab.get_by_text("Stopped.").wait_for()
    text = tab.locator(".talk .assistant .written").inner_text()
    assert text
    assert site.busy(1.5) < 0.3  # nothing is written any more
    assert tab.locator(".talk .assistant .written").inner_text() == text
    assert tab.locator(".error").count() == 0


# ---- documents -----------------------------------------------------------------------------------------------------


def test_a_citation_opens_its_sentence(visit: Visit, site: Site, documents: Path) -> None:
    tab = visit("/#documents")
    question = tab.get_by_label("Question")
    question.fill(QUESTION)
    question.press("Enter")
    tab.locator(".reply").wait_for(timeout=SLOW)
    newest = site.ask("GET", "/api/v1/traces?kind=cited&limit=1")["results"][0]["id"]
    result = site.ask("GET", f"/api/v1/traces/{newest}")["result"]
    cited = [c for s in result["sentences"] for c in s["citations"]]
    assert cited
    assert tab.locator(".cite").all_inner_texts() == [str(c["number"]) for c in cited]
    assert tab.locator(".confidence b").first.inner_text() == f"{result['confidence']['value']:.2f}"

    tab.locator(".cite").first.click()
    tab.locator(".sheet .cited").first.wait_for()
    best, passage = cited[0]["sentences"][0], result["passages"][cited[0]["number"] - 1]["passage"]
    document = Path(passage["document"])
    assert document.name == "lighthouse.md"
    text = document.read_text(encoding="utf-8")
    assert tab.locator(".sheet .pane").text_content() == text
    assert (
        tab.locator(".sheet .cited").text_content()
        == best["text"]
        == text[passage["start"] :][best["start"] : best["end"]]
    )
    inside = """() => { const pane = document.querySelector(".sheet .pane"), a = pane.getBoundingClientRect(),
      b = pane.querySelector(".cited").getBoundingClientRect();
      return [pane.scrollTop, b.top >= a.top && b.bottom <= a.bottom]; }"""
    scrolled, seen = tab.evaluate(inside)
    assert scrolled > 100  # the sentence is far down, and there it is
    assert seen
    assert tab.evaluate("() => document.activeElement.matches('.sheet .pane')")
    tab.keyboard.press("Escape")
    assert tab.evaluate("() => document.activeElement.matches('.cite')")
    assert not tab.locator(".sheet").is_visible()

    question.fill("hydraulic lime")
    tab.get_by_role("button", name="Find passages").click()
    tab.locator(".answered h2", has_text="hydraulic lime").wait_for(timeout=SLOW)
    assert "hydraulic lime" in tab.locator(".answered .quote").first.inner_text()


def test_what_rests_on_nothing_is_marked_and_nothing_is_parsed(visit: Visit, stored: dict[str, dict[str, Any]]) -> None:
    """Answers of the server's form: an unsupported sentence, hostile names and texts, a document that has changed."""
    hostile = "<img src=x onerror=alert(1)>"
    entry = json.loads(json.dumps(stored["cited"]))
    result = entry["result"]
    first = result["sentences"][0]
    extra = f"{hostile} is not known."
    result["answer"] = result["answer"][: first["end"]] + " " + extra
    at = first["end"] + 1
    result["sentences"] = [
        first,
        {**first, "text": extra, "start": at, "end": at + len(extra), "supported": False, "citations": []},
    ]
    result["passages"][first["citations"][0]["number"] - 1]["passage"]["document"] = f"{hostile}.md"
    tab = visit("/#documents")
    tab.route("**/api/v1/rag/kb/ask", lambda r: r.fulfill(json=entry))
    tab.route("**/api/v1/rag/kb/text?*", lambda r: r.fulfill(json={"document": "", "text": hostile}))
    tab.get_by_label("Question").fill("?")
    tab.get_by_role("button", name="Ask").click()
    assert tab.locator(".reply .unsupported").inner_text() == extra
    assert tab.locator(".reply .flag").inner_text() == "rests on nothing retrieved"
    assert tab.locator(".reply .sentence").count() == 1
    tab.locator(".cite").first.click()
    tab.locator(".sheet .note", has_text="The document has changed since").wait_for()
    assert tab.locator(".sheet .cited").text_content() == first["citations"][0]["sentences"][0]["text"]
    assert tab.locator("main img").count() == 0


def test_without_an_index_it_says_how_to_start_one(visit: Visit, browser: Any, site: Site) -> None:
    context = browser.new_context(locale="zh-CN")
    tab = context.new_page()
    tab.route("**/api/v1/rag", lambda r: r.fulfill(json={"indexes": []}))
    tab.goto(f"{site.address}/#documents")
    tab.get_by_text("这个服务器没有索引").wait_for()
    assert "pellucid serve --kb kb" in tab.locator(".panel.documents pre").inner_text()
    assert not tab.get_by_role("button", name="提问").is_visible()
    context.close()


# ---- all of them ---------------------------------------------------------------------------------------------------

VIEWS = {
    "next": "table.next",
    "decodings": ".fragment .tree",
    "surprisal": ".fragment .heat",
    "logit_lens": ".fragment .grid",
    "anatomy": ".fragment table",
    "why": ".because",
    "cited": ".reply",
}


def test_axe_finds_nothing(visit: Visit, stored: dict[str, dict[str, Any]]) -> None:
    """In each view; in the dark, of what depends on colours."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    for kind, selector in VIEWS.items():
        tab = visit(f"/r/{stored[kind]['id']}", reduced_motion="reduce")
        tab.locator(selector).first.wait_for()
        if kind == "cited":
            tab.locator(".cite").first.click()
            tab.locator(".sheet .cited").first.wait_for()
        for theme, options in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
            tab.emulate_media(color_scheme=theme, reduced_motion="reduce")
            found = axe.run(tab, options=options).response["violations"]
            told = [
                f"{v['id']}: {n['html'][:150]} {n.get('failureSummary', '')[:300]}" for v in found for n in v["nodes"]
            ]
            assert told == [], (kind, theme)
        assert tab.evaluate("() => document.documentElement.dataset.theme") == "dark"


def test_no_view_is_wider_than_a_phone(visit: Visit, stored: dict[str, dict[str, Any]]) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "locale": "zh-CN"}
    for kind, selector in VIEWS.items():
        tab = visit(f"/r/{stored[kind]['id']}", **phone)
        tab.locator(selector).first.wait_for()
        assert tab.evaluate("() => document.documentElement.scrollWidth") <= 360, kind
        if kind == "cited":
            tab.locator(".cite").first.tap()
            tab.locator(".sheet .cited").first.wait_for()
            box = tab.locator(".sheet").bounding_box()
            assert (box["x"], box["y"], box["width"], box["height"]) == (0, 0, 360, 740)
