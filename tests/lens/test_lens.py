"""The lens against transformers' own passes, plain loops and closed forms, on tiny models of every family."""

from __future__ import annotations

import csv
import io
import json
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from rich.console import Console
from tokenizers import pre_tokenizers
from transformers import GenerationConfig, GraniteConfig, GraniteForCausalLM

from pellucid.cli.main import main
from pellucid.errors import (
    ContextError,
    InputError,
    ModelError,
    NumericError,
    OptionError,
    OutputError,
    SchemaError,
)
from pellucid.lens import predictions
from pellucid.lens.anatomy import anatomy
from pellucid.lens.arrays import Arrays, attention, embeddings, hidden_states
from pellucid.lens.contrastive import contrastive
from pellucid.lens.decode import decode
from pellucid.lens.final import Final
from pellucid.lens.flow import flow
from pellucid.lens.layers import streams_of
from pellucid.lens.logitlens import logit_lens
from pellucid.lens.nexttokens import next_tokens
from pellucid.lens.plain import json_schema
from pellucid.lens.positions import positions
from pellucid.lens.results import Anatomy, Decodings, LogitLens, NextTokens, Positions, Surprisal
from pellucid.lens.strategies import STRATEGIES, parse
from pellucid.lens.surprisal import spans_of, surprisal
from pellucid.lens.tuned import TunedLens, place_of, tune
from pellucid.model import Model
from pellucid.models.encode import encode
from pellucid.models.load import LoadedModel
from pellucid.models.vocabulary import byte_of, shown
from pellucid.render.lenshtml import page
from pellucid.render.lensterminal import View

PROMPT = "The capital of France is"
TEXT = "The capital of Spain is Madrid. 天气 🎉 <b>one</b>\r\n  word, please."


def generated(loaded: LoadedModel, ids: list[int], **options: Any) -> list[list[int]]:
    """Transformers' own ``generate``, without the model's own settings."""
    network: Any = loaded.network
    saved = network.generation_config
    try:
        network.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=2, **options)
        rows = torch.tensor([ids])
        out = network.generate(rows, attention_mask=torch.ones_like(rows))
    finally:
        network.generation_config = saved
    return [r[len(ids) :] for r in out.tolist()]


def whole(loaded: LoadedModel, ids: list[int]) -> torch.Tensor:
    """Logits [tokens, vocabulary] of one plain pass."""
    network: Any = loaded.network
    with torch.no_grad():
        found: torch.Tensor = network(torch.tensor([ids]), use_cache=False).logits[0]
    return found


