"""Gradients against plain autograd loops in float64, finite differences, causality, and every way to run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.errors import OptionError
from pellucid.models.load import LoadedModel
from pellucid.trace import rows as row_attention
from pellucid.trace.engine import Run
from pellucid.trace.inside import attention, precision
from pellucid.trace.layers import Tape
from pellucid.trace.logits import target_logits
from pellucid.trace.memory import Plan, Shape, budget, plan
from pellucid.trace.methods import method
from pellucid.trace.objective import OBJECTIVES, objective

PROMPT, ANSWER = [5, 80, 33, 120, 64, 9, 200, 41], [17, 99, 150, 7]


def plain_values(model: LoadedModel, x: Tensor, name: str) -> Tensor:
    """The objective of each target, from the network's ordinary full forward pass, with torch's own functions."""
    logits = model.network(inputs_embeds=x, use_cache=False).logits[0]
    out = []
    for i, token in enumerate(ANSWER):
        z = logits[len(PROMPT) + i - 1]
        value = {
            "logit": lambda z=z, t=token: z[t],
            "logprob": lambda z=z, t=token: torch.nn.functional.log_softmax(z, -1)[t],
            "prob": lambda z=z, t=token: torch.softmax(z, -1)[t],
            "margin": lambda z=z, t=token: z[t] - torch.cat([z[:t], z[t + 1 :]]).max(),
            "log_odds": lambda z=z, t=token: (torch.softmax(z, -1)[t] / (1 - torch.softmax(z, -1)[t])).log(),
            "entropy": lambda z=z: torch.distributions.Categorical(logits=z).entropy(),
            "cross_entropy": lambda z=z, t=token: torch.nn.functional.cross_entropy(z[None], torch.tensor([t])),
        }[name]()
        out.append(value)
    return torch.stack(out)


def assert_close(model: LoadedModel, found: Tensor, expected: Tensor) -> None:
    """To the last digits of float64 for GPT-2; the other families' own code computes norms and rotary angles in
    float32 whatever the dtype, and batched attention its softmax: there, float32's last digits of the largest score."""
    exact = model.name == "gpt2"
    worst = (found - expected).abs().max() / expected.abs().max()
    assert worst <= (1e-12 if exact else 1e-5), f"relative to the largest score: {worst:.1e}"


def embed(model: LoadedModel) -> Tensor:
    return model.network.get_input_embeddings()(torch.tensor([PROMPT + ANSWER])).detach()


def plain_rows(model: LoadedModel, name: str) -> Tensor:
    """[targets, tokens, width], one backward pass of a fresh forward pass each."""
    rows = []
    for i in range(len(ANSWER)):
        x = embed(model).requires_grad_(True)
        plain_values(model, x, name)[i].backward()
        rows.append(x.grad[0])
    return torch.stack(rows)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@pytest.mark.parametrize("how", ["saliency", "input_x_gradient"])
def test_matrix_and_total_equal_plain_loops(family: LoadedModel, name: str, how: str) -> None:
    gradients, x = plain_rows(family, name), embed(family)[0]
    expected = {"saliency": lambda g: g.norm(dim=-1), "input_x_gradient": lambda g: (g * x).sum(-1)}[how]
    for per_token in (False, True):
        run = Run(family, PROMPT, ANSWER, objective(name), per_token=per_token)
        scores = method(how)(run)
        assert_close(family, scores.total, expected(gradients.sum(0)))
        assert (scores.matrix is not None) == per_token
        if scores.matrix is not None:
            assert run.plan.batched, "the batched way is what this test is for"
            assert_close(family, scores.matrix, expected(gradients))


