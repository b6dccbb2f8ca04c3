"""``pellucid methods``: the table of attribution methods and objectives, from the registries.

pellucid methods
"""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = commands.add_parser("methods", help="list attribution methods and objectives")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print both tables."""
    from pellucid.render.listing import table
    from pellucid.trace.methods import methods
    from pellucid.trace.objective import OBJECTIVES, RECIPES

    table(
        "Methods",
        ("name", "what it says", "formula", "signed", "cost", "parameters", "paper"),
        [
            (
                m.name,
                m.description,
                m.formula,
                "yes" if m.signed else "no",
                m.cost,
                ", ".join(f"{k}={v}" for k, v in m.parameters.items()) or "none",
                m.paper,
            )
            for m in methods().values()
        ],
    )
    table(
        "Objectives",
        ("name", "formula", "unit", "needs", "paper"),
        [(o.name, o.formula, o.unit, "nothing", "none") for o in OBJECTIVES.values()]
        + [(r.name, r.formula, r.unit, r.needs, r.paper) for r in RECIPES.values()],
    )
    return 0
