"""Ground truth for classifiers: a tiny BERT trained here, in which one known word decides the class.

A sentence is made of filler words, and holds one word that decides (three for each of three classes), or none, which is
a class of its own. So what is taken away is nothing new to the model, and the one token that an explanation has to find
is known. The same model with random weights must not find it.
"""

from __future__ import annotations

import random

import pytest
import torch
from tiny_heads import bert_tokenizer, config
from transformers import BertForSequenceClassification

from pellucid.model import Model
from pellucid.models.load import LoadedModel

CLASSES, EACH, FILLERS, CASES = 3, 3, 20, 60
DECIDING = [[f"d{chr(97 + c)}{chr(97 + k)}" for k in range(EACH)] for c in range(CLASSES)]
FILLER = [f"f{chr(97 + k)}" for k in range(FILLERS)]
LABELS = [*(f"class {c}" for c in range(CLASSES)), "none"]


def sentence(draw: random.Random) -> tuple[str, str | None, int]:
    """(text, the word that decides, class)."""
    words = [draw.choice(FILLER) for _ in range(draw.randint(6, 12))]
    label = draw.randrange(CLASSES + 1)
    if label == CLASSES:
        return " ".join(words), None, label
    word = draw.choice(DECIDING[label])
    words[draw.randrange(len(words))] = word
    return " ".join(words), word, label


def network() -> LoadedModel:
    tokenizer = bert_tokenizer([*FILLER, *(w for words in DECIDING for w in words)])
    torch.manual_seed(0)
    made = BertForSequenceClassification(
        config(
            "bert",
            len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            max_position_embeddings=24,
            initializer_range=0.1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            id2label=dict(enumerate(LABELS)),
        )
    )
    return LoadedModel.wrap(made, tokenizer, name="words")


@pytest.fixture(scope="module")
def trained() -> Model:
    """Seconds on one core."""
    model, draw = network(), random.Random(0)
    net = model.network.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(150):
        lessons = [sentence(draw) for _ in range(64)]
        batch = model.tokenizer([text for text, _, _ in lessons], padding=True, return_tensors="pt")
        loss = net(**batch, labels=torch.tensor([label for _, _, label in lessons])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval().requires_grad_(False)
    assert float(loss.detach()) < 0.01
    return Model(model)


def found_first(model: Model, method: str, **options: object) -> float:
    """The share of cases in which the word that decides has the largest score of the user's tokens."""
    draw, right, cases = random.Random(1), 0, 0
    while cases < CASES:
        text, word, label = sentence(draw)
        if word is None:
            continue
        trace = model.explain(text, LABELS[label], method=method, trust=False, **options)
        right += trace.top(1)[0].text.strip() == word
        cases += 1
    return right / cases


METHODS = [
    ("saliency", {}),
    ("input_x_gradient", {}),
    ("integrated_gradients", {"steps": 10, "baseline": "mean"}),
    ("smoothgrad", {"samples": 8, "noise": 0.05}),
    ("gradient_shap", {"samples": 8}),
    ("leave_one_out", {}),
    ("lime", {"samples": 64}),
    ("kernel_shap", {"samples": 64}),
    ("shapley_sampling", {"permutations": 2}),
]


@pytest.mark.parametrize(("method", "options"), METHODS, ids=[m for m, _ in METHODS])
def test_the_deciding_word_comes_first(trained: Model, method: str, options: dict[str, object]) -> None:
    assert found_first(trained, method, objective="logit", **options) >= 0.95


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "leave_one_out"])
def test_random_weights_do_not_find_it(method: str) -> None:
    assert found_first(Model(network()), method) <= 0.4, "nine words on average: chance is a ninth"


def test_the_answer_and_its_trust(trained: Model) -> None:
    trace = trained.explain("fa fb dba fc fd fe", method="leave_one_out")
    assert (trace.answer.text, trace.answer.generated) == ("class 1", True)
    assert trace.targets[0].prob > 0.9
    assert trace.trust is not None
    assert trace.trust.top_drop > 1
    other = trained.explain("fa fb fc fd")
    assert other.answer.text == "none"