def test_next_tokens_are_those_of_whole_passes(family: LoadedModel) -> None:
    """Each step feeds one position, and has the logits that a pass over the whole text has."""
    fed: list[int] = []
    hook = family.network.get_input_embeddings().register_forward_hook(lambda m, g, out: fed.append(g[0].numel()))
    found = next_tokens(family, PROMPT, raw=True, steps=6, top_k=4)
    hook.remove()
    ids = encode(family, PROMPT, raw=True).ids
    assert fed == [len(ids)] + [1] * (len(found.steps) - 1)
    total = 0.0
    for step in found.steps:
        logits = whole(family, ids)[-1]
        p = torch.softmax(logits, -1)
        best = p.topk(4)
        assert [c.id for c in step.choices] == best.indices.tolist()
        assert [c.prob for c in step.choices] == pytest.approx(best.values.tolist(), rel=1e-6)
        assert [c.cumulative for c in step.choices] == pytest.approx(best.values.cumsum(0).tolist(), rel=1e-6)
        assert step.choices[0].logit == pytest.approx(float(logits.max()), rel=1e-6)
        assert step.chosen == step.choices[0]
        assert step.entropy == pytest.approx(float(torch.distributions.Categorical(p).entropy()), rel=1e-6)
        total += math.log(float(best.values[0]))
        assert step.total == pytest.approx(total, rel=1e-6)
        ids = [*ids, step.chosen.id]
    assert found.text == family.tokenizer.decode(ids[-len(found.steps) :])
    assert [s.chosen.id for s in found.steps] == generated(
        family, encode(family, PROMPT, raw=True).ids, max_new_tokens=6, do_sample=False
    )[0][: len(found.steps)]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("temperature:0.7", {"temperature": 0.7, "top_k": 0}),
        ("top_k:5", {"top_k": 5}),
        ("top_p:0.8+temperature:1.3", {"top_p": 0.8, "temperature": 1.3, "top_k": 0}),
        ("min_p:0.1", {"min_p": 0.1, "top_k": 0}),
        ("typical:0.5", {"typical_p": 0.5, "top_k": 0}),
        ("top_k:20+repetition_penalty:1.5", {"repetition_penalty": 1.5, "top_k": 20}),
    ],
)
def test_draws_are_those_of_generate(tiny: Callable[..., LoadedModel], text: str, options: dict[str, Any]) -> None:
    """The same seed gives the same tokens, and torch's own random state stays as it was."""
    loaded = tiny()
    ids = encode(loaded, PROMPT, raw=True).ids
    for seed in (0, 1):
        torch.manual_seed(99)
        before = torch.get_rng_state()
        found = next_tokens(loaded, PROMPT, raw=True, steps=12, strategy=text, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(seed)
        theirs = generated(loaded, ids, max_new_tokens=12, do_sample=True, **options)[0]
        assert [s.chosen.id for s in found.steps] == theirs[: len(found.steps)]
        assert len({s.chance for s in found.steps}) > 1


@pytest.mark.parametrize("strategy", ["greedy", "top_p:0.9", "beam:2"])
def test_another_token_is_chosen_and_the_text_goes_on(tiny: Callable[..., LoadedModel], strategy: str) -> None:
    """Given tokens stand as those that were chosen, with the logits of a whole pass; what follows is what follows them
    in the prompt; a token that the strategy would not have taken has no chance."""
    loaded = tiny()
    ids = encode(loaded, PROMPT, raw=True).ids
    own = next_tokens(loaded, PROMPT, raw=True, steps=3, top_k=3)
    begin = [own.steps[0].chosen.id, own.steps[1].choices[2].id]
    found = next_tokens(loaded, PROMPT, raw=True, steps=4, top_k=3, strategy=strategy, begin=begin)
    said = [s.chosen.id for s in found.steps]
    assert said[:2] == begin
    assert len(said) == 6
    logits = whole(loaded, [*ids, *said])
    for k, step in enumerate(found.steps):
        p = torch.softmax(logits[len(ids) - 1 + k], -1)
        assert [c.id for c in step.choices] == p.topk(3).indices.tolist()
        assert step.chosen.prob == pytest.approx(float(p[step.chosen.id]), rel=1e-4)
    if strategy == "greedy":
        assert [s.chance for s in found.steps] == [1, 0, 1, 1, 1, 1]
        assert said[2:] == generated(loaded, [*ids, *begin], max_new_tokens=4, do_sample=False)[0]
    if strategy == "beam:2":
        assert said[2:] == generated(loaded, [*ids, *begin], max_new_tokens=4, num_beams=2, early_stopping=False)[0]


def test_it_ends_where_the_text_ends(tiny: Callable[..., LoadedModel]) -> None:
    loaded = tiny()
    ids = encode(loaded, PROMPT, raw=True).ids
    token = int(whole(loaded, ids)[-1].argmax())
    ended = replace(loaded, tokenizer=loaded.tokenizer)
    saved = loaded.network.generation_config.eos_token_id
    loaded.network.generation_config.eos_token_id = [token, 2]
    try:
        found = next_tokens(ended, PROMPT, raw=True, steps=5)
    finally:
        loaded.network.generation_config.eos_token_id = saved
    assert found.ended
    assert len(found.steps) == 1
    assert not next_tokens(loaded, PROMPT, raw=True, steps=1).ended


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma3", "gpt2"])
def test_beams_are_those_of_generate(tiny: Callable[..., LoadedModel], name: str, width: int) -> None:
    """The finals are generate's; every hypothesis has the log-probability of plain passes; what was kept are the
    likeliest of what was looked at."""
    loaded = tiny(name)
    ids = encode(loaded, PROMPT, raw=True).ids
    found = decode(loaded, PROMPT, ["greedy", f"beam:{width}"], raw=True, steps=5)
    greedy, beam = found.outcomes
    theirs = generated(
        loaded,
        ids,
        max_new_tokens=5,
        num_beams=width,
        num_return_sequences=width,
        do_sample=False,
        early_stopping=False,
    )
    assert list(beam.ids) == theirs[0][: len(beam.ids)]
    assert list(beam.beams) == [loaded.tokenizer.decode([i for i in t if i != 2]) for t in theirs]
    paths: list[list[int]] = []
    for node in beam.tree:
        path = [*(paths[node.parent] if node.parent >= 0 else []), node.id]
        paths.append(path)
        assert node.depth == len(path)
        logprobs = torch.log_softmax(whole(loaded, ids + path)[len(ids) - 1 : -1], -1)
        each = [float(logprobs[k, t]) for k, t in enumerate(path)]
        assert node.total == pytest.approx(sum(each), abs=1e-4)
        assert node.logprob == pytest.approx(each[-1], abs=1e-4)
    assert [p[-1] for p, n in zip(paths, beam.tree, strict=True) if n.greedy] == list(greedy.ids)
    assert [p[-1] for p, n in zip(paths, beam.tree, strict=True) if n.best] == list(beam.ids)
    if not any(n.ended for n in beam.tree):
        for depth in range(1, 6):
            here = [n for n in beam.tree if n.depth == depth and (n.parent < 0 or beam.tree[n.parent].kept)]
            assert [n.kept for n in here] == [True] * width + [False] * (len(here) - width)
    assert greedy.logprob * greedy.tokens == pytest.approx(greedy.total)
    assert greedy.distinct == len(set(zip(greedy.ids, greedy.ids[1:], strict=False))) / 4
    tokens = next_tokens(loaded, PROMPT, raw=True, steps=5, strategy=f"beam:{width}")
    assert [s.chosen.id for s in tokens.steps] == list(beam.ids)


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_contrastive_search_is_its_formula(tiny: Callable[..., LoadedModel], name: str) -> None:
    """Against the plain loop: whole passes for every candidate, in float64."""
    loaded = tiny(name, torch.float64)
    network: Any = loaded.network
    ids = encode(loaded, PROMPT, raw=True).ids
    said: list[int] = []
    for _ in range(6):
        with torch.no_grad():
            p, candidates = torch.softmax(network(torch.tensor([ids + said])).logits[0, -1], -1).topk(4)
            scores = []
            for q, c in zip(p, candidates, strict=True):
                h = network.base_model(torch.tensor([[*ids, *said, int(c)]])).last_hidden_state[0]
                likeness = torch.nn.functional.cosine_similarity(h[-1:], h[:-1]).max()
                scores.append(0.4 * float(q) - 0.6 * float(likeness))
        said.append(int(candidates[int(np.argmax(scores))]))
        if said[-1] == 2:
            break
    assert contrastive(loaded, ids, alpha=0.6, steps=6) == said
    greedy = next_tokens(loaded, PROMPT, raw=True, steps=6)
    assert contrastive(loaded, ids, alpha=0.0, steps=6) == [s.chosen.id for s in greedy.steps]


def test_surprisal_is_transformers_loss(family: LoadedModel) -> None:
    """Bits, ranks, entropies and what was expected, of one pass; their sum is the loss; characters are the text's."""
    found = surprisal(family, TEXT, top_k=3)
    ids = [t.id for t in found.tokens]
    fed = [family.tokenizer.bos_token_id, *ids]
    network: Any = family.network
    with torch.no_grad():
        rows = torch.tensor([fed])
        loss = float(network(rows, labels=rows).loss)
    assert found.bits * math.log(2) / len(ids) == pytest.approx(loss, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(loss), rel=1e-5)
    assert found.bits_per_byte == pytest.approx(found.bits / len(TEXT.encode()))
    logprobs = torch.log_softmax(whole(family, fed), -1)[:-1]
    for row, t in zip(logprobs, found.tokens, strict=True):
        assert t.bits == pytest.approx(-float(row[t.id]) / math.log(2), rel=1e-6)
        assert t.rank == 1 + int((row > row[t.id]).sum())
        assert t.entropy == pytest.approx(-float((row.exp() * row).sum()) / math.log(2), rel=1e-5)
        assert [a.id for a in t.alternatives] == row.topk(3).indices.tolist()
        assert [a.prob for a in t.alternatives] == pytest.approx(row.topk(3).values.exp().tolist(), rel=1e-5)
        assert TEXT[t.start : t.end] == t.text
    assert found.bos == "<|endoftext|>"
    bare = surprisal(family, TEXT, bos=False)
    assert bare.tokens[0].bits is None
    assert bare.scored == len(ids) - 1
    assert bare.bytes == len(TEXT.encode()) - len(TEXT[: bare.tokens[1].start].encode())


@pytest.mark.parametrize(("length", "window"), [(1, 8), (8, 8), (9, 8), (20, 8), (33, 7), (40, 2)])
def test_windows_score_every_token_once(length: int, window: int) -> None:
    spans = spans_of(length, window)
    assert [k for begin, first, end in spans for k in range(first, end)] == list(range(length))
    for begin, first, end in spans[1:]:
        assert end - begin == min(window, length)
        assert first - begin >= window // 2
    assert spans[0][0] == spans[0][1] == 0


def test_a_long_text_is_read_in_windows(tiny: Callable[..., LoadedModel]) -> None:
    """Each token's bits are those of its own window in a plain pass."""
    loaded = tiny("llama", torch.float64)
    text = TEXT * 4
    found = surprisal(loaded, text, window=21)
    ids = [t.id for t in found.tokens]
    assert found.windows > 3
    assert found.scored == len(ids)
    for begin, first, end in spans_of(len(ids), 20):
        logprobs = torch.log_softmax(whole(loaded, [0, *ids[begin:end]]), -1)
        for k in range(first, end):
            expected = -float(logprobs[k - begin, ids[k]]) / math.log(2)
            assert found.tokens[k].bits == pytest.approx(expected, rel=1e-9)
    assert found.context_least == min(f - b for b, f, _ in spans_of(len(ids), 20)[1:]) + 1


def test_positions_are_one_pass(family: LoadedModel) -> None:
    found = positions(family, PROMPT, raw=True, top_k=3)
    ids = encode(family, PROMPT, raw=True).ids
    p = torch.softmax(whole(family, ids), -1)
    for k, (row, at) in enumerate(zip(p, found.positions, strict=True)):
        assert [c.id for c in at.choices] == row.topk(3).indices.tolist()
        assert [c.prob for c in at.choices] == pytest.approx(row.topk(3).values.tolist(), rel=1e-6)
        if k + 1 < len(ids):
            assert at.next_prob == pytest.approx(float(row[ids[k + 1]]), rel=1e-6)
            assert at.next_rank == 1 + int((row > row[ids[k + 1]]).sum())
        else:
            assert at.next is None


def test_the_lens_reads_hidden_states(family: LoadedModel) -> None:
    """Every layer's state through the final norm and the head by hand; the last layer is the model itself; what
    attention and MLP put into the stream is all that changes it."""
    network: Any = family.network
    ids = encode(family, PROMPT, raw=True).ids
    with torch.no_grad():
        hidden = network(torch.tensor([ids]), output_hidden_states=True).hidden_states
    final = Final.of(family)
    found = logit_lens(family, PROMPT, raw=True)
    logits = whole(family, ids)
    answers = logits.argmax(-1)
    streams = streams_of(family, ids, kinds=("residual", "attention", "mlp"))
    for n in range(2):
        assert torch.allclose(streams["residual"][n], hidden[n][0], atol=1e-9)
        step = streams["residual"][n] + streams["attention"][n] + streams["mlp"][n]
        assert torch.allclose(step, streams["residual"][n + 1], atol=1e-9)
    with torch.no_grad():
        last = final.norm(streams["residual"][2])
    assert torch.allclose(last, hidden[-1][0], atol=1e-9)
    for k, column in enumerate(found.columns):
        assert column.answer_id == int(answers[k])
        for n, cell in enumerate(column.cells):
            with torch.no_grad():
                row = final.logits(final.norm(streams["residual"][n][k])) if n < 2 else logits[k]
            p = torch.softmax(row, -1)
            assert cell.id == int(p.argmax())
            assert cell.prob == pytest.approx(float(p.max()), rel=1e-6)
            assert cell.answer_prob == pytest.approx(float(p[answers[k]]), rel=1e-6)
            assert cell.answer_rank == 1 + int((row > row[answers[k]]).sum())
        ranks = [c.answer_rank for c in column.cells]
        assert column.lead == ranks.index(1)
        assert column.settled == max((n + 1 for n, r in enumerate(ranks) if r != 1), default=0)
    for kind in ("attention", "mlp"):
        part = logit_lens(family, PROMPT, raw=True, kind=kind, layers=[2], last=1)
        with torch.no_grad():
            p = torch.softmax(final.logits(final.norm(streams[kind][1][-1])), -1)
        assert part.columns[0].cells[0].prob == pytest.approx(float(p.max()), rel=1e-6)
        assert part.columns[0].position == len(ids) - 1
    following = logit_lens(family, PROMPT, raw=True, of="next")
    assert [c.answer_id for c in following.columns] == [*ids[1:], None]
    assert following.columns[-1].lead is None
    assert {c.answer_rank for c in following.columns[-1].cells} == {None}
    assert following.columns[0].cells[0].answer_rank is not None


def test_logits_that_a_family_scales(tokenizer: Any) -> None:
    """Granite divides its logits; the lens knows, and a model that does something else is refused."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = GraniteConfig(
        vocab_size=len(tokenizer), num_key_value_heads=2, logits_scaling=4.0, initializer_range=0.2, **sizes
    )
    loaded = LoadedModel.wrap(GraniteForCausalLM(config), tokenizer, name="granite")
    assert Final.of(loaded).scale == 0.25
    ids = encode(loaded, PROMPT, raw=True).ids
    expected = float(torch.softmax(whole(loaded, ids)[-1], -1).max())
    assert logit_lens(loaded, PROMPT, raw=True).columns[-1].cells[-1].prob == pytest.approx(expected, rel=1e-5)
    doubled: Any = lambda module, given, out: type(out)({**out, "logits": out.logits * 2})  # noqa: E731
    loaded.network.register_forward_hook(doubled)
    with pytest.raises(ModelError, match="not its head's output"):
        Final.of(loaded)


def test_the_tuned_lens_says_more(tiny: Callable[..., LoadedModel], tmp_path: Path) -> None:
    """On text that was kept out its KL is below the logit lens's in every layer; the regression alone is least
    squares; it is kept, and refused for another model."""
    loaded = replace(tiny("llama"), context=64)
    text = " ".join([TEXT, PROMPT, "What is the capital of France? Tell me in one word, please."] * 12)
    seen: list[str] = []
    lens = tune(loaded, [text], steps=30, window=48, progress=lambda stage, done, total: seen.append(stage))
    assert set(seen) == {"reading", "tuning"}
    assert all(a < b for a, b in zip(lens.kl, lens.kl_plain, strict=True))
    plain = tune(loaded, [text], steps=0, window=48)
    assert all(a <= b + 1e-6 for a, b in zip(lens.kl, plain.kl, strict=True))
    path = lens.save(tmp_path / "deep" / "t.safetensors")
    again = TunedLens.load(path)
    assert torch.equal(again.maps, lens.maps)
    assert (again.kl, again.name, again.held_out) == (lens.kl, lens.name, lens.held_out)
    found = logit_lens(loaded, PROMPT, raw=True, tuned=again)
    final, ids = Final.of(loaded), encode(loaded, PROMPT, raw=True).ids
    h = streams_of(loaded, ids)["residual"][1]
    with torch.no_grad():
        p = torch.softmax(final.logits(final.norm(h + h @ lens.maps[1].T + lens.shifts[1])), -1)
    assert found.columns[-1].cells[1].prob == pytest.approx(float(p[-1].max()), rel=1e-5)
    assert found.columns[-1].cells[2] == logit_lens(loaded, PROMPT, raw=True).columns[-1].cells[2]
    with pytest.raises(ModelError, match="this tuned lens is of 'llama', and the model is 'qwen3'"):
        logit_lens(tiny("qwen3"), PROMPT, raw=True, tuned=again)
    with pytest.raises(OptionError, match="reads the residual stream"):
        logit_lens(loaded, PROMPT, raw=True, tuned=again, kind="mlp")
    with pytest.raises(InputError, match="tuned on at least 64"):
        tune(loaded, ["A word."])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SchemaError, match="cut short"):
        TunedLens.load(path)
    assert place_of(loaded) != place_of(replace(loaded, revision="b"))


def test_arrays_are_transformers_own(family: LoadedModel, tmp_path: Path) -> None:
    network: Any = family.network
    ids = encode(family, PROMPT, raw=True).ids
    before = network.config._attn_implementation
    network.set_attn_implementation("eager")
    with torch.no_grad():
        out = network(torch.tensor([ids]), output_hidden_states=True, output_attentions=True)
    network.set_attn_implementation(before)
    states = hidden_states(family, PROMPT, layers=[0, 1])
    assert list(states) == ["hidden.0", "hidden.1"]
    for n in (0, 1):
        assert states[f"hidden.{n}"] == pytest.approx(out.hidden_states[n][0].float().numpy(), abs=1e-5)
    rows = attention(family, PROMPT, heads=[0, 2])
    for n in (1, 2):
        assert rows[f"attention.{n}"].shape == (2, len(ids), len(ids))
        assert rows[f"attention.{n}"] == pytest.approx(out.attentions[n - 1][0, [0, 2]].float().numpy(), abs=1e-5)
    with torch.no_grad():
        table = network.get_input_embeddings()(torch.tensor(ids))
    assert embeddings(family, PROMPT)["embeddings"] == pytest.approx(table.float().numpy())
    again = Arrays.load(rows.save(tmp_path / "a.safetensors"))
    assert again["attention.2"] == pytest.approx(rows["attention.2"])
    assert (again.text, again.tokens, again.model) == (PROMPT, rows.tokens, family.name)
    with pytest.raises(OutputError, match=r"ends in \.safetensors"):
        rows.save(tmp_path / "a.npz")


def test_anatomy_counts_everything_once(family: LoadedModel) -> None:
    found = anatomy(family, PROMPT)
    network: Any = family.network
    assert found.parameters == sum(p.numel() for p in network.parameters()) == sum(found.by_role.values())
    assert found.bytes == found.parameters * 8
    layers = [p for p in found.parts if p.count == 2 and p.kind.endswith(("Layer", "Block"))]
    uneven = family.name in ("gemma3", "gemma2")  # the two layers differ in what they see, not in shape
    assert layers or uneven
    by_path = {p.path: p for p in found.parts}
    for path, part in by_path.items():
        module = network.get_submodule(path)
        assert part.parameters == sum(p.numel() for p in module.parameters())
    head = network.get_output_embeddings()
    tied = head.weight is network.get_input_embeddings().weight
    name = next(n for n, m in network.named_modules() if m is head)
    assert (by_path[name].tied is not None) == tied
    shapes = {s.name: s.shape for s in found.run}
    ids = encode(family, PROMPT, raw=True).ids
    assert shapes["input_ids"] == (1, len(ids))
    assert shapes["logits"] == (1, len(ids), found.parts[0].parameters and network.config.vocab_size)
    assert shapes["hidden_states[2]"] == (1, len(ids), 32)
    assert found.same == 0.0
    assert found.normed is True
    assert len([n for n in shapes if n.endswith(".keys")]) == 2
    assert ("position embeddings" in shapes) == (family.name == "gpt2")


def test_flow_takes_the_strongest(tiny: Callable[..., LoadedModel]) -> None:
    """By a plain loop over the matrix."""
    trace = Model(tiny()).explain(PROMPT, " Paris, please.", raw=True, per_token=True, trust=False)
    found = flow(trace, top=4, share=0.6, least=0.2)
    n = len(trace.sources)
    expected = []
    assert trace.scores is not None
    for i, row in enumerate(trace.scores):
        values = sorted(((abs(float(v)), j) for j, v in enumerate(row) if v == v), reverse=True)[:4]
        mass = 0.0
        for v, j in values:
            if mass < 0.6 * sum(x for x, _ in values) and v >= 0.2 * values[0][0]:
                expected.append((j, n + i))
            mass += v
    assert [(e.source, e.target) for e in found.edges] == expected
    assert all(e.source < e.target for e in found.edges)
    assert sum(x.outgoing for x in found.nodes) == pytest.approx(sum(abs(e.score) for e in found.edges))
    with pytest.raises(InputError, match="per_token=True"):
        flow(replace(trace, scores=None))


def test_tokens_read_as_text(tokenizer: Any) -> None:
    """No letter of byte-level spelling is left, and bytes are those that the tokenizer's own alphabet stands for."""
    assert set(byte_of()) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(byte_of().values()) == list(range(256))
    for i in range(len(tokenizer)):
        text = shown(tokenizer, i)
        assert text
        assert not set(text) & {"Ġ", "Ċ", "\ufffd"}
    piece = tokenizer("气", add_special_tokens=False).input_ids
    if len(piece) > 1:
        assert "‹" in shown(tokenizer, piece[0])


def test_the_largest_by_blocks() -> None:
    """As topk, also where the largest lie in one block, at the end, or are minus infinity."""
    generator = torch.Generator().manual_seed(0)
    for n in (300, 5003, 49152):
        values = torch.randn(5, n, generator=generator)
        values[1, :7] = 9.0 + torch.arange(7)
        values[2, -3:] = 9.0 + torch.arange(3)
        values[3, : n // 2] = -torch.inf
        best, at = predictions.top(values, 5)
        assert torch.equal(best, values.topk(5).values)
        assert torch.equal(values.gather(1, at), best)
    p = torch.softmax(values.double(), -1)
    seen = predictions.seen(values, torch.full((5,), 3), 2)
    assert seen.entropy.tolist() == pytest.approx([float(-torch.special.xlogy(r, r).sum()) for r in p], rel=1e-4)


@pytest.fixture
def results(tiny: Callable[..., LoadedModel]) -> list[Any]:
    loaded = tiny()
    trace = Model(loaded).explain(PROMPT, " Paris <b>.", raw=True, per_token=True, trust=False)
    return [
        next_tokens(loaded, PROMPT, raw=True, steps=3, strategy="top_k:50"),
        decode(loaded, TEXT, ["greedy", "beam:2"], steps=3),
        surprisal(loaded, TEXT),
        positions(loaded, TEXT, raw=True),
        logit_lens(loaded, TEXT, raw=True),
        anatomy(loaded),
        flow(trace),
    ]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_result_goes_everywhere(results: list[Any], lang: str, tmp_path: Path) -> None:
    """JSON and back, CSV that has every row, a page that loads nothing and escapes everything, a picture, a terminal
    without colour and one with it."""
    for r in results:
        again = type(r).from_dict(json.loads(r.to_json()))
        assert again.to_dict() == r.to_dict()
        table = list(
            csv.DictReader(io.StringIO(r.save(tmp_path / "r.csv").read_bytes().decode("utf-8-sig"), newline=""))
        )
        assert len(table) == len(r.rows())
        document = page(r, lang=lang)
        body = document.split("<body>")[1]
        assert "<b>" not in body
        assert "http" not in body.replace("http://www.w3.org/2000/svg", "")
        assert "default-src" in document
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a machine without a Chinese font
            assert r.save(tmp_path / "r.png", lang=lang).stat().st_size > 3000
        for color in (None, "truecolor"):
            out = io.StringIO()
            Console(file=out, width=80, color_system=color, force_terminal=color is not None).print(View(r, lang, True))
            assert out.getvalue().strip()
            assert ("\x1b" in out.getvalue()) == (color is not None)
            assert color is not None or max(len(line) for line in out.getvalue().splitlines()) <= 80
        with pytest.raises(SchemaError, match="expected an object"):
            type(r).from_dict({"schema": "other"})
        with pytest.raises(SchemaError, match="not a whole"):
            type(r).from_dict({"schema": r.SCHEMA})
        with pytest.raises(OutputError, match="cannot write"):
            r.save(tmp_path / "r.txt")


def test_the_schemas_are_what_is_written(results: list[Any]) -> None:
    """Every result validates against the schema that docs has of it, which is the one that its class describes."""
    docs = Path(__file__).parents[2] / "docs" / "pellucid.lens-1.schema.json"
    written = json.loads(docs.read_text("utf-8"))
    assert set(written["$defs"]) == {type(r).__name__ for r in results}
    for r in results:
        schema = json_schema(type(r))
        assert written["$defs"][type(r).__name__] == schema
        jsonschema.validate(r.to_dict(), schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**r.to_dict(), "schema": "other"}, schema)


def test_pandas_has_the_columns(results: list[Any]) -> None:
    pandas = pytest.importorskip("pandas")
    frame = results[0].to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns[:4]) == ["step", "text", "token_1", "prob_1"]
    assert len(frame) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grady", "Did you mean 'greedy'"),
        ("top_p:1.5", "a number above 0 to 1, given '1.5'"),
        ("top_p:x", "given 'x'"),
        ("beam:0", "a whole number from 1 to 64"),
        ("beam:2.5", "a whole number"),
        ("temperature:0", "above 0"),
        ("temperature:nan", "above 0"),
        ("greedy:1", "takes no number"),
        ("beam:2+top_p:0.9", "stands alone"),
        ("top_p:0.9+top_p:0.8", "twice"),
        ("", "a strategy is expected"),
    ],
)
def test_strategies_that_make_no_sense(text: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        parse(text)


def test_strategies_read_as_written() -> None:
    for name in STRATEGIES:
        assert parse(name).text.startswith(name)
    assert parse("top_p:0.9+temperature:0.7").text == "temperature:0.7+top_p:0.9"


def test_bad_input_is_one_sentence(tiny: Callable[..., LoadedModel]) -> None:
    loaded = tiny()
    cases: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: next_tokens(loaded, " "), InputError, "the prompt is empty"),
        (lambda: next_tokens(loaded, PROMPT, steps=0), OptionError, "steps should be a whole number"),
        (lambda: next_tokens(loaded, PROMPT, top_k=0), OptionError, "top_k should be from 1 to"),
        (lambda: next_tokens(loaded, PROMPT, top_k=10**6), OptionError, "the size of the vocabulary"),
        (lambda: next_tokens(loaded, PROMPT, steps=1000), ContextError, "ask for fewer steps"),
        (lambda: next_tokens(loaded, PROMPT, begin=[10**6]), OptionError, "begin should be ids of tokens"),
        (lambda: next_tokens(loaded, PROMPT, begin=["a"]), OptionError, "given 'a'"),
        (lambda: next_tokens(loaded, PROMPT, begin=[2, 5]), OptionError, "after a token that ends the text"),
        (lambda: decode(loaded, PROMPT, "greedy"), OptionError, "should be a list"),
        (lambda: surprisal(loaded, TEXT, window=1), OptionError, "window should be from 2"),
        (lambda: surprisal(loaded, "a", bos=False), InputError, "give more text"),
        (lambda: logit_lens(loaded, PROMPT, kind="residul"), OptionError, "Did you mean 'residual'"),
        (
            lambda: logit_lens(loaded, PROMPT, layers=[3]),
            OptionError,
            "there is no layer 3: this model has layers 0 to 2",
        ),
        (lambda: logit_lens(loaded, PROMPT, layers=[]), OptionError, "at least one"),
        (lambda: logit_lens(loaded, PROMPT, last=0), OptionError, "last should be"),
        (lambda: logit_lens(loaded, PROMPT, of="answer"), OptionError, "unknown answer"),
        (lambda: attention(loaded, PROMPT, heads=[4]), OptionError, "there is no head 4: this model has heads 0 to 3"),
        (lambda: attention(loaded, PROMPT, layers=[0]), OptionError, "there is no layer 0"),
        (lambda: TunedLens.load("none.safetensors"), InputError, "there is no tuned lens"),
        (lambda: next_tokens(replace(loaded, kind="classifier"), PROMPT), ModelError, "continues a text"),
    ]
    for call, kind, said in cases:
        with pytest.raises(kind, match=said):
            call()


