"""Questions: where an answer stands, whether the context is what it rests on, heads that point, what is drawn."""

from __future__ import annotations

import io
import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tiny_heads import with_head

from pellucid.apps.place import LEAST, LONGEST, place
from pellucid.apps.question import TEMPLATES, Answered, ask, filled
from pellucid.cli.main import main
from pellucid.errors import ContextError, Error, InputError, OptionError
from pellucid.model import Model
from pellucid.render.appviews.answered import view
from pellucid.render.blocks import Heat, Lines, Table
from pellucid.render.lenshtml import page
from pellucid.render.lenspng import figure
from pellucid.render.lensterminal import show
from pellucid.testing import KNOWN, UNKNOWN, Scripted

QUESTION = "Who designed the bridge?"
CONTEXT = "The bridge was opened in 1887. It was designed by Clara Voss. She came from Norway."
FALL = KNOWN - UNKNOWN


@pytest.mark.parametrize(
    ("answer", "context", "how", "text"),
    [
        ("Clara Voss", CONTEXT, "exact", "Clara Voss"),
        (" Clara Voss\n", CONTEXT, "exact", "Clara Voss"),
        ("“clara  VOSS”!", CONTEXT, "normalised", "Clara Voss"),
        ("the Norway.", CONTEXT, "normalised", "Norway"),
        ("The bridge was designed by the engineer Clara Voss.", CONTEXT, "overlap", "was designed by Clara Voss"),
        ("A lighthouse keeper", CONTEXT, "none", None),
        ("It is in a lighthouse", CONTEXT, "none", None),
        ("?!", CONTEXT, "none", None),
        ("No", "Norway said: No!", "exact", "No"),
        ("way", "Norway.", "none", None),
        ("由沃斯设计。", "大桥于一八八七年建成，由沃斯设计，她来自挪威。", "normalised", "由沃斯设计"),
        ("工程师沃斯女士", "大桥由工程师克拉拉沃斯设计。", "overlap", "工程师克拉拉沃斯"),
    ],
)
def test_where_an_answer_stands(answer: str, context: str, how: str, text: str | None) -> None:
    found = place(answer, context)
    assert found.how == how
    assert (None if found.start is None else context[found.start : found.end]) == text
    assert (found.overlap == 1) == (how in ("exact", "normalised"))


def test_words_of_the_question_do_not_count() -> None:
    answer = "The bridge was designed by Miss Clara Voss"
    found = place(answer, CONTEXT, QUESTION)
    assert CONTEXT[found.start : found.end] == "was designed by Clara Voss"
    # bridge, was, designed, by, miss, clara, voss against was, designed, by, clara, voss
    assert found.overlap == pytest.approx(2 * 5 / (7 + 5))
    assert place("The bridge!", CONTEXT, "Which bridge?").how == "normalised"
    # one word in common, and the answer is about something else
    assert place("When the bridge opened", "A bridge.", "When was it opened?").how == "overlap"
    assert place("It was opened when the bridge was opened long ago", "A bridge.", "When?").how == "none"


def test_the_best_overlap_by_brute_force() -> None:
    """Every stretch of random words, with the F1 written out."""
    draw = random.Random(3)
    for _ in range(60):
        there = [draw.choice("bcdefgh") * 2 for _ in range(draw.randrange(1, 14))]
        wanted = [draw.choice("bcdefghi") * 2 for _ in range(draw.randrange(1, 6))]
        if any(there[k : k + len(wanted)] == wanted for k in range(len(there))):
            continue
        best = 0.0
        for i, j in itertools.combinations(range(len(there) + 1), 2):
            some = there[i:j]
            common = sum(min(some.count(w), wanted.count(w)) for w in set(wanted))
            if common and j - i <= LONGEST * len(wanted):
                precision, recall = common / len(some), common / len(wanted)
                best = max(best, 2 * precision * recall / (precision + recall))
        found = place(" ".join(wanted), " ".join(there))
        assert found.overlap == pytest.approx(best if best >= LEAST else 0.0)


