"""Relevance against transformers' own passes, one question at a time: degrees, gradients, offsets, windows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from rich.console import Console

import pellucid
from pellucid.cli.main import main
from pellucid.errors import ContextError, InputError, ModelError, OptionError, SchemaError
from pellucid.model import Model
from pellucid.models.encode import encode, encode_target
from pellucid.models.load import LoadedModel
from pellucid.relevance.batch import SHARED, gradients_of, length, logits_of
from pellucid.relevance.degrees import degrees
from pellucid.relevance.modes import CANDIDATES, MODES, SLOPE, objective_of
from pellucid.relevance.modes import mode as mode_named
from pellucid.relevance.prompts import WORDINGS, Wording, language_of, wording
from pellucid.relevance.question import ask
from pellucid.relevance.result import Part, Relevance
from pellucid.relevance.score import relevance
from pellucid.relevance.windows import cut
from pellucid.render.relevance import View
from pellucid.render.relevancehtml import page
from pellucid.trace.segments import sentences

QUERY = "the company's debts"
TEXT = "  The company made money.\r\n\r\nIt owes 12 million 🎉 to banks. 它欠银行的钱。<b>The end</b>"
QUESTIONS = [name for name, m in MODES.items() if m.question]


@pytest.fixture(name="tiny")
def roomy(tiny: Callable[..., LoadedModel]) -> Callable[..., LoadedModel]:
    """Tiny models that read 2,000 tokens: rotary positions go on for ever."""
    return lambda *arguments: replace(tiny(*arguments), context=2000)


def plain(model: LoadedModel, mode: str, query: str, text: str, language: str):  # type: ignore[no-untyped-def]
    """(prompt ids, answer ids) by encode alone: the template filled in by hand."""
    w = wording(mode, language)
    encoded = encode(model, w.user.replace("{query}", query).replace("{text}", text), thinking=False)
    if mode == "likelihood":
        return encoded.ids, encode_target(model, encoded, query)
    before = encode_target(model, encoded, w.answer)
    return encoded.ids + before, encode_target(model, encoded, w.answer + w.negative)[len(before) :][:1]


@pytest.mark.parametrize("mode", QUESTIONS)
@pytest.mark.filterwarnings("ignore:match_score:DeprecationWarning")
def test_a_question_is_what_it_says(tiny, mode: str) -> None:  # type: ignore[no-untyped-def]
    """Degree and gradient by transformers' own pass over one sequence, in float64."""
    model = tiny("llama", torch.float64)
    found = relevance(model, QUERY, TEXT, mode=mode, language="en")
    prompt, answer = plain(model, mode, QUERY, TEXT, "en")
    x = model.network.get_input_embeddings()(torch.tensor(prompt)).detach().requires_grad_(True)
    z = model.network(inputs_embeds=x[None]).logits[0, -1]
    p = torch.softmax(z.detach(), -1)
    assert found.degree == pytest.approx(1 - float(p[answer[0]]), rel=1e-9)
    best = [int(i) for i in p.argsort(descending=True) if int(i) != answer[0]][:CANDIDATES]
    value = sum(p[i] * z[i] for i in best)
    norms = torch.autograd.grad(value, x)[0].norm(dim=-1)
    places = ask(model, QUERY, TEXT, mode=mode, wording=wording(mode, "en")).places
    by_place: dict[tuple[int, int], float] = {}
    for q in places:
        by_place[q.start, q.end] = by_place.get((q.start, q.end), 0.0) + float(norms[q.index])
    assert {(t.start, t.end): t.score for t in found.tokens} == pytest.approx(by_place, rel=1e-6)
    neutral = plain(model, mode, QUERY, WORDINGS[mode]["en"].neutral, "en")[0]
    with torch.no_grad():
        other = torch.softmax(model.network(torch.tensor([neutral])).logits[0, -1], -1)[answer[0]]
    odds = [float(torch.log((1 - q) / q)) for q in (p[answer[0]], other)]
    assert found.calibrated == pytest.approx(odds[0] - odds[1], rel=1e-6)
    assert [a.probability for a in found.answer] == pytest.approx(p.topk(5)[0].tolist())


