"""The lab's blocks against plain formulas, loops and transformers' own models."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from pellucid.errors import InputError, ModelError, OptionError
from pellucid.lab.blocks.experts import Experts, routings
from pellucid.lab.blocks.positions import RelativeBias, Rotary, alibi_slopes, rotate, sinusoids
from pellucid.lab.configuration import FEED_FORWARDS, NORMS, POSITIONS, LabConfig
from pellucid.lab.like import like
from pellucid.lab.network import LabForCausalLM
from pellucid.lab.training.loop import run_again

VOCABULARY = 50


def network(**parts: object) -> LabForCausalLM:
    """A small random one; wide enough weights that every part shows in the logits."""
    torch.manual_seed(3)
    base = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}
    made = LabForCausalLM(LabConfig(VOCABULARY, **{**base, "initializer_range": 0.2, **parts}))
    made.eval()
    return made


def ids(rows: int = 2, tokens: int = 12) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (rows, tokens), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_cached_decoding_equals_uncached_and_eager_equals_sdpa(positions: str) -> None:
    kinds = itertools.product((4, 2, 1), (None, 5), (0, 4), (False, True))
    for (heads, window, experts, qk), norm, ff in zip(kinds, itertools.cycle(NORMS), itertools.cycle(FEED_FORWARDS)):
        made = network(
            positions=positions,
            num_key_value_heads=heads,
            sliding_window=window,
            num_experts=experts,
            qk_norm=qk,
            norm=norm,
            feed_forward=ff,
        )
        whole = made(ids()).logits
        assert whole.std() > 0.3
        out = made(ids()[:, :7], use_cache=True)
        parts = [out.logits]
        for at in range(7, 12):
            out = made(ids()[:, at : at + 1], past_key_values=out.past_key_values, use_cache=True)
            parts.append(out.logits)
        torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=0)
        made.set_attn_implementation("eager")
        torch.testing.assert_close(made(ids()).logits, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_padding_on_the_left_and_packed_documents_change_nothing(positions: str) -> None:
    made = network(positions=positions, num_key_value_heads=2)
    first, second = ids(1, 5), ids(2, 7)[1:]
    alone = [made(x).logits for x in (first, second)]
    packed = torch.cat((first, second), 1)
    places = torch.tensor([[*range(5), *range(7)]])
    both = made(packed, position_ids=places, use_cache=False).logits
    torch.testing.assert_close(both, torch.cat(alone, 1), atol=1e-5, rtol=0)
    padded = torch.cat((torch.zeros(1, 3, dtype=torch.long), first), 1)
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
    places = torch.tensor([[0, 0, 0, 0, 1, 2, 3, 4]])
    out = made(padded, attention_mask=mask, position_ids=places).logits[:, 3:]
    torch.testing.assert_close(out, alone[0], atol=1e-5, rtol=0)


ROPE = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}
THEIRS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL, rope_parameters=ROPE)),
    "llama, yarn": lambda: LlamaForCausalLM(
        LlamaConfig(
            **SMALL,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 1e4,
                "factor": 2.0,
                "original_max_position_embeddings": 1024,
            },
        )
    ),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL, head_dim=16)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=32, initializer_range=0.2, **SPECIAL
        )
    ),
}


@pytest.mark.parametrize("name", THEIRS)
@torch.no_grad()
def test_configured_like_a_published_model_it_has_its_logits(name: str) -> None:
    torch.manual_seed(1)
    theirs = THEIRS[name]().eval()
    expected = theirs(ids(2, 20)).logits
    assert expected.std() > 0.5
    torch.testing.assert_close(like(theirs)(ids(2, 20)).logits, expected, atol=1e-5, rtol=0)


def test_a_family_without_parts_here_is_refused() -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    with pytest.raises(ModelError, match="no parts like mixtral's: it has those of llama, qwen3, gpt2"):
        like(MixtralForCausalLM(MixtralConfig(**SMALL, num_local_experts=2)))


def test_rotation_is_multiplication_by_a_complex_number() -> None:
    config = LabConfig(hidden_size=32, num_attention_heads=4, rope_parameters={"rope_theta": 500.0})
    positions = torch.tensor([[0, 1, 5, 77]])
    x = torch.randn(1, 4, 4, 8, dtype=torch.float64)
    turned = rotate(x, *Rotary(config)(positions, torch.float64))
    for head, t, i in itertools.product(range(4), range(4), range(4)):
        angle = int(positions[0, t]) * 500.0 ** (-2 * i / 8)
        number = complex(x[0, head, t, i], x[0, head, t, i + 4]) * complex(math.cos(angle), math.sin(angle))
        assert turned[0, head, t, i] == pytest.approx(number.real, abs=1e-4)
        assert turned[0, head, t, i + 4] == pytest.approx(number.imag, abs=1e-4)


def test_alibi_slopes_are_the_papers() -> None:
    assert alibi_slopes(8) == [2.0**-i for i in range(1, 9)]
    twelve = alibi_slopes(12)
    assert twelve[:8] == alibi_slopes(8)
    assert twelve[8:] == [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    assert alibi_slopes(1) == [2**-8]


def test_alibi_falls_by_its_slope_for_each_token_back() -> None:
    from pellucid.lab.blocks.positions import Alibi

    bias = Alibi(LabConfig(num_attention_heads=4))(3, 5, torch.device("cpu"))
    slopes = alibi_slopes(4)
    for head, q, k in itertools.product(range(4), range(3), range(5)):
        assert float(bias[0, head, q, k]) == pytest.approx(-slopes[head] * max(0, q + 2 - k))


def test_relative_buckets_are_t5s() -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    ours = RelativeBias(LabConfig(positions="t5"))
    back = torch.arange(0, 400)
    theirs = T5Attention._relative_position_bucket(-back, bidirectional=False, num_buckets=32, max_distance=128)
    assert ours.bucket(back).tolist() == theirs.tolist()


def test_sinusoids_are_the_formula() -> None:
    found = sinusoids(torch.tensor([[3, 40]]), 6, torch.float64)
    for t, p in enumerate((3, 40)):
        for i in range(3):
            angle = p / 10000 ** (2 * i / 6)
            assert found[0, t, 2 * i] == pytest.approx(math.sin(angle), abs=1e-5)
            assert found[0, t, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-5)


def mixture(**parts: object) -> Experts:
    torch.manual_seed(2)
    config = LabConfig(hidden_size=12, num_attention_heads=2, num_experts=6, num_experts_per_tok=2, **parts)
    made = Experts(config).double()
    for p in made.parameters():
        torch.nn.init.normal_(p, 0, 0.3)
    return made


@pytest.mark.parametrize("kind", ["swiglu", "relu"])
@torch.no_grad()
def test_experts_equal_a_loop_over_tokens(kind: str) -> None:
    made = mixture(feed_forward=kind)
    x = torch.randn(3, 7, 12, dtype=torch.float64)
    out = made(x)
    for row, t in itertools.product(range(3), range(7)):
        p = torch.softmax(made.router.weight @ x[row, t], 0).tolist()
        chosen = sorted(range(6), key=lambda e: -p[e])[:2]
        expected = torch.zeros(12, dtype=torch.float64)
        for e in chosen:
            h = made.up[e] @ x[row, t]
            if kind == "swiglu":
                h = torch.nn.functional.silu(h[:32]) * h[32:]
            else:
                h = h.clamp(min=0)
            expected += p[e] / sum(p[c] for c in chosen) * (made.down[e] @ h)
        # The router's probabilities are float32.
        torch.testing.assert_close(out[row, t], expected, atol=1e-6, rtol=1e-5)


def test_router_losses_are_their_formulas() -> None:
    made = mixture().train()
    x = torch.randn(40, 12, dtype=torch.float64)
    made(x)
    (found,) = routings(made)
    logits = x @ made.router.weight.detach().T
    p = logits.softmax(-1)
    counts = [0] * 6
    for row in p.tolist():
        for e in sorted(range(6), key=lambda e: -row[e])[:2]:
            counts[e] += 1
    assert found.load.tolist() == counts
    balance = 6 * sum(c / 80 * float(p[:, e].mean()) for e, c in enumerate(counts))
    assert float(found.balance.detach()) == pytest.approx(balance, rel=1e-5)
    assert float(found.z.detach()) == pytest.approx(float(logits.exp().sum(-1).log().square().mean()), rel=1e-5)
    assert routings(made) == []


def test_an_expert_over_its_capacity_drops_the_last_tokens() -> None:
    made = mixture(expert_capacity=0.5).train()
    x = torch.randn(40, 12, dtype=torch.float64)
    with torch.no_grad():
        out = made(x)
        (found,) = routings(made)
        limit = math.ceil(0.5 * 80 / 6)
        assert found.dropped == sum(max(0, c - limit) for c in found.load.tolist()) > 0
        made.capacity = None
        whole = made(x)
    assert (out[0] == whole[0]).all()
    assert any(not torch.equal(a, b) for a, b in zip(out, whole, strict=True))


@torch.no_grad()
def test_generation_is_that_of_the_plain_loop() -> None:
    made = network(positions="alibi", num_key_value_heads=2)
    text = ids(1, 6)
    out = made.generate(text, attention_mask=torch.ones_like(text), max_new_tokens=8, do_sample=False, pad_token_id=0)
    for _ in range(8):
        text = torch.cat((text, made(text, use_cache=False).logits[:, -1:].argmax(-1)), 1)
    assert out.tolist() == text.tolist()


def test_states_and_attentions_are_given_when_asked_for() -> None:
    made = network()
    made.set_attn_implementation("eager")
    out = made(ids(), output_hidden_states=True, output_attentions=True)
    assert len(out.hidden_states) == 3
    torch.testing.assert_close(made.lm_head(out.hidden_states[-1]), out.logits)
    torch.testing.assert_close(out.attentions[1].sum(-1), torch.ones(2, 4, 12))


def test_labels_are_shifted_as_everywhere_in_transformers() -> None:
    made = network()
    out = made(ids(), labels=ids())
    expected = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), ids()[:, 1:].flatten())
    torch.testing.assert_close(out.loss, expected)


def test_gradient_checkpointing_has_the_same_gradients() -> None:
    made = network(num_experts=3).train()
    grads = []
    for on in (False, True):
        if on:
            run_again(made)
        made.zero_grad()
        made(ids(), labels=ids()).loss.backward()
        grads.append([p.grad.clone() for p in made.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"hidden_size": 100, "num_attention_heads": 3}, "3 heads do not divide the width 100: choose one of 1, 2, 4"),
        ({"num_key_value_heads": 3}, "3 key-value heads do not divide the 4 heads"),
        ({"num_experts": 4, "num_experts_per_tok": 5}, "each token would visit 5 of 4 experts"),
        ({"positions": "rotary"}, "unknown positions 'rotary': expected one of rope, learned"),
        ({"norm": "batchnorm"}, "unknown norm 'batchnorm'"),
        ({"feed_forward": "swigglu"}, "Did you mean 'swiglu'"),
        ({"sliding_window": 0}, "sliding_window should be at least 1"),
        ({"dropout": 1.0}, "dropout should be at least 0 and below 1"),
        ({"rope_parameters": {"rope_type": "dynamic"}}, "unknown RoPE scaling 'dynamic'"),
        ({"hidden_size": 20, "num_attention_heads": 4}, "a head of width 5 has an odd one out"),
        ({"num_hidden_layers": 0}, "num_hidden_layers should be at least 1"),
        ({"expert_capacity": 0.0}, "expert_capacity should be above 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        LabConfig(**parts)


def test_learned_positions_say_where_they_end() -> None:
    with pytest.raises(InputError, match="learned positions end at 64 tokens, and the text reaches 70"):
        network(positions="learned")(ids(1, 70))


def test_a_bias_needs_a_kernel_that_takes_one() -> None:
    made = network(positions="t5")
    made.config._attn_implementation = "flex_attention"
    with pytest.raises(OptionError, match="takes no bias on scores"):
        made(ids())
