"""Several requests in one batch come out as each would alone: prompts of different lengths, steps and strategies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pellucid.lens import nexttokens, surprisal
from pellucid.lens.nexttokens import next_tokens
from pellucid.lens.together import can_batch, next_tokens_together, surprisal_together
from pellucid.models.load import LoadedModel

PROMPTS = ["The boats", "A holiday in the north, with the children, and then the boats again", "北方的船", "x"]


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "qwen3"])
def test_next_tokens_of_a_batch_are_each_ones_own(tiny: Callable[..., LoadedModel], name: str) -> None:
    loaded = tiny(name)
    assert can_batch(loaded)
    ways = [("greedy", 4, 3, ()), ("top_p:0.9", 6, 2, ()), ("temperature:1.5", 1, 5, ()), ("greedy", 2, 4, (5, 6))]
    asked = [
        nexttokens.read(loaded, p, steps=n, top_k=k, strategy=s, seed=3, raw=i % 2 == 0, begin=b)
        for i, (p, (s, n, k, b)) in enumerate(zip(PROMPTS, ways, strict=True))
    ]
    found = next_tokens_together(loaded, asked)
    for i, (p, (s, n, k, b)) in enumerate(zip(PROMPTS, ways, strict=True)):
        own = next_tokens(loaded, p, steps=n, top_k=k, strategy=s, seed=3, raw=i % 2 == 0, begin=b)
        assert (found[i].prompt, found[i].text, found[i].ended) == (own.prompt, own.text, own.ended)
        assert len(found[i].steps) == len(own.steps)
        for mine, theirs in zip(found[i].steps, own.steps, strict=True):
            assert [c.id for c in mine.choices] == [c.id for c in theirs.choices]
            assert mine.total == pytest.approx(theirs.total, abs=1e-4)
            assert mine.chance == pytest.approx(theirs.chance, abs=1e-4)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
def test_surprisal_of_a_batch_is_each_ones_own(tiny: Callable[..., LoadedModel], name: str) -> None:
    loaded = tiny(name)
    texts = PROMPTS[:3]
    found = surprisal_together(loaded, [surprisal.read(loaded, t, top_k=3) for t in texts])
    for mine, text in zip(found, texts, strict=True):
        own = surprisal.surprisal(loaded, text, top_k=3)
        assert [t.rank for t in mine.tokens] == [t.rank for t in own.tokens]
        assert mine.bits == pytest.approx(own.bits, rel=1e-5)
        assert mine.tokens[-1].bits == pytest.approx(own.tokens[-1].bits, rel=1e-4)