def test_support_and_traces_follow_the_rule_of_the_double() -> None:
    me = Scripted({"designed": "Clara Voss"})
    a = ask(me, QUESTION, CONTEXT, methods=("saliency", "lime"))
    assert [m["content"] for m in me.asked[0]] == [TEMPLATES["en"].format(question=QUESTION, context=CONTEXT)]
    assert (a.kind, a.answer, a.place, CONTEXT[a.start : a.end]) == ("written", "Clara Voss", "exact", "Clara Voss")
    assert (a.logprob, a.alone) == pytest.approx((KNOWN, UNKNOWN))
    assert a.supported == pytest.approx(FALL)
    for trace in a.traces:
        here = a.units_of(trace)
        assert [u.text for u in here] == CONTEXT.replace(". ", ".|").split("|")
        assert [u.score for u in here] == pytest.approx([0, 2 * FALL, 0])
        assert trace.answer.text == a.answer
    assert a.agreement is not None
    assert a.agreement.spearman[0][1] == pytest.approx(1)
    assert (a.agreement.entries, a.agreement.top_k, a.agreement.overlap[0][1]) == (3, 3, 1)
    assert a["lime"].method.name == "lime"
    known = ask(Scripted(["bridge"]), QUESTION, CONTEXT, methods=())
    assert known.supported == pytest.approx(0)  # the question holds the word, too
    assert known.traces == ()
    assert known.agreement is None
    given = ask(me, QUESTION, CONTEXT, answer="Clara Moss", methods=("saliency",), unit="token")
    assert (given.generated, given.place) == (False, "overlap")
    assert given.supported == pytest.approx(FALL / 2)
    assert len(given.units_of(given.traces[0])) == 19  # the context's words and marks, no other
    assert given.rows()[0].keys() >= {"method", "unit", "start", "score"}
    rows = [r["unit"] for r in given.rows()]
    assert all(CONTEXT[r["start"] : r["end"]] == u for r, u in zip(given.rows(), rows, strict=True))


def test_the_question_chooses_the_language_and_texts_stay_as_they_are() -> None:
    me = Scripted(["沃斯", "x"])
    ask(me, "大桥是谁设计的？", CONTEXT, methods=())
    assert me.asked[0][0]["content"].startswith("阅读下面的文字")
    odd = "in {question} or {context}"
    ask(me, odd, odd + "!", methods=(), template="Q: {question} C: {context} end")
    assert me.asked[1][0]["content"] == f"Q: {odd} C: {odd}! end"
    for template in ("{question}|{context}", "{context}|{question}?"):
        text, at = filled(template, "who {context}", "it {question}")
        assert text == template.replace("{question}", "Q").replace("{context}", "it {question}").replace(
            "Q", "who {context}"
        )
        assert text[at:].startswith("it {question}")


def test_to_json_and_back_and_drawn(tmp_path: Path) -> None:
    a = ask(Scripted({"designed": "Miss Voss"}), QUESTION, CONTEXT, methods=("saliency", "lime"))
    path = a.save(tmp_path / "a.json")
    back = Answered.load(path)
    assert back.to_dict() == a.to_dict()
    assert back.traces[1].to_dict() == a.traces[1].to_dict()
    assert math.isnan(back.score)
    for lang, word in (("en", "Question"), ("zh", "问题")):
        blocks = view(back, lang)
        heats = [b for b in blocks if isinstance(b, Heat)]
        assert len(heats) == 2
        for heat in heats:
            assert "".join(t for t, _, _ in heat.parts) == CONTEXT
            assert "".join(heat.parts[k][0] for k in sorted(heat.marks)) == "Voss"
        # the sentence with the answer has the full shade, on both sides of what is set off
        assert [t for t, share, _ in heats[0].parts if share == 1] == ["It was designed by Clara ", "Voss", "."]
        out = io.StringIO()
        show(back, console=Console(file=out, width=100), lang=lang)
        assert word in out.getvalue()
        assert "⟦[Voss]₉⟧" in out.getvalue()
        html = page(back, lang=lang)
        assert html.count('class="l20 mark"') == 2
        orange = [p for p in figure(back, lang=lang).findobj() if _color(p) == (201, 84, 4)]
        assert len(orange) == 2, "a line under the answer in each of both texts"


def _color(artist: Any) -> tuple[int, ...]:
    given = getattr(artist, "get_facecolor", lambda: ())()
    return tuple(round(255 * float(x)) for x in given[:3]) if isinstance(given, tuple) and len(given) == 4 else ()


