"""``method="auto"``: what it takes, what it says of it, and what it refuses."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tiny_heads import with_head
from tiny_seq2seq import SOURCE
from tiny_seq2seq import make as make_seq2seq

from pellucid.errors import ModelError, OptionError
from pellucid.models.kinds import KINDS
from pellucid.models.load import LoadedModel
from pellucid.render.terminal import render
from pellucid.trace import auto
from pellucid.trace.explain import explain
from pellucid.trace.methods import method

TEXT = "The capital of France is"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("budget", auto.BUDGETS)
def test_every_choice_can_be_made(kind: str, budget: str) -> None:
    choices = auto.choices(kind, budget)
    assert choices
    for c in choices:
        chosen = method(c.method)
        chosen.check_kind(kind, "a model")
        for name in c.parameters:
            chosen.check(name)
        assert len(c.why) > 20


@pytest.mark.parametrize("budget", auto.BUDGETS)
def test_auto_is_the_method_it_names(tiny: Callable[..., LoadedModel], budget: str) -> None:
    model = tiny()
    trace = explain(model, TEXT, " Paris", method="auto", budget=budget, raw=True, trust=False)
    said = trace.details["auto"]
    first = auto.choices("causal", budget)[0]
    assert (said["budget"], said["method"], said["why"], said["passed"]) == (budget, first.method, first.why, [])
    assert trace.method.name == first.method
    plain = explain(model, TEXT, " Paris", method=first.method, parameters=first.parameters, raw=True, trust=False)
    np.testing.assert_array_equal(trace.total, plain.total)


@pytest.mark.parametrize("budget", auto.BUDGETS)
@pytest.mark.parametrize("name", ["classifier", "span", "marian", "t5", "bart"])
def test_auto_works_for_every_kind(name: str, budget: str, tmp_path: Path) -> None:
    chooser = name in ("classifier", "span")
    model = with_head("bert", name) if chooser else make_seq2seq(name, tmp_path / "model")
    prompt = ("Who came?", "Ann came at noon.") if name == "span" else "good film, 好" if chooser else SOURCE
    trace = explain(model, prompt, method="auto", budget=budget, trust=False, max_new_tokens=6)
    chosen = auto.choices(model.kind, budget)[0]
    assert trace.method.name == chosen.method
    assert trace.details["auto"]["passed"] == []
    plain = explain(model, prompt, method=chosen.method, parameters=chosen.parameters, trust=False, max_new_tokens=6)
    np.testing.assert_array_equal(trace.total, plain.total)


def test_what_a_family_does_not_know_is_passed_over(
    tiny: Callable[..., LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ModelError("this method does not know this family")

    first, second = auto.choices("causal", "fast")[:2]
    real = method(first.method)
    monkeypatch.setattr(type(real), "__call__", _only(first.method, refuse, type(real).__call__))
    trace = explain(tiny(), TEXT, " Paris", method="auto", budget="fast", raw=True, trust=False)
    assert trace.method.name == second.method
    assert trace.details["auto"]["passed"] == [f"{first.method}: this method does not know this family"]


def _only(name: str, instead: Callable[..., object], usual: Callable[..., object]) -> Callable[..., object]:
    def call(self, run, **parameters):  # type: ignore[no-untyped-def]
        return instead() if self.name == name else usual(self, run, **parameters)

    return call


def test_what_auto_refuses(tiny: Callable[..., LoadedModel]) -> None:
    with pytest.raises(OptionError, match=r"budget 'fats'.*fast"):
        explain(tiny(), TEXT, " Paris", method="auto", budget="fats")
    with pytest.raises(OptionError, match="budget chooses a method for method='auto'"):
        explain(tiny(), TEXT, " Paris", method="ifr", budget="fast")
    with pytest.raises(OptionError, match="name a method to give your own"):
        explain(tiny(), TEXT, " Paris", method="auto", parameters={"steps": 3})


@pytest.mark.parametrize(("lang", "words"), [("en", "Chosen for the budget"), ("zh", "按预算")])
def test_the_terminal_says_what_was_chosen(tiny: Callable[..., LoadedModel], lang: str, words: str) -> None:
    trace = explain(tiny(), TEXT, " Paris", method="auto", budget="fast", raw=True, trust=False)
    console = Console(width=200, file=io.StringIO())
    console.print(render(trace, lang=lang))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert words in said
    assert auto.choices("causal", "fast")[0].why[:30] in said
