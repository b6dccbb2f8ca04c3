"""Runs of encoder-decoder models against transformers' own forward passes, finite differences and plain loops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_seq2seq
import torch
from tiny_seq2seq import FAMILIES, SOURCE, TARGET, make

from pellucid.errors import ContextError, InputError, OptionError
from pellucid.models.encode import encode, encode_target
from pellucid.models.load import LoadedModel
from pellucid.trace.ablate import effects, original
from pellucid.trace.explain import explain
from pellucid.trace.methods import method, methods
from pellucid.trace.objective import objective
from pellucid.trace.seq2seq import Seq2SeqRun, graph_bytes

KNOWN = [name for name, m in methods().items() if "seq2seq" in m.kinds]


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return make(request.param, tmp_path_factory.mktemp(request.param) / "model")


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return make("marian", tmp_path_factory.mktemp("marian") / "model")


def start(model: LoadedModel) -> list[int]:
    """What the decoder is fed first, written down by hand for each family."""
    tokenizer: Any = model.tokenizer
    return {
        "marian": lambda: [tokenizer.pad_token_id],
        "t5": lambda: [tokenizer.pad_token_id],
        "bart": lambda: [tokenizer.eos_token_id, tokenizer.bos_token_id],
        "m2m100": lambda: [tokenizer.eos_token_id, tokenizer.get_lang_id("de")],
    }[model.name]()


def plain_logits(model: LoadedModel, source: list[int], answer: list[int]) -> torch.Tensor:
    """transformers' own logits of the answer [targets, vocabulary], from ids."""
    network: Any = model.network
    fed = [*start(model), *answer[:-1]]
    with torch.no_grad():
        out = network(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([fed]))
    return out.logits[0, -len(answer) :]


def both(model: LoadedModel) -> tuple[list[int], list[int]]:
    prompt = encode(model, SOURCE)
    return prompt.ids, encode_target(model, prompt, TARGET)


def new_run(model: LoadedModel, **options: Any) -> Seq2SeqRun:
    return Seq2SeqRun(model, *both(model), objective("logprob"), **options)


def test_source_ids_are_transformers(model: LoadedModel) -> None:
    tokenizer: Any = model.tokenizer
    before = getattr(tokenizer, "src_lang", None)
    assert encode(model, SOURCE).ids == tokenizer(SOURCE)["input_ids"]
    if model.name == "m2m100":
        tokenizer.tgt_lang = "de"
    wanted = tokenizer(text_target=TARGET)["input_ids"]
    tokenizer.tgt_lang = None
    assert both(model)[1] == [
        i
        for i in wanted
        if i not in tokenizer.all_special_ids
        and i < (tokenizer.encoder_size if model.name == "m2m100" else len(tokenizer))
    ]
    assert getattr(tokenizer, "src_lang", None) == before


def test_logits_are_the_models(model: LoadedModel) -> None:
    source, answer = both(model)
    run = new_run(model)
    run.values()
    assert run.logits is not None
    torch.testing.assert_close(run.logits, plain_logits(model, source, answer), rtol=1e-10, atol=1e-10)