def test_gradient_equals_finite_differences(family: LoadedModel) -> None:
    scores = method("input_x_gradient")(Run(family, PROMPT, ANSWER, objective("logprob"), per_token=True))
    x, exact = embed(family), family.name == "gpt2"
    step = 1e-4 if exact else 1e-2  # float32 islands in the other families drown smaller steps
    for j in (0, 3, len(PROMPT) - 1):
        # Scaling token j's embedding by (1 +- h) moves the objective by h times x_j . ds/dx_j.
        up, down = x.clone(), x.clone()
        up[0, j] *= 1 + step
        down[0, j] *= 1 - step
        with torch.no_grad():
            slope = (plain_values(family, up, "logprob") - plain_values(family, down, "logprob")) / (2 * step)
        tolerance = (1e-6 if exact else 2e-3) * scores.matrix.nan_to_num().abs().max()
        assert (scores.matrix[:, j] - slope).abs().max() <= tolerance
        assert (scores.total[j] - slope.sum()).abs() <= tolerance * len(ANSWER)


def test_targets_get_nothing_from_later_tokens(family: LoadedModel) -> None:
    scores = method("saliency")(Run(family, PROMPT, ANSWER, objective("logprob"), per_token=True))
    for i in range(len(ANSWER)):
        assert (scores.matrix[i, len(PROMPT) + i :] == 0).all()
        assert (scores.matrix[i, : len(PROMPT)] != 0).any()


def test_rows_of_a_signed_method_add_up_to_the_whole(family: LoadedModel) -> None:
    rows = method("input_x_gradient")(Run(family, PROMPT, ANSWER, objective("logprob"), per_token=True))
    whole = method("input_x_gradient")(Run(family, PROMPT, ANSWER, objective("logprob")))
    assert_close(family, rows.matrix.sum(0), whole.total)


def test_selected_targets_alone(family: LoadedModel) -> None:
    gradients = plain_rows(family, "logprob")
    chosen = [1, 3]
    for per_token in (False, True):
        run = Run(family, PROMPT, ANSWER, objective("logprob"), selected=chosen, per_token=per_token)
        scores = method("saliency")(run)
        assert_close(family, scores.total, gradients[chosen].sum(0).norm(dim=-1))
    assert scores.matrix[[0, 2]].isnan().all()
    assert_close(family, scores.matrix[chosen], gradients[chosen].norm(dim=-1))


@pytest.mark.parametrize(
    "way",
    [
        Plan(False, 1, 1, False, 0),
        Plan(True, 3, 4, True, 0),
        Plan(True, 2, 3, True, 0),
        Plan(True, 1, 2, False, 0),
    ],
    ids=["whole graph", "by layer, 3 together", "by layer, groups of 3", "by layer, one by one"],
)
@pytest.mark.parametrize("per_token", [False, True])
def test_every_plan_gives_the_same_scores(family: LoadedModel, way: Plan, per_token: bool) -> None:
    gradients = plain_rows(family, "logprob")
    run = Run(family, PROMPT, ANSWER, objective("logprob"), per_token=per_token)
    run.plan = way
    before = dict(family.network.named_modules())
    forwards = {n: m.__dict__.get("forward") for n, m in before.items()}
    implementation = family.network.config._attn_implementation
    scores = method("saliency")(run)
    assert_close(family, scores.total, gradients.sum(0).norm(dim=-1))
    if per_token:
        assert_close(family, scores.matrix, gradients.norm(dim=-1))
    assert (run.forwards, run.backwards) == (1, len(ANSWER) if per_token else 1)
    assert family.network.config._attn_implementation == implementation
    assert {n: m.__dict__.get("forward") for n, m in family.network.named_modules()} == forwards
    assert not any(p.requires_grad or p.grad is not None for p in family.network.parameters())


