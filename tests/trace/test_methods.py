"""Every registered method through ``explain``: its trace is whole, is drawn, and says what the method promised."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from pellucid.errors import OptionError
from pellucid.model import Model
from pellucid.trace.methods import method, methods, parse, split
from pellucid.trace.result import Trace

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "pellucid.trace-1.schema.json").read_text())
CHEAP = {  # parameters that keep the slow ones short
    "sequential_integrated_gradients": {"steps": 1},
    "integrated_gradients": {"steps": 3},
    "discretized_integrated_gradients": {"steps": 2, "neighbors": 5},
    "smoothgrad": {"samples": 2},
    "gradient_shap": {"samples": 2},
    "kernel_shap": {"samples": 16},
    "lime": {"samples": 16},
    "shapley_sampling": {"permutations": 2},
    "context_cite": {"ablations": 8},
    "reagent": {"steps": 8},
}


@pytest.mark.parametrize("name", sorted(methods()))
@pytest.mark.parametrize("per_token", [False, True])
def test_every_method_makes_a_whole_trace(tiny, tmp_path: Path, name: str, per_token: bool) -> None:  # type: ignore[no-untyped-def]
    model = Model(tiny("llama"))
    stages: list[str] = []
    trace = model.explain(
        "What is the 首都 of France?",
        "Paris, 巴黎",
        method=name,
        per_token=per_token,
        progress=lambda stage, done, total: stages.append(stage),
        **CHEAP.get(name, {}),
    )
    assert trace.method.name == name
    assert np.isfinite(trace.total).all()
    assert (trace.total != 0).any()
    if not method(name).signed:
        assert (trace.total >= 0).all()
    assert (trace.scores is not None) == per_token
    if trace.scores is not None:
        seen = trace.scores[:, : len(trace.sources)]
        assert np.isfinite(seen).all()
    assert stages, "a long task shows progress"
    jsonschema.validate(trace.to_dict(), SCHEMA)
    path = trace.save(tmp_path / "t.json")
    again = Trace.load(path)
    assert again.to_dict() == trace.to_dict()
    for ending in ("html", "png"):
        assert trace.save(tmp_path / f"t.{ending}").stat().st_size > 1000
    trace.show()


@pytest.mark.parametrize("name", sorted(methods()))
def test_what_a_method_says_of_itself(name: str) -> None:
    """Its table row is filled, its parameters are those of its function, its file opens with a command to paste."""
    import importlib
    import inspect

    m = method(name)
    taken = inspect.signature(m.function).parameters
    assert list(taken)[1:] == list(m.parameters)
    assert all(taken[p].kind is inspect.Parameter.KEYWORD_ONLY for p in m.parameters)
    assert m.needs in ("gradient", "attention", "forward")
    assert "forward" in m.cost
    assert "arXiv" in m.paper or "doi" in m.paper
    doc = importlib.import_module(m.function.__module__).__doc__
    assert doc is not None
    assert f"--method {name}" in doc
    assert all(p in doc for p in m.parameters), "each parameter is explained"


def test_an_unknown_method_names_its_neighbours() -> None:
    with pytest.raises(
        OptionError, match=r"unknown method 'integrated_gradient'.* Did you mean 'integrated_gradients'"
    ):
        method("integrated_gradient")


def test_methods_are_read_from_text() -> None:
    chosen, parameters = parse('elimination:exact=[4, 0]:guides=["gim:times_input=false","ifr"]')
    assert (chosen.name, parameters) == ("elimination", {"exact": [4, 0], "guides": ["gim:times_input=false", "ifr"]})
    assert parse(" leave_one_out:replace=pad ")[1] == {"replace": "pad"}
    assert split('a:x=["b,c"],d', ",") == ['a:x=["b,c"]', "d"]
