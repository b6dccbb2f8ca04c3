"""Every token of an answer: the mean attribution by a plain loop, what is streamed, what is drawn."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from samples import sample
from tiny_heads import with_head

from pellucid.apps.generation import Generation, generate, mean_attribution
from pellucid.cli.main import main
from pellucid.errors import Error, InputError, OptionError
from pellucid.model import Model
from pellucid.render.appviews.generation import view
from pellucid.render.blocks import Heat, Matrix, Table
from pellucid.render.lenshtml import page
from pellucid.render.lenspng import figure
from pellucid.render.lensterminal import show
from pellucid.render.visible import visible
from pellucid.testing import KNOWN, UNKNOWN, Scripted

ASK = "What is the capital of France?"


def by_loops(trace: Any) -> list[float]:
    """The docstring's formula, in Python's own floats."""
    mine = [j for j, s in enumerate(trace.sources) if s.role not in ("template", "special")]
    out, rows = [0.0] * len(trace.sources), 0
    for row in trace.scores.tolist():
        whole = sum(abs(row[k]) for k in mine if not math.isnan(row[k]))
        if whole == 0:
            continue
        rows += 1
        for j in mine:
            out[j] += 0.0 if math.isnan(row[j]) else abs(row[j]) / whole
    return [x / rows if rows and j in mine else math.nan if j not in mine else 0.0 for j, x in enumerate(out)]


@pytest.mark.parametrize("signed", [True, False])
def test_mean_attribution_by_loops(signed: bool) -> None:
    trace = sample(signed=signed, per_token=True)
    found = mean_attribution(trace)
    assert found == pytest.approx(by_loops(trace), rel=1e-12, nan_ok=True)
    assert math.fsum(x for x in found if x == x) == pytest.approx(1)
    with pytest.raises(InputError, match="has no matrix"):
        mean_attribution(sample(per_token=False))


def test_the_double_writes_streams_and_is_explained() -> None:
    """Each word of the answer comes from its place in the prompt alone; a word that is nowhere has no say."""
    me = Scripted({"town": "Paris loves France"})
    pieces: list[str] = []
    g = generate(me, "Name a town of France, say Paris", on_text=pieces.append, strategy="top_p:0.9", seed=5)
    assert "".join(pieces) == g.answer == "Paris loves France"
    assert len(pieces) == 3
    assert (me.decodings[0].strategy, me.decodings[0].seed) == ("top_p:0.9", 5)
    assert g.logprob == pytest.approx((2 * KNOWN + UNKNOWN) / 3)
    shares = {s.text: x for s, x in zip(g.trace.sources, g.mean, strict=True)}
    assert shares["Paris"] == shares["France"] == pytest.approx(0.5)
    assert shares["town"] == 0
    assert [(r["token"], r["from"]) for r in g.rows()][::2] == [("Paris", "Paris"), ("France", "France")]
    back = Generation.from_dict(json.loads(g.to_json()))
    assert back.to_dict() == g.to_dict()
    assert back.trace.scores is not None
    assert back.trace.scores.shape == (3, len(g.trace.sources) + 3)
    given = generate(me, [{"role": "system", "content": "Paris."}, {"role": "user", "content": "Where?"}], "In Paris")
    assert (given.generated, given.strategy, given.end) == (False, "", "")
    assert len(me.asked) == 1


def test_a_real_answer_and_its_statistics(embedded: Model) -> None:
    """What was streamed, what was written and what is explained are one text; numbers are transformers'."""
    pieces: list[str] = []
    g = embedded.generate(
        ASK, strategy="top_k:5+temperature:0.9", seed=2, max_new_tokens=6, trust=False, on_text=pieces.append
    )
    assert "".join(pieces) == g.answer == g.trace.answer.text
    assert len(pieces) > 2
    loaded = embedded.loaded
    chat = [{"role": "user", "content": ASK}]
    ids = loaded.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    answer = [t.id for t in g.trace.targets]
    with torch.no_grad():
        rows = torch.log_softmax(loaded.network(torch.tensor([ids + answer])).logits[0, len(ids) - 1 : -1].double(), -1)
    for t, row in zip(g.trace.targets, rows, strict=True):
        assert t.logprob == pytest.approx(float(row[t.id]), abs=1e-4)
        assert t.rank == 1 + int((row > row[t.id] + 1e-5).sum())
        assert t.entropy == pytest.approx(float(-(row.exp() * row).sum()), abs=1e-3)
    assert g.logprob == pytest.approx(
        sum(float(r[t]) for r, t in zip(rows, answer, strict=True)) / len(answer), abs=1e-4
    )
    assert g.trace.method.name == "layered_gim"
    assert g.mean == pytest.approx(by_loops(g.trace), rel=1e-12, nan_ok=True)


