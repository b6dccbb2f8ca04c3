"""What the lab makes is explained like any other model: every method, every kind of part."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.errors import ModelError
from pellucid.lab.configuration import LabConfig
from pellucid.lab.like import like
from pellucid.lab.network import LabForCausalLM
from pellucid.models.load import LoadedModel
from pellucid.trace.engine import Run
from pellucid.trace.methods import method, methods
from pellucid.trace.objective import objective

sys.path.insert(0, str(Path(__file__).parents[1] / "trace"))
from test_methods import CHEAP

PROMPT, ANSWER = [5, 80, 33, 120, 64, 9, 200, 41, 3, 77], [17, 99, 150]
UNITS = [[1], [2, 3], [4, 5, 6], [8]]
PARTS: dict[str, dict[str, Any]] = {
    "rope": {"qk_norm": True, "num_key_value_heads": 2},
    "learned": {"positions": "learned", "norm": "layernorm", "feed_forward": "gelu"},
    "alibi": {"positions": "alibi", "feed_forward": "relu_squared"},
    "t5": {"positions": "t5", "embedding_scale": 5.0, "feed_forward": "geglu"},
    "sinusoidal": {"positions": "sinusoidal", "norm_weight": False},
    "window": {"sliding_window": 4, "num_key_value_heads": 1},
    "experts": {"num_experts": 4, "num_experts_per_tok": 2},
}
REFUSED = {(how, "experts") for how in ("deeplift", "gim", "layered_gim")}


@pytest.fixture
def lab(tokenizer: Any) -> Callable[..., LoadedModel]:
    """A tiny random lab model with the parts of that name."""

    def make(name: str, dtype: torch.dtype = torch.float32) -> LoadedModel:
        torch.manual_seed(7)
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
        config = LabConfig(vocab_size=len(tokenizer), initializer_range=0.3, **sizes, **PARTS[name])
        return LoadedModel.wrap(LabForCausalLM(config).to(dtype), tokenizer, name=name)

    return make


def run(model: LoadedModel, how: str, **others: Any) -> Any:
    parameters = CHEAP.get(how, {})
    made = Run(model, PROMPT, ANSWER, objective("logprob"), per_token=True, units=UNITS, **others)
    return method(how)(made, **parameters)


@pytest.mark.parametrize("name", sorted(PARTS))
def test_every_method_knows_every_part_or_says_so(lab: Callable[..., LoadedModel], name: str) -> None:
    model = lab(name)
    ids = torch.tensor([PROMPT + ANSWER])
    before = model.network(ids).logits
    for how in methods():
        if (how, name) in REFUSED:
            with pytest.raises(ModelError, match=r"[;:] use .* leave_one_out"):
                run(model, how)
            continue
        found = run(model, how)
        here = torch.ones(len(PROMPT), dtype=torch.bool) if found.measured is None else found.measured[: len(PROMPT)]
        assert found.total[: len(PROMPT)][here].isfinite().all(), how
        assert (found.total[: len(PROMPT)][here] != 0).any(), how
    torch.testing.assert_close(model.network(ids).logits, before, rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(PARTS))
def test_gradients_and_what_if_are_those_of_plain_passes(lab: Callable[..., LoadedModel], name: str) -> None:
    """Against autograd through the whole network, and a forward pass a unit without it, in float64."""
    model = lab(name, torch.float64)
    network: Any = model.network
    n, ids = len(PROMPT), torch.tensor([PROMPT + ANSWER])
    x = network.get_input_embeddings()(ids).detach().requires_grad_(True)
    logprobs = network(inputs_embeds=x).logits[0, n - 1 : -1].log_softmax(-1)
    targets = torch.tensor(ANSWER)
    chosen = logprobs[torch.arange(len(ANSWER)), targets]
    rows = [torch.autograd.grad(chosen[k], x, retain_graph=True)[0][0] for k in range(len(ANSWER))]  # [tokens, width]
    expected = torch.stack([(g * x.detach()[0]).sum(-1) for g in rows])  # [targets, tokens]
    found = run(model, "input_x_gradient")
    torch.testing.assert_close(found.total, expected.sum(0)[: len(found.total)].to(found.total.dtype))
    whole = chosen.detach().sum()
    found = run(model, "leave_one_out")
    for unit in UNITS:
        kept = torch.tensor([[t for k, t in enumerate(PROMPT) if k not in unit] + ANSWER])
        with torch.no_grad():
            out = network(kept).logits[0, -len(ANSWER) - 1 : -1].log_softmax(-1)
        drop = whole - out[torch.arange(len(ANSWER)), targets].sum()
        assert float(found.total[unit].sum()) == pytest.approx(float(drop), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_a_twin_of_a_transformers_model_is_explained_as_that_model(
    tiny: Callable[..., LoadedModel], family: str
) -> None:
    theirs = tiny(family, torch.float64)
    ours = LoadedModel.wrap(like(theirs.network).double(), theirs.tokenizer, name="twin")
    for how in methods():
        a, b = run(theirs, how), run(ours, how)
        here = torch.ones(len(PROMPT), dtype=torch.bool) if a.measured is None else a.measured[: len(PROMPT)]
        torch.testing.assert_close(
            a.total[: len(PROMPT)][here], b.total[: len(PROMPT)][here], rtol=1e-4, atol=1e-6, msg=how
        )
