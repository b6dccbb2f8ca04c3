"""Every method on every family as it is loaded (float32, transformers' own settings): scores, or a sentence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from test_methods import CHEAP
from tiny import FAMILIES

from pellucid.errors import ModelError
from pellucid.models.load import LoadedModel
from pellucid.trace.engine import Run
from pellucid.trace.methods import methods
from pellucid.trace.objective import objective

# Longer than the families' windows, in which not everything sees everything.
PROMPT, ANSWER = [5, 80, 33, 120, 64, 9, 200, 41, 3, 77], [17, 99, 150]
REFUSED = {(how, family) for how in ("deeplift", "gim", "layered_gim") for family in ("gemma2", "mixtral")}


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_method_knows_the_family_or_says_so(tiny: Callable[..., LoadedModel], name: str) -> None:
    model = tiny(name)
    if name == "mixtral":
        model.network.set_experts_implementation("grouped_mm")  # as transformers loads it
    ids = torch.tensor([PROMPT + ANSWER])
    before = model.network(ids).logits
    for how, m in methods().items():
        run = Run(model, PROMPT, ANSWER, objective("logprob"), per_token=True, units=[[1], [2, 3], [4, 5, 6], [8]])
        if (how, name) in REFUSED:
            with pytest.raises(ModelError, match=r"[;:] use .* leave_one_out"):
                m(run)
            continue
        found = m(run, **CHEAP.get(how, {}))
        here = torch.ones(len(PROMPT), dtype=torch.bool) if found.measured is None else found.measured[: len(PROMPT)]
        assert found.total[: len(PROMPT)][here].isfinite().all(), how
        assert (found.total[: len(PROMPT)][here] != 0).any(), how
        assert run.logits is not None
        torch.testing.assert_close(run.logits, before[0, len(PROMPT) - 1 : -1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(model.network(ids).logits, before, rtol=0, atol=0)
