"""The registry of attribution methods: one file each, and one line in ``MODULES``.

    pellucid methods

A method is a function ``(run, **parameters) -> Scores`` with a ``Method`` that says what it is. ``run`` (an
``engine.Run``) is one prompt and answer inside one model; the method asks it for gradients, and says nothing of
memory, batching, precision or which targets are wanted.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pellucid.errors import OptionError, unknown
from pellucid.models.kinds import KINDS
from pellucid.models.quantization import kernels

if TYPE_CHECKING:
    from pellucid.trace.engine import Run, Scores

#: The files of this folder, in the order in which they are listed.
MODULES = (
    "saliency",
    "input_x_gradient",
    "integrated_gradients",
    "sequential_integrated_gradients",
    "discretized_integrated_gradients",
    "smoothgrad",
    "gradient_shap",
    "deeplift",
    "gim",
    "layered_gim",
    "layered_saliency",
    "attention",
    "attention_rollout",
    "attention_x_gradient",
    "value_zeroing",
    "ifr",
    "leave_one_out",
    "hierarchical_leave_one_out",
    "guided_leave_one_out",
    "elimination",
    "lime",
    "kernel_shap",
    "shapley_sampling",
    "context_cite",
    "reagent",
)


@dataclass(frozen=True)
class Method:
    """A method and what a user should know of it.

    ``needs`` is what the model must allow (``gradient``, ``attention``, ``forward``); ``kinds`` are the kinds of model
    (``pellucid.models.kinds``) that the method knows. ``ranks``: what matters most is the largest ``magnitude``, or the
    largest score as it stands (``signed``: a negative one says that the answer does better without).
    """

    name: str
    description: str
    paper: str
    formula: str
    cost: str
    signed: bool
    needs: str
    function: Callable[..., Scores]
    parameters: dict[str, Any] = field(default_factory=dict)
    merge: str = "sum"
    kinds: tuple[str, ...] = KINDS
    ranks: str = "magnitude"

    def check_kind(self, kind: str, name: str) -> None:
        """Raise ``OptionError`` where this kind of model is not one that the method knows."""
        if kind not in self.kinds:
            able = ", ".join(m.name for m in methods().values() if kind in m.kinds)
            raise OptionError(
                f"method '{self.name}' does not know models of the kind '{kind}', and '{name}' is one: expected one of "
                f"{able}"
            )

    def check(self, parameter: str) -> None:
        """Raise ``OptionError`` for a parameter that the method does not have."""
        if parameter not in self.parameters:
            has = f"one of {', '.join(self.parameters)}" if self.parameters else "it has none"
            raise OptionError(f"method '{self.name}' has no parameter '{parameter}': {has}")

    def __call__(self, run: Run, **parameters: Any) -> Scores:
        """Scores of ``run``, with the parameters given over the defaults."""
        for name in parameters:
            self.check(name)
        with kernels(run.loaded.network, f"method '{self.name}'"):
            return self.function(run, **{**self.parameters, **parameters})


def methods() -> dict[str, Method]:
    """All methods by name."""
    found: dict[str, Method] = {}
    for module in MODULES:
        m: Method = importlib.import_module(f"{__name__}.{module}").METHOD
        found[m.name] = m
    return found


def method(name: str) -> Method:
    """The method of that name. Raises ``OptionError``."""
    known = methods()
    if name not in known:
        raise unknown("method", name, list(known))
    return known[name]


def parse(text: str) -> tuple[Method, dict[str, Any]]:
    """A method with parameters from text: ``gim`` or ``gim:times_input=false``, values as in JSON or else as text.
    Raises ``OptionError``."""
    name, *given = split(text.strip(), ":")
    chosen, parameters = method(name), {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise OptionError(f"parameters of '{name}' should look like {name}:name=value, given {text!r}")
        chosen.check(key)
        try:
            parameters[key] = json.loads(value)
        except json.JSONDecodeError:
            parameters[key] = value
    return chosen, parameters


def split(text: str, mark: str) -> list[str]:
    """``text`` cut at each ``mark`` that stands outside brackets and quotes."""
    parts, depth, quoted = [""], 0, False
    for c in text:
        quoted ^= c == '"'
        depth += 0 if quoted else (c in "[{") - (c in "]}")
        if c == mark and not depth and not quoted:
            parts.append("")
        else:
            parts[-1] += c
    return parts