def test_model_is_restored_after_an_error(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny()
    layer = model.network.model.layers[0]
    with pytest.raises(KeyboardInterrupt), attention(model.network, "eager"):
        assert model.network.config._attn_implementation == "eager"
        raise KeyboardInterrupt
    assert model.network.config._attn_implementation == "sdpa"

    def stop() -> Tensor:
        assert layer._forward_pre_hooks
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Tape.record(model.network, embed(model), 1, stop)
    assert not layer._forward_pre_hooks
    assert not layer._forward_hooks


def test_by_layer_keeps_layer_inputs_and_runs_each_layer_once_more(tiny) -> None:  # type: ignore[no-untyped-def]
    model, calls = tiny(), []
    hook = model.network.model.layers[0].register_forward_hook(lambda *_: calls.append(1))
    kept: list[int] = []
    weights = {p.untyped_storage().data_ptr() for p in model.network.parameters()}

    def pack(t: Tensor) -> Tensor:
        kept.append(0 if t.untyped_storage().data_ptr() in weights else t.numel())
        return t

    run = Run(model, PROMPT, ANSWER, objective("logprob"), per_token=True)
    assert run.plan.layers
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        x = embed(model).requires_grad_(True)
        Tape.record(model.network, x, 5, lambda: target_logits(model.network, len(ANSWER), inputs_embeds=x)[0])
    assert 0 < sum(kept) < 6 * x.numel(), "only the final norm and the head may keep anything for the backward pass"
    calls.clear()
    method("saliency")(run)
    hook.remove()
    assert len(calls) == 2


def test_a_network_that_is_no_plain_stack_keeps_the_whole_graph(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny()
    expected = method("saliency")(Run(model, PROMPT, ANSWER, objective("logprob"), per_token=True))
    layers = model.network.model.layers
    # An addition between two layers that no layer sees: the tape must notice, and the scores must have it.
    hook = layers[0].register_forward_hook(lambda m, a, out: out + 0.1 * a[0].roll(1, 1) if a else out)
    wrapped = layers[1].register_forward_pre_hook(lambda m, a: (a[0] * 1.0, *a[1:]) if a else None)
    found = method("saliency")(Run(model, PROMPT, ANSWER, objective("logprob"), per_token=True))
    plain = plain_rows(model, "logprob")
    hook.remove()
    wrapped.remove()
    torch.testing.assert_close(found.matrix, plain.norm(dim=-1), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(found.matrix, expected.matrix, rtol=1e-2)


def test_experts_run_by_transformers_grouped_product_too(tiny) -> None:  # type: ignore[no-untyped-def]
    """Its backward has no batching rule: rows go through the plain loop over experts, and the setting comes back."""
    model = tiny("mixtral")
    scores = []
    for name in ("eager", "grouped_mm"):
        model.network.set_experts_implementation(name)
        run = Run(model, PROMPT, ANSWER, objective("logprob"), per_token=True)
        scores.append(method("saliency")(run).matrix)
        assert run.plan.batched
        assert model.network.config._experts_implementation == name
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("kept", [1024, 10])
def test_attention_by_rows_equals_plain_attention(
    family: LoadedModel, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than a block of queries, with probabilities kept and made again, against transformers' own attention."""
    monkeypatch.setattr(row_attention, "KEPT", kept)
    if not row_attention.usable(family.network):
        pytest.skip("capped scores go by transformers' own attention")
    ids = torch.randint(0, 250, (1, 100), generator=torch.Generator().manual_seed(1))
    row_attention.register()
    outs = {}
    for name in ("eager", row_attention.NAME):
        x = family.network.get_input_embeddings()(ids).detach().requires_grad_(True)
        with attention(family.network, name):
            logits = family.network(inputs_embeds=x, use_cache=False).logits
        weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view_as(logits)
        outs[name] = (logits.detach(), torch.autograd.grad((logits * weights).sum(), x)[0])
    for a, b in zip(outs["eager"], outs[row_attention.NAME], strict=True):
        assert (a - b).abs().max() <= 1e-5 * a.abs().max()


@pytest.mark.parametrize("rule", [row_attention.EXACT, row_attention.Rule(2.0, 0.25, 0.5, 0.75)])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_in_blocks_is_that_with_probabilities(
    rule: row_attention.Rule, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One gradient and several rows at once, over three blocks of queries, four heads on two keys' heads."""
    draw = torch.Generator().manual_seed(0)
    shapes = [(1, 4, 150, 8), (1, 2, 150, 8), (1, 2, 150, 8)]
    q, k, v = (torch.randn(s, generator=draw, dtype=torch.float64, requires_grad=True) for s in shapes)
    hidden = torch.ones(150, 150, dtype=torch.bool).triu(1) if causal else torch.rand(150, 150, generator=draw) < 0.3
    mask = torch.zeros(1, 1, 150, 150, dtype=torch.float64)
    mask.masked_fill_(hidden & ~torch.eye(150, dtype=torch.bool), torch.finfo(torch.float64).min)
    rows = torch.randn(3, *shapes[0], generator=draw, dtype=torch.float64)
    found = []
    for kept in (1024, 10):
        monkeypatch.setattr(row_attention, "KEPT", kept)
        out = row_attention.attend(q, k, v, mask, 0.3, rule)
        single = torch.autograd.grad(out, (q, k, v), rows[0], retain_graph=True)
        many = torch.vmap(lambda g, out=out: torch.autograd.grad(out, (q, k, v), g, retain_graph=True))(rows)
        found.append((out.detach(), *single, *many))
    assert row_attention._is_causal(mask) == causal
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_logits_equal_the_networks_own(family: LoadedModel) -> None:
    ids = torch.tensor([PROMPT + ANSWER])
    with torch.no_grad():
        own = family.network(ids).logits[:, len(PROMPT) - 1 : -1]
        torch.testing.assert_close(target_logits(family.network, len(ANSWER), input_ids=ids), own)


def test_logits_of_a_network_that_cannot_keep_a_few(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny()

    class Plain:
        """A forward without ``logits_to_keep``."""

        def forward(self, input_ids: Tensor, use_cache: bool) -> object:
            return model.network(input_ids, use_cache=use_cache)

        __call__ = forward

    ids = torch.tensor([PROMPT + ANSWER])
    with torch.no_grad():
        torch.testing.assert_close(
            target_logits(Plain(), 3, input_ids=ids), target_logits(model.network, 3, input_ids=ids)
        )


def test_by_layer_with_a_head_on_all_positions(tiny, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    model = tiny()
    expected = method("saliency")(Run(model, PROMPT, ANSWER, objective("logprob"), per_token=True, selected=[1, 3]))
    whole = model.network.forward

    def plain(inputs_embeds: Tensor, use_cache: bool) -> object:
        return whole(inputs_embeds=inputs_embeds, use_cache=use_cache)

    monkeypatch.setattr(model.network, "forward", plain)
    found = method("saliency")(Run(model, PROMPT, ANSWER, objective("logprob"), per_token=True, selected=[1, 3]))
    torch.testing.assert_close(found.matrix, expected.matrix, equal_nan=True)
    torch.testing.assert_close(found.total, expected.total)


def test_fast_precision_ranks_as_full_does(embedded, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """On any CPU: where bfloat16 is not quicker, it is right all the same."""
    from scipy.stats import spearmanr

    from pellucid.trace import inside

    monkeypatch.setattr(inside, "native_bfloat16", lambda device: True)
    tokens = embedded.loaded.tokenizer(
        "The ship left the harbour at dawn with forty sailors, a cook and a cat. " * 6
    ).input_ids
    prompt, answer = tokens[:-8], tokens[-8:]
    matrices = {}
    for name in ("full", "fast"):
        run = Run(embedded.loaded, prompt, answer, objective("logprob"), per_token=True, precision=name)
        matrices[name] = method("saliency")(run).matrix
        assert run.precision == name
        assert matrices[name].dtype == torch.float32
    for i in range(len(answer)):
        seen = slice(0, len(prompt) + i)
        assert spearmanr(matrices["full"][i, seen], matrices["fast"][i, seen]).statistic >= 0.995


def test_fast_is_full_where_it_would_not_help(tiny, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from pellucid.trace import inside

    model = tiny(dtype=torch.bfloat16)
    with precision(model.network, "fast") as used:
        assert used == "full"
    single = tiny()
    for quicker in (False, True):
        monkeypatch.setattr(inside, "quicker_bfloat16", lambda quicker=quicker: quicker)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
        with precision(single.network, "fast") as used:
            assert used == ("fast" if quicker else "full")
    with (
        pytest.raises(OptionError, match=r"unknown precision 'turbo': expected one of full, fast"),
        precision(model.network, "turbo"),
    ):
        pass


class TestPlan:
    shape = Shape(layers=30, width=576, mlp=1536, heads=9, vocabulary=49152, size=4)

    def ask(self, allowed: int, rows: int = 16, tokens: int = 216, targets: int = 16) -> Plan:
        return plan(self.shape, tokens=tokens, targets=targets, rows=rows, allowed=allowed, device="cpu")

    def test_less_memory_means_smaller_steps(self) -> None:
        sizes = (8000, 110, 55, 50)
        steps = [self.ask(10**6 * mb) for mb in sizes]
        assert [(p.layers, p.batched, p.group) for p in steps[:2]] == [(True, True, 16)] * 2
        assert steps[0].chunk == 6
        assert 1 < steps[1].chunk < 6
        assert [(p.layers, p.batched, p.chunk) for p in steps[2:]] == [(True, False, 1)] * 2
        assert steps[3].group <= steps[2].group <= 16
        for step, mb in zip(steps, sizes, strict=True):
            assert step.bytes <= mb * 10**6

    def test_whole_answer_keeps_the_graph_where_it_fits(self) -> None:
        assert not self.ask(8 * 10**9, rows=1).layers
        assert self.ask(100 * 10**6, rows=1).layers

    def test_long_input_goes_by_layer(self) -> None:
        assert not self.ask(6 * 10**9, rows=1, tokens=4300, targets=300).layers
        p = self.ask(2 * 10**9, rows=300, tokens=4300, targets=300)
        assert (p.layers, p.batched, p.chunk) == (True, False, 1)
        assert 1 <= p.group < 300
        assert p.bytes <= 2 * 10**9

    def test_too_little(self) -> None:
        with pytest.raises(OptionError, match=r"216 tokens need about 0\.\d GB even one layer at a time"):
            self.ask(10**6)

    def test_estimate_covers_what_autograd_keeps(self, family: LoadedModel) -> None:
        """The count of saved floats is an upper bound, and not a wild one, on what saved-tensor hooks see."""
        kept: dict[int, int] = {}

        def pack(t: Tensor) -> Tensor:
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        ids = torch.randint(0, 250, (1, 120))
        x = family.network.get_input_embeddings()(ids).detach().requires_grad_(True)
        weights = {p.untyped_storage().data_ptr() for p in family.network.parameters()}
        shape = Shape.of(family.network)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), attention(family.network, "eager"):
            out = target_logits(family.network, 4, inputs_embeds=x)  # the graph must live while we count
        seen = sum(n for at, n in kept.items() if at not in weights)
        del out
        linear = 120 * (7 * shape.width + 4 * shape.mlp) * shape.size
        squares = max(shape.squares, 1) * shape.heads * 120 * 120 * shape.size
        expected = shape.layers * (linear + squares) + 4 * 4 * shape.vocabulary * 8
        assert 0.5 * expected < seen < 1.3 * expected


@pytest.mark.parametrize(
    ("given", "expected"), [("2GB", 2 * 10**9), ("1.5 gib", int(1.5 * 2**30)), (77, 77), ("64M", None)]
)
def test_budget(given: str | int, expected: int | None) -> None:
    cpu = torch.device("cpu")
    if expected is None:
        with pytest.raises(OptionError, match="is not understood"):
            budget(given, cpu)
    else:
        assert budget(given, cpu) == expected
    assert 0 < budget("auto", cpu) < 2**42


@pytest.mark.parametrize("given", ["", "-1GB", "lots", 0, -5, True, "0GB"])
def test_budget_that_means_nothing(given: object) -> None:
    with pytest.raises(OptionError, match="expected 'auto', a number of bytes"):
        budget(given, torch.device("cpu"))  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_equals_cpu(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny()
    expected = method("saliency")(Run(model, PROMPT, ANSWER, objective("logprob"), per_token=True)).matrix
    model.network.to("cuda")
    found = method("saliency")(Run(model, PROMPT, ANSWER, objective("logprob"), per_token=True)).matrix
    np.testing.assert_allclose(found.cpu(), expected, rtol=1e-3, atol=1e-5)
