"""Path, noise and modified-gradient methods against plain loops, closed forms and their own limits, in float64."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pellucid.errors import ModelError, OptionError
from pellucid.models.load import LoadedModel
from pellucid.trace.baselines import baseline
from pellucid.trace.differences import from_differences
from pellucid.trace.engine import Run, Scores
from pellucid.trace.inside import attention
from pellucid.trace.memory import Plan
from pellucid.trace.methods import method, methods
from pellucid.trace.methods.integrated_gradients import RULES, quadrature
from pellucid.trace.objective import objective

PROMPT, ANSWER = [5, 80, 33, 120, 64, 9], [17, 99, 150]
#: Which methods refuse which families, and how their sentence begins.
REFUSED = {
    ("deeplift", "gemma2"): "DeepLIFT does not know attention with capped scores",
    ("gim", "gemma2"): "GIM does not know attention with capped scores",
    ("deeplift", "mixtral"): "this method needs the MLP's parts of each layer, and does not know where",
    ("gim", "mixtral"): "this method needs the MLP's parts of each layer, and does not know where",
    ("layered_gim", "gemma2"): "GIM does not know attention with capped scores",
    ("layered_gim", "mixtral"): "this method needs the MLP's parts of each layer, and does not know where",
}
TOKENS = len(PROMPT) + len(ANSWER)


def scores(model: LoadedModel, name: str, *, per_token: bool = False, **parameters: object) -> tuple[Run, Scores]:
    run = Run(model, PROMPT, ANSWER, objective("logprob"), per_token=per_token, units=[[1], [2], [3], [4]])
    return run, method(name)(run, **parameters)


def values(model: LoadedModel, x: Tensor) -> Tensor:
    """Log-probabilities of the answer's tokens [targets] from the network's ordinary pass over [tokens, width]."""
    logits = model.network(inputs_embeds=x[None], use_cache=False).logits[0]
    rows = torch.log_softmax(logits[len(PROMPT) - 1 : -1], -1)
    return rows[torch.arange(len(ANSWER)), ANSWER]


def embed(model: LoadedModel) -> Tensor:
    return model.network.get_input_embeddings()(torch.tensor(PROMPT + ANSWER)).detach()


def gradient(model: LoadedModel, x: Tensor, target: int | None = None) -> Tensor:
    x = x.detach().requires_grad_(True)
    v = values(model, x)
    return torch.autograd.grad(v.sum() if target is None else v[target], x)[0]


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    worst = float((found - expected).abs().max() / expected.abs().max())
    assert worst <= tolerance, f"relative to the largest: {worst:.1e}"


@pytest.mark.parametrize("rule", RULES)
def test_quadrature_integrates(rule: str) -> None:
    """x^2 from 0 to 1 is 1/3; Gauss-Legendre with n points is exact up to degree 2n - 1."""
    assert sum(w for _, w in quadrature(rule, 7)) == pytest.approx(1)
    assert sum(w * a**2 for a, w in quadrature(rule, 200)) == pytest.approx(1 / 3, rel=1e-4)
    if rule == "gauss_legendre":
        assert sum(w * a**9 for a, w in quadrature(rule, 5)) == pytest.approx(0.1, rel=1e-12)


@pytest.mark.parametrize("per_token", [False, True])
def test_integrated_gradients_are_a_plain_loop(family: LoadedModel, per_token: bool) -> None:
    run, found = scores(family, "integrated_gradients", per_token=per_token, steps=3, baseline="mean")
    x, start = embed(family), family.network.get_input_embeddings()(torch.arange(len(family.tokenizer))).mean(0)
    way = x - start
    rows = [
        sum((gradient(family, start + (k + 0.5) / 3 * way, i) * way).sum(-1) for k in range(3)) / 3
        for i in range(len(ANSWER))
    ]
    close(found.total, torch.stack(rows).sum(0))
    if per_token:
        assert found.matrix is not None
        close(found.matrix, torch.stack(rows))
    assert run.logits is not None, "the real input's logits are there for statistics"
    real = family.network(inputs_embeds=x[None]).logits[0, len(PROMPT) - 1 : -1]
    close(run.logits, real)


@pytest.mark.parametrize("start", ["mean", "pad", "zero", 7, "the"])
def test_integrated_gradients_are_complete(tiny, start: str | int) -> None:  # type: ignore[no-untyped-def]
    """Scores of all tokens add up to the difference between the ends, each target's row to its own."""
    model = tiny("gpt2", torch.float64)
    run, found = scores(model, "integrated_gradients", per_token=True, steps=60, rule="gauss_legendre", baseline=start)
    ends = values(model, embed(model)) - values(model, baseline(run, start))
    assert found.matrix is not None
    torch.testing.assert_close(found.matrix.sum(1), ends, rtol=1e-4, atol=1e-5)
    assert found.details["difference"] == pytest.approx(float(ends.sum()), rel=1e-9)
    assert abs(found.details["completeness_gap"]) < 1e-4 * abs(found.details["difference"])


