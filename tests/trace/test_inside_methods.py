"""Attention, rollout, attention x gradient, value zeroing and IFR against transformers' own attention weights and
plain loops, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pellucid.errors import ModelError, OptionError
from pellucid.models.load import LoadedModel
from pellucid.trace.anatomy import blocks
from pellucid.trace.engine import Run, Scores
from pellucid.trace.inside import Attention, attending, attention
from pellucid.trace.methods import method
from pellucid.trace.objective import objective

PROMPT, ANSWER = [5, 80, 33, 120, 64, 9, 200, 41, 3, 77], [17, 99, 150]
ROWS = slice(len(PROMPT) - 1, len(PROMPT) - 1 + len(ANSWER))
TOKENS = len(PROMPT) + len(ANSWER)


def scores(model: LoadedModel, name: str, *, selected: list[int] | None = None, **parameters: object) -> Scores:
    run = Run(model, PROMPT, ANSWER, objective("logprob"), per_token=True, selected=selected)
    found = method(name)(run, **parameters)
    assert run.logits is not None
    return found


def own_attentions(model: LoadedModel, x: Tensor | None = None) -> tuple[Tensor, ...]:
    """transformers' weights, one [1, heads, tokens, tokens] a layer."""
    with attention(model.network, "eager"):
        given = {"input_ids": torch.tensor([PROMPT + ANSWER])} if x is None else {"inputs_embeds": x}
        return model.network(**given, output_attentions=True, use_cache=False).attentions