def test_likelihood_is_what_it_says(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny("llama", torch.float64)
    found = relevance(model, QUERY, TEXT, mode="likelihood", language="en")
    prompt, answer = plain(model, "likelihood", QUERY, TEXT, "en")
    bare = encode(model, wording("likelihood", "en").bare, thinking=False)

    def mean(ids: list[int], x: torch.Tensor | None = None) -> torch.Tensor:
        whole = model.network.get_input_embeddings()(torch.tensor(ids + answer)).detach() if x is None else x
        rows = torch.log_softmax(model.network(inputs_embeds=whole[None]).logits[0, len(ids) - 1 : -1], -1)
        return rows[torch.arange(len(answer)), answer]

    x = model.network.get_input_embeddings()(torch.tensor(prompt + answer)).detach().requires_grad_(True)
    given = mean(prompt, x)
    gain = float(given.detach().mean()) - float(mean(bare.ids).detach().mean())
    assert found.degree == pytest.approx(1 / (1 + np.exp(-SLOPE * (gain - 0.9))), rel=1e-9)
    norms = torch.autograd.grad(given.sum(), x)[0].norm(dim=-1)
    places = ask(model, QUERY, TEXT, mode="likelihood", wording=wording("likelihood", "en")).places
    assert sum(t.score or 0 for t in found.tokens) == pytest.approx(float(norms[[q.index for q in places]].sum()))


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_answer_is_what_it_says(tiny, name: str) -> None:  # type: ignore[no-untyped-def]
    """The query's likelihood where it stands, and the model's next token, in one sequence; their sum's gradient
    norm times state norm over the upper layers from transformers' own hidden states, times the sentence's mean
    squared."""
    model = tiny(name, torch.float64)
    found = relevance(model, QUERY, TEXT, mode="answer", language="en")
    w = wording("answer", "en")
    encoded = encode(model, w.user.replace("{text}", TEXT).replace("{query}", QUERY), thinking=False)
    at = len(w.user.split("{text}")[0]) + len(TEXT) + len("\n\nQuestion: ")

    def gain(e, begin: int) -> float:  # type: ignore[no-untyped-def]
        own = [i for i, t in enumerate(e.tokens) if t.role == "user" and t.start < begin + len(QUERY) and t.end > begin]
        with torch.no_grad():
            rows = torch.log_softmax(model.network(torch.tensor([e.ids])).logits[0], -1)
        return float(np.mean([float(rows[i - 1, e.ids[i]]) for i in own]))

    bare = encode(model, f"Question: {QUERY}", thinking=False)
    odds = SLOPE * (gain(encoded, at) - gain(bare, len("Question: ")) - 0.75)
    assert found.degree == pytest.approx(1 / (1 + np.exp(-odds)), rel=1e-9)

    ids = encoded.ids + encode_target(model, encoded, w.answer)
    x = model.network.get_input_embeddings()(torch.tensor([ids])).detach().requires_grad_(True)
    out = model.network(inputs_embeds=x, output_hidden_states=True)
    p = torch.softmax(out.logits[0, -1].detach(), -1)
    best = p.topk(CANDIDATES).indices
    states = out.hidden_states[:-1][len(out.hidden_states[:-1]) // 2 :]
    own = [i for i, t in enumerate(encoded.tokens) if t.start is not None and t.start < at + len(QUERY) and t.end > at]
    rows = torch.log_softmax(out.logits[0], -1)
    said = sum(rows[i - 1, ids[i]] for i in own) / len(own)
    gradients = torch.autograd.grad((p[best] * out.logits[0, -1, best]).sum() + said, states)
    score = sum(g.norm(dim=-1) * h.detach().norm(dim=-1) for g, h in zip(gradients, states, strict=True))[0]
    raw: dict[tuple[int, int], float] = {}
    for q in ask(model, QUERY, TEXT, mode="answer", wording=w).places:
        raw[q.start, q.end] = raw.get((q.start, q.end), 0.0) + float(score[q.index])
    plain_scores = relevance(model, QUERY, TEXT, mode="answer", language="en", method="layered_saliency")
    assert {(t.start, t.end): t.score for t in plain_scores.tokens} == pytest.approx(raw, rel=1e-6)
    parts = sentences(TEXT)
    of = {k: max(i for i, (a, _) in enumerate(parts) if a < k[1] or i == 0) for k in raw}
    means = {i: np.mean([v for k, v in raw.items() if of[k] == i]) for i in set(of.values())}
    lifted = {k: v * (means[of[k]] / np.mean(list(raw.values()))) ** 2 for k, v in raw.items()}
    assert {(t.start, t.end): t.score for t in found.tokens} == pytest.approx(lifted, rel=1e-6)
    assert found.method == "layered_saliency by sentence"
    assert [a.probability for a in found.answer] == pytest.approx(p.topk(5)[0].tolist())
    assert not any(a.negative for a in found.answer)
    assert relevance(model, QUERY, TEXT, language="en").tokens == found.tokens  # auto


@pytest.mark.parametrize("mode", ["likelihood", "fill_blank", "answer"])
def test_texts_together_are_texts_alone(tiny, mode: str) -> None:  # type: ignore[no-untyped-def]
    """Batches change nothing, nor do many-to-many degrees, nor checkpointing, nor what is left of the graph."""
    model = tiny("gemma3", torch.float64)
    texts = [TEXT, "Cats sleep.", "It owes money to three banks, and pays it back. " * 3, "无关的话。"]
    together = relevance(model, QUERY, texts, mode=mode)
    for text, one in zip(texts, together, strict=True):
        for options in ({}, {"checkpointing": True}, {"checkpointing": False}):
            alone = relevance(model, QUERY, text, mode=mode, **options)
            assert alone.degree == pytest.approx(one.degree, rel=1e-9)
            assert [t.score for t in alone.tokens] == pytest.approx([t.score for t in one.tokens], rel=1e-6)
        few = relevance(model, QUERY, text, mode=mode, degree_only=True)
        assert (few.degree, few.tokens) == (pytest.approx(one.degree, rel=1e-9), ())
    found = degrees(model, [QUERY, "cats"], texts, mode=mode)
    assert found.shape == (2, 4)
    assert found[0] == pytest.approx([r.degree for r in together], rel=1e-9)
    assert found[1, 1] == pytest.approx(relevance(model, "cats", "Cats sleep.", mode=mode).degree, rel=1e-9)


def test_another_method_is_that_method(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny("llama", torch.float64)
    ranked = relevance(model, QUERY, TEXT, mode="fill_blank", method="leave_one_out")
    assert ranked.method == "leave_one_out"
    assert len({t.score for t in ranked.tokens}) > 3
    assert relevance(model, QUERY, TEXT, mode="fill_blank", method="ifr").tokens


def test_offsets_are_the_users(tiny) -> None:  # type: ignore[no-untyped-def]
    found = relevance(tiny(), QUERY, TEXT)
    for t in found.tokens:
        assert t.text == TEXT[t.start : t.end]
    covered = {i for t in found.tokens for i in range(t.start, t.end)}
    assert {i for i, c in enumerate(TEXT) if not c.isspace()} <= covered
    assert [w.text for w in found.words][:3] == ["The", "company", "made"]
    assert [s.text for s in found.sentences] == [TEXT[a:b] for a, b in sentences(TEXT)]
    assert sum(w.score or 0 for w in found.words) <= sum(t.score or 0 for t in found.tokens) * (1 + 1e-9)
    assert found.top(3) == sorted(found.top(3), key=lambda t: -(t.score or 0))


def test_words_and_sentences_by_hand() -> None:
    parts = (Part("ab", 0, 2, 4.0), Part(" cd.", 2, 6, 2.0), Part(" E", 6, 8, None))
    r = Relevance("q", "ab cd. E", 0.5, 0.0, "m", "m", "en", "saliency", "nats", parts, (), (), None, 0.0)  # type: ignore[arg-type]
    assert [(w.text, w.score) for w in r.words] == [("ab", 4.0), ("cd", 1.0), (".", 0.5), ("E", None)]
    first, last = r.sentences
    assert (first.text, first.score) == ("ab cd.", pytest.approx((4.0 + 2.0) / 2))
    assert (last.text, last.score) == ("E", None)


@pytest.mark.parametrize(("room", "overlap"), [(8, 0), (12, 3), (20, 6), (1000, 10)])
def test_windows_follow_on_each_other(room: int, overlap: int) -> None:
    text = "One two three. " * 9 + "A sentence that is so long that it has to be cut between its many tokens here."
    tokens = [m.span() for m in re.finditer(r"\S+", text)]
    windows = cut(text, tokens, room=room, overlap=overlap)
    assert [w.first for w in windows] == [0, *(w.last for w in windows[:-1])]
    assert windows[-1].last == len(text)
    for w in windows:
        inside = [t for t in tokens if w.start <= t[0] < w.end]
        assert len(inside) <= room
        assert w.start <= w.first < w.last <= w.end
        if overlap and w.first > 0 and w.start < w.first:
            assert sum(w.start <= t[0] < w.first for t in tokens) <= overlap
    starts = {a for a, _ in sentences(text)}
    assert all(w.first in starts or w.first > text.index("A sentence") for w in windows[1:])
    assert (len(windows) == 1) == (room >= len(tokens))


def test_a_long_text_is_read_whole(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny("llama", torch.float64)
    text = " ".join(f"Sentence {k} is about banks and boats." for k in range(12))
    found = relevance(model, QUERY, text, window=30)
    assert len(found.windows) > 3
    assert found.degree == max(w.degree for w in found.windows)
    assert found.cut_at is None
    assert "".join(t.text for t in found.tokens).replace(" ", "") == text.replace(" ", "")
    short = relevance(model, QUERY, text, max_tokens=10)
    assert short.cut_at is not None
    assert len(short.tokens) <= 10
    assert short.tokens[-1].end <= short.cut_at


def test_stages_debug_and_languages(tiny) -> None:  # type: ignore[no-untyped-def]
    stages: list[str] = []
    found = relevance(tiny(), QUERY, TEXT * 40, debug=True, progress=lambda s, d, t: stages.append(s))
    assert {"encoding", "inference", "backward", "processing"} <= set(stages)
    assert found.debug is not None
    assert all(" […] " in p for p in found.debug["prompts"])
    stages.clear()
    relevance(tiny(), QUERY, TEXT, degree_only=True, progress=lambda s, d, t: stages.append(s))
    assert "backward" not in stages
    assert language_of("天气对农业的影响", "The weather") == "zh"
    assert language_of("debts", "The company. 它") == "en"
    assert relevance(tiny(), "债务", "公司欠银行的钱。").language == "zh"


def test_json_and_back(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    found = relevance(tiny(), QUERY, TEXT)
    again = pellucid.Relevance.load(found.save(tmp_path / "r.json"))
    assert again.to_dict() == found.to_dict()
    score = json.loads(found.to_json())["tokens"][2]["score"]
    assert score == float(f"{found.tokens[2].score:.5g}")
    schema = json.loads((Path(__file__).parents[2] / "docs" / "pellucid.relevance-1.schema.json").read_text())
    for options in ({}, {"mode": "count", "debug": True}, {"degree_only": True}, {"window": 16, "max_tokens": 30}):
        jsonschema.validate(json.loads(relevance(tiny(), QUERY, TEXT, **options).to_json()), schema)
    newer = {**found.to_dict(), "colour": 1, "tokens": [{**t, "colour": 2} for t in found.to_dict()["tokens"]]}
    assert pellucid.Relevance.from_dict(newer).to_dict() == found.to_dict()
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(SchemaError, match="not a relevance result"):
        pellucid.Relevance.load(tmp_path / "x.json")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_it_is_drawn_as_it_is_written(tiny, lang: str) -> None:  # type: ignore[no-untyped-def]
    found = relevance(tiny(), QUERY, TEXT + "\x1b[31m")
    html = page(found)
    assert "<b>" not in html
    assert html.count("&lt;") == TEXT.count("<")
    assert "script" not in html
    console = Console(width=60, color_system=None)
    with console.capture() as caught:
        console.print(View(found, lang, True))
    out = caught.get()
    assert "\x1b" not in out
    assert "banks" in re.sub(r"[\[\]₀-₉]", "", out)
    assert ("相关度" if lang == "zh" else "related") in out


def test_a_score_that_is_no_number_is_counted(tiny, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from pellucid.relevance import score

    real = score.token_scores

    def poisoned(*args, **kwargs):  # type: ignore[no-untyped-def]
        logits, scores = real(*args, **kwargs)
        scores[0][args[1][0].places[3].index] = torch.nan
        return logits, scores

    monkeypatch.setattr(score, "token_scores", poisoned)
    found = relevance(tiny(), QUERY, TEXT)
    assert (found.not_finite, found.tokens[3].score) == (1, None)
    assert "1 of" in page(found)
    assert "NaN" not in found.to_json()


@pytest.mark.parametrize(
    ("query", "text", "options", "error", "sentence"),
    [
        (" ", TEXT, {}, InputError, "the query is empty"),
        (QUERY, "", {}, InputError, "the text is empty, or holds only blanks"),
        (QUERY, " \n\t", {}, InputError, "the text is empty, or holds only blanks"),
        (QUERY, "a\0b", {}, InputError, "the text holds a NUL character at 1"),
        (QUERY, TEXT, {"mode": "fil_blank"}, OptionError, "unknown mode 'fil_blank'.*Did you mean 'fill_blank'"),
        (QUERY, TEXT, {"window": 0}, OptionError, "window should be at least 1, given 0"),
        (QUERY, TEXT, {"window": 10**6}, OptionError, "window should be at most"),
        (QUERY, TEXT, {"language": "de"}, OptionError, "language should be one of en, zh, given 'de'"),
        (QUERY, TEXT, {"checkpointing": "yes"}, OptionError, "checkpointing should be 'auto', True or False"),
        (QUERY, TEXT, {"method": "salience"}, OptionError, "unknown method 'salience'"),
        ("debts " * 3000, TEXT, {"mode": "fill_blank"}, ContextError, "shorten the query"),
        (
            QUERY,
            TEXT,
            {"mode": "count", "template": Wording("no marks", "x", "0", "n")},
            OptionError,
            r"user should hold \{query\} once, and holds it 0 times",
        ),
    ],
)
def test_bad_input_says_what_is_expected(tiny, query, text, options, error, sentence) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=sentence):
        relevance(tiny(), query, text, **options)


def test_a_text_of_one_character_and_markers_are_text(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny()
    assert [t.text for t in relevance(model, QUERY, "x").tokens] == ["x"]
    text = "a <|im_end|> b"
    found = relevance(model, "<|im_start|>", text)
    assert "".join(t.text for t in found.tokens) == text
    prompt = ask(model, "<|im_start|>", text, mode="count", wording=wording("count", "en")).prompt
    plain_ = ask(model, "q", "a b", mode="count", wording=wording("count", "en")).prompt
    for marker in ("<|im_start|>", "<|im_end|>"):
        number = model.tokenizer.convert_tokens_to_ids(marker)
        assert prompt.count(number) == plain_.count(number)


def test_a_model_without_gradients_still_gives_degrees(tiny, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from pellucid.relevance import score

    def none(network: object) -> None:
        raise ModelError("this model's kernels pass no gradients")

    monkeypatch.setattr(score, "check_gradient", none)
    assert relevance(tiny(), QUERY, TEXT, degree_only=True).degree > 0
    with pytest.raises(ModelError, match="degree_only=True gives degrees all the same"):
        relevance(tiny(), QUERY, TEXT)


def test_match_score_is_deprecated(tiny) -> None:  # type: ignore[no-untyped-def]
    with pytest.warns(DeprecationWarning, match="the weakest way to ask"):
        Model(tiny()).relevance(QUERY, TEXT, mode="match_score")


def test_the_command_line(tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one, two, bad = tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "c.txt"
    one.write_text(TEXT, encoding="utf-8")
    two.write_text("Cats sleep.", encoding="utf-8")
    bad.write_bytes(b"\xff\xfe\xfa")
    model = ["--model", str(tiny_folder)]
    html = tmp_path / "r.html"
    assert main(["relevance", QUERY, *model, "--file", str(one), "--html", str(html)]) == 0
    assert "related" in capfd.readouterr().out
    assert html.stat().st_size > 1000
    assert main(["relevance", QUERY, *model, str(one), str(two), "--degree"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert {line.split()[-1] for line in lines} == {str(one), str(two)}
    assert main(["relevance", QUERY, *model, str(one), str(two), "--degree", "--json", "-"]) == 0
    table = json.loads(capfd.readouterr().out)
    assert [r["degree"] for r in table] == sorted((r["degree"] for r in table), reverse=True)
    for arguments, sentence in (
        ([str(bad)], "is not UTF-8 text (byte 0)"),
        ([str(one), str(two)], "one text is highlighted at a time, and 2 were given"),
        ([], "no text was given"),
        (["--text", " "], "--text: the text is empty"),
        ([str(tmp_path / "none.txt")], "cannot read"),
    ):
        assert main(["relevance", QUERY, *model, *arguments]) == 2
        assert sentence in capfd.readouterr().err


@pytest.mark.parametrize("mode", ["likelihood", "answer"])
def test_many_queries_of_one_text_share_its_pass(family: LoadedModel, mode: str) -> None:
    """Against transformers' own pass over each sequence; and the text's tokens run once."""
    loaded = replace(family, context=None)
    text = "The bank lent money. 银行借了钱。 It rained."
    words = wording(mode, "en")
    queries = ["Who lent money?", "Did it rain at all in the night?", "钱"]
    asked = [ask(loaded, q, text, mode=mode, wording=words) for q in queries]
    fed: list[int] = []
    hook = loaded.network.get_input_embeddings().register_forward_hook(
        lambda m, given, out: fed.append(given[0].numel())
    )
    rows = logits_of(loaded, asked, allowed=1 << 30)
    hook.remove()
    assert sum(fed) < len(asked[0].prompt) + len(queries) * (2 + max(len(a.answer) for a in asked))
    for a, row in zip(asked, rows, strict=True):
        with torch.no_grad():
            whole = loaded.network(torch.tensor([a.prompt + a.answer])).logits[0]
        expected = whole[len(a.prompt) - 1 : -1]
        assert torch.allclose(row, expected if mode == "likelihood" else expected[[*range(a.query), -1]], atol=1e-9)
    tight = logits_of(loaded, asked, allowed=1)  # one row at a time
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(rows, tight, strict=True))


def test_many_texts_share_their_beginning(family: LoadedModel) -> None:
    """What the template puts before the texts runs once; logits are transformers' own of each whole sequence, and
    scores those of each text alone."""
    loaded = replace(family, context=None)
    words = Wording(
        "Here is a text, and a question about it.\n\n{text}\n\nQuestion: {query}", 'The answer is "', bare="{query}"
    )
    texts = ["The bank lent money. 银行借了钱。", "It rained.", "Cats sleep, and dogs bark at night.", "Rain again."]
    asked = [ask(loaded, QUERY, t, mode="answer", wording=words) for t in texts]
    common = next(i for i, p in enumerate(zip(*(a.prompt for a in asked), strict=False)) if len(set(p)) > 1)
    assert common >= SHARED
    fed: list[int] = []
    hook = loaded.network.get_input_embeddings().register_forward_hook(
        lambda m, given, out: fed.append(given[0].numel())
    )
    rows = logits_of(loaded, asked, allowed=1 << 30)
    hook.remove()
    assert sum(fed) == common + len(asked) * (max(length(a) for a in asked) - common)
    for a, row in zip(asked, rows, strict=True):
        with torch.no_grad():
            whole = loaded.network(torch.tensor([a.prompt + a.answer])).logits[0]
        assert torch.allclose(row, whole[len(a.prompt) - 1 : -1][[*range(a.query), -1]], atol=1e-9)
        assert torch.allclose(logits_of(loaded, [a.said], allowed=1)[0], row[:-1], atol=1e-9)
    objectives = [objective_of(mode_named("answer"), a.answer[0], a.query) for a in asked]
    for skip in (None, 0.5):
        together = gradients_of(loaded, asked, objectives, skip=skip, allowed=1 << 30)
        for a, o, (_, scores) in zip(asked, objectives, together, strict=True):
            alone = gradients_of(loaded, [a], [o], skip=skip, allowed=1 << 30)[0][1]
            at = [p.index for p in a.places]
            assert torch.allclose(scores[at], alone[at], rtol=1e-6)
    same = gradients_of(loaded, [asked[0]] * 4, [objectives[0]] * 4, allowed=1 << 30)[0][1]
    assert same[asked[0].places[-1].index] > 0  # all of the prompt is common, and the text is scored all the same


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_picture_shows_the_text(tiny, tmp_path: Path, lang: str) -> None:  # type: ignore[no-untyped-def]
    """As wide as every picture; the best token's box is in the scale's full colour."""
    from matplotlib.image import imread

    from pellucid.render.colors import hex_of
    from pellucid.render.relevance import scale_of
    from pellucid.render.relevancepng import save_png

    found = relevance(tiny(), QUERY, TEXT)
    save_png(found, tmp_path / f"{lang}.png", lang=lang)
    picture = (imread(tmp_path / f"{lang}.png")[..., :3] * 255).round().astype(int)
    assert picture.shape[1] == 1800
    steps = scale_of(found)
    full = hex_of(steps.color(steps.limit)).lstrip("#")
    color = [int(full[i : i + 2], 16) for i in (0, 2, 4)]
    assert (np.abs(picture - color).max(-1) <= 1).sum() > 100
    assert found.save(tmp_path / "r.png").stat().st_size > 5000
