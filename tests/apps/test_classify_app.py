"""Classes by label words and by heads: the formula, the checks, what is explained, and the view."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from tiny_heads import LABELS, with_head

from pellucid.apps.classification import Classification
from pellucid.apps.classify import classify
from pellucid.cli.main import main
from pellucid.errors import InputError, OptionError
from pellucid.model import Model
from pellucid.models.load import LoadedModel
from pellucid.render.blocks import Heading, Heat, Lines, Table
from pellucid.render.lensviews import blocks_of
from pellucid.testing import Scripted

TEXT = "the film was a joy from its first minute"


def weigh(prompt: str, before: Sequence[str], word: str) -> float:
    """A likely word that says nothing of the text, and two that the text decides between; the second words of the last
    two labels differ where the first does not."""
    text = prompt.split("\n\n")[0]
    if word == "usual":
        return -0.5
    known = {"good": "joy", "bad": "bore", "very": "film", "fine": "joy", "poor": "bore"}
    return -1.0 if known[word] in text else -3.0


def test_scores_are_log_probabilities_beside_neutral_ones() -> None:
    me = Scripted([], weigh=weigh)
    found = classify(me, TEXT, ["usual", "good", "bad"], traces=False)
    sums = {"usual": -0.5, "good": -1.0, "bad": -3.0}
    neutral = {"usual": -0.5, "good": -3.0, "bad": -3.0}  # the same after every text that says nothing
    whole = math.log(sum(math.exp(v) for v in neutral.values()))
    weights = {k: math.exp(sums[k] - neutral[k] + whole) for k in sums}
    for s in found.scores:
        assert s.logprob == pytest.approx(sums[s.label])
        assert s.neutral == pytest.approx(neutral[s.label] - whole)
        assert s.score == pytest.approx(sums[s.label] - neutral[s.label] + whole)
        assert s.prob == pytest.approx(weights[s.label] / sum(weights.values()))
    assert found.label == "good"
    assert found.confidence == pytest.approx(found["good"].prob)
    assert max(found.scores, key=lambda s: s.plain_prob).label == "usual"
    as_it_comes = classify(me, TEXT, ["usual", "good", "bad"], traces=False, calibrate=False)
    assert as_it_comes.label == "usual"
    assert as_it_comes["good"].prob == pytest.approx(as_it_comes["good"].plain_prob)


def test_neutral_probabilities_are_averaged_among_the_labels() -> None:
    """Zhao et al.: the mean of probabilities, not of their logs."""

    def by_text(prompt: str, before: Sequence[str], word: str) -> float:
        return {("one", "good"): -1.0, ("one", "bad"): -2.0, ("two", "good"): -5.0, ("two", "bad"): -3.0}.get(
            (prompt.split()[0], word), -1.0
        )

    found = classify(Scripted([], weigh=by_text), "text", ["good", "bad"], neutral=["one", "two"], traces=False)
    rows = [(math.exp(-1), math.exp(-2)), (math.exp(-5), math.exp(-3))]
    mean = sum(g / (g + b) for g, b in rows) / 2
    assert found["good"].neutral == pytest.approx(math.log(mean))
    assert found["good"].prob == pytest.approx((1 / mean) / (1 / mean + 1 / (1 - mean)))


def test_labels_that_begin_alike_are_whole_strings(embedded: Model) -> None:
    me = Scripted([], weigh=weigh)
    found = classify(me, TEXT, ["very fine", "very poor"], traces=False)
    assert found.label == "very fine"
    assert found["very poor"].logprob == pytest.approx(-4.0)  # -1 for the word that both share, -3 for the other
    labels = ["sports news", "sports equipment for sale"]
    real = classify(embedded, "The club won the cup.", labels, traces=False, neutral=["N/A"])
    ask = real.instruction.replace("{text}", "The club won the cup.").replace("{labels}", ", ".join(labels))  # type: ignore[union-attr]
    tokenizer: Any = embedded.loaded.tokenizer
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": ask}], add_generation_prompt=True, return_dict=False
    )
    for label in labels:
        ids = tokenizer(label, add_special_tokens=False).input_ids
        with torch.no_grad():
            logp = torch.log_softmax(embedded.loaded.network(torch.tensor([prompt + ids])).logits[0].double(), -1)
        each = [float(logp[len(prompt) - 1 + k, t]) for k, t in enumerate(ids)]
        assert real[label].logprob == pytest.approx(sum(each), abs=1e-3)
        assert real[label].mean_logprob == pytest.approx(sum(each) / len(each), abs=1e-3)


def test_what_is_explained(tiny: Callable[..., LoadedModel]) -> None:
    loaded = tiny("llama", torch.float64)
    how: dict[str, Any] = {"instruction": "{text} is", "calibrate": False, "trust": False}
    found = classify(loaded, "a dull film", ["A", "B"], methods=["saliency", "leave_one_out"], **how)
    other = next(s.label for s in found.scores if s.label != found.label)
    assert (found.explained, found.against) == ((found.label,), other)
    assert [u.text for u in found.traces[0].units] == ["a", "dull", "film"]  # the text's words, not the instruction's
    content = found.traces[0].prompt.messages[0]["content"]  # type: ignore[index]
    assert content[found.start :] == "a dull film is"
    # Leave-one-out of the contrast: both labels are one token, so it is the change of their difference of log p.
    tokenizer: Any = loaded.tokenizer
    ids = [s.id for s in found.traces[1].sources]
    pair = [tokenizer(w, add_special_tokens=False).input_ids for w in (found.label, other)]
    assert [len(p) for p in pair] == [1, 1]

    def margin(row: list[int]) -> float:
        with torch.no_grad():
            z = loaded.network(torch.tensor([row])).logits[0, -1]
        return float(z[pair[0][0]] - z[pair[1][0]])

    assert margin(ids) == pytest.approx(found[found.label].score - found[other].score)
    for u in found.traces[1].units:
        left = [t for i, t in enumerate(ids) if i not in u.tokens]
        assert u.score == pytest.approx(margin(ids) - margin(left), abs=1e-6)
    # The gradient of the other way round is the same with its sign turned: its norms are equal.
    asked = classify(loaded, "a dull film", ["A", "B"], methods=["saliency"], target=other, **how)
    assert (asked.explained, asked.against) == ((other,), found.label)
    assert [u.score for u in asked.traces[0].units] == pytest.approx([u.score for u in found.traces[0].units])
    # By itself: another objective, other scores.
    alone = classify(loaded, "a dull film", ["A", "B"], methods=["saliency"], contrast=False, **how)
    assert (alone.against, alone.traces[0].objective) == (None, "logprob")
    assert [u.score for u in alone.traces[0].units] != pytest.approx([u.score for u in found.traces[0].units])


def test_the_double_gives_traces_and_agreement() -> None:
    me = Scripted([])  # a label's words are known where the prompt holds them: the instruction holds them all
    found = classify(me, "joy joy", ["joy", "bore"], instruction="{text} =", methods=["attention", "saliency"])
    assert found.label == "joy"
    assert found.agreement is not None
    assert found.agreement.overlap == ((1.0, 1.0), (1.0, 1.0))
    assert found.agreement.entries == 2
    again = Classification.from_dict(json.loads(found.to_json()))
    assert again.to_dict() == found.to_dict()
    assert again.traces[1].to_dict() == found.traces[1].to_dict()
    none = classify(me, "joy joy", ["joy", "bore"], traces=False)
    assert (none.traces, none.agreement, none.against) == ((), None, None)
    begins = classify(me, "joy joy", ["joy", "joyful"], instruction="{text} =", methods=["saliency"])
    assert begins.against is None  # the one label's tokens may begin the other's: nothing to contrast
    chinese = classify(me, "这部电影很好看", ["好", "坏"], traces=False)
    assert "哪个标签" in (chinese.instruction or "")


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "value"])
def test_heads(kind: str) -> None:
    types = {"sigmoid": "multi_label_classification", "value": "regression"}
    loaded = with_head("bert", **({"problem_type": types[kind]} if kind in types else {}))
    text = "the film was good and not dull"
    with torch.no_grad():
        z = loaded.network(**loaded.tokenizer(text, return_tensors="pt")).logits[0]
    found = classify(loaded, text, methods=["saliency", "leave_one_out"], trust=False)
    assert [s.score for s in found.scores] == pytest.approx(z.tolist())
    assert found.kind == kind
    if kind == "value":
        assert found.confidence is None
        assert found.explained == LABELS
        assert found.traces[0].objective == "logit"
        with pytest.raises(OptionError, match="no classes to contrast"):
            classify(loaded, text, against="NEUTRAL")
        return
    p = z.softmax(-1) if kind == "softmax" else z.sigmoid()
    assert list(found.probabilities.values()) == pytest.approx(p.tolist())
    assert found.label == LABELS[int(z.argmax())]
    if kind == "sigmoid":
        assert found.chosen == found.explained == tuple(n for n, x in zip(LABELS, p, strict=True) if x > 0.5)
        assert found.against is None
    else:
        assert found.against == LABELS[int(z.argsort()[-2])]
        assert found.traces[0].details["objective"]["other"] == found.against
    with pytest.raises(OptionError, match=r"expected one of NEGATIVE, NEUTRAL, POSITIVE\..*has classes of its own"):
        classify(loaded, text, ["good", "bad"])
    some = classify(loaded, text, ["NEUTRAL", "POSITIVE"], traces=False)
    assert some["NEUTRAL"].prob == pytest.approx(float(p[1]))


def test_a_head_that_reads_two_texts() -> None:
    loaded = with_head("bert")
    found = classify(loaded, ("the film was good", "the film was bad"), methods=["saliency"], trust=False)
    assert (found.text, found.second) == ("the film was good", "the film was bad")
    assert {u.message for u in found.traces[0].units} == {0, 1}
    heats = [b for b in blocks_of(found, "en") if isinstance(b, Heat)]
    assert ["".join(p[0] for p in h.parts) for h in heats] == ["the film was good", "the film was bad"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"labels": None}, "has no classes of its own: give the labels"),
    ({"labels": "good,bad"}, "should be a list of words"),
    ({"labels": []}, "two labels or more, given none"),
    ({"labels": ["good"]}, "two labels or more, given one, 'good'"),
    ({"labels": ["good", " "]}, "label 2 should be a word or a few, given an empty one"),
    ({"labels": ["good", "bad", " GOOD "]}, "'good' is given twice"),
    ({"target": "great"}, "unknown target 'great': expected one of good, bad"),
    ({"target": ""}, "unknown target ''"),
    ({"against": "good", "target": "good"}, "nothing to contrast"),
    ({"against": "good", "contrast": False}, "leave against='good' out"),
    (
        {"instruction": "Which of {labels}?"},
        "should hold {text} once and {labels} at most once, and holds them 0 and 1",
    ),
    ({"methods": ["salience"]}, "Did you mean 'saliency'"),
    ({"methods": ["saliency"], "top_k": 0}, "top_k should be at least 1"),
    ({"text": ("one", "two")}, "label words are for one text, given 2"),
    ({"text": " \n"}, "the text should be a text, given an empty one"),
    ({"neutral": []}, "neutral should be a list of texts"),
]


@pytest.mark.parametrize(("given", "said"), BAD, ids=[s for _, s in BAD])
def test_what_cannot_be_is_one_sentence(given: dict[str, Any], said: str) -> None:
    whole: dict[str, Any] = {"text": TEXT, "labels": ["good", "bad"], **given}
    with pytest.raises((OptionError, InputError)) as e:
        classify(Scripted([]), whole.pop("text"), whole.pop("labels"), **whole)
    assert said in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_view_tells_it(lang: str) -> None:
    found = classify(Scripted([]), "joy it is", ["joy", "bore"], instruction="{text} =", methods=["saliency"])
    blocks = blocks_of(found, lang)
    title = next(b for b in blocks if isinstance(b, Heading))
    assert "joy" in title.text
    assert f"{100 * (found.confidence or 0):.0f}" in title.text
    table = next(b for b in blocks if isinstance(b, Table))
    assert [r[0].text for r in table.rows] == ["joy", "bore"]
    assert [r[0].strong for r in table.rows] == [True, False]
    shares = {text: share for text, share, _ in next(b for b in blocks if isinstance(b, Heat)).parts}
    assert shares["joy"] == 1.0
    assert shares["it"] == 0.0
    text = " ".join(line for b in blocks if isinstance(b, Lines) for line in b.lines)
    assert "3.9" in text  # KNOWN - UNKNOWN, by leave-one-out
    assert ("Trust" if lang == "en" else "可信度") in text


def test_command(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    assert main(["classify", " ", "--labels", "a,b"]) == 2
    assert "the text is empty" in capsys.readouterr().err
    assert main(["classify", "x", "--labels", "a,b", "--methods", "salience"]) == 2
    assert "Did you mean 'saliency'" in capsys.readouterr().err
    loaded = with_head("bert")
    loaded.network.float().save_pretrained(tmp_path / "m")
    loaded.tokenizer.save_pretrained(tmp_path / "m")
    ran = ["classify", "the film was good", "--model", str(tmp_path / "m"), "--methods", "saliency", "--no-trust"]
    assert main([*ran, "--json", "-"]) == 0
    said = Classification.from_dict(json.loads(capsys.readouterr().out))
    assert said.label in LABELS
    assert main([*ran, "--labels", "good,bad"]) == 2
    assert "expected one of NEGATIVE, NEUTRAL, POSITIVE" in capsys.readouterr().err
