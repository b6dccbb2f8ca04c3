"""The report: shares in closed form, each condition met exactly where it was built to be, files that are none."""

from __future__ import annotations

import html
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt

from pellucid.apps.report import TraceReport, collect, report
from pellucid.apps.report import conditions as rules
from pellucid.apps.report.advice import SAYS, TRIES
from pellucid.apps.report.conditions import CONDITIONS
from pellucid.apps.report.reading import read
from pellucid.apps.report.stopwords import stop_words
from pellucid.cli.main import main, parser
from pellucid.errors import InputError, OptionError
from pellucid.lens.plain import Result
from pellucid.model import Model
from pellucid.render.appviews.report import view
from pellucid.render.blocks import Heading, Heat, Lines, Table
from pellucid.render.lensmarkdown import escaped, page
from pellucid.testing import Scripted
from pellucid.trace.methods import methods
from pellucid.trace.result import (
    Answer,
    Cost,
    MethodInfo,
    ModelInfo,
    Prompt,
    Source,
    Target,
    Trace,
    Trust,
)


def trace(
    text: str,
    scores: list[float],
    *,
    frame: tuple[float, float] = (0.5, 0.5),
    method: str = "saliency",
    signed: bool = False,
    logprob: float = -0.5,
    entropy: float = 0.5,
    drops: tuple[float, float] | None = (2.0, 1.0),
    answer: str = "yes",
) -> Trace:
    """Words and marks of ``text`` as tokens with these scores, between two tokens of a template."""
    places = [m.span() for m in re.finditer(r"[ ]?\w+|[^\w\s]|\n", text)]
    assert len(places) == len(scores), [text[a:b] for a, b in places]
    mine = [Source(text[a:b], 9, a, b, "user", 0, k) for k, (a, b) in enumerate(places)]
    sources = (Source("<s>", 1, None, None, "special"), *mine, Source("</s>", 2, None, None, "template"))
    trust = None
    if drops is not None:
        trust = Trust(0.1, len(mine), 1, drops[0], drops[1], (drops[1],) * 8, drops[0] / drops[1], 0)
    return Trace(
        model=ModelInfo("m", "memory", None, "float32", "cpu"),
        method=MethodInfo(method, signed),
        objective="logprob",
        prompt=Prompt(None, ({"role": "user", "content": text},), f"<s>{text}</s>", False),
        answer=Answer(answer, True),
        sources=sources,
        targets=(Target(answer, 5, 0, len(answer), math.exp(logprob), logprob, 1, entropy),),
        total=np.array([frame[0], *scores, frame[1]], dtype=np.float32),
        scores=None,
        cost=Cost(1.5, 9, 1, 0, 0.25),
        seed=0,
        trust=trust,
    )


PLAIN = "storm broke green window near harbour , before dawn came"
EASY = [1.0, 1, 8, 1, 8, 1, 1, 1, 8, 1]  # nothing to note: uneven, on words that say something, in the middle too


def met(*traces: Trace) -> set[str]:
    return {f.name for f in report(traces).findings if f.met}


def test_shares_add_up_whatever_the_unit_and_types_join_what_stands_twice() -> None:
    one = trace("Rain fell , rain stopped .", [3, -1, 0, 2, 1, -1], signed=True)  # sum of magnitudes: 8
    two = trace("rain stopped .", [1000, 3000, 0], drops=None)  # another unit: 4000
    found = report([one, two], top=50)
    kinds = {t.text: t for t in found.types}
    rain = kinds["rain"]
    assert (rain.count, rain.traces) == (3, 2)
    assert rain.total == pytest.approx(3 / 8 + 2 / 8 + 1 / 4)
    assert rain.mean == pytest.approx(rain.total / 3)
    assert kinds["stopped"].total == pytest.approx(1 / 8 + 3 / 4)
    assert kinds["fell"].net == pytest.approx(-1 / 8)
    assert kinds["."].net == pytest.approx(-1 / 8)
    assert "," not in kinds  # it has no share
    assert [t.text for t in found.types][:2] == ["rain", "stopped"]
    first, *_ = found.occurrences
    assert (first.text, first.share, first.trace, first.start, first.end) == ("stopped", pytest.approx(0.75), 1, 5, 12)
    assert [(o.start, o.share) for o in found.occurrences if o.text.casefold() == "rain" and o.trace == 0] == [
        (0, pytest.approx(3 / 8)),
        (12, pytest.approx(2 / 8)),
    ]
    assert math.fsum(o.share for o in found.occurrences) == pytest.approx(2)
    assert found.all_occurrences == 7
    assert (found.trust.measured, found.trust.unmeasured, found.trust.median, found.trust.beat_all) == (1, 1, 2, 1)
    assert (found.seconds, found.forward_passes, found.backward_passes) == (3, 18, 2)
    assert found.methods == {"saliency": 2}
    assert (found.prompt.least, found.prompt.median, found.prompt.most) == (5, 6.5, 8)


