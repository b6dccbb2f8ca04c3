"""Answers in a context: the best span and window by brute force, no answer, removal in place, gradients, targets."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from tiny_heads import TOKENIZERS, with_head
from torch import Tensor

from pellucid.errors import ContextError, InputError, ModelError, OptionError
from pellucid.model import Model
from pellucid.models.heads import encode_parts
from pellucid.models.load import LoadedModel
from pellucid.trace.ablate import effects, original
from pellucid.trace.extract import SpanRun, best_span, starts, windows
from pellucid.trace.methods import method
from pellucid.trace.objective import objective

QUESTION = "Who left the house?"
CONTEXT = "Ann came at noon, and Ben left the house. The film was good."
WORDS = ["and", "so", "the", "film", "was", "very", "dull", "in", "France", "but", "Ann", "left", "at", "seven"]
LONG = " ".join(f"Ben came at noon {w}." for w in WORDS)


@pytest.fixture(params=sorted(TOKENIZERS))
def model(request: pytest.FixtureRequest) -> LoadedModel:
    return with_head(request.param, "span")


def inputs(model: LoadedModel) -> dict[str, Tensor]:
    out = model.tokenizer(QUESTION, CONTEXT, return_tensors="pt")
    return {k: v for k, v in out.items() if k != "token_type_ids" or model.name.startswith("bert")}


def run_of(model: LoadedModel, answer: tuple[int, int], **options: Any) -> SpanRun:
    encoded = encode_parts(model, ("question", QUESTION), ("context", CONTEXT))
    written = [[i] for i, t in enumerate(encoded.tokens) if t.role != "special"]
    return SpanRun(model, encoded.ids, answer, objective("logprob"), units=written, **options)


def test_logits_and_gradients_are_transformers(model: LoadedModel) -> None:
    run = run_of(model, (9, 12), per_token=True)
    given = inputs(model)
    assert run.ids.tolist() == given["input_ids"].tolist()
    x = model.network.get_input_embeddings()(given.pop("input_ids")).detach().requires_grad_(True)
    out = model.network(inputs_embeds=x, **given)
    values = [torch.log_softmax(out.start_logits[0], -1)[9], torch.log_softmax(out.end_logits[0], -1)[12]]
    gradients = torch.stack([torch.autograd.grad(v, x, retain_graph=True)[0][0] for v in values])
    found = method("input_x_gradient")(run)
    tolerance = 1e-5 if model.name.startswith("llama") else 1e-9
    torch.testing.assert_close(run.values(), torch.stack(values).detach(), rtol=tolerance, atol=tolerance)
    rows = (gradients * x[0].detach()).sum(-1)
    torch.testing.assert_close(found.matrix, rows, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(found.total, rows.sum(0), rtol=tolerance, atol=tolerance)


def test_what_is_taken_away_stays_as_padding(model: LoadedModel) -> None:
    """Against passes of their own with transformers' attention mask; the answer's own tokens go too."""
    run = run_of(model, (9, 12))
    given = inputs(model)
    random = np.random.default_rng(1)
    kept = random.random((10, len(run.units))) < 0.6
    kept[0] = [u[0] not in (9, 10, 11, 12) for u in run.units]
    found = effects(run, kept)
    assert found.isfinite().all()
    for mask, values in zip(kept, found, strict=True):
        gone = [u[0] for u, stays in zip(run.units, mask, strict=True) if not stays]
        ids, attention = given["input_ids"].clone(), given["attention_mask"].clone()
        ids[0, gone], attention[0, gone] = model.tokenizer.pad_token_id, 0
        with torch.no_grad():
            out = model.network(**{**given, "input_ids": ids, "attention_mask": attention})
        expected = [torch.log_softmax(out.start_logits[0], -1)[9], torch.log_softmax(out.end_logits[0], -1)[12]]
        torch.testing.assert_close(values, torch.stack(expected).double(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(original(run), run.values().double(), rtol=1e-9, atol=1e-9)


def test_nothing_reads_what_was_taken_away() -> None:
    """The word itself makes no difference once it is gone, whichever it was."""
    model = with_head("bert", "span")
    one = run_of(model, (9, 12))
    hidden = one.without(one.ids[0].tolist(), {8, 10})
    other = list(one.ids[0].tolist())
    other[8], other[10] = 60, 61
    again = one.without(other, {8, 10})
    a, b = one.logits_after([hidden])[0], one.logits_after([again])[0]
    assert torch.equal(a, b)


def brute(logits: Tensor, first: int, last: int, limit: int) -> tuple[float, tuple[int, int]]:
    best = (-float("inf"), (0, 0))
    for i in range(first, last):
        for j in range(i, min(last, i + limit)):
            score = float(logits[0, i] + logits[1, j])
            if score > best[0]:
                best = (score, (i, j))
    return best


def test_best_span_by_brute_force() -> None:
    random = torch.Generator().manual_seed(0)
    for n in range(200):
        logits = torch.randn(2, 14, generator=random, dtype=torch.float64)
        first, limit = n % 5, 1 + n % 7
        assert best_span(logits, first, 12, limit) == brute(logits, first, 12, limit)[1]


def test_windows_cover_the_context_and_share_what_was_asked() -> None:
    for tokens in range(1, 40):
        for room in range(1, 15):
            for stride in range(room):
                begins = starts(tokens, room, stride)
                assert begins[0] == 0
                assert begins[-1] + room >= tokens
                assert len(begins) == 1 or begins[-2] + room < tokens, "no window more than it takes"
                assert all(b - a == room - stride for a, b in itertools.pairwise(begins))


@pytest.mark.parametrize("family", ["bert", "roberta", "llama"])
@pytest.mark.parametrize(("size", "stride"), [(60, None), (50, 0), (90, 20)])
def test_the_best_window_by_brute_force(family: str, size: int, stride: int | None) -> None:
    """Every legal span of every window of a plain tokenizer's, in passes of their own."""
    model = with_head(family, "span")
    plain: Any = model.tokenizer
    around = len(plain("Who left?", "a")["input_ids"]) - 1
    room = size - around
    shared = min(128, room // 2) if stride is None else stride
    context = plain(LONG, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = context["input_ids"], context["offset_mapping"]
    frame = plain("Who left?", "a")
    at = next(k for k, owner in enumerate(frame.sequence_ids(0)) if owner == 1)
    best: tuple[float, str, int] = (-float("inf"), "", 0)
    nothing: list[float] = []
    count, begin = 0, 0
    while True:
        some = ids[begin : begin + room]
        row = [*frame["input_ids"][:at], *some, *frame["input_ids"][at + 1 :]]
        options = {}
        if family == "bert":
            types = frame["token_type_ids"]
            options["token_type_ids"] = torch.tensor([[*types[:at], *[types[at]] * len(some), *types[at + 1 :]]])
        with torch.no_grad():
            out = model.network(input_ids=torch.tensor([row]), **options)
        logits = torch.stack([out.start_logits[0], out.end_logits[0]])
        score, (i, j) = brute(logits, at, at + len(some), 6)
        text = LONG[offsets[begin + i - at][0] : offsets[begin + j - at][1]].strip()
        if score > best[0]:
            best = (score, text, count)
        if plain.cls_token_id is not None:
            nothing.append(float(logits[0, 0] + logits[1, 0]))
        count += 1
        if begin + room >= len(ids):
            break
        begin += room - shared
    assert count > 1
    trace = Model(model).explain(
        ("Who left?", LONG), window=size, stride=stride, max_new_tokens=6, trust=False, method="leave_one_out"
    )
    told = trace.details["windows"]
    assert len(told) == count
    assert sum(w["explained"] for w in told) == 1
    assert (told[0]["start"], told[-1]["end"]) == (0, len(LONG))
    assert all(a["end"] >= b["start"] for a, b in itertools.pairwise(told)), "no gap"
    assert max(w["tokens"] for w in told) <= size
    if nothing and min(nothing) > best[0]:
        assert trace.answer.text == "no answer"
        return
    assert trace.answer.text == best[1]
    assert trace.details["answer"]["score"] == pytest.approx(best[0], rel=1e-9)
    assert [w["explained"] for w in told].index(True) == best[2]
    answer = trace.details["answer"]
    assert LONG[answer["start"] : answer["end"]] == trace.answer.text


def leaning(model: LoadedModel, place: int) -> None:
    """Let the first token draw both ends (or neither), by a bias on what tells it from the others: its position."""
    network: Any = model.network
    kept = network.qa_outputs.forward

    def forward(hidden: Tensor) -> Tensor:
        out: Tensor = kept(hidden)
        pull = torch.zeros_like(out)
        pull[:, 0] = place
        return out + pull

    network.qa_outputs.forward = forward


@pytest.mark.parametrize(("pull", "none"), [(50, True), (-50, False)])
def test_no_answer_where_it_beats_every_span(pull: int, none: bool) -> None:
    model = with_head("bert", "span")
    leaning(model, pull)
    trace = Model(model).explain(("Who?", LONG), window=50, per_token=True)
    assert trace.details["answer"]["no_answer"] == none
    assert (trace.answer.text == "no answer") == none
    if none:
        assert [t.id for t in trace.targets] == [0, 0]
        least = min(w["no_answer"] for w in trace.details["windows"])
        (explained,) = [w for w in trace.details["windows"] if w["explained"]]
        assert explained["no_answer"] == least, "the window that was least sure decides"
        assert trace.details["answer"]["start"] is None
    asked = Model(model).explain(("Who?", CONTEXT), "no answer", trust=False)
    assert asked.details["answer"]["no_answer"]
    assert not asked.answer.generated


def test_models_without_a_place_for_no_answer() -> None:
    model = with_head("gpt2", "span")
    assert all(w.nothing is None for w in windows(model, (QUESTION, CONTEXT)))
    with pytest.raises(InputError, match="has no token that stands for no answer"):
        Model(model).explain((QUESTION, CONTEXT), "no answer")


def test_a_given_answer_and_its_rows(model: LoadedModel) -> None:
    given = inputs(model)
    with torch.no_grad():
        out = model.network(**given)
    encoded = encode_parts(model, ("question", QUESTION), ("context", CONTEXT))
    at = CONTEXT.index("at noon")
    inside = [
        i
        for i, t in enumerate(encoded.tokens)
        if t.message == 1 and CONTEXT[max(t.start or 0, at) : min(t.end or 0, at + 7)].strip()
    ]
    start = torch.log_softmax(out.start_logits[0], -1)[inside[0]]
    end = torch.log_softmax(out.end_logits[0], -1)[inside[-1]]
    trace = Model(model).explain({"question": QUESTION, "context": CONTEXT}, "at noon", per_token=True)
    assert trace.answer.text == "at noon"
    assert [t.id for t in trace.targets] == [inside[0], inside[-1]]
    assert [t.logprob for t in trace.targets] == pytest.approx([float(start), float(end)], rel=1e-6)
    assert "".join(t.text for t in trace.targets) == "at noon"
    assert trace.scores is not None
    assert trace.scores.shape == (2, len(trace.sources) + 2)
    assert trace.trust is not None
    whole = Model(model).explain((QUESTION, CONTEXT), "at noon", method="leave_one_out", trust=False)
    assert whole.details["original"] == pytest.approx(float(start + end), rel=1e-9)
    for name, value in (("start", start), ("end", end)):
        one = Model(model).explain((QUESTION, CONTEXT), "at noon", span=name, method="leave_one_out", trust=False)
        assert one.details["original"] == pytest.approx(float(value), rel=1e-9)
    both = Model(model).explain(
        (QUESTION, CONTEXT), "at noon", spans={"from": "start", "to": "end"}, method="leave_one_out", trust=False
    )
    np.testing.assert_allclose(both.spans[0].total + both.spans[1].total, both.total, rtol=1e-4, atol=1e-6)


def test_contrast_of_two_spans() -> None:
    model = with_head("roberta", "span")
    options: dict[str, Any] = {"method": "leave_one_out", "trust": False}
    ann, ben = (Model(model).explain((QUESTION, CONTEXT), w, **options).details["original"] for w in ("Ann", "Ben"))
    found = Model(model).explain((QUESTION, CONTEXT), "Ann", objective="contrast", instead_of="Ben", **options)
    assert found.details["original"] == pytest.approx(ann - ben, rel=1e-9)
    without = Model(model).explain((QUESTION, CONTEXT), "Ann", objective="kl", without="left the house.", **options)
    assert without.details["original"] > 0


def test_an_answer_that_stands_twice_is_the_better_one() -> None:
    model, context = with_head("bert", "span"), "Ben came and Ben left."
    scores = {}
    for w in windows(model, (QUESTION, context)):
        for i, t in enumerate(w.encoded.tokens):
            if t.message == 1 and t.text.strip() == "Ben":
                scores[i] = w.score(i, i)
    trace = Model(model).explain((QUESTION, context), "Ben", trust=False)
    assert len(scores) == 2
    assert trace.targets[0].id == max(scores, key=lambda i: scores[i])
    assert trace.details["occurrences"] == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"target": "Anne came"},
            InputError,
            r"'Anne came' is not in the context.*; the nearest part of it is 'Ann came'",
        ),
        ({"target": " "}, InputError, "the target is empty: expected a part of the context"),
        ({"target": ["Ann"]}, InputError, "has one answer: the target should be text and is list"),
        ({"window": 1000}, OptionError, "window=1000 is more than the 128 tokens"),
        ({"window": 5}, ContextError, "the question takes .* tokens with its frame, and a window has 5"),
        ({"window": 20, "stride": 50}, OptionError, "stride=50 leaves no new token"),
        ({"window": 0}, OptionError, "window should be a whole number of tokens of at least 1, given 0"),
        ({"stride": -1}, OptionError, "stride should be a whole number"),
        ({"max_new_tokens": 0}, OptionError, "max_new_tokens should be at least 1"),
        ({"span": "Ann"}, InputError, "span should be 'start' or 'end', given 'Ann'"),
        ({"spans": {"x": "Ann"}}, InputError, "span 'x' should be 'start' or 'end'"),
        (
            {"target": "Ann", "objective": "contrast", "instead_of": "Bob"},
            InputError,
            "is not in the part of the context",
        ),
        ({"target": "Ann", "objective": "contrast", "instead_of": "Ann"}, InputError, "they are the same span"),
        ({"target": CONTEXT[:58], "window": 18, "stride": 2}, InputError, "lies in no window as a whole"),
        ({"method": "reagent"}, OptionError, "does not know models of the kind 'span'"),
    ],
)
def test_errors_are_one_sentence(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Model(with_head("bert", "span")).explain((QUESTION, CONTEXT), **options)


def test_heads_of_another_kind_are_refused() -> None:
    from transformers import XLMConfig, XLMForQuestionAnswering, XLNetConfig, XLNetForQuestionAnswering

    xlm = XLMForQuestionAnswering(
        XLMConfig(vocab_size=300, emb_dim=8, n_layers=1, n_heads=2, max_position_embeddings=128, pad_index=0)
    )
    with pytest.raises(ModelError, match="gives no logits of start and end"):
        Model(LoadedModel.wrap(xlm, TOKENIZERS["bert"](), name="xlm")).explain((QUESTION, CONTEXT))
    xlnet = XLNetForQuestionAnswering(
        XLNetConfig(vocab_size=300, d_model=8, n_layer=1, n_head=2, d_inner=8, pad_token_id=0)
    )
    with pytest.raises(ModelError, match="'xlnet' is an XLNet"):
        Model(LoadedModel.wrap(xlnet, TOKENIZERS["bert"](), name="xlnet")).explain((QUESTION, CONTEXT))
