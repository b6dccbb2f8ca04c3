"""The HTML file and the notebook output, without a browser: what is in them, and what cannot get in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from samples import sample

from pellucid.render.html import asset, notebook, page
from pellucid.trace.result import Source, Trace

HOSTILE = [
    "<script>alert(1)</script>",
    "\"onload=alert(1) 'onclick=alert(1)",
    "</script><img src=x onerror=alert(1)>",
    "</noscript></title></style><!--<script>",
    "a\u2028b\u2029c &amp; &lt; ]]>",
]


class Reader(HTMLParser):
    """Elements with their attributes, and the text of each script, style and title."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)
            self.texts.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            for i in range(len(self.texts) - 1, -1, -1):
                if self.texts[i][0] == self.open[-1]:
                    self.texts[i] = (self.texts[i][0], self.texts[i][1] + data)
                    break

    def all(self, tag: str) -> list[str]:
        return [text for t, text in self.texts if t == tag]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag]


def embedded(html: str) -> Trace:
    return Trace.from_dict(json.loads(Reader(html).all("script")[1]))


@pytest.mark.parametrize(
    "trace",
    [
        sample(),
        sample(chat=False, per_token=False, trust=False),
        sample(signed=True, span="Paris"),
        sample("法国的首都是哪里？😀", "巴黎。"),
    ],
)
def test_page_holds_the_same_trace(trace: Trace) -> None:
    assert embedded(page(trace)).to_dict() == trace.to_dict()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    trace = sample(text, text)
    trace = replace(trace, model=replace(trace.model, name=text), trust=None, trust_note=text)
    harmless = Reader(page(sample()))
    reader = Reader(page(trace))
    structure = {t for t, _ in reader.elements}
    assert structure == {t for t, _ in harmless.elements}  # no element came in with the text
    assert [a for t, a in reader.elements if t not in ("td", "tr")] == [
        a for t, a in harmless.elements if t not in ("td", "tr")
    ]
    assert embedded(page(trace)).to_dict() == trace.to_dict()
    assert " ".join(text.split())[:20] in reader.all("title")[0]


def test_no_character_of_the_data_can_end_its_script() -> None:
    for text in HOSTILE:
        html = page(sample(text, text))
        data = html.split('<script type="application/json">')[1].split("</script>")[0]
        assert not set(data) & set("<>&\u2028\u2029")


def test_page_is_self_contained() -> None:
    reader = Reader(page(sample()))
    for tag, attributes in reader.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form"), tag
        assert not {"src", "href", "style"} & attributes.keys(), (tag, attributes)
        assert not [a for a in attributes if a.startswith("on")], (tag, attributes)
    assert len(reader.all("script")) == 3  # style as data, the trace as data, the component
    for name in ("view.js", "view.css"):
        text = asset(name)
        assert not re.search(r"https?:|@import|url\(|\beval\(|innerHTML|insertAdjacentHTML|new Function", text), name
        assert "</script" not in text
        assert "<!--" not in text


def test_policy_lets_only_our_script_and_style_run() -> None:
    reader = Reader(page(sample()))
    (policy,) = [
        a["content"] or "" for a in reader.attributes("meta") if a.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))

    def of(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == of(reader.all("script")[2])
    assert rules["style-src"].split() == [of(reader.all("style")[0]), of(reader.all("script")[0])]
    assert "unsafe" not in policy
    assert "connect-src" not in policy  # so default-src, which is none


def test_table_without_scripts() -> None:
    trace = sample(signed=True)
    reader = Reader(page(trace).replace("<noscript>", "<main>").replace("</noscript>", "</main>"))
    cells = reader.all("td")
    for source in trace.sources:
        assert source.text in cells
    for target in trace.targets:
        assert target.text in cells
    assert f"{trace.total[3]:+.3g}" in cells
    assert any("1.5 nats per token" in p and "3 times the effect of chance" in p for p in reader.all("p"))


def test_pieces_of_one_character_are_one_row() -> None:
    trace = sample("a", "b", chat=False, per_token=False)
    emoji = tuple(Source("😀", 900 + i, 1, 2, "user", None, 1) for i in range(3))
    trace = replace(
        trace,
        prompt=replace(trace.prompt, text="a😀"),
        sources=(*trace.sources, *emoji),
        total=np.array([0.5, 0.25, 0.25, 0.5], dtype=np.float32),
    )
    cells = Reader(page(trace).split("<noscript>")[1].split("</noscript>")[0]).all("td")
    assert cells.count("😀") == 1
    assert cells[4:8] == ["1", "😀", "user", "1"]


def test_unseen_is_not_zero() -> None:
    trace = sample(chat=False)
    total = trace.total.copy()
    total[2] = np.nan
    cells = Reader(page(replace(trace, total=total)).split("noscript>")[1]).all("td")
    assert cells[8:12] == ["2", " the", "user", "not seen"]


def test_text_that_utf8_cannot_hold() -> None:
    trace = sample("a \ud83d b \x00 c", "x \udc00")
    html = page(trace)
    html.encode("utf-8")
    assert embedded(html).to_dict() == trace.to_dict()
    notebook(trace).encode("utf-8")


def test_notebook_is_a_frame_with_the_page() -> None:
    trace = sample('Say "hi" & <b>bye</b>', '"&amp;"')
    output = notebook(trace)
    reader = Reader(output)
    (frame,) = reader.attributes("iframe")
    assert frame["srcdoc"] == page(trace)
    assert [t for t, _ in reader.elements] == ["div", "p", "br", "br", "iframe"]  # no script that innerHTML would drop
    assert "Strongest tokens of the prompt" in output
    assert trace._repr_html_() == output


def test_long_prompt_is_whole() -> None:
    prompt = " ".join(f"w{i}" for i in range(3000))
    trace = sample(prompt, "yes", per_token=False)
    assert len(embedded(page(trace)).sources) == len(trace.sources) == 3004
