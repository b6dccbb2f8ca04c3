"""Options that are wrong whatever the model: found before one is loaded.

check("saliency", objective="contrast")     # OptionError: objective 'contrast' needs instead_of
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.trace import auto
from pellucid.trace import objective as objectives
from pellucid.trace import spans as places
from pellucid.trace import units as stretches
from pellucid.trace.methods import Method
from pellucid.trace.methods import method as get_method
from pellucid.trace.objective import Function
from pellucid.trace.reference import Part
from pellucid.trace.units import Kind


def check(
    method: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    budget: str | None = None,
    objective: str | Function = "logprob",
    instead_of: str | None = None,
    without: Part | None = None,
    reduce: str = "sum",
    spans: Mapping[str, str | tuple[int, int]] | None = None,
    unit: Kind = "token",
    merge: str | None = None,
) -> Method | None:
    """The method of that name, None for ``auto``; raises ``OptionError`` for what is wrong whatever the model."""
    auto.check(method, budget, parameters)
    chosen = None if method == auto.AUTO else get_method(method)
    for name in parameters or {}:
        if chosen is not None:
            chosen.check(name)
    objectives.check(objective, instead_of=instead_of, without=without, reduce=reduce)
    stretches.check(unit, merge)
    places.check(spans)
    return chosen