def test_words_collect_pieces_of_characters_and_of_words() -> None:
    text = "北京 harbours"
    pieces = [(0, 1), (0, 1), (1, 2), (2, 8), (8, 11)]  # two bytes' pieces of 北, then 京, " harbo", "urs"
    base = trace("x", [1.0])
    sources = tuple(Source(text[a:b], k, a, b, "user", 0, k) for k, (a, b) in enumerate(pieces))
    made = replace(
        base,
        sources=sources,
        total=np.array([1, 2, 3, 1, -3], dtype=np.float32),
        prompt=Prompt(None, ({"role": "user", "content": text},), text, True),
    )
    words = {w.text: w for w in read(made).words}
    assert words["harbours"].share == pytest.approx(0.4)
    assert words["harbours"].net == pytest.approx(-0.2)
    assert words["harbours"].tokens == pytest.approx(2)
    assert math.fsum(w.share for w in words.values() if "北" in w.text or "京" in w.text) == pytest.approx(0.6)


def test_nothing_is_noted_of_a_trace_without_a_fault() -> None:
    assert met(trace(PLAIN, EASY), trace(PLAIN, [2 * x for x in EASY], method="ifr")) == set()


@pytest.mark.parametrize(
    ("name", "built"),
    [
        # A comma is one of ten tokens; the floor is a fifth, and 9/39 are above it.
        ("punctuation", [trace(PLAIN, [1, 1, 8, 1, 8, 1, 9, 1, 8, 1])]),
        # the, of, it, was are four of ten: over 0.6 of the attribution is noted.
        ("stop_words", [trace("storm the dawn of window it green was harbour came", [1, 9, 1, 9, 1, 9, 1, 2, 2, 1])]),
        ("template", [trace(PLAIN, EASY, frame=(0.0, 31.5))]),
        # One of twelve: a fifth of all.
        ("first_token", [trace(PLAIN, EASY, frame=(8.0, 0.0))]),
        ("first_user_token", [trace(PLAIN, [8, 1, 8, 1, 8, 1, 1, 1, 1, 1])]),
        # Ranks turned round within the same words.
        ("disagreement", [trace(PLAIN, [*range(4, 14)]), trace(PLAIN, [*range(13, 3, -1)], method="ifr")]),
        ("trust", [trace(PLAIN, EASY, drops=(0.9, 1.0))]),
        ("even", [trace(PLAIN, [5, 6, 5, 6, 5, 6, 5, 6, 5, 6])]),
        ("not_measured", [trace(PLAIN, [*EASY[:-1], math.nan])]),
        ("unlikely", [trace(PLAIN, EASY, logprob=-2.6, entropy=1.5)]),
    ],
)
def test_each_condition_is_met_where_it_is_built_to_be(name: str, built: list[Trace]) -> None:
    expected = {"disagreement": {"disagreement", "even"}}.get(name, {name})
    found = report(built)
    assert {f.name for f in found.findings if f.met} == expected
    told = next(f for f in found.findings if f.name == name)
    assert told.where == tuple(range(len(built)))
    assert told.share == 1
    assert told in found.recommendations


