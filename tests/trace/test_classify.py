"""Classifiers against transformers' own forward pass, plain autograd, finite differences, single runs, closed forms."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from tiny_heads import LABELS, TOKENIZERS, with_head
from torch import Tensor

from pellucid.errors import InputError, ModelError, OptionError
from pellucid.model import Model
from pellucid.models.heads import encode_head
from pellucid.models.load import LoadedModel
from pellucid.trace.ablate import effects, original
from pellucid.trace.classify import ClassifierRun, own
from pellucid.trace.heads import HOLE
from pellucid.trace.methods import method, methods
from pellucid.trace.objective import OBJECTIVES, objective
from pellucid.trace.runs import run_class

TEXT = "The film was not so good, and the house is dull."
PAIR = ("The film was good.", "It was very bad.")


@pytest.fixture(params=sorted(TOKENIZERS))
def model(request: pytest.FixtureRequest) -> LoadedModel:
    return with_head(request.param)


def inputs(model: LoadedModel, prompt: str | tuple[str, str]) -> dict[str, Tensor]:
    """What transformers' tokenizer makes of a prompt, for its model."""
    given = [prompt] if isinstance(prompt, str) else prompt
    out = model.tokenizer(*given, return_tensors="pt")
    return {k: v for k, v in out.items() if k != "token_type_ids" or model.name.startswith("bert")}


def run_of(model: LoadedModel, prompt: str | tuple[str, str], answer: list[int], **options: Any) -> ClassifierRun:
    encoded = encode_head(model, prompt)
    written = [[i] for i, t in enumerate(encoded.tokens) if t.role != "special"]
    name = options.pop("objective", "logprob")
    found = run_class(model)(model, encoded.ids, answer, objective(name), **{"units": written, **options})
    assert isinstance(found, ClassifierRun)
    return found


