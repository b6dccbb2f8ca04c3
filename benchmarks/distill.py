"""Distillation against training alone: the same student, the same tokens in the same order, with and without a teacher.

    python benchmarks/distill.py --data tinyshakespeare.txt --out runs/distill
    python benchmarks/distill.py --data tinyshakespeare.txt --out runs/distill --teacher runs/shakespeare

The teacher is a ``char-tiny`` trained by the lab (4 layers; or a run that is there already), the student has half its
layers and is otherwise the same, from the same random weights both ways. Held-out loss: nats a character over the last
tenth of the text in consecutive blocks, hard targets alone. Prints a line a seed, then one JSON line: mean and standard
deviation over seeds of both losses, of their difference (paired by seed), and seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from pellucid.lab.distill import distill, read
from pellucid.lab.train import train
from pellucid.lab.training.distillation import Soft
from pellucid.lab.training.settings import Recipe
from pellucid.lab.training.settings import read as read_recipe


def half(recipe: Recipe) -> Recipe:
    """The recipe of a student of half the depth."""
    layers = int(recipe.model["num_hidden_layers"]) // 2
    return Recipe(recipe.data, {**recipe.model, "num_hidden_layers": layers}, recipe.train)


def toml(recipe: Recipe) -> str:
    """Its ``[model]`` as a file for ``--student``."""
    return "[model]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in recipe.model.items())


def spread(values: list[float]) -> dict[str, float]:
    """Mean and standard deviation."""
    return {"mean": statistics.mean(values), "sd": statistics.stdev(values) if len(values) > 1 else 0.0}


def main() -> int:
    """Train, distil, print."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True, help="text")
    p.add_argument("--out", required=True, help="folder for the runs; those that are whole are not run again")
    p.add_argument("--teacher", help="a finished run of the preset; default: it is trained first")
    p.add_argument("--preset", default="char-tiny")
    p.add_argument("--steps", type=int, help="of the students; default: the preset's")
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--temperature", type=float, default=1.0)
    p.add_argument("--alpha", type=float, default=0.5)
    p.add_argument("--divergence", default="forward")
    p.add_argument("--device", default="cpu")
    o = p.parse_args()
    out = Path(o.out)
    recipe = read_recipe(preset=o.preset, sources=[o.data])
    teacher = Path(o.teacher or out / "teacher")
    if o.teacher is None:
        train(recipe, teacher, device=o.device)
    student = out / "student.toml"
    out.mkdir(parents=True, exist_ok=True)
    student.write_text(toml(half(recipe)), encoding="utf-8")
    soft = Soft(temperature=o.temperature, alpha=o.alpha, divergence=o.divergence)
    name = f"{o.divergence}-t{o.temperature:g}-a{o.alpha:g}"
    lines: list[dict[str, Any]] = []
    for seed in range(o.seeds):
        more = {"seed": seed, **({} if o.steps is None else {"steps": o.steps})}
        settings = {**dataclasses.asdict(recipe.train), **more}
        alone = train(
            dataclasses.replace(half(recipe), train=dataclasses.replace(recipe.train, **more)),
            out / f"alone-{seed}",
            device=o.device,
        )
        asked = read(str(teacher), str(student), sources=[o.data], soft=soft, train=settings)
        taught = distill(asked, out / f"{name}-{seed}", device=o.device)
        assert alone.loss is not None
        assert taught.loss is not None
        assert alone.tokens == taught.tokens
        assert alone.parameters == taught.parameters
        line = {
            "seed": seed,
            "alone": alone.loss,
            "distilled": taught.loss,
            "difference": taught.loss - alone.loss,
            "teacher": taught.teacher_loss,
            "seconds_alone": alone.seconds,
            "seconds_distilled": taught.seconds,
        }
        lines.append(line)
        print(json.dumps(line), file=sys.stderr)
    found = {n: spread([line[n] for line in lines]) for n in lines[0] if n not in ("seed", "teacher")}
    print(
        json.dumps(
            {
                "preset": o.preset,
                "steps": settings["steps"],
                "tokens": alone.tokens,
                "parameters": {"student": alone.parameters, "teacher": taught.teacher_parameters},
                "soft": dataclasses.asdict(soft),
                "teacher": lines[0]["teacher"],
                **found,
                "better in": f"{sum(line['difference'] < 0 for line in lines)} of {len(lines)}",
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