def test_thresholds_in_closed_form() -> None:
    def of(name: str, *traces: Trace) -> tuple[float, float]:
        finding = next(f for f in report(traces).findings if f.name == name)
        return finding.value, finding.threshold

    # Half and half: 1.5 q; three of four: halfway from q to all; one of ten: the floor.
    assert of("punctuation", trace("rain , fell ,", [1, 1, 1, 1])) == pytest.approx((0.5, 0.75))
    assert of("punctuation", trace("rain , ! ?", [1, 1, 1, 1])) == pytest.approx((0.75, 0.875))
    assert of("punctuation", trace(PLAIN, EASY)) == pytest.approx((1 / 31, 0.2))
    # A blank line counts as a mark; an emoji does not.
    assert of("punctuation", trace("rain\nfell", [1, 2, 1]))[0] == pytest.approx(0.5)
    assert of("even", trace("a b c d e", [1, 1, 1, 1, 0])) == pytest.approx((4 / 5, 0.753), abs=1e-3)
    noise = np.abs(np.random.default_rng(0).normal(size=200_000))
    p = noise / noise.sum()
    assert pytest.approx(math.exp(-(p * np.log(p)).sum()) / len(p), abs=2e-3) == rules.NOISE
    assert of("unlikely", trace(PLAIN, EASY, logprob=-3.0, entropy=1.25)) == pytest.approx((1.75, 1.0))
    assert of("trust", trace(PLAIN, EASY, drops=(2.0, 0.5))) == pytest.approx((1.5, 0.0))
    assert of("not_measured", trace(PLAIN, [*EASY[:-1], math.nan])) == pytest.approx((0.1, 0.0))
    # Ten words, turned round: -1; unrelated rankings reach 1.645/3 in one of 20 cases.
    up, down = trace(PLAIN, [*range(1, 11)]), trace(PLAIN, [*range(10, 0, -1)], method="ifr")
    assert of("disagreement", up, down) == pytest.approx((-1, 1.645 / 3))
    agreeing = report([up, down]).agreeing[0]
    assert agreeing.top_k == 5
    assert (agreeing.mean_overlap, agreeing.by_chance) == pytest.approx((0, 0.5))
    assert report([up, trace(PLAIN, EASY, answer="no")]).agreeing == ()


def test_what_cannot_be_measured_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = trace("a b", [0, 0], frame=(0, 0), drops=None)
    why = {f.name: f.why for f in report([silent]).findings}
    assert why["trust"] == "trust was not measured"
    assert why["template"] == why["first_token"] == "the method gives the template no score"
    assert why["disagreement"] == "no two methods explain the same answer"
    assert why["even"].startswith("fewer than 5 tokens")
    stop_words.cache_clear()
    monkeypatch.setitem(sys.modules, "stopwordsiso", None)
    found = report([trace("storm the dawn of window it green was harbour came", [1, 9, 1, 9, 1, 9, 1, 2, 2, 1])])
    stop_words.cache_clear()
    finding = next(f for f in found.findings if f.name == "stop_words")
    assert not finding.met
    assert "pip install 'pellucid[report]'" in finding.why
    assert {t.kind for t in found.types} == {"word"}


def test_every_piece_of_advice_names_what_there_is() -> None:
    explain = parser()._subparsers._group_actions[0].choices["explain"].format_help()  # type: ignore[union-attr,index]
    assert set(CONDITIONS) == set(SAYS) == set(TRIES)
    for name in CONDITIONS:
        for texts in (SAYS[name], TRIES[name]):
            assert set(texts) == {"en", "zh"}
        code = {lang: re.findall(r"`([^`]+)`", TRIES[name][lang]) for lang in ("en", "zh")}
        assert code["en"] == [c.replace("文本", "TEXT") for c in code["zh"]]
        for command in code["en"]:
            for option in re.findall(r"--[a-z-]+", command):
                assert option in explain or option == "--methods", option
            for method in re.findall(r"--method (\w+)", command):
                assert method in {*methods(), "auto"}