@pytest.mark.parametrize("prompt", [TEXT, PAIR], ids=["text", "pair"])
def test_logits_are_those_from_ids(model: LoadedModel, prompt: str | tuple[str, str]) -> None:
    with torch.no_grad():
        expected = model.network(**inputs(model, prompt)).logits[0]
    run = run_of(model, prompt, [2, 0])
    run.values()
    assert run.logits is not None
    torch.testing.assert_close(run.logits, expected.expand(2, -1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(run.logits_after([run.ids[0].tolist()])[0], run.logits, rtol=1e-12, atol=1e-12)
    assert run.embeddings.shape[0] == run.ids.shape[1] == run.prompt_length
    trace = Model(model).explain(prompt)
    probabilities = torch.softmax(expected, -1)
    best = int(probabilities.argmax())
    assert (trace.answer.text, trace.answer.generated, trace.targets[0].id) == (LABELS[best], True, best)
    assert trace.targets[0].prob == pytest.approx(float(probabilities[best]), rel=1e-6)
    assert {a.text: round(a.prob, 6) for a in trace.targets[0].alternatives} == {
        LABELS[i]: round(float(p), 6) for i, p in enumerate(probabilities)
    }


def test_a_last_token_that_is_padding_is_read_as_transformers_reads_it() -> None:
    """A decoder's head takes the last token that is not padding, which embeddings alone would not tell."""
    model = with_head("gpt2")
    ids = [5, 80, 33, 2, 2]  # 2 is the padding token
    with torch.no_grad():
        expected = model.network(input_ids=torch.tensor([ids])).logits[0]
        other = model.network(inputs_embeds=model.network.get_input_embeddings()(torch.tensor([ids]))).logits[0]
    assert not torch.allclose(expected, other)
    run = ClassifierRun(model, ids, [1], objective("logit"))
    torch.testing.assert_close(run.values(), expected[1:2], rtol=1e-12, atol=1e-12)


def test_no_padding_token_at_all() -> None:
    model = with_head("llama", pad_token_id=None)
    run = run_of(model, TEXT, [1])
    kept = ~np.eye(len(run.units), dtype=bool)
    assert effects(run, kept).isfinite().all()


def plain_rows(model: LoadedModel, run: ClassifierRun, name: str, targets: list[int]) -> tuple[Tensor, Tensor]:
    """Gradients [targets, tokens, width] through transformers' own forward pass on embeddings, and the embeddings."""
    given = inputs(model, TEXT)
    ids = given.pop("input_ids")
    x = model.network.get_input_embeddings()(ids).detach()
    rows = []
    for t in targets:
        leaf = x.clone().requires_grad_(True)
        z = model.network(inputs_embeds=leaf, **given).logits[0]
        p = torch.softmax(z, -1)
        value = {
            "logprob": lambda p=p, t=t: p[t].log(),
            "logit": lambda z=z, t=t: z[t],
            "prob": lambda p=p, t=t: p[t],
            "margin": lambda z=z, t=t: z[t] - torch.cat([z[:t], z[t + 1 :]]).max(),
            "log_odds": lambda p=p, t=t: (p[t] / (1 - p[t])).log(),
            "entropy": lambda p=p: -(p * p.log()).sum(),
            "cross_entropy": lambda p=p, t=t: -p[t].log(),
        }[name]()
        value.backward()
        rows.append(leaf.grad[0])  # type: ignore[index]
    return torch.stack(rows), x[0]


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_gradients_are_those_of_plain_autograd(model: LoadedModel, name: str) -> None:
    targets = [2, 0]
    run = run_of(model, TEXT, targets, per_token=True, objective=name)
    gradients, x = plain_rows(model, run, name, targets)
    tolerance = 1e-9 if model.name.startswith(("bert", "distil", "roberta", "gpt2")) else 1e-5  # Llama: float32 islands
    found = method("input_x_gradient")(run)
    expected = (gradients * x).sum(-1)
    torch.testing.assert_close(found.matrix, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(found.total, expected.sum(0), rtol=tolerance, atol=tolerance)
    saliency = method("saliency")(run_of(model, TEXT, targets, per_token=True, objective=name))
    torch.testing.assert_close(saliency.matrix, gradients.norm(dim=-1), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(saliency.total, gradients.sum(0).norm(dim=-1), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_gradient_equals_finite_differences(family: str) -> None:
    model = with_head(family)
    run = run_of(model, PAIR, [1])
    found, x, h = method("input_x_gradient")(run), run.embeddings, 1e-5
    for j in range(run.prompt_length):
        up, down = x.clone(), x.clone()
        up[j] *= 1 + h
        down[j] *= 1 - h
        slope = (run.values(up) - run.values(down)).sum() / (2 * h)
        assert float(found.total[j]) == pytest.approx(float(slope), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2"])
def test_integrated_gradients_add_up(family: str) -> None:
    run = run_of(with_head(family), PAIR, [0, 2], objective="logit")
    found = method("integrated_gradients")(run, steps=200, rule="gauss_legendre", baseline="mean")
    whole = run.values().sum() - run.values(run.embeddings.new_zeros(1) + _mean(run)).sum()
    kinks = family == "distilbert"  # its head has a ReLU, whose corners no quadrature is exact at
    assert float(found.total.sum()) == pytest.approx(float(whole), abs=0.02 if kinks else 1e-6)


def _mean(run: ClassifierRun) -> Tensor:
    table: Any = run.loaded.network.get_input_embeddings()
    return table.weight.detach().mean(0).expand_as(run.embeddings)


@pytest.mark.parametrize("prompt", [TEXT, PAIR], ids=["text", "pair"])
def test_what_if_runs_equal_single_ones(model: LoadedModel, prompt: str | tuple[str, str]) -> None:
    """Batches of several lengths, against the tokens and types that are left in a pass of their own."""
    run = run_of(model, prompt, [2, 1])
    given = inputs(model, prompt)
    random = np.random.default_rng(0)
    kept = random.random((12, len(run.units))) < 0.6
    found = effects(run, kept)
    for mask, values in zip(kept, found, strict=True):
        gone = {u[0] for u, stays in zip(run.units, mask, strict=True) if not stays}
        left = [i for i in range(run.prompt_length) if i not in gone]
        with torch.no_grad():
            z = model.network(**{k: v[:, left] for k, v in given.items()}).logits[0]
        torch.testing.assert_close(values, torch.log_softmax(z, -1)[[2, 1]].double(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(original(run), run.values().double(), rtol=1e-9, atol=1e-9)
    replaced = effects(run, kept, replace=7)
    for mask, values in zip(kept, replaced, strict=True):
        ids = given["input_ids"].clone()
        for u, stays in zip(run.units, mask, strict=True):
            ids[0, u] = ids[0, u] if stays else 7
        with torch.no_grad():
            z = model.network(**{**given, "input_ids": ids}).logits[0]
        torch.testing.assert_close(values, torch.log_softmax(z, -1)[[2, 1]].double(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prompt", [TEXT, PAIR], ids=["text", "pair"])
def test_elimination_is_leave_one_out_in_rounds(model: LoadedModel, prompt: str | tuple[str, str]) -> None:
    """By hand: each round's falls of the text that is left, and the mean over the rounds that a token was in."""
    run = run_of(model, prompt, [2])
    given = inputs(model, prompt)
    places = [u[0] for u in run.units]

    def value(gone: set[int]) -> float:
        left = [i for i in range(run.prompt_length) if i not in gone]
        with torch.no_grad():
            z = model.network(**{k: v[:, left] for k, v in given.items()}).logits[0]
        return float(torch.log_softmax(z, -1)[2])

    falls: dict[int, list[float]] = {i: [] for i in places}
    gone: set[int] = set()
    for _ in range(2):
        whole = value(gone)
        for i in places:
            if i not in gone:
                falls[i].append(whole - value(gone | {i}))
        gone = set(sorted(places, key=lambda i: -float(np.mean(falls[i])))[: max(1, round(0.3 * len(places)))])
    found = method("elimination")(run, shares=[0.3])
    expected = torch.tensor([np.mean(falls[i]) for i in places])
    torch.testing.assert_close(found.total[places].double(), expected, rtol=1e-9, atol=1e-9)


def test_removal_names_holes_and_leaves_something() -> None:
    run = run_of(with_head("gpt2"), "good film", [0])
    assert run.without([4, 5, 6], {1}) == (4, HOLE, 6)
    with pytest.raises(InputError, match="leaves nothing of the prompt"):
        effects(run, np.zeros((1, len(run.units)), dtype=bool))


def test_shapley_values_by_the_definition() -> None:
    model = with_head("bert")
    run = run_of(model, "good film and bad", [1])
    units = len(run.units)
    assert units <= 6
    values = {
        m: float(effects(run, np.array([m]))[0, 0]) for m in itertools.product([False, True], repeat=units)
    }  # every subset alone
    phi = np.zeros(units)
    for order in itertools.permutations(range(units)):
        mask = [False] * units
        for u in order:
            before = values[tuple(mask)]
            mask[u] = True
            phi[u] += values[tuple(mask)] - before
    phi /= math.factorial(units)
    found = method("kernel_shap")(run, samples=2**units)
    assert found.details["exact"]
    np.testing.assert_allclose([float(found.total[u].sum()) for u in run.units], phi, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", ["classifier", "span"])
def test_every_method_works_or_is_refused_by_name(kind: str) -> None:
    """Small settings; the answer is a row of finite scores, or a sentence that says which methods know this kind."""
    model = Model(with_head("bert", kind))
    prompt = PAIR if kind == "classifier" else ("Who came?", "Ann came at noon.")
    small: dict[str, dict[str, Any]] = {
        "integrated_gradients": {"steps": 2},
        "sequential_integrated_gradients": {"steps": 1},
        "discretized_integrated_gradients": {"steps": 2, "neighbors": 3},
        "smoothgrad": {"samples": 2},
        "gradient_shap": {"samples": 2},
        "lime": {"samples": 16},
        "kernel_shap": {"samples": 32},
        "shapley_sampling": {"permutations": 2},
        "context_cite": {"ablations": 16},
    }
    worked = []
    for name, m in methods().items():
        if kind not in m.kinds:
            with pytest.raises(OptionError, match=f"method '{name}' does not know models of the kind '{kind}'"):
                model.explain(prompt, method=name, trust=False)
            continue
        trace = model.explain(prompt, method=name, per_token=True, trust=False, **small.get(name, {}))
        written = list(trace.content)
        assert np.isfinite(trace.total[written]).all(), name
        assert trace.scores is not None
        assert np.isfinite(trace.scores[:, written]).all(), name
        assert np.isnan(trace.scores[:, len(trace.sources) :]).all(), "targets are no tokens"
        worked.append(name)
    assert {"saliency", "input_x_gradient", "integrated_gradients", "smoothgrad", "gradient_shap"} <= set(worked)
    assert {"leave_one_out", "lime", "kernel_shap", "shapley_sampling", "context_cite"} <= set(worked)
    assert "reagent" not in worked


def test_multi_label_classes_have_sigmoids_of_their_own() -> None:
    model = with_head("bert", problem_type="multi_label_classification")
    with torch.no_grad():
        z = model.network(**inputs(model, TEXT)).logits[0].double()
    p = 1 / (1 + torch.exp(-z))
    run = run_of(model, TEXT, [0, 1, 2])
    expected = {
        "logprob": p.log(),
        "prob": p,
        "log_odds": z,
        "logit": z,
        "margin": z,
        "entropy": -(p * p.log() + (1 - p) * (1 - p).log()),
        "cross_entropy": -p.log(),
    }
    assert set(expected) == set(OBJECTIVES)
    for name, values in expected.items():
        found = run_of(model, TEXT, [0, 1, 2], objective=name).values().double()
        torch.testing.assert_close(found, values, rtol=1e-9, atol=1e-9, msg=name)
    gradient = method("input_x_gradient")(run_of(model, TEXT, [1], objective="log_odds"))
    plain = method("input_x_gradient")(run_of(with_head("bert"), TEXT, [1], objective="logit"))
    torch.testing.assert_close(gradient.total, plain.total, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(original(run), p.log(), rtol=1e-9, atol=1e-9)

    trace = Model(model).explain(TEXT, per_token=True)
    likely = [i for i in range(3) if z[i] > 0] or [int(z.argmax())]
    assert trace.answer.text == ", ".join(LABELS[i] for i in likely)
    for target, i in zip(trace.targets, likely, strict=True):
        assert target.text == LABELS[i]
        assert target.prob == pytest.approx(float(p[i]), rel=1e-6)
        assert sorted((a.text, round(a.prob, 5)) for a in target.alternatives) == sorted(
            [(LABELS[i], round(float(p[i]), 5)), (f"not {LABELS[i]}", round(1 - float(p[i]), 5))]
        )
    other = Model(model).explain(TEXT, "POSITIVE", objective="contrast", instead_of="NEGATIVE", method="leave_one_out")
    assert other.details["original"] == pytest.approx(float(p[2].log() - p[0].log()), rel=1e-9)
    raw = Model(model).explain(TEXT, "POSITIVE", objective=lambda y, ids: y[:, 0] - y[:, 2], method="leave_one_out")
    assert raw.details["original"] == pytest.approx(float(z[0] - z[2]), rel=1e-9)
    assert trace.trust is not None


def test_trust_is_the_fall_of_the_sigmoids_logarithm() -> None:
    model = with_head("bert", problem_type="multi_label_classification")
    trace = Model(model).explain(TEXT, "NEUTRAL")
    assert trace.trust is not None
    assert trace.trust.removed == 1
    top = trace.top(1)[0].index
    given = inputs(model, TEXT)
    left = [i for i in range(len(trace.sources)) if i != top]
    with torch.no_grad():
        whole = model.network(**given).logits[0, 1]
        less = model.network(**{k: v[:, left] for k, v in given.items()}).logits[0, 1]
    expected = torch.nn.functional.logsigmoid(whole) - torch.nn.functional.logsigmoid(less)
    assert trace.trust.top_drop == pytest.approx(float(expected), rel=1e-6)


def test_own_choice_by_hand() -> None:
    z = torch.tensor([[0.5, -1.0], [2.0, 3.0]], dtype=torch.float64)
    found = torch.softmax(own(z, torch.tensor([1, 0]), absence=True), -1)
    s = torch.sigmoid(torch.tensor([-1.0, 2.0], dtype=torch.float64))
    assert found[0, [1, 3]].tolist() == pytest.approx([float(s[0]), 1 - float(s[0])])
    assert found[1, [0, 2]].tolist() == pytest.approx([float(s[1]), 1 - float(s[1])])
    assert found.sum(-1).tolist() == pytest.approx([1, 1])


def test_several_classes_contrast_spans_and_units() -> None:
    model = with_head("roberta")
    with torch.no_grad():
        z = model.network(**inputs(model, PAIR)).logits[0].double()
    logp = torch.log_softmax(z, -1)
    trace = Model(model).explain(PAIR, ["POSITIVE", "NEGATIVE"], method="leave_one_out", per_token=True, unit="word")
    assert [(t.text, t.id) for t in trace.targets] == [("POSITIVE", 2), ("NEGATIVE", 0)]
    assert trace.answer.text == "POSITIVE, NEGATIVE"
    assert trace.details["original"] == pytest.approx(float(logp[2] + logp[0]), rel=1e-9)
    assert {u.message for u in trace.units} == {0, 1}
    assert trace.scores is not None
    np.testing.assert_allclose(np.nansum(trace.scores, 0)[: len(trace.sources)], trace.total, rtol=1e-4, atol=1e-6)
    part = Model(model).explain(PAIR, ["POSITIVE", "NEGATIVE"], span="NEGATIVE", method="leave_one_out")
    assert part.details["original"] == pytest.approx(float(logp[0]), rel=1e-9)
    other = Model(model).explain(
        PAIR, "POSITIVE", objective="contrast", instead_of="NEUTRAL", method="leave_one_out", trust=False
    )
    assert other.details["original"] == pytest.approx(float(logp[2] - logp[1]), rel=1e-9)
    assert other.details["objective"]["other"] == "NEUTRAL"
    without = Model(model).explain(PAIR, "POSITIVE", objective="pcxmi", without=" very", method="leave_one_out")
    encoded = encode_head(model, PAIR)
    left = [i for i, t in enumerate(encoded.tokens) if i not in without.details["objective"]["removed_tokens"]]
    with torch.no_grad():
        y = model.network(input_ids=torch.tensor([[encoded.ids[i] for i in left]])).logits[0].double()
    expected = float(logp[2] - torch.log_softmax(y, -1)[2])
    assert without.details["original"] == pytest.approx(expected, rel=1e-9)


def test_regression_is_explained_by_its_number() -> None:
    model = with_head("bert", num_labels=1, problem_type="regression")
    with pytest.raises(OptionError, match=r"gives numbers and no probabilities .* use objective='logit'"):
        Model(model).explain(TEXT)
    trace = Model(model).explain(TEXT, objective="logit", method="leave_one_out")
    with torch.no_grad():
        z = model.network(**inputs(model, TEXT)).logits[0, 0]
    assert trace.details["original"] == pytest.approx(float(z), rel=1e-9)
    assert trace.trust is None
    assert trace.trust_note == "not measured: a regression gives no probability"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": "positive"}, InputError, "no class 'positive': .* Did you mean 'POSITIVE'?"),
        ({"target": ""}, InputError, "the target is empty: expected a class"),
        ({"target": []}, InputError, "the target is empty: expected a class"),
        ({"target": ["NEUTRAL", "NEUTRAL"]}, InputError, "the class 'NEUTRAL' is named twice"),
        ({"temperature": 0.5}, OptionError, "leave temperature out"),
        ({"window": 20}, OptionError, "window belongs to models that answer with a span"),
        ({"parse_special": True}, InputError, "parse_special does nothing"),
        ({"target": "NEUTRAL", "objective": "contrast", "instead_of": "NEUTRAL"}, InputError, "nothing to contrast"),
        ({"target": "NEUTRAL", "objective": "contrast", "instead_of": "x"}, InputError, "no class 'x'"),
        ({"method": "leave_one_out", "replace": "sample"}, OptionError, "is of the kind 'classifier'"),
        ({"method": "ifr"}, OptionError, "expected one of saliency, input_x_gradient"),
        ({"memory": 1000}, OptionError, "are allowed: shorten it"),
        ({"span": "bad", "target": "NEUTRAL"}, InputError, "the span 'bad' is not in the answer 'NEUTRAL'"),
    ],
)
def test_errors_are_one_sentence(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Model(with_head("bert")).explain(TEXT, **options)


def test_encoder_decoders_with_a_head_are_refused() -> None:
    from transformers import BartConfig, BartForSequenceClassification

    network = BartForSequenceClassification(
        BartConfig(
            vocab_size=150,
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            max_position_embeddings=64,
        )
    )
    model = LoadedModel.wrap(network, TOKENIZERS["bert"](), name="bart")
    assert model.kind == "classifier"
    with pytest.raises(ModelError, match=r"'bart' .* reads its text twice"):
        Model(model).explain(TEXT)


def test_pairs_are_not_for_causal_models(tiny: Any) -> None:
    for prompt in (PAIR, {"question": "a", "context": "b"}):
        with pytest.raises(InputError, match="reads one text or a chat, given several texts"):
            Model(tiny()).explain(prompt)
    with pytest.raises(InputError, match="has one answer: the target should be text and is list"):
        Model(tiny()).explain("a", ["b"])


def test_the_model_is_as_it_was() -> None:
    model = with_head("bert")
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    Model(model).explain(PAIR, method="integrated_gradients", steps=2)
    assert all(torch.equal(v, before[k]) for k, v in model.network.state_dict().items())
    assert not model.network.get_input_embeddings()._forward_hooks
    assert not any(p.requires_grad for p in model.network.parameters())


def _others() -> dict[str, Any]:
    """Small configurations of families that read their embeddings, masks or positions in a way of their own."""
    common: dict[str, Any] = {
        "vocab_size": len(TOKENIZERS["bert"]()),
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "initializer_range": 0.2,
        "pad_token_id": 0,
    }
    relative = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 32}
    return {
        "DebertaV2": {**common, **relative, "position_biased_input": False, "type_vocab_size": 0},
        "Electra": {**common, "embedding_size": 32},
        "Albert": {**common, "embedding_size": 32},
        "MPNet": common,
        "ModernBert": {**common, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3},
        "Qwen3": {**common, "num_key_value_heads": 2, "head_dim": 16},
        "Longformer": {**common, "attention_window": 16},
    }


@pytest.mark.parametrize("family", sorted(_others()))
def test_other_families_too(family: str) -> None:
    """The run's logits are those from ids; a gradient and a what-if run agree with transformers' own."""
    import transformers

    torch.manual_seed(0)
    made = getattr(transformers, f"{family}ForSequenceClassification")(
        getattr(transformers, f"{family}Config")(**_others()[family])
    )
    model = LoadedModel.wrap(made.double(), TOKENIZERS["bert"](), name=family.lower())
    given = dict(model.tokenizer(*PAIR, return_tensors="pt"))
    if family not in ("Electra", "Albert", "Longformer"):
        del given["token_type_ids"]
    run = run_of(model, PAIR, [1], objective="logit")
    with torch.no_grad():
        expected = model.network(**given).logits[0]
    torch.testing.assert_close(run.values(), expected[1:2], rtol=1e-4, atol=1e-5)
    kept = ~np.eye(len(run.units), dtype=bool)[:2]
    for mask, value in zip(kept, effects(run, kept), strict=True):
        gone = {u[0] for u, stays in zip(run.units, mask, strict=True) if not stays}
        left = [i for i in range(run.prompt_length) if i not in gone]
        with torch.no_grad():
            z = model.network(**{k: v[:, left] for k, v in given.items()}).logits[0, 1]
        assert float(value) == pytest.approx(float(z), rel=1e-4, abs=1e-5)
    found, x, h = method("input_x_gradient")(run), run.embeddings, 2e-2  # some compute in float32 inside
    size = float(found.total.abs().max())
    for j in (2, 5):
        up, down = x.clone(), x.clone()
        up[j] *= 1 + h
        down[j] *= 1 - h
        slope = float((run.values(up) - run.values(down)).sum()) / (2 * h)
        assert float(found.total[j]) == pytest.approx(slope, abs=0.02 * size)


@pytest.mark.parametrize("family", ["Bert", "DebertaV2", "Albert", "Qwen3"])
def test_the_plan_is_no_less_than_the_graph(family: str) -> None:
    """Against what autograd keeps, counted by its own hooks, with plain attention and with the fused one."""
    import transformers

    options = _others()["Electra" if family == "Bert" else family]
    made = getattr(transformers, f"{family}ForSequenceClassification")(
        getattr(transformers, f"{family}Config")(**options)
    )
    model = LoadedModel.wrap(made, TOKENIZERS["bert"](), name=family.lower())
    for implementation in ("eager", "sdpa") if family != "DebertaV2" else ("eager",):
        made.set_attn_implementation(implementation)
        run = ClassifierRun(model, [5 + k % 40 for k in range(120)], [1], objective("logprob"))
        constants = {t.untyped_storage().data_ptr() for t in (*made.parameters(), *made.buffers())}
        kept: dict[int, Tensor] = {}

        def keep(t: Tensor, kept: dict[int, Tensor] = kept, constants: set[int] = constants) -> Tensor:
            if t.untyped_storage().data_ptr() not in constants:
                kept[t.untyped_storage().data_ptr()] = t
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            values = run.values_of(run._logits(run.embeddings[None].requires_grad_(True), keep=False))
        used = sum(t.untyped_storage().nbytes() for t in kept.values())
        assert values.requires_grad
        assert 0.2 * run.plan.bytes < used <= run.plan.bytes, implementation
