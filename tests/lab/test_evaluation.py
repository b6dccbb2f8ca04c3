"""Perplexity, second halves and bootstrap intervals against plain loops in float64, transformers, scipy."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from tokenizers import processors

from pellucid.errors import ContextError, InputError, ModelError, NumericError, OptionError
from pellucid.lab.evaluation import bootstrap, likelihood
from pellucid.lab.evaluation.bootstrap import of_groups, of_mean, of_sums, ratio
from pellucid.lab.evaluation.evaluate import Plan, evaluate
from pellucid.lab.evaluation.halves import halves, pieces
from pellucid.lab.evaluation.inputs import Document
from pellucid.lab.evaluation.likelihood import Scored, nats
from pellucid.lab.evaluation.perplexity import perplexity, sizes, windows
from pellucid.model import Model
from pellucid.models.load import LoadedModel

ENGLISH = "The capital of France is Paris, and the capital of Spain is Madrid. What is the capital of Norway? Tell me."
CHINESE = "法国的首都是巴黎。天气对农业的影响很大：雨水太少，庄稼会干枯；雨水太多，田地会被淹没。🎉"
Make = Callable[..., LoadedModel]


def ids_of(loaded: LoadedModel, text: str) -> list[int]:
    return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])


def surprise(loaded: LoadedModel, context: list[int], token: int) -> float:
    """-ln p of a token, by a pass of its own over its context."""
    network: Any = loaded.network
    with torch.no_grad():
        logits = network(torch.tensor([context])).logits[0, -1].double()
    return float(torch.logsumexp(logits, 0) - logits[token])


def with_start(loaded: LoadedModel) -> LoadedModel:
    """The same, with a tokenizer that puts its beginning-of-text token before a text."""
    from tiny import chat_tokenizer

    tokenizer = chat_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    return replace(loaded, tokenizer=tokenizer)


@pytest.mark.parametrize(("text", "window", "stride"), [(ENGLISH, 16, 5), (CHINESE, 24, 24), (CHINESE, 128, 64)])
@pytest.mark.parametrize("start", [False, True])
def test_perplexity_is_that_of_a_plain_loop(tiny: Make, text: str, window: int, stride: int, start: bool) -> None:
    loaded = tiny("llama", torch.float64)
    loaded = with_start(loaded) if start else loaded
    before = [0] if start else []
    ids = ids_of(loaded, text)
    total, count, first, end = 0.0, 0, 0 if start else 1, min(len(ids), window + 1 - len(before))
    while first < end:  # each token by itself, given what its window holds before it
        begin = max(0, end - 1 - window + len(before))
        for i in range(first, end):
            total += surprise(loaded, [*before, *ids[begin:i]], ids[i])
            count += 1
        first, end = end, min(end + stride, len(ids))
    size = len(text.encode()) - (0 if start else len(loaded.tokenizer.decode(ids[:1]).encode()))
    found = perplexity(loaded, [Document("a", text)], window=window, stride=stride)
    assert (found.tokens, found.bytes) == (count, size)
    assert count == len(ids) - (0 if start else 1)
    assert found.nats == pytest.approx(total, rel=1e-9)
    assert found.perplexity.value == pytest.approx(math.exp(total / count), rel=1e-9)
    assert found.bits_per_byte.value == pytest.approx(total / math.log(2) / size, rel=1e-9)
    assert found.bits_per_character.value == pytest.approx(total / math.log(2) / found.characters, rel=1e-9)


def test_windows_score_every_token_once_behind_enough_of_them() -> None:
    for length in range(24):
        for window in range(2, 9):
            for before in (0, 1):
                for stride in range(1, window + 1):
                    scored = []
                    for begin, first, end in windows(length, window, stride, before):
                        assert 0 <= begin <= first < end <= length
                        assert end - begin - 1 + before <= window  # the last is predicted, not fed
                        if begin:
                            assert first - begin + before >= window - stride
                        scored += range(first, end)
                    assert scored == list(range(0 if before else 1, length))


def test_sums_over_documents_are_no_mean_of_means(tiny: Make) -> None:
    loaded = tiny("gpt2", torch.float64)
    documents = [Document("a", ENGLISH), Document("b", "The capital"), Document("c", CHINESE)]
    alone = [perplexity(loaded, [d]) for d in documents]
    found = perplexity(loaded, documents)
    assert found.tokens == sum(p.tokens for p in alone)
    assert found.perplexity.value == pytest.approx(math.exp(sum(p.nats for p in alone) / found.tokens))
    means = math.exp(float(np.mean([p.nats / p.tokens for p in alone])))
    assert abs(means / (found.perplexity.value or 0) - 1) > 1e-3
    assert [s.nats for s in found.documents] == pytest.approx([p.nats for p in alone])


def test_every_family_in_batches_and_chunks_as_alone(family: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of different length together, the head on a few positions at a time: as one row and all at once."""
    ids = ids_of(family, ENGLISH + CHINESE)
    rows = [Scored(tuple(ids[:n]), count) for n, count in ((30, 29), (31, 4), (12, 11), (29, 20), (2, 1))]
    monkeypatch.setattr(likelihood, "CHUNK_LOGITS", 7 * len(family.tokenizer))
    found = nats(family, rows)
    network: Any = family.network
    for row, values in zip(rows, found, strict=True):
        with torch.no_grad():
            whole = network(torch.tensor([row.ids])).logits[0].double().log_softmax(-1)
        right = [-float(whole[i - 1, row.ids[i]]) for i in range(len(row.ids) - row.count, len(row.ids))]
        np.testing.assert_allclose(values, right, rtol=1e-8)
    assert "forward" not in network.base_model.__dict__
    assert not network.get_output_embeddings()._forward_pre_hooks
    assert not network.base_model._forward_hooks


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_the_embedded_models_perplexity_is_that_of_transformers_loss(embedded: Model, text: str) -> None:
    loaded = embedded.loaded
    network: Any = loaded.network
    ids = torch.tensor([ids_of(loaded, text)])
    with torch.no_grad():
        loss = float(network(ids, labels=ids).loss)
    assert perplexity(loaded, [Document("a", text)]).perplexity.value == pytest.approx(math.exp(loss), rel=1e-4)