def test_no_number_is_said(tiny: Callable[..., LoadedModel]) -> None:
    """A weight that is no number: an error that names model and precision, not a table of nothing."""
    loaded = tiny()
    with torch.no_grad():
        next(loaded.network.parameters())[:] = torch.nan
    for call in (lambda: next_tokens(loaded, PROMPT), lambda: surprisal(loaded, TEXT)):
        with pytest.raises(NumericError, match="logits came out as NaN"):
            call()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_equals_cpu(tiny: Callable[..., LoadedModel]) -> None:
    loaded = tiny()
    expected = surprisal(loaded, TEXT), next_tokens(loaded, PROMPT, raw=True, steps=4), decode(loaded, PROMPT, steps=4)
    loaded.network.to("cuda")
    found = surprisal(loaded, TEXT), next_tokens(loaded, PROMPT, raw=True, steps=4), decode(loaded, PROMPT, steps=4)
    assert found[0].bits == pytest.approx(expected[0].bits, rel=1e-3)
    assert found[1].text == expected[1].text
    assert found[2].outcomes[1].text == expected[2].outcomes[1].text


def test_the_commands(tiny_folder: Path, tmp_path: Path, capfd: Any) -> None:
    model = ["--model", str(tiny_folder), "--quiet"]
    for arguments, kind in (
        (["next", PROMPT, "--raw", "--steps", "2"], NextTokens),
        (["next", PROMPT, "--raw", "--positions"], Positions),
        (["decode", PROMPT, "--raw", "--strategies", "greedy,beam:2", "--steps", "3"], Decodings),
        (["surprisal", TEXT], Surprisal),
        (["lens", PROMPT, "--raw", "--layers", "0-2", "--last", "2"], LogitLens),
        (["inspect", str(tiny_folder)], Anatomy),
    ):
        path = tmp_path / f"{kind.__name__}.json"
        assert main([*arguments, *model, "--json", str(path), "--html", str(path.with_suffix(".html"))]) == 0
        assert isinstance(kind.load(path), kind)
        assert path.with_suffix(".html").stat().st_size > 1000
    text = tmp_path / "t.txt"
    text.write_text(" ".join([TEXT] * 12), encoding="utf-8")
    lens = tmp_path / "l.safetensors"
    assert main(["lens", "tune", "--file", str(text), "--steps", "1", "--out", str(lens), *model]) == 0
    assert main(["lens", PROMPT, "--raw", "--tuned", str(lens), *model, "--json", str(tmp_path / "t.json")]) == 0
    assert LogitLens.load(tmp_path / "t.json").tuned == TunedLens.load(lens).name
    trace, picture = tmp_path / "trace.json", tmp_path / "f.html"
    explain = ["explain", PROMPT, "--raw", "--target", " Paris", "--per-token", "--no-trust", "--json", str(trace)]
    assert main([*explain, *model]) == 0
    assert main(["flow", "--trace", str(trace), "--html", str(picture), "--quiet"]) == 0
    assert 'class="flow"' in picture.read_text("utf-8")
    assert main(["flow", PROMPT, "--raw", "--max-new-tokens", "2", *model, "--json", "-"]) == 0
    assert json.loads(capfd.readouterr().out.strip().splitlines()[-1])["schema"] == "pellucid.flow/1"
    for arguments, said in (
        (["lens", "tune"], "needs a text to train on"),
        (["next"], "expected one prompt"),
        (["lens", PROMPT, "--layers", "a"], "--layers should be numbers"),
        (["surprisal"], "expected one text"),
        (["next", PROMPT, "--csv", "x.txt"], "--csv writes a file that ends in .csv"),
        (["flow", PROMPT, "--trace", str(trace)], "holds a prompt already"),
    ):
        assert main([*arguments, *(model if arguments[0] != "flow" else [])]) == 2
        assert said in capfd.readouterr().err
