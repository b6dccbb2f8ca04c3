"""Comparisons: one answer, each method as it would be alone, agreement as numpy has it; files; drawing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import scipy.stats
from PIL import Image
from rich.console import Console
from samples import sample

import pellucid
from pellucid.errors import InputError, OptionError, OutputError, SchemaError
from pellucid.model import Model
from pellucid.render.comparehtml import page
from pellucid.render.comparison import render, shown_rows
from pellucid.render.units import rows_of
from pellucid.trace.combine import agreement
from pellucid.trace.compare import Comparison, compare

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "pellucid.trace-1.schema.json").read_text())
METHODS = ["saliency", "input_x_gradient"]
PROMPT = "What is the capital of France? 法国的首都是"


def two(prompt: str = PROMPT) -> Comparison:
    traces = (sample(prompt), sample(prompt, signed=True))
    return Comparison(traces, agreement(traces, top_k=3))


def test_each_trace_is_what_explain_gives(tiny) -> None:  # type: ignore[no-untyped-def]
    model = Model(tiny())
    options: dict[str, Any] = {"max_new_tokens": 6, "unit": "word", "per_token": True, "seed": 3}
    found = model.compare(PROMPT, METHODS, **options)
    assert found.methods == tuple(METHODS)
    for name in METHODS:
        alone, trace = model.explain(PROMPT, method=name, **options), found[name]
        assert [t.id for t in trace.targets] == [t.id for t in alone.targets]
        assert trace.answer == alone.answer
        np.testing.assert_array_equal(trace.total, alone.total)
        np.testing.assert_array_equal(trace.scores, alone.scores)
        assert trace.units == alone.units
        assert trace.trust == alone.trust
    a, b = ([u.score for u in t.units] for t in found.traces)
    expected = scipy.stats.spearmanr(np.abs(a), np.abs(b)).statistic
    assert found.agreement.spearman[0, 1] == pytest.approx(expected)
    assert found.combine("mean").method.name == "combine(mean: saliency, input_x_gradient)"
    with pytest.raises(KeyError, match="this comparison holds saliency, input_x_gradient"):
        found["ifr"]


@pytest.mark.parametrize("per_token", [False, True])
def test_passes_in_common_run_once(tiny, per_token: bool) -> None:  # type: ignore[no-untyped-def]
    """The second method of a family saves the original's pass or the gradients; what it finds stays the same."""
    names = ["saliency", "input_x_gradient", "leave_one_out", "hierarchical_leave_one_out", "gim"]
    options: dict[str, Any] = {"trust": False, "per_token": per_token, "spans": {"first": (0, 3)}}
    model = Model(tiny())
    passes = []
    model.loaded.network.register_forward_hook(lambda module, given, out: passes.append(out.logits.shape[0]))
    found = model.compare(PROMPT, names, " Paris is", **options)
    ran = sum(passes)
    alone = {}
    for name in names:
        alone[name] = model.explain(PROMPT, " Paris is", method=name, **options)
        np.testing.assert_allclose(found[name].total, alone[name].total, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(found[name].spans[0].total, alone[name].spans[0].total, rtol=1e-6, atol=1e-7)
    assert (found["input_x_gradient"].cost.forward_passes, found["input_x_gradient"].cost.backward_passes) == (0, 0)
    assert ran_of(found["leave_one_out"]) == ran_of(alone["leave_one_out"])
    assert ran_of(found["hierarchical_leave_one_out"]) == ran_of(alone["hierarchical_leave_one_out"]) - 1
    assert ran_of(found["gim"]) == ran_of(alone["gim"])
    assert ran == sum(ran_of(t) for t in found.traces)


def ran_of(trace: pellucid.Trace) -> int:
    return trace.cost.forward_passes


def test_a_sampled_answer_is_made_once(tiny, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from pellucid.trace import prepare

    calls = []
    real = prepare.generate
    monkeypatch.setattr(prepare, "generate", lambda *a, **k: calls.append(1) or real(*a, **k))
    stages: list[str] = []
    found = compare(
        tiny(), PROMPT, METHODS, temperature=1.0, max_new_tokens=5, progress=lambda stage, d, t: stages.append(stage)
    )
    assert len(calls) == 1
    assert [t.id for t in found.traces[0].targets] == [t.id for t in found.traces[1].targets]
    assert {"generating", "saliency: backward", "input_x_gradient: trust"} <= set(stages)


@pytest.mark.parametrize(
    ("methods", "options", "message"),
    [
        ([], {}, "methods should be a list of names"),
        ("saliency", {}, "methods should be a list of names, one or more, given 'saliency'"),
        (["magic"], {}, "unknown method 'magic'"),
        (["saliency", "saliency"], {}, "method 'saliency' is named twice"),
        (METHODS, {"parameters": {"ifr": {}}}, "parameters for 'ifr', which is not among the methods saliency, input"),
        (METHODS, {"parameters": {"saliency": {"steps": 3}}}, "method 'saliency' has no parameter 'steps'"),
        (METHODS, {"steps": 3}, "compare has no option 'steps'"),
        (METHODS, {"top_k": 0}, "top_k should be at least 1"),
        (METHODS, {"objective": "kl"}, "objective 'kl' needs without"),
    ],
)
def test_bad_options(tiny, methods: Any, options: dict[str, Any], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError, match=message):
        compare(tiny(), PROMPT, methods, "Paris", **options)


def test_json_and_back(tmp_path: Path) -> None:
    found = two()
    path = found.save(tmp_path / "c.json")
    data = json.loads(path.read_text(encoding="utf-8"))
    assert data["schema"] == "pellucid.comparison/1"
    for trace in data["traces"]:
        jsonschema.validate(trace, SCHEMA)
    again = Comparison.load(path)
    assert again.to_json() == found.to_json()
    np.testing.assert_array_equal(again.agreement.spearman, found.agreement.spearman)
    constant = found.traces[0].total.copy()
    constant[:] = 1

    flat = (replace(found.traces[0], total=constant), found.traces[1])
    assert Comparison(flat, agreement(flat)).to_dict()["agreement"]["spearman"][0] == [None, None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cut short"),
        ('{"schema": "pellucid.trace/1"}', "not a comparison"),
        ('{"schema": "pellucid.comparison/1"}', "not a whole comparison"),
        ('{"schema": "pellucid.comparison/1", "traces": [{}], "agreement": {}}', "lacks 'top_k'"),
        ('{"schema": "pellucid.comparison/1", "traces": [{}], "agreement": {"top_k": 3}}', "not a trace"),
    ],
)
def test_files_that_are_not_comparisons(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(SchemaError, match=message):
        Comparison.load(tmp_path / "c.json")
    with pytest.raises(InputError, match="cannot read"):
        Comparison.load(tmp_path / "none.json")


def shown(comparison: Comparison, *, color: bool = False, width: int = 100, **options: Any) -> str:
    console = Console(
        width=width, force_terminal=color, color_system="truecolor" if color else None, legacy_windows=False
    )
    with console.capture() as capture:
        console.print(render(comparison, **options), end="")
    return capture.get()


def test_terminal_has_a_column_a_method_and_every_score() -> None:
    found = two()
    text = shown(found, lang="en")
    assert "\x1b" not in text
    head = next(line for line in text.splitlines() if "token" in line)
    assert head.split() == ["token", *found.methods]
    lines = text.splitlines()
    at = lines.index(head) + 1
    columns = [rows_of(t) for t in found.traces]
    for k, (a, b) in enumerate(zip(*columns, strict=True)):
        row = lines[at + k].replace("−", "-")
        assert row.split()[0] == a.text.strip()
        numbers = [float(x) for x in re.findall(r"[-+]?\d+\.\d+", row)]
        assert numbers == pytest.approx([a.score, b.score], rel=6e-3, abs=1e-9)
    assert f"{found.agreement.spearman[0, 1]:.2f}".replace("-", "−") in text
    assert "Agreement" in text
    assert text.count("Trust:") == 2
    chinese = shown(found, lang="zh")
    for word in ("词元", "一致程度", "秩相关", "可信度"):
        assert word in chinese
    assert "\x1b[" in shown(found, color=True, lang="en")


def test_a_long_prompt_shows_what_matters_and_counts_the_rest() -> None:
    found = two("word " * 100)
    columns = [rows_of(t) for t in found.traces]
    places = shown_rows(columns)
    kept = [i for i in places if i is not None]
    for column in columns:
        largest = max(range(len(column)), key=lambda i: abs(column[i].score))
        assert largest in kept
    text = shown(found, lang="en")
    gaps = sum(int(n) for n in re.findall(r"… (\d+) tokens? …", text))
    assert gaps + len(kept) == len(columns[0])
    assert "…" not in "".join(shown(found, lang="en", full=True).splitlines()[2:100])
    assert shown_rows(columns, full=True) == list(range(len(columns[0])))


def test_control_characters_are_never_printed_raw() -> None:
    text = shown(two("a\x1b[31mb \x07 <b>"), lang="en")
    assert "\x1b" not in text
    assert "\x07" not in text


def test_page_holds_a_panel_a_method_and_allows_only_its_own_script() -> None:
    found = two("</script><script>alert(1)</script> 法国 &")
    text = page(found)
    assert "alert(1)</script>" not in text
    inside = re.findall(r'<pellucid-trace><script type="application/json">(.*?)</script>', text, re.DOTALL)
    assert [json.loads(x) for x in inside] == [t.to_dict() for t in found.traces]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#x27;", "'")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(script) == 1
    for part in (style, script[0]):
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "http" not in re.sub(r"http://www.w3.org/\S+", "", text.replace("http-equiv", ""))
    for name in found.methods:
        assert f"<h2>{name}</h2>" in text
    assert "Agreement" in text
    assert "一致程度" in text
    assert "<iframe" in found._repr_html_()


@pytest.mark.browser
def test_every_panel_is_drawn_in_a_browser(tmp_path: Path) -> None:
    import shutil

    tool = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found, problems = two(), []
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with tool.sync_playwright() as p:
        try:
            browser = p.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        except tool.Error as e:
            pytest.skip(f"no browser can be started: {str(e).splitlines()[0]}")
        tab = browser.new_page()
        tab.on("console", lambda m: problems.append(m.text))
        tab.on("pageerror", lambda e: problems.append(str(e)))
        tab.goto(found.save(tmp_path / "c.html").as_uri())
        for k, trace in enumerate(found.traces):
            texts = tab.locator("pellucid-trace").nth(k).locator(".prompt .u:not(.frame)").all_inner_texts()
            assert len(texts) == len(rows_of(trace))
        browser.close()
    assert problems == []


def test_picture(tmp_path: Path) -> None:
    one = tmp_path / "one.png"
    sample(PROMPT).save(one)
    found = two()
    path = found.save(tmp_path / "c.png")
    with Image.open(path) as image, Image.open(one) as single:
        image.load()
        assert image.size[0] == single.size[0] == 1800
        assert 800 < image.size[1] < 6000
    many = tuple(sample("word " * 400, signed=bool(k % 2)) for k in range(8))
    from pellucid.render.comparepng import figure

    figure_ = figure(Comparison(many, agreement(many)), lang="zh")
    assert figure_.get_figheight() * 144 < 9000
    with pytest.raises(OutputError, match=r"expected a file that ends in \.json, \.html, \.png, got '\.pdf'"):
        found.save(tmp_path / "c.pdf")


def test_public_names() -> None:
    assert pellucid.Comparison is Comparison
    assert pellucid.agreement is agreement
    assert repr(two()).startswith("Comparison(saliency, input_x_gradient -> ")