def test_second_halves_are_those_of_a_plain_loop(tiny: Make) -> None:
    loaded = tiny("qwen3", torch.float64)
    given = alone = 0.0
    count = 0
    for text in (ENGLISH, CHINESE):
        ids = ids_of(loaded, text)
        middle = len(ids) // 2
        for i in range(middle + 1, len(ids)):  # the half's first token has nothing before it when it stands alone
            given += surprise(loaded, ids[:i], ids[i])
            alone += surprise(loaded, ids[middle:i], ids[i])
            count += 1
    found = halves(loaded, [[ENGLISH, "Paris"], [CHINESE]])
    assert found.texts == 2
    assert found.given.value == pytest.approx(given / count)
    assert found.alone.value == pytest.approx(alone / count)
    assert found.gain.value == pytest.approx((alone - given) / count)
    started = halves(with_start(loaded), [[ENGLISH]])
    ids = ids_of(loaded, ENGLISH)
    behind = [surprise(loaded, [0, *ids[:i]], ids[i]) for i in range(len(ids) // 2, len(ids))]
    assert started.given.value == pytest.approx(np.mean(behind))


def test_second_halves_tell_texts_that_hang_together_from_those_that_do_not(embedded: Model) -> None:
    first = [
        "The farmer went to the market early and sold three baskets of red apples to the baker,",
        "The engine of the old steam train was repaired by two mechanics in the railway workshop,",
        "春天到了，果园里的桃树开满了粉红色的花，蜜蜂飞来飞去采花蜜，",
        "火车站的售票窗口前排着长长的队伍，旅客们都在等着买回家的车票，",
    ]
    second = [
        " and the baker made apple pies of them, which he sold in the same market the next day.",
        " and when the mechanics had finished, the engine pulled the train out of the station again.",
        "到了夏天，果园里的桃树就会结满桃子，蜜蜂也会带着花蜜回家。",
        "买到车票的旅客高兴地走进火车站，排着队等火车进站。",
    ]
    together = halves(embedded.loaded, [[a + b] for a, b in zip(first, second, strict=True)]).gain.value
    torn = halves(embedded.loaded, [[a + second[k ^ 1]] for k, a in enumerate(first)]).gain.value
    assert together is not None
    assert torn is not None
    assert together > torn + 0.2


def test_pieces_are_of_the_length_asked_for(tiny: Make) -> None:
    loaded = tiny()
    found = pieces(loaded, [Document("a", ENGLISH * 3)], tokens=10, count=4)
    assert len(found) == 4
    assert all(p in ENGLISH * 3 for p in found)
    assert all(abs(len(ids_of(loaded, p)) - 10) <= 2 for p in found)  # cut out, a text may be split otherwise


def test_a_mean_is_between_the_closed_forms_bounds() -> None:
    values = np.random.default_rng(1).normal(3, 2, size=400)
    found = of_mean(list(values))
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert found.units == 400


def test_intervals_are_scipys_percentile_bootstrap() -> None:
    random = np.random.default_rng(5)
    parts = np.stack([random.gamma(2, size=60), random.gamma(9, size=60)], axis=1)
    theirs = stats.bootstrap(
        (parts[:, 0], parts[:, 1]),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    mine = of_sums(parts, ratio)
    width = theirs.high - theirs.low
    assert mine.value == pytest.approx(parts[:, 0].sum() / parts[:, 1].sum())
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.08 * width)
    medians = stats.bootstrap(
        (parts[:, 0],), np.median, method="percentile", n_resamples=4000, rng=np.random.default_rng(0)
    ).confidence_interval
    found = of_groups([[x] for x in parts[:, 0]], lambda x: float(np.median(x)))
    assert (found.low, found.high) == pytest.approx(
        (medians.low, medians.high), abs=0.15 * (medians.high - medians.low)
    )


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(2)
    hit = 0
    for _ in range(120):
        found = of_mean(list(random.exponential(1.0, size=40)))
        assert found.low is not None
        assert found.high is not None
        hit += found.low <= 1.0 <= found.high
    assert 0.86 <= hit / 120 <= 0.99  # of a skewed distribution and 40 units, a little less than 95 %


def test_what_has_no_interval_has_none() -> None:
    assert of_mean([]) == bootstrap.Estimate(None, None, None, 0)
    assert of_mean([2.0]) == bootstrap.Estimate(2.0, None, None, 1)
    assert of_groups([[], []], lambda x: float(x.mean())) == bootstrap.Estimate(None, None, None, 2)
    whole = of_groups([[1.0, 2.0], [1.0, 2.0]], lambda x: float(x.mean()))
    assert (whole.low, whole.high) == (1.5, 1.5)  # drawn whole, the groups are alike
    assert of_mean([1.0, 2.0, 4.0], seed=3) == of_mean([1.0, 2.0, 4.0], seed=3)


def test_documents_are_what_is_drawn_where_there_are_enough(tiny: Make) -> None:
    loaded = tiny("llama", torch.float64)
    documents = [Document(str(k), ENGLISH[k * 5 :]) for k in range(12)]
    found = perplexity(loaded, documents, window=16)
    assert found.units == "documents"
    parts = np.array([[s.nats, s.tokens] for s in found.documents])
    random, drawn = np.random.default_rng(0), []
    for _ in range(bootstrap.RESAMPLES):
        some = parts[random.integers(0, 12, size=12)].sum(axis=0)
        drawn.append(math.exp(some[0] / some[1]))
    assert (found.perplexity.low, found.perplexity.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    assert perplexity(loaded, documents[:2], window=16).units == "windows"


def test_one_table_of_everything(tiny: Make) -> None:
    loaded = tiny()
    stages: list[str] = []
    found = evaluate(
        loaded,
        documents=[Document("en", ENGLISH * 3), Document("zh", CHINESE)],
        prompts=["The capital", "法国"],
        references=[["of Spain is Madrid.", "的首都是巴黎。"]],
        samples=3,
        max_new_tokens=24,
        progress=lambda stage, done, total: stages.append(stage),
    )
    groups = list(dict.fromkeys(r.group for r in found.rows))
    assert groups == ["likelihood", "generation", "references"]
    generation = [r.measure for r in found.rows if r.group == "generation"]
    assert generation[0] == "second half given first, samples"  # the better measure comes first
    assert generation[1] == "second half given first, held-out"
    for name in ("type-token ratio", "distinct-2", "pairwise distance", "self-BLEU", "5-grams repeated", "coherence"):
        assert name in generation
    assert {"words a text, median", "tokens a text, 90 %", "words a sentence, sd"} <= set(generation)
    assert [len(s.texts) for s in found.samples] == [3, 3]
    for row in found.rows:
        if row.low is not None:
            assert row.high is not None
            assert row.low <= row.high
    read = json.loads(found.to_json())
    assert read["schema"] == "pellucid.evaluation/1"
    assert len(read["rows"]) == len(found.rows)
    assert read["samples"][1]["prompt"] == "法国"
    assert found.value("likelihood", "perplexity") == pytest.approx(read["rows"][0]["value"], rel=1e-6)
    assert {"perplexity", "writing samples", "second halves", "comparing with references"} <= set(stages)
    again = evaluate(loaded, prompts=["The capital", "法国"], samples=3, max_new_tokens=24)
    assert again.samples == found.samples


def test_an_interrupt_leaves_the_model_as_it_was(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 10)
    loaded = tiny()
    network: Any = loaded.network
    settings, state = network.generation_config, torch.get_rng_state()
    plan = Plan(documents=[Document("a", ENGLISH)], prompts=["The capital", "法国"], samples=2, max_new_tokens=20)
    stages: list[str] = []
    evaluate(loaded, plan=plan, progress=lambda stage, done, total: stages.append(stage))
    for stop in range(len(stages)):
        seen = iter(range(len(stages)))

        def report(stage: str, done: float, total: float | None, seen: Any = seen, stop: int = stop) -> None:
            if next(seen) == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            evaluate(loaded, plan=plan, progress=report)
        assert network.generation_config is settings
        assert "forward" not in network.base_model.__dict__
        assert torch.equal(torch.get_rng_state(), state)


def test_what_a_model_cannot_is_refused_before_anything_is_measured(tiny: Make) -> None:
    from tiny_heads import with_head

    loaded = tiny()

    def never(stage: str, done: float, total: float | None) -> None:
        raise AssertionError(stage)

    document = Document("a", ENGLISH)
    with pytest.raises(ModelError, match=r"perplexity needs a causal language model, and 'bert-classifier'"):
        evaluate(with_head("bert"), documents=[document], progress=never)
    with pytest.raises(ModelError, match="to write samples needs a model that writes text"):
        evaluate(with_head("bert"), prompts=["a"], progress=never)
    with pytest.raises(ContextError, match=r"prompt 2 has .* with 20 new ones do not fit the 128"):
        evaluate(loaded, documents=[document], prompts=["a", ENGLISH * 4], max_new_tokens=20, progress=never)
    with pytest.raises(OptionError, match=r"window should be from 1 to 128, what 'llama' reads, given 200"):
        evaluate(loaded, documents=[document], window=200)
    with pytest.raises(OptionError, match=r"stride should be from 1 to 63, given 64: further apart, windows would"):
        sizes(loaded, 64, 64, 2)
    with pytest.raises(InputError, match=r"there is nothing to score: 1 document of one token at most"):
        evaluate(loaded, documents=[Document("a", "T")])
    with pytest.raises(ContextError, match="200 tokens do not fit the 128"):
        nats(loaded, [Scored((1,) * 200, 3)])
    network: Any = tiny().network
    network.lm_head.weight.data[0, 0] = math.nan
    with pytest.raises(NumericError, match="no finite probability"):
        perplexity(LoadedModel.wrap(network, loaded.tokenizer), [document])


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({}, "there is nothing to evaluate"),
        ({"prompts": ["a"], "samples": 0}, "samples should be 1 or more, given 0"),
        ({"prompts": ["a"], "temperature": 0.0}, "temperature 0 is greedy, where all samples are the same"),
        ({"prompts": ["a"], "temperature": -1.0}, "temperature should be 0"),
        ({"prompts": ["a"], "top_p": 0.0}, "top_p should be over 0"),
        ({"prompts": ["a"], "top_k": -1}, "top_k should be 0"),
        ({"prompts": ["a"], "max_new_tokens": 0}, "max_new_tokens should be 1 or more"),
        ({"prompts": ["a"], "language": "fr"}, "unknown language 'fr'"),
        ({"prompts": ["a", "b"], "references": [["c"]]}, "2 outputs and 1 reference: expected as many"),
        ({"documents": [Document("a", "b")], "references": [["c"]]}, "references need prompts"),
        ({"prompts": ["a"], "metrics": ["chrf"]}, "the metrics chrf compare with references"),
        ({"prompts": ["a"], "references": [["b"]], "metrics": ["blue"]}, r"unknown metric 'blue'.*Did you mean 'bleu'"),
        ({"prompts": ["a"], "references": [["b"]], "metrics": []}, "there are no metrics"),
        ({"prompts": ["a"], "references": [["b"]], "metrics": ["bleu", "bleu"]}, "the metric 'bleu' stands twice"),
        ({"documents": [Document("a", "b")], "window": 0}, "window should be 1 token or more"),
        ({"documents": [Document("a", "b")], "window": 4, "stride": 5}, "stride should not be over the window of 4"),
        ({"documents": [Document("a", "b")], "seed": -1}, "seed should be from 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_without_a_model(asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises((OptionError, InputError), match=sentence):
        Plan(**asked)