def test_to_json_and_back_and_drawn_in_both_languages(tmp_path: Path) -> None:
    found = report([trace(PLAIN, EASY), trace(PLAIN, [*EASY[:-1], math.nan], method="ifr", drops=None)], top=3)
    path = found.save(tmp_path / "r.json")
    back = TraceReport.load(path)
    assert back.to_dict() == found.to_dict()
    assert back.occurrences[0].text == "green"
    assert len(found.rows()) == 2
    for lang in ("en", "zh"):
        text = " ".join(line for b in view(back, lang) if isinstance(b, Lines) for line in b.lines)
        assert "{" not in text
        assert SAYS["not_measured"][lang].format(value="10\u00a0%") in text
    assert found.save(tmp_path / "r.html").read_text(encoding="utf-8").count("<table") == 6
    assert found.save(tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="nothing to report on"):
        report([])
    with pytest.raises(OptionError, match="top should be at least 1"):
        report([trace(PLAIN, EASY)], top=0)


def test_markdown_shows_tokens_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for odd in (
        "a|b `c` <script> *d* **e** [f](g) _h_ \\i &amp; $j$ ~~k~~ ![l](m)",
        "# one",
        "- two",
        "1. three, 2.5 x_y __z__",
        "> four",
        "===",
        "---",
        "[five]: six",
        "<b>seven</b> https://eight.example",
    ):
        # What a reader of Markdown that is not ours makes of it: one paragraph of the same text, and nothing else.
        assert html.unescape(reader.render(escaped(odd))) == f"<p>{odd}</p>\n"
    assert reader.render(escaped("a\n# b")) == "<p>a<br />\n# b</p>\n"
    found = report([trace("rain | ` < *", [1, 4, 3, 2, 1])])
    table = found.save(tmp_path / "r.md").read_text(encoding="utf-8")
    rows = [r for r in table.splitlines() if r.startswith(("| \\|", "| \\`", "| &lt;"))]
    assert len(rows) == 6  # three marks, in both lists of words
    drawn = reader.render(table)
    for mark, cells in (("|", 3), ("`", 2), ("&lt;", 2), ("*", 2)):  # two lists of words; the first is a trace's best
        assert drawn.count(f"<td>{mark}</td>") == cells
    assert table.startswith("# Report on one explanation\n\n")
    assert "\n|---|---:|" in table

    class Drawn(Result):
        def rows(self) -> list[dict[str, object]]:
            return []

    blocks = [Heading("# t"), Heat((("<b>", 1.0, ""), (" x\ny", 0.05, ""))), Table(("n",), (), frozenset())]
    monkeypatch.setattr("pellucid.render.lensmarkdown.blocks_of", lambda result, lang: blocks)
    text = page(Drawn(), lang="en")
    assert text.startswith("# \\# t\n\n<p><b>&lt;b&gt;<sup>9</sup></b> x<br>y</p>\n")
    assert "level 1 to 9 of 9" in text