def test_gradients_are_finite_differences(model: LoadedModel) -> None:
    """The matrix's rows, and the whole answer's; tokens that come later, and the last, get exactly nothing."""
    run = new_run(model, per_token=True)
    plain = run.embeddings
    n, targets = run.prompt_length, run.targets
    rows = torch.zeros(targets, *plain.shape, dtype=torch.float64)
    for some, gradient in run._gradients(run._embed(), None, keep=True):
        rows[some] = gradient
    for i in range(targets):
        assert not rows[i, n + i :].any()
    random = torch.Generator().manual_seed(0)
    # T5's norm works in float32, whatever the weights are.
    step, near = (2e-3, 1e-2) if model.name == "t5" else (1e-5, 1e-4)
    for token in (0, n // 2, n - 1, n, n + targets - 2):
        way = torch.zeros_like(plain)
        way[token] = torch.randn(plain.shape[1], generator=random, dtype=torch.float64) * step
        slope = (run.values(plain + way) - run.values(plain - way)) / 2
        torch.testing.assert_close((rows[:, token] * way[token]).sum(-1), slope, rtol=near, atol=near * step)


def test_whole_answer_is_the_sum_of_rows(model: LoadedModel) -> None:
    one, many = new_run(model), new_run(model, per_token=True)
    total = method("input_x_gradient")(one).total
    found = method("input_x_gradient")(many)
    assert found.matrix is not None
    near = 1e-4 if model.name == "t5" else 1e-9  # T5's norm works in float32
    torch.testing.assert_close(found.total, total, rtol=near, atol=near)
    torch.testing.assert_close(found.matrix.nan_to_num().sum(0), total, rtol=near, atol=near)
    assert (one.backwards, many.backwards) == (1, many.targets)


def test_what_if_runs_are_single_runs(model: LoadedModel) -> None:
    """Sources of different length in one batch, behind a mask, give what each gives alone."""
    source, answer = both(model)
    run = new_run(model)
    masks = [[i != j for i in range(len(source))] for j in range(1, 5)] + [[i in (0, 3) for i in range(len(source))]]
    found = effects(run, masks)
    ids = torch.tensor(answer)
    alone = []
    for mask in masks:
        logits = plain_logits(model, [t for t, stays in zip(source, mask, strict=True) if stays], answer)
        alone.append(logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0])
    torch.testing.assert_close(found, torch.stack(alone), rtol=1e-9, atol=1e-9)
    whole = plain_logits(model, source, answer).log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    torch.testing.assert_close(original(run), whole, rtol=1e-9, atol=1e-9)
    assert run.forwards == len(masks) + 1


@pytest.mark.parametrize("name", KNOWN)
def test_every_method_fills_the_matrix(model: LoadedModel, name: str) -> None:
    trace = explain(model, SOURCE, TARGET, method=name, per_token=True, trust=False)
    n = len(trace.sources)
    assert trace.scores is not None
    for i in range(len(trace.targets)):
        assert np.isnan(trace.scores[i, n + i :]).all()
        seen = trace.scores[i, [*trace.content, *range(n, n + i)]]
        by_effects = methods()[name].needs == "forward" or name.startswith("sequential")
        assert np.isfinite(seen[: len(trace.content)] if by_effects else seen).all()


def test_integrated_gradients_are_complete(model: LoadedModel) -> None:
    # Not from zeros: there T5's norm, which takes no mean away, is singular.
    how = {"steps": 300, "baseline": "mean"}
    trace = explain(model, SOURCE, TARGET, method="integrated_gradients", parameters=how, trust=False)
    found = trace.details
    assert abs(found["completeness_gap"]) < 0.01 * max(1.0, abs(found["difference"]))


def test_attention_is_transformers(model: LoadedModel) -> None:
    source, answer = both(model)
    network: Any = model.network
    first = start(model)
    before = network.config._attn_implementation
    network.set_attn_implementation("eager")
    with torch.no_grad():
        out = network(
            input_ids=torch.tensor([source]),
            decoder_input_ids=torch.tensor([[*first, *answer[:-1]]]),
            output_attentions=True,
        )
    network.set_attn_implementation(before)
    found = method("attention")(new_run(model, per_token=True)).matrix
    chosen = method("attention")(new_run(model, per_token=True), layers=[-1], heads=[1, 2]).matrix
    assert found is not None
    assert chosen is not None
    n = len(source)
    for i in range(len(answer)):
        at = len(first) - 1 + i
        cross = sum(a[0, h, at] for a in out.cross_attentions for h in range(4)) / (4 * len(out.cross_attentions))
        own = sum(a[0, h, at, len(first) :] for a in out.decoder_attentions for h in range(4))
        torch.testing.assert_close(found[i, :n], cross)
        torch.testing.assert_close(found[i, n : n + i], own[:i] / (4 * len(out.decoder_attentions)))
        torch.testing.assert_close(chosen[i, :n], out.cross_attentions[-1][0, 1:3, at].mean(0))
        assert float(found[i, :n].sum()) == pytest.approx(1)
    assert network.config._attn_implementation == before