def test_drawn_everywhere(tmp_path: Path) -> None:
    g = generate(Scripted(["Paris <b>it</b> is"]), "Paris is the capital")
    for lang in ("en", "zh"):
        blocks = view(g, lang)
        (matrix,) = [b for b in blocks if isinstance(b, Matrix)]
        place = matrix.columns.index("Paris")
        assert matrix.shares[matrix.rows.index("Paris")][place] == pytest.approx(1)
        assert matrix.most == pytest.approx(1)
        prompt = [b for b in blocks if isinstance(b, Heat)][1]
        assert {t.strip(): s for t, s, _ in prompt.parts}["Paris"] == pytest.approx(1)
        (table,) = [b for b in blocks if isinstance(b, Table)]
        assert len(table.rows) == len(g.trace.targets)
        out = io.StringIO()
        show(g, console=Console(file=out, width=90), lang=lang)
        assert "  Paris ← [Paris]₉" in out.getvalue()
        html = page(g, lang=lang)
        assert 'data-t="Paris ← Paris: 100.0 %"' in html
        assert "<b>" not in html
        assert html.count('<th scope="row">') == len(matrix.rows)
        drawn = figure(g, lang=lang)
        assert any(getattr(x, "get_array", None) is not None for x in drawn.findobj()), "the matrix is an image"
    assert (tmp_path / "g.csv").parent == g.save(tmp_path / "g.csv").parent
    assert g.save(tmp_path / "g.csv").read_text(encoding="utf-8-sig").startswith("token,prob")


@pytest.mark.parametrize(
    ("prompt", "options", "error", "says"),
    [
        (" ", {}, OptionError, "the prompt should be a text"),
        ([], {}, OptionError, "a text, or a list of messages"),
        ([{"role": "user"}], {}, OptionError, "a text, or a list of messages"),
        (ASK, {"answer": ""}, OptionError, "the answer should be a text"),
        (ASK, {"method": "salience"}, OptionError, "unknown method"),
        (ASK, {"method": "saliency", "parameters": {"x": 1}}, OptionError, "has no parameter 'x'"),
        (ASK, {"parameters": {"x": 1}}, OptionError, "method='auto' chooses"),
        (ASK, {"strategy": "greedily"}, OptionError, "greedily"),
        (ASK, {}, InputError, "'scripted' wrote nothing"),
    ],
)
def test_bad_input_is_one_sentence(prompt: Any, options: Any, error: type[Error], says: str) -> None:
    with pytest.raises(error, match=says):
        generate(Scripted([""]), prompt, **options)


def test_models_that_write_nothing() -> None:
    with pytest.raises(OptionError, match="of the kind 'span', and writes nothing"):
        generate(with_head("bert", "span"), ASK)


def test_the_command_streams_to_a_terminal(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """To a terminal the text comes first, then the view; elsewhere the view; mistakes before a model is loaded."""
    model = Model(tiny("llama"))
    monkeypatch.setattr("pellucid.model.load", lambda *a, **k: model)
    command = ["generate", "Say hello.", "--max-new-tokens", "4", "--no-trust", "--lang", "en"]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("llama: each token")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(command) == 0
    live = capsys.readouterr().out
    said = model.generate("Say hello.", max_new_tokens=4, trust=False).answer
    assert live.startswith(visible(said).replace("↵\n", "\n") + "\n\nllama: each token")
    for wrong, says in (
        (["--strategy", "x"], "x"),
        (["--max-new-tokens", "0"], "at least 1"),
        (["--param", "a"], "name"),
        (["--file", "nowhere.txt"], "were given"),
    ):
        assert main([*command, *wrong]) == 2
        err = capsys.readouterr().err
        assert says in err
        assert err.count("\n") == 1
