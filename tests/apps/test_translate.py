"""Translations: the alignment of a model that translates word for word, the matrix's sums, clean tokens, the view."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_dictionary import ENGLISH, FIRST, GERMAN, LENGTH, ORDER, sentences, wrapped
from tiny_heads import with_head
from tiny_seq2seq import SOURCE, TARGET, make
from transformers import MarianMTModel

from pellucid.apps.translate import translate
from pellucid.apps.translation import Translation
from pellucid.cli.main import main
from pellucid.errors import InputError, OptionError
from pellucid.model import Model
from pellucid.render.blocks import Heading, Heat, Lines, Table
from pellucid.render.lensviews import blocks_of
from pellucid.testing import Scripted


def test_the_alignment_is_the_dictionary(dictionary: MarianMTModel) -> None:
    """The words of 20 translations rest on the words that they translate."""
    model, right, hits = wrapped(dictionary), 0, 0
    sources, _ = sentences(20, torch.Generator().manual_seed(3), blanks=False)
    for row in sources[:, :LENGTH].tolist():
        english = [ENGLISH[i - FIRST] for i in row]
        found = translate(model, " ".join(english), trust=False)
        right += found.translation == " ".join(GERMAN[ENGLISH.index(english[k])] for k in ORDER)
        assert found.generated
        assert len(found.words) == LENGTH
        for k, w in enumerate(found.words):
            place = int(ORDER[k])
            first = w.sources[0]
            hits += first.start == sum(len(e) + 1 for e in english[:place]) and first.text == english[place]
            assert found.source[first.start : first.end] == first.text
    assert right >= 18  # the model is wrong now and then
    assert hits >= 0.95 * 20 * LENGTH


def test_words_sum_the_matrix_and_tokens_are_clean(tmp_path: Path) -> None:
    model = make("marian", tmp_path)
    found = translate(model, SOURCE, TARGET, method="input_x_gradient", top=9, trust=False)
    trace = found.trace
    assert trace.scores is not None
    assert not found.generated
    assert "".join(found.target_tokens) == found.translation == TARGET
    assert "".join(s.text for s in trace.sources if s.role == "user") == SOURCE
    assert not any("▁" in t or "�" in t for t in (*found.source_tokens, *found.target_tokens))
    assert "▁" in [s.text for s in trace.sources]  # a blank that no text stands for, which is told by a name
    assert not any("▁" in c for b in blocks_of(found, "en") if isinstance(b, Table) for c in b.columns)
    assert len(trace.targets) > len(found.words)  # words of several tokens
    assert [w.text for w in found.words] == ["Das", "Haus", "ist", "klein", "."]
    matrix, border = trace.scores.astype(float), len(trace.sources)

    def inside(tokens: Any, text: str, start: int, end: int) -> list[int]:
        """Plain: those whose text without its blank begins there."""
        return [
            i
            for i, t in enumerate(tokens)
            if t.start is not None and start <= t.end - len(text[t.start : t.end].lstrip()) < end
        ]

    for k, w in enumerate(found.words):
        own = inside(trace.targets, TARGET, w.start, w.end)
        assert w.logprob == pytest.approx(sum(trace.targets[i].logprob for i in own))
        source = 0.0
        for s in w.sources:
            there = inside(trace.sources, SOURCE, s.start, s.end)
            assert s.score == pytest.approx(sum(matrix[i, j] for i in own for j in there), rel=1e-4)
            source += abs(s.score)
        assert {s.text for s in w.sources} == {"The", "house", "is", "small", "."}
        assert all(a.share >= b.share for a, b in pairwise(w.sources))
        assert sum(s.share for s in w.sources) == pytest.approx(1)
        if k:
            before = [inside(trace.targets, TARGET, v.start, v.end) for v in found.words[: k + 1]]
            prefix = sum(abs(np.nansum(matrix[np.ix_(own, [border + j for j in js])])) for js in before)
            assert w.from_source == pytest.approx(source / (source + prefix), rel=1e-4)
    assert found.words[0].from_source is None  # nothing stands before it
    again = Translation.from_dict(json.loads(found.to_json()))
    assert again.to_dict() == found.to_dict()
    assert np.array_equal(again.trace.scores, trace.scores, equal_nan=True)  # type: ignore[arg-type]


def test_bytes_of_a_character_are_that_character(tmp_path: Path) -> None:
    found = translate(make("bart", tmp_path), "naïve 🦉 here", "grün 🦉", trust=False)
    assert not any("�" in t or "Ġ" in t for t in (*found.source_tokens, *found.target_tokens))
    grids = [b for b in blocks_of(found, "en") if isinstance(b, Table) and b.grid]
    assert [r[0].text for r in grids[0].rows].count("🦉") == 1  # pieces of a character are one row
    assert grids[0].columns.count("🦉") == 1


def test_languages(tmp_path: Path) -> None:
    model = make("m2m100", tmp_path)
    found = translate(model, SOURCE, TARGET, source_language="en", target_language="fr", trust=False)
    assert (found.source_language, found.target_language) == ("en", "fr")
    with pytest.raises(OptionError, match="unknown target_language 'xx'"):
        translate(model, SOURCE, target_language="xx")
    with pytest.raises(OptionError, match="takes no target_language"):
        translate(make("marian", tmp_path / "m"), SOURCE, target_language="de")


def test_what_cannot_be_is_one_sentence(embedded: Model, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="is a causal model, and a translation needs an encoder-decoder"):
        translate(embedded, SOURCE)
    with pytest.raises(OptionError, match="is a classifier, and"):
        translate(with_head("bert"), SOURCE)
    with pytest.raises(OptionError, match="expected a translation model"):
        translate(Scripted([]), SOURCE)  # type: ignore[arg-type]
    model = make("marian", tmp_path)
    with pytest.raises(OptionError, match="the text to translate should be a text, given an empty one"):
        translate(model, "  ")
    with pytest.raises(OptionError, match="the translation should be a text, given an empty one"):
        translate(model, SOURCE, "")
    with pytest.raises(OptionError, match="top should be at least 1"):
        translate(model, SOURCE, top=0)
    with pytest.raises(InputError, match=r"the source's .* tokens .* do not fit"):
        translate(model, SOURCE * 40)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_view_tells_it(dictionary: MarianMTModel, lang: str) -> None:
    # Given: how well the model learnt depends on the machine's order of sums, and may leave a sentence unanswered.
    found = translate(
        wrapped(dictionary), "dog cat tree house water book", "Katze Hund Haus Baum Buch Wasser", trust=False
    )
    blocks = blocks_of(found, lang)
    assert next(b for b in blocks if isinstance(b, Heading)).text == "Katze Hund Haus Baum Buch Wasser"
    assert "".join(p[0] for p in next(b for b in blocks if isinstance(b, Heat)).parts) == found.source
    words, source, prefix = (b for b in blocks if isinstance(b, Table))
    assert [(r[0].text, r[1].text) for r in words.rows] == [
        ("Katze", "cat"), ("Hund", "dog"), ("Haus", "house"), ("Baum", "tree"), ("Buch", "book"), ("Wasser", "water")
    ]  # fmt: skip
    assert source.columns[1:] == (*found.source.split(), "</s>")
    assert prefix.columns[1:] == tuple(found.translation.split()[:-1])
    for k, row in enumerate(source.rows):  # the darkest cell is the word it comes from
        shares = [c.share or 0 for c in row[1:]]
        assert shares.index(1.0) == int(ORDER[k])
    assert [c.text for c in prefix.rows[0][1:]] == [""] * 5  # nothing stands before the first
    text = " ".join(line for b in blocks if isinstance(b, Lines) for line in b.lines)
    assert "dictionary" in text
    alone = blocks_of(
        translate(wrapped(dictionary), "dog cat", "Katze Hund", method="leave_one_out", trust=False), lang
    )
    said = " ".join(line for b in alone if isinstance(b, Lines) for line in b.lines)
    assert ("changes the source alone" if lang == "en" else "只改动原文") in said


def test_command(dictionary: MarianMTModel, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["translate", "dog"]) == 2
    assert "no embedded model is a translator" in capsys.readouterr().err
    assert main(["translate", "dog", "--model", "x", "--method", "salience"]) == 2
    assert "Did you mean 'saliency'" in capsys.readouterr().err
    folder = tmp_path / "m"
    model = wrapped(dictionary)
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    line = " ".join(ENGLISH[:LENGTH])
    assert main(["translate", line, "--model", str(folder), "--json", "-", "--csv", str(tmp_path / "t.csv")]) == 0
    found = Translation.from_dict(json.loads(capsys.readouterr().out))
    assert found.translation == " ".join(GERMAN[int(k)] for k in ORDER)
    assert (tmp_path / "t.csv").read_text(encoding="utf-8").count("\n") >= 3 * LENGTH