@pytest.mark.parametrize("limit", [3, 12])
def test_answers_are_transformers_greedy(model: LoadedModel, limit: int) -> None:
    network, tokenizer = model.network, model.tokenizer
    options: dict[str, Any] = {"num_beams": 1, "do_sample": False, "max_new_tokens": limit + len(start(model)) - 1}
    if len(start(model)) == 2:
        options["forced_bos_token_id"] = start(model)[1]
    with torch.no_grad():
        out = network.generate(torch.tensor([encode(model, SOURCE).ids]), **options)[0].tolist()
    assert out[: len(start(model))] == start(model)
    wanted = out[len(start(model)) :]
    ends = {tokenizer.eos_token_id}
    while wanted and wanted[-1] in ends:
        wanted.pop()
    trace = explain(model, SOURCE, max_new_tokens=limit, trust=False)
    assert [t.id for t in trace.targets] == wanted
    assert trace.answer.generated


def test_beams_and_penalties_of_the_files_are_off(marian: LoadedModel) -> None:
    settings = marian.network.generation_config
    plain = [t.id for t in explain(marian, SOURCE, max_new_tokens=6, trust=False).targets]
    saved = settings.to_dict()
    settings.num_beams, settings.no_repeat_ngram_size, settings.length_penalty = 4, 1, 2.0
    try:
        assert [t.id for t in explain(marian, SOURCE, max_new_tokens=6, trust=False).targets] == plain
        assert settings.num_beams == 4
    finally:
        settings.update(**saved)


def test_trust_is_single_runs(marian: LoadedModel) -> None:
    trace = explain(marian, SOURCE, TARGET, method="leave_one_out")
    source, answer = both(marian)
    ids = torch.tensor(answer)

    def logprob(prompt: list[int]) -> float:
        return float(plain_logits(marian, prompt, answer).log_softmax(-1).gather(-1, ids[:, None]).sum())

    assert trace.trust is not None
    best = max(trace.content, key=lambda i: trace.total[i])  # what-if methods are ranked by sign
    drop = (logprob(source) - logprob([t for i, t in enumerate(source) if i != best])) / len(answer)
    assert trace.trust.removed == 1
    assert trace.trust.top_drop == pytest.approx(drop, abs=1e-6)


def test_contrast_is_a_difference_of_logits(marian: LoadedModel) -> None:
    trace = explain(
        marian, SOURCE, TARGET, objective="contrast", span="klein", instead_of="grün", method="leave_one_out"
    )
    source, answer = both(marian)
    other = encode_target(marian, encode(marian, SOURCE), "Das Haus ist grün.")
    assert answer != other
    pairs = trace.details["objective"]["pairs"]
    logits = plain_logits(marian, source, answer)
    assert trace.span is not None
    explained = set(trace.span.targets)
    wanted = sum(
        float(logits[p["target"], answer[p["target"]]] - logits[p["target"], p["id"]])
        for p in pairs
        if p["target"] in explained
    )
    alone = explained & set(trace.details["objective"]["plain_logprob"])
    wanted += sum(float(logits[i].log_softmax(-1)[answer[i]]) for i in alone)
    assert len(pairs) + len(alone) > 1
    assert trace.details["original"] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("name", ["kl", "pcxmi"])
def test_references_leave_the_part_out(marian: LoadedModel, name: str) -> None:
    trace = explain(marian, SOURCE, TARGET, objective=name, without=" small", method="leave_one_out", trust=False)
    source, answer = both(marian)
    gone = set(trace.details["objective"]["removed_tokens"])
    with_, without = (
        plain_logits(marian, prompt, answer).log_softmax(-1)
        for prompt in (source, [t for i, t in enumerate(source) if i not in gone])
    )
    ids = torch.tensor(answer)[:, None]
    wanted = (with_.exp() * (with_ - without)).sum() if name == "kl" else (with_ - without).gather(-1, ids).sum()
    assert trace.details["original"] == pytest.approx(float(wanted), abs=1e-6)


