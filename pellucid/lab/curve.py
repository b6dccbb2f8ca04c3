"""How a run's loss went: ``metrics.jsonl`` as plain data.

curve = read(Path("runs/mine"))
curve.held_out[-1]                   # (step, nats a token)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pellucid.errors import InputError


@dataclass(frozen=True)
class Curve:
    """``loss`` and ``held_out``: (step, nats a token), from the first step; ``name`` is the run's folder."""

    name: str
    loss: tuple[tuple[int, float], ...]
    held_out: tuple[tuple[int, float], ...]


def read(run: Path) -> Curve:
    """The curve of a run. Raises ``InputError`` where the folder holds none."""
    path = run / "metrics.jsonl"
    if not path.is_file():
        raise InputError(f"{run} has no metrics.jsonl: expected a folder that 'pellucid lab train' made")
    loss, held = [], []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            break  # being written, or torn by a kill
        loss.append((int(line["step"]), float(line["loss"])))
        if "held_out" in line:
            held.append((int(line["step"]), float(line["held_out"])))
    return Curve(run.name, tuple(loss), tuple(held))