def test_files_that_are_none_are_named_and_the_rest_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, other = trace(PLAIN, EASY), trace(PLAIN, EASY, method="ifr")
    folder = tmp_path / "runs"
    (folder / "deep").mkdir(parents=True)
    good.save(folder / "deep" / "a.json")
    chat = {"schema": "pellucid.later/9", "turns": [{"said": "yes", "trace": other.to_dict()}]}
    (folder / "chat.json").write_text(json.dumps(chat), encoding="utf-8")
    lines = [json.dumps(trace(PLAIN, EASY, answer="no").to_dict()), "", "{cut", json.dumps([1])]
    (folder / "many.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "cut.json").write_text(good.to_json()[:500], encoding="utf-8")
    (folder / "bytes.json").write_bytes(b"\xff\xfe")
    (folder / "empty.json").write_text(" ", encoding="utf-8")
    (folder / "settings.json").write_text('{"schema": "other/1"}', encoding="utf-8")
    (folder / "deepest.json").write_text("[" * 100_000, encoding="utf-8")
    lacks, far = good.to_dict(), good.to_dict()
    del lacks["total"]
    far["sources"][1]["end"] = 4000
    (folder / "two.json").write_text(json.dumps([lacks, far, good.to_dict()]), encoding="utf-8")
    found = collect([folder])
    assert [(Path(o.file).name, o.place) for o in found.origins] == [
        ("chat.json", "turns[0].trace"),
        ("a.json", ""),
        ("many.jsonl", "line 1"),
    ]
    why = {(Path(p.file).name, p.place): p.why for p in found.passed}
    assert "cut short" in why["cut.json", ""]
    assert "byte 0 is not UTF-8" in why["bytes.json", ""]
    assert why["empty.json", ""] == "it is empty"
    assert "it is a other/1" in why["settings.json", ""]
    assert "nested too deeply" in why["deepest.json", ""]
    assert "cut short" in why["many.jsonl", "line 3"]
    assert "no trace in it" in why["many.jsonl", "line 4"]
    assert "lacks 'total'" in why["two.json", "[0]"]
    assert "4000 of a text of" in why["two.json", "[1]"]
    assert why["two.json", "[2]"].startswith("the same trace as ")
    assert len(found.passed) == 10
    assert main(["report", str(folder), "--md", str(tmp_path / "r.md"), "--lang", "en"]) == 0
    assert "10 passed over" in capsys.readouterr().out
    assert "10 passed over" in (tmp_path / "r.md").read_text(encoding="utf-8")
    bare = tmp_path / "bare"
    bare.mkdir()
    for given, sentence in (
        ([str(tmp_path / "none.json")], "there is no such file or folder"),
        ([str(bare)], "a folder without any JSON file"),
        ([str(folder / "empty.json"), str(folder / "bytes.json")], "it is empty; and 1 more like it"),
        ([str(folder), "--top", "0"], "--top should be at least 1"),
        ([str(folder), "--md", "r.txt"], "--md writes a file that ends in .md"),
    ):
        assert main(["report", *given]) == 2
        said = capsys.readouterr().err
        assert sentence in said.strip().split("\n")[-1]
        assert said.strip().split("\n")[-1].startswith("pellucid: ")


def test_the_doubles_rule_is_what_the_report_finds() -> None:
    """A removed word costs the answer that names it: it has the whole share, in each of two conversations."""
    me = Scripted({"capital": "Paris"})
    asked = [[{"role": "user", "content": f"{start} Paris capital"}] for start in ("Tell me", "Please name")]
    found = report([me.explain(messages, "Paris") for messages in asked])
    assert [(t.text, t.total, t.count) for t in found.types] == [("paris", 2.0, 2)]


def test_real_traces_of_two_methods(embedded: Model, tmp_path: Path) -> None:
    both = embedded.compare("What is the capital of France?", ["saliency", "ifr"], "Paris")
    both.save(tmp_path / "both.json")
    files = collect([tmp_path])
    found = report(files.traces, origins=files.origins)
    assert [o.place for o in files.origins] == ["traces[0]", "traces[1]"]
    assert found.methods == {"saliency": 1, "ifr": 1}
    assert found.agreeing[0].mean_spearman == pytest.approx(float(both.agreement.spearman[0, 1]))
    assert math.fsum(t.total for t in found.types) == pytest.approx(2, abs=1e-5)
    for k, t in enumerate(both.traces):
        size = np.abs(t.total[list(t.content)].astype(float))
        france = next(i for i in t.content if t.sources[i].text.strip() == "France")
        share = next(o.share for o in found.occurrences if o.text == "France" and o.trace == k)
        assert share == pytest.approx(abs(float(t.total[france])) / size.sum(), rel=1e-5)
    template = next(f for f in found.findings if f.name == "template")
    frame = [i for i, s in enumerate(both.traces[0].sources) if s.role in ("template", "special")]
    size = np.abs(both.traces[0].total.astype(float))
    assert template.cases[0].value == pytest.approx(size[frame].sum() / size.sum(), rel=1e-5)