def close(found: Tensor | None, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert found is not None
    found, expected = found.detach(), expected.detach()
    worst = float((found - expected).abs().max() / expected.abs().max())
    assert worst <= tolerance, f"relative to the largest: {worst:.1e}"


@pytest.mark.parametrize(("layers", "heads"), [("all", "all"), (-1, "all"), ([0, 1], [0, 3]), (0, -1)])
def test_attention_is_transformers_own(family: LoadedModel, layers: object, heads: object) -> None:
    found = scores(family, "attention", layers=layers, heads=heads)
    own = torch.stack(own_attentions(family))[:, 0]
    own = own if layers == "all" else own[[layers] if isinstance(layers, int) else layers]
    own = own if heads == "all" else own[:, [heads] if isinstance(heads, int) else heads]
    rows = own.mean((0, 1))[ROWS]
    close(found.matrix, rows)
    close(found.total, rows.sum(0))
    torch.testing.assert_close(rows.sum(1), torch.ones(len(ANSWER), dtype=rows.dtype))


def test_only_selected_targets_count(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny("llama", torch.float64)
    found = scores(model, "attention", selected=[1])
    rows = torch.stack(own_attentions(model))[:, 0].mean((0, 1))[ROWS]
    close(found.total, rows[1])
    assert found.matrix is not None
    assert found.matrix[[0, 2]].isnan().all()


def test_rollout_is_the_product_over_layers(family: LoadedModel) -> None:
    found = scores(family, "attention_rollout", residual=0.3)
    product = torch.eye(TOKENS, dtype=torch.float64)
    for a in own_attentions(family):
        product = (0.3 * torch.eye(TOKENS, dtype=torch.float64) + 0.7 * a[0].mean(0)) @ product
    close(found.matrix, product[ROWS])


@pytest.mark.parametrize("rows", ["all", "answer"])
@pytest.mark.parametrize("positive", [True, False])
def test_attention_x_gradient_is_autograds(family: LoadedModel, rows: str, positive: bool) -> None:
    found = scores(family, "attention_x_gradient", rows=rows, positive=positive)
    x = family.network.get_input_embeddings()(torch.tensor([PROMPT + ANSWER])).detach().requires_grad_(True)
    with attention(family.network, "eager"):
        out = family.network(inputs_embeds=x, output_attentions=True, use_cache=False)
    chosen = torch.log_softmax(out.logits[0, ROWS], -1)[torch.arange(len(ANSWER)), ANSWER]

    def credit(value: Tensor) -> Tensor:
        gradients = torch.autograd.grad(value, out.attentions, retain_graph=True)
        both = torch.stack([(a * g)[0] for a, g in zip(out.attentions, gradients, strict=True)])
        both = both.clamp(min=0) if positive else both
        return (both if rows == "all" else both[:, :, ROWS]).sum(2).mean((0, 1))

    close(found.total, credit(chosen.sum()))
    close(found.matrix, torch.stack([credit(v) for v in chosen]))


def test_value_zeroing_is_a_plain_loop(family: LoadedModel) -> None:
    """Each layer alone, each token alone, from the layer's own hidden states."""
    network = family.network
    layers = [b.layer for b in blocks(network)]
    kept: list[tuple[tuple, dict]] = []  # type: ignore[type-arg]
    hooks = [m.register_forward_pre_hook(lambda m, a, k: kept.append((a, k)), with_kwargs=True) for m in layers]
    gone: int | None = None

    def without(a: Attention) -> Tensor:
        value = a.value.clone()
        if gone is not None:
            value[:, :, gone] = 0
        groups = a.query.shape[1] // a.key.shape[1]
        s = a.query @ a.key.repeat_interleave(groups, 1).mT * a.scaling
        s = s if a.softcap is None else a.softcap * torch.tanh(s / a.softcap)
        return torch.softmax(s + a.mask, -1) @ value.repeat_interleave(groups, 1)

    rolled, lines = torch.eye(TOKENS, dtype=torch.float64), []
    with torch.no_grad(), attending(network, without):
        network(input_ids=torch.tensor([PROMPT + ANSWER]), use_cache=False)
        for h in hooks:
            h.remove()
        for layer, (args, kwargs) in zip(layers, kept, strict=True):
            gone = None
            plain = layer(*args, **kwargs)
            plain = (plain[0] if isinstance(plain, tuple) else plain)[0]
            mixing = torch.zeros(TOKENS, TOKENS, dtype=torch.float64)
            for j in range(TOKENS):
                gone = j
                other = layer(*args, **kwargs)
                other = (other[0] if isinstance(other, tuple) else other)[0]
                for t in range(j, TOKENS):
                    a, b = plain[t], other[t]
                    mixing[t, j] = 1 - (a @ b) / (a.norm() * b.norm())
            mixing = mixing / mixing.sum(1, keepdim=True)
            rolled = mixing @ rolled
            lines.append(mixing[ROWS])
    for how, expected in (("rollout", rolled[ROWS]), ("mean", torch.stack(lines).mean(0)), ("last", lines[-1])):
        close(scores(family, "value_zeroing", aggregate=how).matrix, expected, 1e-3)


def plain_routes(model: LoadedModel, route: str) -> Tensor:
    """IFR of each target by loops over heads and sources, from transformers' own weights [targets, tokens]."""
    network = model.network
    parts = blocks(network)
    seen: list[dict[str, Tensor]] = [{} for _ in parts]
    hooks: list = []  # type: ignore[type-arg]
    for here, b in zip(seen, parts, strict=True):
        hooks.append(
            b.layer.register_forward_pre_hook(
                lambda m, a, k, h=here: h.update(x=(a[0] if a else k["hidden_states"])[0]), with_kwargs=True
            )
        )
        hooks.append(b.out.register_forward_pre_hook(lambda m, a, h=here: h.update(mixed=a[0][0])))
        hooks.append(b.out.register_forward_hook(lambda m, a, o, h=here: h.update(out=o[0])))
        if b.after is not None:
            hooks.append(b.after.register_forward_hook(lambda m, a, o, h=here: h.update(y=o[0], before=a[0][0])))
    values: list[Tensor] = []
    with attending(network, lambda a: (values.append(a.value[0]), a.usual())[1]), torch.no_grad():
        network(input_ids=torch.tensor([PROMPT + ANSWER]), use_cache=False)
    for h in hooks:
        h.remove()
    out, left = torch.zeros(len(ANSWER), TOKENS, dtype=torch.float64), torch.ones(len(ANSWER), dtype=torch.float64)
    for here, b, weights, value in reversed(list(zip(seen, parts, own_attentions(model), values, strict=True))):
        heads = weights.shape[1]
        matrix = b.matrix()
        size = matrix.shape[1] // heads
        added = here.get("y", here["out"])
        for i in range(len(ANSWER)):
            t = len(PROMPT) - 1 + i
            y = here["x"][t] + added[t]
            scale = torch.ones_like(y)
            if b.after is not None:  # a norm is linear with its statistics held: its own ratio of output to input
                scale = here["y"][t] / here["before"][t]

            def near(c: Tensor, y: Tensor = y) -> float:
                return max(0.0, float(y.abs().sum() - (y - c).abs().sum()))

            w = torch.zeros(TOKENS, dtype=torch.float64)
            for j in range(t + 1):
                for h in range(heads):
                    head = matrix[:, h * size : (h + 1) * size] @ value[h // (heads // len(value)), j]
                    w[j] += near(weights[0, h, t, j] * head * scale)
            stays = near(here["x"][t])
            whole = w.sum() + stays
            out[i] += w / whole * (left[i] if route == "residual" else 1 / len(parts))
            left[i] *= stays / whole
    if route == "residual":
        for i in range(len(ANSWER)):
            out[i, len(PROMPT) - 1 + i] += left[i]
    return out


@pytest.mark.parametrize("route", ["residual", "mean"])
def test_ifr_is_a_plain_loop(family: LoadedModel, route: str) -> None:
    expected = plain_routes(family, route)
    found = scores(family, "ifr", route=route, together=False)
    close(found.matrix, expected, 1e-4)
    close(found.total, expected.sum(0), 1e-4)
    if route == "residual":
        torch.testing.assert_close(expected.sum(1), torch.ones(len(ANSWER), dtype=torch.float64))


def test_one_target_alone_is_its_row(family: LoadedModel) -> None:
    """A span of one token weighs the same together as apart."""
    found = scores(family, "ifr", selected=[2])
    assert found.matrix is not None
    close(found.total, found.matrix[2], 1e-4)


def test_the_graph_of_one_layer_is_that_layers_weights(tiny) -> None:  # type: ignore[no-untyped-def]
    """With one layer there is nothing below: graph and residual routes agree; with two, mass is kept."""
    model = tiny("llama", torch.float64)
    found = scores(model, "ifr", route="graph")
    assert found.matrix is not None
    torch.testing.assert_close(found.matrix.sum(1), torch.ones(len(ANSWER)), rtol=1e-5, atol=1e-5)
    del model.network.model.layers[1:]
    model.network.config.num_hidden_layers = 1
    close(scores(model, "ifr", route="graph").matrix, plain_routes(model, "residual"), 1e-4)


def test_hops_hand_on_what_the_answer_got(family: LoadedModel) -> None:
    once = scores(family, "ifr", route="mean", together=False)
    twice = scores(family, "ifr", route="mean", together=False, hops=1)
    assert once.matrix is not None
    n = len(PROMPT)
    handed = once.total[n:] @ once.matrix  # what each answer token got, times its own row
    close(twice.total[:n], (once.total + handed)[:n])
    first, second = (torch.tensor(h, dtype=torch.float64) for h in twice.details["hops"])
    close(first, once.total.double(), 1e-4)
    close(second, handed.double(), 1e-4)


@pytest.mark.parametrize("name", ["attention", "attention_rollout", "attention_x_gradient", "value_zeroing", "ifr"])
def test_the_model_is_as_before(tiny: Callable[..., LoadedModel], name: str) -> None:
    model = tiny("llama")
    ids = torch.tensor([PROMPT + ANSWER])
    before, implementation = model.network(ids).logits, model.network.config._attn_implementation
    scores(model, name)
    assert model.network.config._attn_implementation == implementation
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.network.modules())
    torch.testing.assert_close(model.network(ids).logits, before, rtol=0, atol=0)


def test_two_functions_in_one_process(tiny: Callable[..., LoadedModel]) -> None:
    """One network inside another's context: each keeps its own function."""
    one, two = tiny("llama"), tiny("qwen3")
    calls = {"one": 0, "two": 0}

    def count(who: str) -> Callable[[Attention], Tensor]:
        def function(a: Attention) -> Tensor:
            calls[who] += 1
            return a.usual()

        return function

    ids = torch.tensor([PROMPT])
    with attending(one.network, count("one")):
        with attending(two.network, count("two")):
            one.network(ids)
            two.network(ids)
        one.network(ids)
    assert calls == {"one": 4, "two": 2}


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("attention", {"layers": 9}, "layers should be 'all', a number from 0 to 1"),
        ("attention", {"heads": []}, "heads should be 'all', a number from 0 to 3"),
        ("attention_rollout", {"residual": 1.5}, "residual should be a share from 0 to 1"),
        ("attention_x_gradient", {"rows": "some"}, "unknown rows 'some'"),
        ("value_zeroing", {"aggregate": "sum"}, "unknown aggregate 'sum'"),
        ("ifr", {"route": "short"}, "unknown route 'short'"),
        ("ifr", {"hops": -1}, "hops should be a whole number of at least 0"),
    ],
)
def test_bad_parameters_say_what_is_expected(tiny, name: str, parameters: dict, sentence: str) -> None:  # type: ignore[no-untyped-def,type-arg]
    with pytest.raises(OptionError, match=sentence):
        scores(tiny("llama"), name, **parameters)


def test_a_family_without_known_parts_is_refused(tiny) -> None:  # type: ignore[no-untyped-def]
    model = tiny("llama")
    for layer in model.network.model.layers:
        layer.self_attn.odd_proj = layer.self_attn.o_proj
        del layer.self_attn.o_proj
    with pytest.raises(ModelError, match="does not know where a LlamaForCausalLM has it: known are layers with one of"):
        scores(model, "ifr")
