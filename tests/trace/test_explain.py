"""Whole explanations, on tiny models and on the embedded one: against plain loops, transformers' own outputs, and
what the schema promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import pellucid
from pellucid.errors import ContextError, InputError, NumericError, OptionError
from pellucid.model import Model
from pellucid.models.load import LoadedModel
from pellucid.trace.explain import explain

QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def trace(embedded: Model) -> pellucid.Trace:
    return embedded.explain(QUESTION, per_token=True, max_new_tokens=16)


def sequence(trace: pellucid.Trace) -> list[int]:
    return [s.id for s in trace.sources] + [t.id for t in trace.targets]


def test_answer_is_transformers_greedy_answer(embedded: Model, trace: pellucid.Trace) -> None:
    loaded = embedded.loaded
    ids = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    out = loaded.network.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16)
    text = loaded.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    assert trace.answer.text == text
    assert "Paris" in text
    assert trace.answer.generated
    assert trace.answer.text == "".join(t.text for t in trace.targets)


def test_scores_equal_a_plain_loop(embedded: Model, trace: pellucid.Trace) -> None:
    network, n = embedded.loaded.network, len(trace.sources)
    ids = torch.tensor([sequence(trace)])
    whole = torch.zeros(ids.shape[1], network.config.hidden_size)
    for i, target in enumerate(trace.targets):
        x = network.get_input_embeddings()(ids).detach().requires_grad_(True)
        logits = network(inputs_embeds=x).logits[0, n + i - 1]
        torch.log_softmax(logits, -1)[target.id].backward()
        whole += x.grad[0]
        row = x.grad[0].norm(dim=-1).numpy()
        np.testing.assert_allclose(trace.scores[i, : n + i], row[: n + i], rtol=1e-3, atol=1e-4 * row.max())
        assert np.isnan(trace.scores[i, n + i :]).all()
    expected = whole.norm(dim=-1).numpy()[:n]
    np.testing.assert_allclose(trace.total, expected, rtol=1e-3, atol=1e-4 * expected.max())
    alone = embedded.explain(QUESTION, max_new_tokens=16, trust=False)
    assert alone.scores is None
    assert alone.cost.backward_passes == 1
    np.testing.assert_allclose(alone.total, trace.total, rtol=1e-3, atol=1e-4 * expected.max())


def test_statistics_equal_transformers(embedded: Model, trace: pellucid.Trace) -> None:
    with torch.no_grad():
        logits = embedded.loaded.network(torch.tensor([sequence(trace)])).logits[0].double()
    n = len(trace.sources)
    for i, t in enumerate(trace.targets):
        p = torch.softmax(logits[n + i - 1], -1)
        assert t.prob == pytest.approx(float(p[t.id]), rel=1e-3)
        assert t.logprob == pytest.approx(math.log(float(p[t.id])), abs=1e-3)
        assert t.rank == 1 + int((p > p[t.id]).sum())
        assert t.entropy == pytest.approx(float(torch.distributions.Categorical(p).entropy()), abs=1e-3)
        assert [a.id for a in t.alternatives] == p.topk(5).indices.tolist()
        for a in t.alternatives:
            assert a.prob == pytest.approx(float(p[a.id]), rel=1e-2)


def test_trust_equals_a_plain_loop(embedded: Model, trace: pellucid.Trace) -> None:
    def logprob(prompt: list[int]) -> float:
        with torch.no_grad():
            ids = torch.tensor([prompt + [t.id for t in trace.targets]])
            logprobs = embedded.loaded.network(ids).logits[0].log_softmax(-1)
        return sum(float(logprobs[len(prompt) + i - 1, t.id]) for i, t in enumerate(trace.targets))

    trust, prompt = trace.trust, [s.id for s in trace.sources]
    candidates = [i for i, s in enumerate(trace.sources) if s.role == "user"]
    assert (trust.candidates, trust.removed) == (len(candidates), max(1, round(0.1 * len(candidates))))
    full = logprob(prompt)

    def drop(gone: set[int]) -> float:
        return (full - logprob([t for i, t in enumerate(prompt) if i not in gone])) / len(trace.targets)

    best = sorted(candidates, key=lambda i: -abs(trace.total[i]))[: trust.removed]
    assert trust.top_drop == pytest.approx(drop(set(best)), abs=1e-4)
    rng = np.random.default_rng(0)
    draws = [set(rng.choice(candidates, trust.removed, replace=False).tolist()) for _ in range(8)]
    assert list(trust.random_drops) == pytest.approx([drop(d) for d in draws], abs=1e-4)
    assert trust.random_drop == pytest.approx(np.mean([drop(d) for d in draws]), abs=1e-4)
    assert trust.ratio == pytest.approx(trust.top_drop / trust.random_drop)
    assert trace.cost.forward_passes == 1 + 9


def test_seed_moves_the_random_draws_only(embedded: Model, trace: pellucid.Trace) -> None:
    other = embedded.explain(QUESTION, max_new_tokens=16, seed=1)
    assert other.trust.random_drops != trace.trust.random_drops
    assert other.trust.top_drop == pytest.approx(trace.trust.top_drop, abs=1e-5)
    assert other.answer.text == trace.answer.text


def test_span_by_text_and_by_characters(embedded: Model, trace: pellucid.Trace) -> None:
    at = trace.answer.text.index("Paris")
    by_text = embedded.explain(QUESTION, span="Paris", per_token=True, max_new_tokens=16, trust=False)
    by_range = embedded.explain(QUESTION, span=(at, at + 5), max_new_tokens=16, trust=False)
    (i,) = by_text.span.targets
    assert "Paris" in by_text.targets[i].text
    assert by_range.span == by_text.span
    n = len(trace.sources)
    scale = trace.scores[i, :n].max()
    np.testing.assert_allclose(by_text.total, trace.scores[i, :n], rtol=1e-3, atol=1e-4 * scale)
    np.testing.assert_allclose(by_range.total, trace.scores[i, :n], rtol=1e-3, atol=1e-4 * scale)
    assert np.isnan(np.delete(by_text.scores, i, axis=0)).all()


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ("Pariss", r"the span 'Pariss' is not in the answer .*nearest word in it is 'Paris"),
        ("Pariss was", r"the span 'Pariss was' is not in the answer .*nearest part in it is 'Paris is'"),
        ("", "the span is empty"),
        ((3, 3), r"the span \(3, 3\) is not within the answer's \d+ characters"),
        ((0, 9999), r"the span \(0, 9999\) is not within"),
        ((-1, 2), "is not within"),
    ],
)
def test_spans_that_are_not_there(embedded: Model, span: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        embedded.explain(QUESTION, "Paris is it.", span=span, trust=False)  # type: ignore[arg-type]


def test_given_target(embedded: Model) -> None:
    t = embedded.explain("The capital of France is", target=" Paris", method="saliency", objective="logprob", raw=True)
    assert [(s.text, s.role) for s in t.sources] == [(p, "user") for p in ("The", " capital", " of", " France", " is")]
    assert [(x.text, x.rank) for x in t.targets] == [(" Paris", 1)]
    assert not t.answer.generated
    assert t.prompt.raw
    assert t.prompt.rendered == "The capital of France is"


def test_messages_keep_their_roles(embedded: Model) -> None:
    chat = [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": QUESTION}]
    t = embedded.explain(chat, "Paris", trust=False)
    for m, message in enumerate(chat):
        own = [s for s in t.sources if s.message == m]
        assert "".join(s.text for s in own) == message["content"]
        assert {s.role for s in own} == {message["role"]}
    assert t.prompt.messages == tuple(chat)
    assert t.prompt.text is None


def test_sampling_is_seeded_and_leaves_the_random_state(embedded: Model) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    options = {"max_new_tokens": 12, "temperature": 1.5, "trust": False}
    first = embedded.explain("Tell me a story", seed=5, **options)
    assert torch.rand(1) == expected
    again = embedded.explain("Tell me a story", seed=5, **options)
    other = embedded.explain("Tell me a story", seed=6, **options)
    assert first.answer.text == again.answer.text != other.answer.text


def test_trace_says_where_it_comes_from(embedded: Model, trace: pellucid.Trace) -> None:
    import transformers

    assert trace.model.name == "smollm2-135m-instruct"
    assert (trace.model.source, trace.model.dtype, trace.model.device) == ("embedded", "float32", "cpu")
    assert trace.model.parameters == sum(p.numel() for p in embedded.loaded.network.parameters())
    assert trace.versions["transformers"] == transformers.__version__
    assert trace.cost.seconds > 0
    assert trace.cost.generate_seconds > 0
    assert trace.cost.peak_memory_bytes > 10**6
    assert trace.cost.backward_passes == len(trace.targets)
    assert (trace.seed, trace.objective, trace.method.name, trace.method.signed) == (0, "logprob", "saliency", False)


def test_without_trust(embedded: Model) -> None:
    t = embedded.explain(QUESTION, "Paris", trust=False)
    assert t.trust is None
    assert t.trust_note == "not measured: trust=False"
    one = embedded.explain("Hi", "Hello")
    assert one.trust is None
    assert "1 token that can be removed" in one.trust_note


def test_progress_names_its_stages(embedded: Model) -> None:
    seen: dict[str, list[tuple[float, float | None]]] = {}
    embedded.explain(
        QUESTION,
        per_token=True,
        max_new_tokens=8,
        progress=lambda stage, done, total: seen.setdefault(stage, []).append((done, total)),
    )
    assert list(seen) == ["generating", "forward", "backward", "trust"]
    for steps in seen.values():
        assert [d for d, _ in steps] == sorted(d for d, _ in steps)
        assert steps[-1][0] == steps[-1][1]


def test_interrupt_leaves_the_model_as_it_was(embedded: Model) -> None:
    def stop(stage: str, done: float, total: float | None) -> None:
        if stage == "backward":
            raise KeyboardInterrupt

    network = embedded.loaded.network
    before = network.config._attn_implementation
    with pytest.raises(KeyboardInterrupt):
        embedded.explain(QUESTION, "Paris it is", per_token=True, progress=stop)
    assert network.config._attn_implementation == before
    assert not any(p.grad is not None or p.requires_grad for p in network.parameters())


def test_generation_settings_of_the_model_are_left_alone(embedded: Model) -> None:
    before = embedded.loaded.network.generation_config.to_dict()
    embedded.explain(QUESTION, max_new_tokens=2, trust=False)
    assert embedded.loaded.network.generation_config.to_dict() == before


def test_context_is_a_limit_with_numbers(tiny_folder) -> None:  # type: ignore[no-untyped-def]
    model = pellucid.load(str(tiny_folder), device="cpu")
    with pytest.raises(
        ContextError, match=r"prompt's \d+ tokens do not fit the 128 tokens that .* can read, with room"
    ):
        model.explain("one two three four " * 40)
    with pytest.raises(ContextError, match=r"prompt's \d+ and the answer's \d+ tokens do not fit the 128 tokens"):
        model.explain("short", "a very long answer " * 40)
    near = "x" * 110
    room = 128 - len(pellucid.load(str(tiny_folder), device="cpu").explain(near, "y", raw=True, trust=False).sources)
    t = model.explain(near, raw=True, max_new_tokens=500, trust=False)
    assert 1 <= len(t.targets) <= room


def test_scores_that_are_not_finite_are_an_error(tiny) -> None:  # type: ignore[no-untyped-def]
    model: LoadedModel = tiny()
    with torch.no_grad():
        model.network.model.layers[1].mlp.down_proj.weight[0, 0] = torch.inf
    with pytest.raises(NumericError, match=r"\d+ of \d+ scores are NaN or infinite \(model 'llama' in float32\)"):
        explain(model, "What is it", "Paris", trust=False)


def test_empty_answer_is_said(tiny) -> None:  # type: ignore[no-untyped-def]
    model: LoadedModel = tiny()
    end = model.tokenizer.eos_token_id
    with torch.no_grad():  # an embedding that every state points at: the model ends at once
        model.network.model.norm.weight.fill_(1.0)
        head = torch.nn.Linear(32, len(model.tokenizer), bias=True)
        head.weight.zero_()
        head.bias.zero_()
        head.bias[end] = 10.0
        model.network.lm_head = head.requires_grad_(False)
    with pytest.raises(InputError, match=r"answer is empty \(it ended at once\)"):
        explain(model, "What is it")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "salience"}, r"unknown method 'salience': expected one of saliency, .* Did you mean 'saliency'\?"),
        ({"objective": "loss"}, "unknown objective 'loss'"),
        ({"precision": "half"}, "unknown precision 'half'"),
        ({"memory": "some"}, "memory 'some' is not understood"),
        ({"memory": 10}, "even one layer at a time"),
        ({"max_new_tokens": 0, "target": None}, "max_new_tokens should be at least 1"),
        ({"temperature": -1.0, "target": None}, "temperature should be 0"),
        ({"temperature": float("nan"), "target": None}, "temperature should be 0"),
        ({"parameters": {"steps": 3}}, "method 'saliency' has no parameter 'steps'"),
    ],
)
def test_options_that_mean_nothing(tiny, options: dict[str, object], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError, match=message):
        explain(tiny(), "What is it", **{"target": "Paris", **options})  # type: ignore[arg-type]