def test_a_function_of_ones_own_and_units_and_spans(model: LoadedModel) -> None:
    trace = explain(
        model,
        "The house is small. The garden is green.",
        TARGET,
        objective=lambda logits, ids: logits.amax(-1),
        unit="sentence",
        method="leave_one_out",
        spans={"noun": "Haus"},
        per_token=True,
        reduce="mean",
    )
    assert [u.text for u in trace.units] == ["The house is small.", "The garden is green."]
    source, answer = encode(model, "The house is small. The garden is green.").ids, both(model)[1]
    whole = plain_logits(model, source, answer).amax(-1).mean()
    for unit in trace.units:
        rest = [t for i, t in enumerate(source) if i not in unit.tokens]
        drop = float(whole - plain_logits(model, rest, answer).amax(-1).mean())
        assert unit.score == pytest.approx(drop, abs=1e-5)
    assert trace.spans[0].text == "Haus"


@pytest.mark.parametrize("replace", ["remove", "pad", "neutral", 5])
def test_replacements(model: LoadedModel, replace: str | int) -> None:
    trace = explain(model, SOURCE, TARGET, method="leave_one_out", parameters={"replace": replace}, trust=False)
    assert np.isfinite(trace.total).all()


def test_what_only_causal_models_can_do_is_refused(marian: LoadedModel) -> None:
    with pytest.raises(OptionError, match="replace='sample' draws what a causal model predicts"):
        explain(marian, SOURCE, TARGET, method="leave_one_out", parameters={"replace": "sample"})
    for name in set(methods()) - set(KNOWN):
        with pytest.raises(OptionError, match=f"method '{name}' does not know models of the kind 'seq2seq'"):
            explain(marian, SOURCE, TARGET, method=name)
    with pytest.raises(InputError, match="an encoder-decoder model, which reads one text"):
        explain(marian, [{"role": "user", "content": SOURCE}])


def test_source_and_answer_have_a_context_each(marian: LoadedModel) -> None:
    assert marian.context == 64
    trace = explain(marian, "house " * 55, "Haus " * 55, trust=False)
    assert 50 < len(trace.sources) <= 64
    assert 50 < len(trace.targets) <= 64
    with pytest.raises(ContextError, match=r"the source's \d+ tokens .* do not fit the 64"):
        explain(marian, "house " * 80, TARGET)
    with pytest.raises(ContextError, match=r"the answer's \d+ tokens .* do not fit the 64"):
        explain(marian, SOURCE, "Haus " * 80)


def test_memory_is_refused_before_it_is_used(marian: LoadedModel) -> None:
    with pytest.raises(OptionError, match="a source of 11 tokens and an answer of"):
        explain(marian, SOURCE, TARGET, memory=1000)


@pytest.mark.parametrize("name", ["marian", "bart", "t5"])
def test_the_count_of_memory_is_no_less_than_autograd_keeps(name: str, tmp_path: Path) -> None:
    tiny = make(name, tmp_path / name, torch.float32)
    shape = {"d_model": 64, "num_layers": 3, "num_decoder_layers": 3, "d_ff": 256} if name == "t5" else {}
    network: Callable[..., Any] = getattr(tiny_seq2seq, name)
    large = LoadedModel.wrap(network(200, **(shape or {"d_model": 64, "encoder_ffn_dim": 256})), tiny.tokenizer)
    for source, targets in ((40, 8), (10, 40)):
        run = Seq2SeqRun(large, [5] * source, [6] * targets, objective("logprob"))
        weights = {p.untyped_storage().data_ptr() for p in large.network.parameters()}
        kept: list[torch.Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t) or t, lambda t: t):
            run.values_of(run._logits(run._embed()[None].requires_grad_(True), keep=False)).sum()
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
        used = sum(size for place, size in storages.items() if place not in weights)
        assert used <= graph_bytes(large.network, source, targets) <= 4 * used
