"""Objectives against closed forms, torch's own functions, plain autograd loops in float64 and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.errors import InputError, OptionError
from pellucid.models.align import align_ids
from pellucid.models.encode import Encoded, encode, encode_target
from pellucid.models.load import LoadedModel
from pellucid.trace.contrast import Alignment, align
from pellucid.trace.engine import Run
from pellucid.trace.explain import explain
from pellucid.trace.goal import Goal, make
from pellucid.trace.methods import method
from pellucid.trace.objective import OBJECTIVES, RECIPES, check, objective
from pellucid.trace.reference import find_part
from pellucid.trace.spans import find

PROMPT = "The capital of France? Tell me. 法国的首都是"
ANSWER = "Paris is the capital"


def test_values_equal_closed_forms() -> None:
    z = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, -1e9]])
    ids = torch.tensor([2, 1])
    p = np.array([np.exp(3) / (np.exp(1) + np.exp(2) + np.exp(3)), 0.5])
    logits = torch.tensor(z)
    np.testing.assert_allclose(objective("logit").function(logits, ids), [3.0, 0.0])
    np.testing.assert_allclose(objective("prob").function(logits, ids), p, rtol=1e-12)
    np.testing.assert_allclose(objective("logprob").function(logits, ids), np.log(p), rtol=1e-12)
    np.testing.assert_allclose(objective("cross_entropy").function(logits, ids), -np.log(p), rtol=1e-12)
    np.testing.assert_allclose(objective("margin").function(logits, ids), [1.0, 0.0])
    np.testing.assert_allclose(objective("log_odds").function(logits, ids), np.log(p / (1 - p)), rtol=1e-12)
    q = np.exp(z[0]) / np.exp(z[0]).sum()
    entropies = [-(q * np.log(q)).sum(), np.log(2)]
    np.testing.assert_allclose(objective("entropy").function(logits, ids), entropies, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_gradients_equal_finite_differences_and_batches_work(name: str) -> None:
    logits = torch.randn(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([2, 0, 6])
    function = objective(name).function
    assert torch.autograd.gradcheck(lambda z: function(z, ids), logits.requires_grad_(True))
    batch = torch.stack([logits.detach(), logits.detach().flip(0)])
    many = function(batch, torch.stack([ids, ids.flip(0)]))
    torch.testing.assert_close(many[1], function(logits.detach(), ids).flip(0))


def test_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[1e4, 0.0]])
    assert objective("logprob").function(logits, torch.tensor([1])).item() == -1e4
    assert objective("prob").function(logits, torch.tensor([0])).item() == 1.0
    assert objective("entropy").function(logits, torch.tensor([0])).item() == 0.0


@pytest.mark.parametrize(
    ("answer", "other", "expected"),
    [
        ([1, 2, 3], [1, 9, 3], Alignment(((1, 1),), (), ())),
        ([1, 2, 3], [9, 8, 3], Alignment(((0, 0), (1, 1)), (), ())),
        ([1, 2, 3, 4], [1, 9, 4], Alignment(((1, 1),), (2,), ())),
        ([1, 2, 4], [1, 9, 8, 4], Alignment(((1, 1),), (), (2,))),
        ([1, 5, 6, 7], [2, 5, 8, 7], Alignment(((0, 0), (2, 2)), (), ())),  # what is the same in the middle is no pair
        ([1, 1, 1], [1, 1], Alignment((), (2,), ())),  # the end may not reach into the beginning
        ([1], [2], Alignment(((0, 0),), (), ())),
    ],
)
def test_alignment(answer: list[int], other: list[int], expected: Alignment) -> None:
    assert align(answer, other) == expected


def prepared(model: LoadedModel, answer: str = ANSWER) -> tuple[Encoded, list[int], str]:
    encoded = encode(model, PROMPT, raw=True)
    ids = encode_target(model, encoded, answer)
    return encoded, ids, align_ids(model.tokenizer, ids)[0]


def plain_logits(model: LoadedModel, x: Tensor, prompt: int, targets: int) -> Tensor:
    return model.network(inputs_embeds=x, use_cache=False).logits[0][prompt - 1 : prompt - 1 + targets]


def embed(model: LoadedModel, ids: list[int]) -> Tensor:
    return model.network.get_input_embeddings()(torch.tensor([ids])).detach()


def contrast_values(model: LoadedModel, z: Tensor, encoded: Encoded, ids: list[int]) -> Tensor:
    """ "Madrid" for "Paris", by hand: log-probabilities of both tokens after the same words."""
    other = encode_target(model, encoded, "Madrid is the capital")
    first = next(i for i, (a, b) in enumerate(zip(ids, other, strict=False)) if a != b)
    same = next(i for i in range(len(ids)) if ids[-1 - i] != other[-1 - i])
    mine, theirs = range(first, len(ids) - same), range(first, len(other) - same)
    p = torch.log_softmax(z, -1)
    out = []
    for i in range(len(ids)):
        if i not in mine:
            out.append(p[i, 0] * 0)
        elif i in theirs:
            out.append(p[i, ids[i]] - p[i, other[i]])
        else:
            out.append(p[i, ids[i]])
    return torch.stack(out)


def without_values(model: LoadedModel, z: Tensor, encoded: Encoded, ids: list[int], name: str) -> Tensor:
    gone = [i for i, t in enumerate(encoded.tokens) if t.start < 31 and t.end > 23]  # characters of "Tell me."
    rest = [t for i, t in enumerate(encoded.ids) if i not in gone]
    with torch.no_grad():
        q = plain_logits(model, embed(model, rest + ids), len(rest), len(ids)).log_softmax(-1)
    p = z.log_softmax(-1)
    if name == "pcxmi":
        return torch.stack([p[i, t] - q[i, t] for i, t in enumerate(ids)])
    # torch's own: kl_div(input, target) is KL(target || input).
    return torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)


def focal(logits: Tensor, ids: Tensor) -> Tensor:
    p = logits.softmax(-1).gather(-1, ids[:, None])[:, 0]
    return (1 - p) ** 2 * p.log()


CASES: dict[str, tuple[dict[str, Any], Callable[..., Tensor]]] = {
    "contrast": ({"instead_of": "Madrid is the capital"}, contrast_values),
    "kl": ({"without": "Tell me."}, lambda *a: without_values(*a, "kl")),
    "pcxmi": ({"without": "Tell me."}, lambda *a: without_values(*a, "pcxmi")),
    "focal": ({}, lambda m, z, e, ids: focal(z, torch.tensor(ids))),
}


def goal(model: LoadedModel, name: str, encoded: Encoded, ids: list[int], text: str) -> Goal:
    which: Any = focal if name == "focal" else name
    return make(which, model, encoded, ids, text, per_token=True, **CASES[name][0])


@pytest.mark.parametrize("name", sorted(CASES))
def test_made_objectives_equal_plain_loops(family: LoadedModel, name: str) -> None:
    """Values, matrix and total; float32 islands in some families' own code (norms, rotary angles) bound the digits."""
    encoded, ids, text = prepared(family)
    made, n = goal(family, name, encoded, ids, text), len(encoded.ids)
    x = embed(family, encoded.ids + ids)

    def values(at: Tensor) -> Tensor:
        return CASES[name][1](family, plain_logits(family, at, n, len(ids)), encoded, ids)

    close = {"rtol": 1e-9, "atol": 1e-10} if family.name == "gpt2" else {"rtol": 1e-4, "atol": 1e-5}
    run = Run(family, encoded.ids, ids, made.objective, per_token=True)
    torch.testing.assert_close(run.values(), values(x).detach(), **close)
    rows = []
    for i in range(len(ids)):
        at = x.clone().requires_grad_(True)
        values(at)[i].backward()
        rows.append(at.grad[0])
    gradients = torch.stack(rows)
    for how, of in (
        ("saliency", lambda g: g.norm(dim=-1)),
        ("input_x_gradient", lambda g: (g * x[0]).sum(-1)),
    ):
        for per_token in (False, True):
            run = Run(family, encoded.ids, ids, made.objective, per_token=per_token)
            scores = method(how)(run)
            largest = float(of(gradients).abs().max())
            scaled = {"rtol": 0.0, "atol": (1e-9 if family.name == "gpt2" else 2e-5) * largest}
            torch.testing.assert_close(scores.total, of(gradients.sum(0)), **scaled)
            if scores.matrix is not None:
                torch.testing.assert_close(scores.matrix, of(gradients), **scaled)