def test_a_coarse_path_reports_its_gap(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny("llama", torch.float64)
    _, coarse = scores(model, "integrated_gradients", steps=1, baseline="pad")
    _, fine = scores(model, "integrated_gradients", steps=200, baseline="pad")
    gap, less = coarse.details["completeness_gap"], fine.details["completeness_gap"]
    assert abs(gap) > 10 * abs(less)
    assert gap == pytest.approx(float(coarse.total.sum()) - coarse.details["difference"])


def test_sequential_scores_are_what_one_token_changes(tiny) -> None:  # type: ignore[no-untyped-def]
    """Completeness of sequential IG: each score is f(x) - f(x with that token at the baseline)."""
    model = tiny("gpt2", torch.float64)
    run, found = scores(model, "sequential_integrated_gradients", steps=40, rule="gauss_legendre", baseline="mean")
    x, start = embed(model), baseline(run, "mean")
    assert found.measured is not None
    assert found.measured.tolist() == [i in (1, 2, 3, 4) for i in range(TOKENS)]
    for j in range(TOKENS):
        other = x.clone()
        other[j] = start[j]
        change = float((values(model, x) - values(model, other)).sum()) if j in (1, 2, 3, 4) else 0.0
        assert float(found.total[j]) == pytest.approx(change, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("strategy", ["greedy", "max_count"])
def test_the_walk_is_monotonic_and_arrives(tiny, strategy: str) -> None:  # type: ignore[no-untyped-def]
    from pellucid.trace.methods.discretized_integrated_gradients import word_way

    words = tiny("gpt2", torch.float64).network.get_input_embeddings().weight
    end = words.mean(0)
    points = word_way(words, 17, end, steps=6, neighbors=20, strategy=strategy)
    assert points.shape == (7, words.shape[1])
    assert torch.equal(points[0], words[17])
    assert torch.equal(points[-1], end)
    direction = torch.sign(end - words[17])
    assert ((points[1:] - points[:-1]) * direction >= -1e-12).all(), "a dimension went back"
    straight = words[17] + torch.linspace(0, 1, 7, dtype=torch.float64)[:, None] * (end - words[17])
    assert not torch.allclose(points, straight), "it never saw a word"


def test_discretized_gradients_are_a_plain_loop(tiny) -> None:  # type: ignore[no-untyped-def]
    from pellucid.trace.methods import discretized_integrated_gradients as dig

    model = tiny("gpt2", torch.float64)
    run, found = scores(model, "discretized_integrated_gradients", steps=4, neighbors=10)
    words, end = model.network.get_input_embeddings().weight, baseline(run, "mean")[0]
    paths = torch.stack(
        [dig.word_way(words, i, end, steps=4, neighbors=10, strategy="greedy") for i in PROMPT + ANSWER], 1
    )
    expected = sum((gradient(model, paths[k]) * (paths[k] - paths[k + 1])).sum(-1) for k in range(4))
    close(found.total, expected, 1e-9)
    gap = float(expected.sum()) - float((values(model, embed(model)) - values(model, paths[-1])).sum())
    assert found.details["completeness_gap"] == pytest.approx(gap, rel=1e-6)


def test_monotonic_anchors_by_hand() -> None:
    from pellucid.trace.methods import discretized_integrated_gradients as dig

    now, end = torch.zeros(4), torch.ones(4)
    moved, count = dig.monotonic(torch.tensor([[2.0, -1.0, 3.0, -2.0], [0.5, 2.0, 0.1, 1.0]]), now, end, end / 4)
    assert moved.tolist() == [[0.25] * 4, [0.5, 0.25, pytest.approx(0.1), 1.0]]
    assert count.tolist() == [0, 3]


def test_smoothgrad_without_noise_is_saliency(family: LoadedModel) -> None:
    _, smooth = scores(family, "smoothgrad", samples=2, noise=0.0, per_token=True)
    _, plain = scores(family, "saliency", per_token=True)
    close(smooth.total, plain.total)
    assert smooth.matrix is not None
    assert plain.matrix is not None
    close(smooth.matrix, plain.matrix)


def test_smoothgrad_averages_norms_over_its_noise(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny("gpt2", torch.float64)
    _, found = scores(model, "smoothgrad", samples=3, noise=0.05)
    x = embed(model)
    random = torch.Generator().manual_seed(0)
    size = 0.05 * float(x.max() - x.min())
    norms = [
        gradient(model, x + size * torch.randn(x.shape, generator=random, dtype=x.dtype)).norm(dim=-1) for _ in range(3)
    ]
    close(found.total, torch.stack(norms).mean(0), 1e-9)


def test_gradient_shap_nears_integrated_gradients(tiny) -> None:  # type: ignore[no-untyped-def]
    """With one baseline and no noise, its expectation is IG; two baselines give the mean of both."""
    model = tiny("gpt2", torch.float64)
    _, shap = scores(model, "gradient_shap", samples=400, baselines=["zero", "mean"])
    both = [scores(model, "integrated_gradients", steps=100, baseline=b)[1].total for b in ("zero", "mean")]
    close(shap.total, (both[0] + both[1]) / 2, 0.02)
    assert abs(shap.details["completeness_gap"]) < 0.02 * abs(shap.details["difference"])


@pytest.mark.parametrize("start", ["mean", "zero", 7])
def test_deeplift_is_complete(family: LoadedModel, start: str | int) -> None:
    """Every rule is complete, so the whole is, in one pass, for each target's row too; the output is the model's."""
    if ("deeplift", family.name) in REFUSED:
        pytest.skip("refused, see below")
    if start == "zero" and family.name not in ("gpt2", "gpt_neox"):
        pytest.skip("zeros are singular for RMSNorm: each norm's slope there is 1 / sqrt(eps)")
    run, found = scores(family, "deeplift", per_token=True, baseline=start)
    x, b = embed(family), baseline(run, start)
    ends = values(family, x) - values(family, b)
    assert found.matrix is not None
    torch.testing.assert_close(found.matrix.sum(1), ends, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.total, found.matrix.sum(0), rtol=1e-6, atol=1e-6)
    assert abs(found.details["completeness_gap"]) < 1e-4 * abs(found.details["difference"])
    assert run.logits is not None
    close(run.logits, family.network(inputs_embeds=x[None]).logits[0, len(PROMPT) - 1 : -1])


def test_deeplift_near_the_input_is_input_minus_baseline_times_gradient(tiny) -> None:  # type: ignore[no-untyped-def]
    """Quotients of small differences are derivatives: with a baseline close by, so are the scores."""
    from pellucid.trace.methods.deeplift import multipliers

    model = tiny("llama", torch.float64)
    run = Run(model, PROMPT, ANSWER, objective("logit"))
    x = embed(model)
    torch.manual_seed(0)
    start = x - 1e-4 * torch.randn_like(x)
    found = from_differences(run, start, multipliers, [(0.5, 1.0)]).total
    x = x.requires_grad_(True)
    logits = model.network(inputs_embeds=x[None]).logits[0, len(PROMPT) - 1 : -1]
    g = torch.autograd.grad(logits[torch.arange(len(ANSWER)), ANSWER].sum(), x)[0]
    close(found, (g * (x.detach() - start)).sum(-1), 2e-3)


def test_deeplift_rules_in_closed_form() -> None:
    """Softmax of two numbers and a product, by hand."""
    from pellucid.trace.methods import deeplift

    x = torch.tensor([[1.0, 3.0], [2.0, -1.0]], dtype=torch.float64, requires_grad=True)  # input; baseline
    y = deeplift.halves(x[:, 0], x[:, 1], torch.mul)
    (m,) = torch.autograd.grad(y[0], x)
    assert m[0].tolist() == [1.0, 1.5]  # mean(v) = 1, mean(u) = 1.5
    assert float((m[0] * (x[0] - x[1]).detach()).sum()) == 3.0 - (-2.0)
    (m,) = torch.autograd.grad(deeplift.elementwise(torch.relu, x)[0].sum(), x)
    assert m[0].tolist() == [1.0, 0.75]  # (3 - 0) / (3 - -1)
    p = deeplift.softmax(x)
    (m,) = torch.autograd.grad(p[0, 0], x)
    plain = torch.softmax(x.detach(), -1)
    assert float((m[0] * (x[0] - x[1]).detach()).sum()) == pytest.approx(float(plain[0, 0] - plain[1, 0]), rel=1e-9)


NEUTRAL = {"freeze_norms": False, "temperature": 1.0, "query": 1.0, "key": 1.0, "value": 1.0, "gate": 1.0, "up": 1.0}


def test_gim_with_nothing_modified_is_input_x_gradient(family: LoadedModel) -> None:
    if family.name == "gemma2":
        pytest.skip("refused, see below")
    _, found = scores(family, "gim", **NEUTRAL)
    _, plain = scores(family, "input_x_gradient")
    close(found.total, plain.total)


PLANS = [Plan(False, 1, 1, False, 0), Plan(True, 2, 3, False, 0), Plan(True, 1, 2, False, 0)]


def by_layer(model: LoadedModel, target: int | None, negative: float, temperature: float) -> Tensor:
    """sum_l f(h_l . g_l) of transformers' own hidden states, by plain autograd."""
    out = model.network(inputs_embeds=embed(model)[None].requires_grad_(True), output_hidden_states=True)
    rows = torch.log_softmax(out.logits[0, len(PROMPT) - 1 : -1] / temperature, -1) * temperature
    v = rows[torch.arange(len(ANSWER)), ANSWER]
    states = out.hidden_states[:-1]  # the last is the head's input
    gradients = torch.autograd.grad(v.sum() if target is None else v[target], states)
    found = torch.stack([(g * h).sum(-1)[0] for g, h in zip(gradients, states, strict=True)])
    return torch.where(found > 0, found, negative * found).sum(0).detach()


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(("negative", "temperature"), [(1.0, 1.0), (0.3, 2.0), (0.0, 5.0)])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "gemma3"])
def test_layered_gim_is_state_times_gradient_where_nothing_is_modified(  # type: ignore[no-untyped-def]
    tiny, name: str, negative: float, temperature: float, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole answer's scores are those of its own gradient, not sums of the rows'; by graph and by layer."""
    model = tiny(name, torch.float64)
    monkeypatch.setattr(Run, "_planned", lambda self, squares: plan)
    options = {**NEUTRAL, "negative": negative, "output_temperature": temperature}
    _, found = scores(model, "layered_gim", per_token=True, **options)
    assert found.matrix is not None
    close(found.matrix, torch.stack([by_layer(model, i, negative, temperature) for i in range(len(ANSWER))]))
    close(found.total, by_layer(model, None, negative, temperature))
    close(scores(model, "layered_gim", **options)[1].total, found.total)


@pytest.mark.parametrize("skip", [0.0, 0.5])
@pytest.mark.parametrize("plan", [PLANS[0], replace(PLANS[1], batched=True), PLANS[2]])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "gemma2", "gemma3", "mixtral"])
def test_layered_saliency_is_norms_of_transformers_own_states(  # type: ignore[no-untyped-def]
    tiny, name: str, plan: Plan, skip: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(name, torch.float64)
    monkeypatch.setattr(Run, "_planned", lambda self, squares: plan)
    _, found = scores(model, "layered_saliency", per_token=True, skip=skip)
    assert found.matrix is not None
    x = model.network.get_input_embeddings()(torch.tensor([PROMPT + ANSWER])).detach().requires_grad_(True)
    out = model.network(inputs_embeds=x, output_hidden_states=True, use_cache=False)
    rows = torch.log_softmax(out.logits[0, len(PROMPT) - 1 : -1], -1)
    values = rows[torch.arange(len(ANSWER)), ANSWER]

    states = out.hidden_states[int(skip * (len(out.hidden_states) - 1)) : -1]

    def norms(v: Tensor) -> Tensor:
        gradients = torch.autograd.grad(v, states, retain_graph=True)
        pairs = zip(gradients, states, strict=True)
        return sum((g.norm(dim=-1) * h.detach().norm(dim=-1) for g, h in pairs), torch.zeros(1))[0]

    close(found.total, norms(values.sum()))
    close(found.matrix, torch.stack([norms(v) for v in values]))


def test_layered_gim_reads_gims_own_gradient(tiny) -> None:  # type: ignore[no-untyped-def]
    """Of one layer alone, and before it, state times gradient is GIM's score where embeddings are the stream."""
    model = tiny("llama", torch.float64)
    layers = model.network.model.layers
    del layers[1:]
    model.network.config.num_hidden_layers = 1
    assert len(layers) == 1
    _, found = scores(model, "layered_gim", negative=1.0, output_temperature=1.0)
    close(found.total, scores(model, "gim")[1].total)


class Reference:
    """GIM by plain autograd: a softmax with a surrogate whose Jacobian is J(softmax(s / T)), detached statistics."""

    def __init__(self, temperature: float, query: float, key: float, value: float, window: int | None) -> None:
        self.temperature, self.factors, self.window = temperature, (query, key, value), window

    def __call__(self, module, query, key, value, attention_mask, **options):  # type: ignore[no-untyped-def]
        def times(t: Tensor, factor: float) -> Tensor:
            return t * factor + (t * (1 - factor)).detach()

        q, k, v = (times(t, f) for t, f in zip((query, key, value), self.factors, strict=True))
        groups = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        s = q @ k.transpose(-1, -2) * (options.get("scaling") or q.shape[-1] ** -0.5)
        tokens = s.shape[-1]
        s = s.masked_fill(torch.ones(tokens, tokens, dtype=torch.bool).triu(1), -math.inf)
        if self.window is not None:
            s = s.masked_fill(torch.ones(tokens, tokens, dtype=torch.bool).tril(-self.window), -math.inf)
        soft = torch.softmax(s / self.temperature, -1) * self.temperature
        p = torch.softmax(s, -1).detach() + soft - soft.detach()
        return (p @ v).transpose(1, 2), None


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2", "phi3", "mistral", "qwen2"])
@pytest.mark.parametrize("plan", [Plan(False, 1, 1, False, 0), Plan(True, 2, 3, False, 0)])
def test_gim_is_its_definition(tiny, name: str, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Against autograd over an attention and norms written here with detached parts; by graph and by layer."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    model = tiny(name, torch.float64)
    monkeypatch.setattr(Run, "_planned", lambda self, squares: plan)
    _, found = scores(model, "gim", per_token=True)

    window = getattr(model.network.config, "sliding_window", None)
    AttentionInterface.register("test_gim", Reference(2.0, 0.25, 0.25, 0.5, window))
    AttentionMaskInterface.register("test_gim", ALL_MASK_ATTENTION_FUNCTIONS["eager"])

    def frozen(module, args, out):  # type: ignore[no-untyped-def]
        x = args[0]
        if isinstance(module, torch.nn.LayerNorm):
            deviation = (x.var(-1, keepdim=True, unbiased=False) + module.eps).sqrt().detach()
            return (x - x.mean(-1, keepdim=True)) / deviation * module.weight + module.bias
        size = (x.square().mean(-1, keepdim=True) + module.variance_epsilon).sqrt().detach()
        return x / size * module.weight

    def half(module, args, out):  # type: ignore[no-untyped-def]
        return out / 2 + (out / 2).detach()

    def half_of_half(module, args, out):  # type: ignore[no-untyped-def]
        gate, up = out.split(out.shape[-1] // 2, dim=-1)
        return torch.cat([gate, half(module, args, up)], -1)

    hooks = []
    for m in model.network.modules():
        if isinstance(m, torch.nn.LayerNorm) or type(m).__name__.endswith("RMSNorm"):
            hooks.append(m.register_forward_hook(frozen))
        for part in ("up_proj", "act_fn"):
            if hasattr(m, part):
                hooks.append(getattr(m, part).register_forward_hook(half))
        if hasattr(m, "gate_up_proj"):
            hooks.append(m.gate_up_proj.register_forward_hook(half_of_half))
            hooks.append(m.activation_fn.register_forward_hook(half))
    x = embed(model)
    with attention(model.network, "test_gim"):
        rows = torch.stack([(gradient(model, x, i) * x).sum(-1) for i in range(len(ANSWER))])
    for h in hooks:
        h.remove()
    assert found.matrix is not None
    close(found.matrix, rows)
    close(found.total, rows.sum(0))


def test_gim_leaves_the_forward_pass_and_the_model_alone(family: LoadedModel) -> None:
    if family.name == "gemma2":
        pytest.skip("refused, see below")
    before = values(family, embed(family))
    hooks = [len(m._forward_hooks) for m in family.network.modules()]
    # Experts have no gate and factor that could be found.
    run, _ = scores(family, "gim", **({"gate": 1, "up": 1} if family.name == "mixtral" else {}))
    assert run.logits is not None
    own = torch.log_softmax(run.logits, -1)[torch.arange(len(ANSWER)), ANSWER]
    torch.testing.assert_close(own, before, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(values(family, embed(family)), before, rtol=0, atol=0)
    assert [len(m._forward_hooks) for m in family.network.modules()] == hooks


@pytest.mark.parametrize(("name", "kind"), REFUSED)
def test_a_refusal_names_what_works(tiny, name: str, kind: str) -> None:  # type: ignore[no-untyped-def]
    model = tiny(kind)
    with pytest.raises(ModelError, match=REFUSED[name, kind]) as e:
        scores(model, name)
    named = str(e.value).rpartition("; use " if "; use " in str(e.value) else ": use ")[2]
    working = [m for m in methods() if re.search(rf"\b{m}\b", named)]
    assert len(working) >= 3
    for other in working:
        assert scores(model, other)[1].total.isfinite().all()


def test_gim_refuses_a_norm_that_it_does_not_know(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny("llama")
    norm = model.network.model.norm

    class OddRMSNorm(type(norm)):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 1.5

    norm.__class__ = OddRMSNorm
    with pytest.raises(ModelError, match="does not know the norm OddRMSNorm"):
        scores(model, "gim")
    assert all(not m._forward_hooks for m in model.network.modules())


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("integrated_gradients", {"steps": 0}, "steps should be a whole number of at least 1, given 0"),
        ("integrated_gradients", {"steps": 2.5}, "given 2.5"),
        ("integrated_gradients", {"rule": "simpson"}, "unknown rule 'simpson': expected one of midpoint"),
        ("integrated_gradients", {"baseline": "two tokens of text"}, "the baseline 'two tokens of text' is .* tokens"),
        ("integrated_gradients", {"baseline": 10**6}, "the baseline token 1000000 is not in the vocabulary"),
        ("smoothgrad", {"samples": 0}, "samples should be a whole number of at least 1, given 0"),
        ("smoothgrad", {"noise": -1.0}, "noise should be 0 or more"),
        ("gradient_shap", {"baselines": []}, "baselines is empty"),
        ("gim", {"temperature": 0.0}, "temperature should be above 0"),
        ("layered_gim", {"output_temperature": -1.0}, "output_temperature should be above 0, given -1"),
        ("layered_saliency", {"skip": 1.0}, "skip should be a share of the layers from 0 to below 1, given 1"),
        ("layered_gim", {"negative": 1.5}, "negative should be a share from 0 to 1, given 1.5"),
    ],
)
def test_bad_parameters_say_what_is_expected(tiny, name: str, parameters: dict, sentence: str) -> None:  # type: ignore[no-untyped-def,type-arg]
    with pytest.raises(OptionError, match=sentence):
        scores(tiny("llama"), name, **parameters)
