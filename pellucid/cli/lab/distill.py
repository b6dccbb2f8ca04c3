"""``pellucid lab distill``: a small model learns from a larger one.

pellucid lab distill --teacher smollm2-135m-instruct --student gpt-small.toml --data corpus/ --out runs/small
pellucid lab distill --teacher runs/large --student half --data book.txt --top-k 64 --out runs/half
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

MUCH = 0.3  # of the teacher's mass, left out by top-k


def add(commands: Any) -> None:
    """Put the command on the parser."""
    from pellucid.cli.lab.running import add_shown, add_training

    p: argparse.ArgumentParser = commands.add_parser(
        "distill",
        help="teach a small model what a larger one expects",
        description="The student learns the teacher's expectations (soft targets) beside the text itself. Run again "
        "with the same options, it goes on where it was stopped. The folder is an ordinary model: "
        "pellucid explain --model DIR ...",
    )
    p.add_argument("--teacher", required=True, metavar="MODEL", help="embedded name, Hub id, folder or .gguf file")
    p.add_argument(
        "--student",
        required=True,
        metavar="WHAT",
        help="TOML with the tables [model], [train], [data] (it gets the teacher's tokenizer); a model of the same "
        "vocabulary; or half: every second of the teacher's layers",
    )
    p.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="SOURCE",
        help="file, folder, .jsonl, hub:NAME[:SPLIT] or stdlib; may be repeated",
    )
    p.add_argument("--out", required=True, metavar="DIR", help="folder of the run")
    p.add_argument("--field", metavar="NAME", help="where a JSON line keeps its text")
    loss = p.add_argument_group("soft targets")
    loss.add_argument("--temperature", type=float, metavar="F", help="of both distributions; default: 1")
    loss.add_argument("--alpha", type=float, metavar="F", help="share of the soft targets in the loss; default: 0.5")
    loss.add_argument("--divergence", metavar="NAME", help="forward KL (default) or reverse")
    loss.add_argument("--top-k", type=int, metavar="N", help="keep the teacher's N likeliest tokens; default: all")
    training = p.add_argument_group("training (default: the TOML file's, or as in 'pellucid lab train')")
    add_training(training, {"rate": "of a student with weights: 2e-4"})
    add_shown(p)
    p.add_argument("--trust-remote-code", action="store_true", help="run code that comes with a Hub model")
    p.add_argument("--accept-license", action="store_true", help="accept an embedded model's terms, once")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Distil, draw the loss as it goes, and say what came of it."""
    from pellucid.cli.lab.running import TRAINING, given, running
    from pellucid.lab.distill import distill, read
    from pellucid.lab.training.distillation import Soft

    out = Path(options.out)
    asked = read(
        options.teacher,
        options.student,
        sources=options.data,
        soft=Soft(**given(options, ["temperature", "alpha", "divergence", "top_k"])),
        data=given(options, ["field"]),
        train=given(options, TRAINING),
    )
    with running(options, out, asked.as_dict()) as shown:
        done = distill(
            asked,
            out,
            device=options.device,
            load={n: getattr(options, n) for n in ("trust_remote_code", "accept_license")},
            progress=shown.progress,
            watch=shown.watch,
            stop=shown.stop,
        )
    if not done.first:
        return 0
    shown.draw()
    for note in done.notes:
        print(note, file=sys.stderr)
    if not options.quiet:
        report(done, asked.soft)
    return 130 if done.stopped else 0


def report(done: Any, soft: Any) -> None:
    """The summary on standard output."""
    held = "" if done.teacher_loss is None else f", held-out loss {done.teacher_loss:.4f} nats a token"
    print(f"teacher: {done.teacher}, {done.teacher_parameters:,} parameters{held}")
    held = "" if done.loss is None else f", held-out loss {done.loss:.4f}"
    print(
        f"student: {done.student}, {done.parameters:,} parameters ({done.parameters / done.teacher_parameters:.0%})",
        end="",
    )
    print(f"{held} after {done.steps:,} steps, {done.tokens:,} tokens in {done.seconds:.0f} s")
    if soft.top_k is not None:
        kept = f"outside the teacher's {soft.top_k:,} likeliest tokens: {done.rest:.1%} of its mass"
        hint = "; a lower --temperature or a larger --top-k would tell the student more" if done.rest > MUCH else ""
        print(f"{kept} at temperature {soft.temperature:g}{hint}")
    if done.stopped:
        print(f"stopped after step {done.steps:,}; the same command goes on")
        return
    print(f"\n{done.sample.strip()}\n")
    print(f'the model: pellucid explain --model {done.folder} --raw "..."')