@pytest.mark.parametrize("name", sorted(CASES))
def test_made_objectives_equal_finite_differences(tiny, name: str) -> None:  # type: ignore[no-untyped-def]
    model: LoadedModel = tiny("gpt2", torch.float64)
    encoded, ids, text = prepared(model)
    made = goal(model, name, encoded, ids, text)
    scores = method("input_x_gradient")(Run(model, encoded.ids, ids, made.objective))
    run, x, step = Run(model, encoded.ids, ids, made.objective), embed(model, encoded.ids + ids)[0], 1e-4
    for j in (0, 4, len(encoded.ids) - 1):
        up, down = x.clone(), x.clone()
        up[j] *= 1 + step
        down[j] *= 1 - step
        slope = (run.values(up).sum() - run.values(down).sum()) / (2 * step)
        assert float(scores.total[j]) == pytest.approx(float(slope), abs=1e-6 * float(scores.total.abs().max()))


def test_contrast_is_a_difference_of_logits_and_of_logprobs(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny("llama", torch.float64)
    encoded, ids, text = prepared(model, "Paris")
    made = make("contrast", model, encoded, ids, text, instead_of="Spain")
    z = torch.randn(len(ids), len(model.tokenizer), dtype=torch.float64)
    other = encode_target(model, encoded, "Spain")
    pairs = made.details["pairs"]
    assert [(p["target"], p["id"]) for p in pairs] == [(i, other[i]) for i, _ in align(ids, other).pairs]
    found = made.objective.function(z, torch.tensor(ids))
    for p in pairs:
        i = p["target"]
        assert float(found[i]) == pytest.approx(float(z[i, ids[i]] - z[i, p["id"]]), abs=1e-12)
        both = z[i].log_softmax(-1)
        assert float(found[i]) == pytest.approx(float(both[ids[i]] - both[p["id"]]), abs=1e-12)


def test_contrast_of_answers_of_different_length_says_what_has_no_partner(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny("gpt2", torch.float64)
    long, short = "the big old city of Paris, please.", "the Madrid, please."
    encoded, ids, text = prepared(model, long)
    made = make("contrast", model, encoded, ids, text, instead_of=short)
    other = encode_target(model, encoded, short)
    plan = align(ids, other)
    assert plan.alone
    assert made.details["plain_logprob"] == list(plan.alone)
    logits = torch.randn(len(ids), len(model.tokenizer), dtype=torch.float64)
    values = made.objective.function(logits, torch.tensor(ids))
    for i in plan.alone:
        assert float(values[i]) == pytest.approx(float(logits[i].log_softmax(-1)[ids[i]]), abs=1e-12)
    shared = set(range(len(ids))) - set(plan.alone) - {i for i, _ in plan.pairs}
    assert shared
    assert all(float(values[i]) == 0 for i in shared)
    # The other way round, tokens of the other answer are left over.
    encoded, ids, text = prepared(model, short)
    assert make("contrast", model, encoded, ids, text, instead_of=long).details["left_out"]


def test_contrast_replaces_the_span(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny("llama", torch.float64)
    encoded, ids, text = prepared(model, "It is Paris, 法国的首都。")
    _, characters = align_ids(model.tokenizer, ids)
    span = find("Paris", text, characters)
    by_span = make("contrast", model, encoded, ids, text, span=span, instead_of="Madrid")
    whole = make("contrast", model, encoded, ids, text, instead_of="It is Madrid, 法国的首都。")
    assert by_span.details["other"] == "It is Madrid, 法国的首都。"
    assert by_span.details["pairs"] == whole.details["pairs"]
    trace = explain(model, PROMPT, text, raw=True, objective="contrast", span="Paris", instead_of="Madrid", trust=False)
    assert trace.objective == "contrast"
    assert trace.details["objective"]["instead_of"] == "Madrid"


@pytest.mark.parametrize(
    ("instead_of", "span", "message"),
    [
        ("Paris", None, r"between the answer 'Paris' and 'Paris': they are the same tokens"),
        ("Paris and Madrid", None, r"'Paris' and 'Paris and Madrid': the one only adds tokens to the other"),
        ("", None, "instead_of is empty"),
        ("\0", None, "NUL"),
    ],
)
def test_contrasts_with_nothing(tiny, instead_of: str, span: object, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        explain(tiny(), PROMPT, "Paris", objective="contrast", instead_of=instead_of, trust=False)


def test_a_contrast_elsewhere_in_the_answer(tiny) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=r"shares no position with the span 'end' 'capital'"):
        explain(
            tiny(),
            PROMPT,
            ANSWER,
            objective="contrast",
            instead_of="Madrid is the capital",
            spans={"end": "capital"},
            trust=False,
        )


@pytest.mark.parametrize("part", ["Tell me.", (23, 31)])
def test_a_part_to_do_without(tiny, part: Any) -> None:  # type: ignore[no-untyped-def]
    model = tiny()
    for encoded in (encode(model, PROMPT), encode(model, PROMPT, raw=True)):
        tokens, text = find_part(encoded, part)
        assert text == "Tell me."
        assert "".join(encoded.tokens[i].text for i in tokens).strip() == "Tell me."
    chat = encode(model, [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Be kind. 天气"}])
    (_, text), (tokens, _) = find_part(chat, (0, 0, 8)), find_part(chat, "天气")
    assert text == "Be kind."
    assert {chat.tokens[i].message for i in tokens} == {1}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("", "without is empty"),
        ("Franc3", r"'Franc3' is not in the prompt; the nearest word in it is 'France\?'"),
        ("e", "'e' stands 4 times in the prompt: give more of the text"),
        ((5, 5), r"\(5, 5\) is not within the prompt of 38 characters"),
        ((0, 99), "is not within the prompt"),
        ((3, 0, 4), "is not within the prompt"),
        ((0, 38), "nothing would be left of the prompt"),
    ],
)
def test_parts_that_are_not_there(tiny, part: Any, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        explain(tiny(), PROMPT, ANSWER, raw=True, objective="kl", without=part, trust=False)


def test_reference_pass_is_counted_and_told(tiny) -> None:  # type: ignore[no-untyped-def]
    trace = explain(tiny(), PROMPT, ANSWER, raw=True, objective="pcxmi", without="Tell me.", trust=False)
    plain = explain(tiny(), PROMPT, ANSWER, raw=True, trust=False)
    assert trace.cost.forward_passes == plain.cost.forward_passes + 1
    assert trace.details["objective"]["without"] == "Tell me."
    np.testing.assert_allclose(trace.total, plain.total, rtol=1e-5)  # a constant has no gradient


def test_mean_is_the_sum_by_the_number_of_targets(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny()
    for options in ({}, {"span": "is the"}):
        whole = explain(model, PROMPT, ANSWER, per_token=True, trust=False, **options)
        mean = explain(model, PROMPT, ANSWER, per_token=True, trust=False, reduce="mean", **options)
        count = len(whole.targets) if whole.span is None else len(whole.span.targets)
        assert count > 1
        assert (whole.reduce, mean.reduce) == ("sum", "mean")
        np.testing.assert_allclose(mean.total * count, whole.total, rtol=1e-4)
        np.testing.assert_allclose(mean.scores * count, whole.scores, rtol=1e-4)


def mixing(logits: Tensor, ids: Tensor) -> Tensor:
    own = logits.gather(-1, ids[:, None])[:, 0]
    return own - own.roll(1)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z, t: 3.0, "should give a tensor .targets., here .3,., and gave float"),
        (lambda z, t: z.sum(), r"should give floats \[targets\], here \(3,\), and gave torch.float32 \(\)"),
        (lambda z, t: z, "and gave torch.float32"),
        (lambda z, t: t, "and gave torch.int64"),
        (lambda z, t: z.detach().amax(-1), "does not depend on the logits"),
        (mixing, "objective 'mixing' makes a target's number from other targets' logits too"),
    ],
)
def test_functions_that_cannot_be_objectives(tiny, function: Any, message: str) -> None:  # type: ignore[no-untyped-def]
    model = tiny()
    encoded, _, _ = prepared(model)
    with pytest.raises(OptionError, match=message):
        make(function, model, encoded, [5, 6, 7], "abc", per_token=True)


def test_a_function_that_mixes_targets_works_for_the_whole_answer(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny("gpt2", torch.float64)
    encoded, ids, text = prepared(model)

    def ratio(logits: Tensor, ids: Tensor) -> Tensor:
        own = logits.gather(-1, ids[:, None])[:, 0]
        return own * own.roll(1)

    made = make(ratio, model, encoded, ids, text)
    scores = method("saliency")(Run(model, encoded.ids, ids, made.objective))
    x = embed(model, encoded.ids + ids).requires_grad_(True)
    ratio(plain_logits(model, x, len(encoded.ids), len(ids)), torch.tensor(ids)).sum().backward()
    torch.testing.assert_close(scores.total, x.grad[0].norm(dim=-1), rtol=1e-9, atol=1e-12)
    assert explain(model, PROMPT, ANSWER, objective=ratio, trust=False).objective == "ratio"
    assert explain(model, PROMPT, ANSWER, objective=lambda z, t: z.amax(-1), trust=False).objective == "custom"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("logprop", {}, r"unknown objective 'logprop': expected one of .* Did you mean 'logprob'\?"),
        ("contrast", {}, "objective 'contrast' needs instead_of: the answer to contrast with"),
        ("kl", {}, "objective 'kl' needs without: the part of the prompt to do without"),
        ("kl", {"without": "x", "instead_of": "y"}, "instead_of belongs to objective 'contrast', .* is 'kl'"),
        ("logprob", {"without": "x"}, "without belongs to objective 'kl' or 'pcxmi', and the objective is 'logprob'"),
        (focal, {"instead_of": "x"}, "the objective is a function of your own"),
        (3, {}, "objective should be a name or a function of logits and ids, given 3"),
        ("logprob", {"reduce": "max"}, "unknown reduce 'max': expected one of sum, mean"),
    ],
)
def test_options_that_do_not_fit(tiny, name: Any, options: Any, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError, match=message):
        check(name, **options)
    with pytest.raises(OptionError, match=message):
        explain(tiny(), "What", "Paris", objective=name, **options)


def test_tables() -> None:
    for name in RECIPES:
        with pytest.raises(OptionError, match=f"objective '{name}' is made for one prompt and answer, and needs"):
            objective(name)
    assert all(o.name == name and o.formula and o.unit for name, o in {**OBJECTIVES, **RECIPES}.items())
