"""Ground truth for encoder-decoders: a tiny Marian trained here on word-for-word translation, where the source word
that each target word comes from is known.

A source is words in one order, its translation words of another vocabulary in a permuted order (each pair the other
way round): what decides a target word is one source word, at a place that is never its own. Now and then a source word
is blank and its translation too, so that the blank, which the methods put in a word's place, is nothing new to it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_seq2seq import make
from transformers import MarianConfig, MarianMTModel

from pellucid.models.load import LoadedModel
from pellucid.trace.methods import method
from pellucid.trace.objective import objective
from pellucid.trace.seq2seq import Seq2SeqRun

WORDS, LENGTH, CASES = 16, 6, 30
END, BLANK = 0, 1  # of both languages; then the source's words, the target's, padding last
FIRST, PAD = 2, 2 + 2 * WORDS + 1
ORDER = torch.arange(LENGTH).view(-1, 2).flip(1).flatten()  # target word i comes from source word ORDER[i]
BLANK_TARGET = 2 + 2 * WORDS


def sentences(count: int, random: torch.Generator, *, blanks: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Sources [count, LENGTH + 1], ended, and translations [count, LENGTH + 1]."""
    words = torch.randint(FIRST, FIRST + WORDS, (count, LENGTH), generator=random)
    gone = torch.rand(count, LENGTH, generator=random) < (0.15 if blanks else 0.0)
    source, target = words.masked_fill(gone, BLANK), (words + WORDS).masked_fill(gone, BLANK_TARGET)[:, ORDER]
    end = torch.full((count, 1), END)
    return torch.cat([source, end], 1), torch.cat([target, end], 1)


def network() -> MarianMTModel:
    torch.manual_seed(0)
    return MarianMTModel(
        MarianConfig(
            vocab_size=PAD + 1,
            d_model=64,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=128,
            decoder_ffn_dim=128,
            max_position_embeddings=32,
            pad_token_id=PAD,
            eos_token_id=END,
            decoder_start_token_id=PAD,
            forced_eos_token_id=None,
            scale_embedding=True,
            init_std=0.1,
            dropout=0.0,
        )
    )


@pytest.fixture(scope="module")
def trained() -> MarianMTModel:
    model, random = network(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95))
    for step in range(2000):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 100)
        source, target = sentences(64, random, blanks=True)
        fed = torch.cat([torch.full((64, 1), PAD), target[:, :-1]], 1)
        logits = model(input_ids=source, decoder_input_ids=fed).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step >= 300 and step % 50 == 49 and float(loss.detach()) < 0.001:
            break
    return model.eval()


def wrapped(model: MarianMTModel, folder: Path) -> LoadedModel:
    return LoadedModel.wrap(model, make("marian", folder).tokenizer, name="dictionary")


def found(model: LoadedModel, name: str, **parameters: object) -> float:
    """Share of target words whose largest source score, by magnitude, is that of the word it came from."""
    hits = 0
    sources, targets = sentences(CASES, torch.Generator().manual_seed(99), blanks=False)
    for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
        units = [[i] for i in range(LENGTH)]
        run = Seq2SeqRun(model, source, target[:-1], objective("logit"), units=units, per_token=True)
        matrix = method(name)(run, **parameters).matrix
        assert matrix is not None
        hits += int((matrix[:, :LENGTH].abs().argmax(1) == ORDER).sum())
    return hits / (CASES * LENGTH)


METHODS: list[tuple[str, dict[str, object]]] = [
    ("integrated_gradients", {"baseline": BLANK, "walk": "units", "steps": 20}),
    ("sequential_integrated_gradients", {"baseline": BLANK, "steps": 5}),
    ("discretized_integrated_gradients", {"baseline": BLANK, "walk": "units"}),
    ("attention", {}),
    ("leave_one_out", {"replace": BLANK}),
    ("shapley_sampling", {"replace": BLANK, "permutations": 10}),
    ("kernel_shap", {"replace": BLANK, "samples": 62}),
    ("lime", {"replace": BLANK, "samples": 62}),
]
#: The slope where a trained model stands is small and says less than the way there: 73 to 99 % over four seeds.
NEAR: list[tuple[str, dict[str, object]]] = [
    ("saliency", {}),
    ("input_x_gradient", {}),
    ("smoothgrad", {}),
    ("gradient_shap", {"baselines": [BLANK]}),
]


def test_the_model_has_learned(trained: MarianMTModel) -> None:
    source, target = sentences(300, torch.Generator().manual_seed(5), blanks=False)
    out = trained.generate(source, max_new_tokens=LENGTH + 1, num_beams=1, do_sample=False)[:, 1:]
    assert float((out == target).double().mean()) >= 0.995


@pytest.mark.parametrize(("name", "parameters"), METHODS, ids=[n for n, _ in METHODS])
def test_methods_find_the_word_it_came_from(
    trained: MarianMTModel, tmp_path: Path, name: str, parameters: dict[str, object]
) -> None:
    share = found(wrapped(trained, tmp_path), name, **parameters)
    assert share >= 0.95, f"{name}: {share:.0%}"


@pytest.mark.parametrize(("name", "parameters"), NEAR, ids=[n for n, _ in NEAR])
def test_local_gradients_come_near(
    trained: MarianMTModel, tmp_path: Path, name: str, parameters: dict[str, object]
) -> None:
    share = found(wrapped(trained, tmp_path), name, **parameters)
    assert share >= 0.65, f"{name}: {share:.0%}"


@pytest.mark.parametrize(("name", "parameters"), METHODS + NEAR, ids=[n for n, _ in METHODS + NEAR])
def test_an_untrained_model_has_nothing_to_find(tmp_path: Path, name: str, parameters: dict[str, object]) -> None:
    """By chance the word is first in one case of six."""
    share = found(wrapped(network(), tmp_path), name, **parameters)
    assert share <= 0.35, f"{name}: {share:.0%}"