def test_a_real_model_is_weighed_with_and_without(embedded: Model) -> None:
    """Against transformers' own logits; the trace is of the answer that was written."""
    a = embedded.ask(QUESTION, CONTEXT, methods=("saliency",), trust=False, max_new_tokens=12)
    loaded = embedded.loaded

    def weigh(prompt: str) -> float:
        chat = [{"role": "user", "content": prompt}]
        ids = loaded.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        answer = loaded.tokenizer(a.answer, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logp = torch.log_softmax(loaded.network(torch.tensor([ids + answer])).logits[0].double(), -1)
        return sum(float(logp[len(ids) - 1 + k, t]) for k, t in enumerate(answer)) / len(answer)

    assert "Voss" in a.answer
    assert a.place in ("exact", "overlap")
    assert a.prompt == TEMPLATES["en"].format(question=QUESTION, context=CONTEXT)
    assert a.logprob == pytest.approx(weigh(a.prompt), abs=1e-4)
    assert a.alone == pytest.approx(weigh(TEMPLATES["en"].format(question=QUESTION, context="")), abs=1e-4)
    assert a.supported > 1
    (trace,) = a.traces
    assert trace.answer.text == a.answer
    assert trace.units[1].score == pytest.approx(float(trace.total[list(trace.units[1].tokens)].sum()), rel=1e-5)
    assert "".join(t for t, _, _ in next(b for b in view(a, "en") if isinstance(b, Heat)).parts) == CONTEXT


WORDS = ["and", "so", "the", "film", "was", "very", "dull", "in", "France", "but", "Ann", "left", "at", "seven"]
LONG = " ".join(f"Ben came at noon {w}." for w in WORDS)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_a_head_points(family: str) -> None:
    """Probabilities and scores from transformers' logits; one window, all methods that know a head."""
    loaded = with_head(family, "span")
    question, context = "Who left the house?", "Ann came at noon, and Ben left the house. The film was good."
    a = ask(loaded, question, context, parameters={"lime": {"samples": 8}}, max_new_tokens=6)
    given = {k: v for k, v in loaded.tokenizer(question, context, return_tensors="pt").items() if k in _takes(family)}
    with torch.no_grad():
        out = loaded.network(**given)
    start, end = (torch.log_softmax(x[0], -1) for x in (out.start_logits, out.end_logits))
    (i, j) = [t.id for t in a.traces[0].targets]
    assert a.kind == "extracted"
    assert a.logprob == pytest.approx(float(start[i] + end[j]) / 2, rel=1e-6)
    assert a.score == pytest.approx(float(out.start_logits[0, i] + out.end_logits[0, j]), rel=1e-6)
    if family == "gpt2":
        assert math.isnan(a.no_answer_prob)
    else:
        assert a.no_answer_prob == pytest.approx(float((start[0] + end[0]).exp()), rel=1e-6)
    assert a.no_answer == (a.place == "none") == (a.start is None)
    if a.start is not None:
        assert context[a.start : a.end] == a.answer
    assert [t.method.name for t in a.traces] == ["saliency", "lime"]  # attention knows no heads
    assert [u.text for u in a.units_of(a.traces[0])] == [context[:41], context[42:]]
    assert math.isnan(a.supported)
    assert Answered.from_dict(json.loads(a.to_json())).to_dict() == a.to_dict()
    for lang in ("en", "zh"):
        assert any(isinstance(b, Table) for b in view(a, lang))


def _takes(family: str) -> set[str]:
    return {"input_ids", "attention_mask"} | ({"token_type_ids"} if family == "bert" else set())


def test_a_head_reads_long_contexts_in_windows() -> None:
    a = ask(with_head("bert", "span"), "Who left?", LONG, window=50, stride=10, methods=("saliency",), trust=False)
    assert len(a.windows) > 2
    (here,) = [w for w in a.windows if w.explained]
    units = a.units_of(a.traces[0])
    assert units
    assert all(here.start <= u.start < u.end <= here.end for u in units)
    assert all(LONG[u.start : u.end] == u.text for u in units)
    assert a.no_answer_score == min(w.no_answer for w in a.windows if w.no_answer is not None)
    tables = [b for b in view(a, "en") if isinstance(b, Table)]
    assert len(tables[0].rows) == len(a.windows)
    none = ask(with_head("bert", "span"), "Who left?", LONG, answer="no answer", methods=(), window=50)
    assert (none.no_answer, none.start, none.place) == (True, None, "none")
    assert none.score == none.no_answer_score
    assert "holds none" in next(b for b in view(none, "en") if isinstance(b, Lines)).lines[0]


def test_a_model_that_says_nothing() -> None:
    a = ask(Scripted([""]), QUESTION, CONTEXT)
    assert (a.answer, a.traces, a.place) == ("", (), "none")
    assert math.isnan(a.supported)
    assert "wrote nothing" in next(b for b in view(a, "en") if isinstance(b, Lines)).lines[0]


@pytest.mark.parametrize(
    ("given", "options", "error", "says"),
    [
        ((" ", CONTEXT), {}, OptionError, "the question should be a text, given an empty one"),
        ((QUESTION, "\n"), {}, OptionError, "the context should be a text, given an empty one"),
        ((QUESTION, None), {}, OptionError, "the context should be a text, given a NoneType"),
        ((QUESTION, CONTEXT), {"methods": ["salience"]}, OptionError, "unknown method.*Did you mean 'saliency'"),
        ((QUESTION, CONTEXT), {"methods": "lime"}, OptionError, "methods should be a list"),
        ((QUESTION, CONTEXT), {"unit": "line"}, OptionError, "unknown unit 'line'"),
        ((QUESTION, CONTEXT), {"top_k": 0}, OptionError, "top_k should be at least 1"),
        ((QUESTION, CONTEXT), {"template": "{context}"}, OptionError, "should hold {question} once, and holds it 0"),
        ((QUESTION, CONTEXT), {"template": "{question}{context}{context}"}, OptionError, "once, and holds it 2"),
        ((QUESTION, CONTEXT), {"parameters": {"gim": {}}}, OptionError, "not among the methods"),
        ((QUESTION, CONTEXT), {"parameters": {"lime": {"a": 1}}}, OptionError, "has no parameter 'a'"),
        ((QUESTION, CONTEXT), {"methods": (), "parameters": {"lime": {}}}, OptionError, "no method is asked for"),
        ((QUESTION, CONTEXT), {"window": 9}, OptionError, "belong to models that point"),
        ((QUESTION, CONTEXT), {"answer": " "}, OptionError, "the answer should be a text"),
        (("who " * 80, CONTEXT), {}, ContextError, "the question takes .* shorten the question"),
        ((QUESTION, "it was " * 80), {}, ContextError, "question and context take .*'pellucid rag'"),
    ],
)
def test_bad_input_is_one_sentence(given: Any, options: Any, error: type[Error], says: str) -> None:
    me = Scripted(["Clara Voss"], context=60)
    with pytest.raises(error, match=says):
        ask(me, *given, **options)
    assert not me.asked, "nothing is asked before everything is checked"


def test_what_models_do_not_know() -> None:
    with pytest.raises(OptionError, match="is a classifier, and writes no answers"):
        ask(with_head("bert"), QUESTION, CONTEXT)
    with pytest.raises(OptionError, match="points at its answer and reads no prompt"):
        ask(with_head("bert", "span"), QUESTION, CONTEXT, template="{question}{context}")
    with pytest.raises(OptionError, match="method 'attention' does not know models of the kind 'span'"):
        ask(with_head("bert", "span"), QUESTION, CONTEXT, methods=("attention",))
    with pytest.raises(InputError, match="is not in the context"):
        ask(with_head("bert", "span"), QUESTION, CONTEXT, answer="a lighthouse", methods=())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--context", "{missing}"], "cannot read"),
        (["--context", "{latin}"], "is not UTF-8"),
        ([], "expected one text, with --context or with --text; none given"),
        (["--text", "a", "--context", "{latin}"], "2 given"),
        (["--text", " "], "the text is empty"),
        (["--text", "a", "--method", "salience"], "unknown method"),
        (["--text", "a", "--template", "{question}"], "should hold {context} once"),
        (["--text", "a", "--param", "samples=3"], "method:name=value"),
        (["--text", "a", "--no-trace", "--method", "lime"], "exclude each other"),
        (["--text", "a", "--html", "a.txt"], "ends in .html"),
    ],
)
def test_the_command_says_what_is_wrong(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latin.txt").write_bytes("Straße".encode("latin-1"))
    places = {"{missing}": tmp_path / "missing.txt", "{latin}": tmp_path / "latin.txt"}
    assert main(["ask", QUESTION, *(str(places.get(a, a)) for a in arguments)]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
