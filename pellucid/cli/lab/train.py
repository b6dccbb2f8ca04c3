"""``pellucid lab train``: a language model from text.

pellucid lab train --preset stdlib-tiny --out runs/mine
pellucid lab train --data book.txt --preset char-tiny --out runs/shakespeare --steps 500
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from pellucid.cli.lab.bars import interruptible, training_bar

REDRAW = 10.0  # seconds between two drawings of the loss curve
FLAGS = {
    "steps": (int, "optimiser steps"),
    "rows": (int, "blocks of text a step"),
    "context": (int, "tokens of a block"),
    "accumulate": (int, "micro-batches that a step's rows are cut into"),
    "rate": (float, "learning rate at its peak"),
    "optimiser": (str, "adamw or muon"),
    "schedule": (str, "cosine, linear, constant or wsd"),
    "warmup": (int, "steps in which the rate rises"),
    "precision": (str, "auto, fp32, bf16 or fp16"),
    "evaluate_every": (int, "steps between two looks at the held-out text"),
    "save_every": (int, "steps between two checkpoints"),
    "keep_last": (int, "checkpoints that are kept beside the best; 0: all"),
    "seed": (int, "of weights, order and dropout"),
    "attention": (str, "kernel: auto, sdpa, eager, or flex_attention (CUDA)"),
    "spread": (str, "over several processes: ddp or fsdp"),
}


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="train a language model on text",
        description="Train a small language model on text. Run again with the same options, it goes on where it was "
        "stopped. The folder is an ordinary model: pellucid explain --model DIR ...",
    )
    from pellucid.lab.presets import PRESETS

    p.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="SOURCE",
        help="file, folder, .jsonl, hub:NAME[:SPLIT] or stdlib; may be repeated",
    )
    p.add_argument("--preset", metavar="NAME", help=f"what to begin from: {', '.join(PRESETS)}")
    p.add_argument("--config", metavar="FILE", help="TOML with the tables [data], [model], [train]")
    p.add_argument("--out", required=True, metavar="DIR", help="folder of the run")
    p.add_argument("--tokenizer", metavar="KIND", help="characters, bytepairs, or a model whose tokenizer is taken")
    p.add_argument("--vocab-size", type=int, metavar="N", help="tokens of a byte-pair tokenizer")
    p.add_argument("--field", metavar="NAME", help="where a JSON line keeps its text")
    for name, (kind, text) in FLAGS.items():
        p.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=kind.__name__.upper()[:1], help=text)
    p.add_argument("--compile", action="store_true", default=None, help="compile the model (torch.compile)")
    p.add_argument(
        "--checkpointing", action="store_true", default=None, help="run layers again instead of keeping them"
    )
    p.add_argument(
        "--track", action="append", default=[], metavar="NAME", help="also log to tensorboard, wandb or trackio"
    )
    p.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps")
    p.add_argument("--quiet", action="store_true", help="no progress, no summary")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, draw the loss as it goes, and say what came of it."""
    from pellucid import progress as bars
    from pellucid.lab.curve import read as read_curve
    from pellucid.lab.train import train
    from pellucid.lab.training.settings import read
    from pellucid.lab.training.trackers import tracking
    from pellucid.render.curve import save_curve

    out = Path(options.out)
    given = {n: v for n in (*FLAGS, "compile", "checkpointing") if (v := getattr(options, n)) is not None}
    data = {n: v for n in ("tokenizer", "vocab_size", "field") if (v := getattr(options, n)) is not None}
    recipe = read(preset=options.preset, config=options.config, sources=options.data, data=data, train=given)
    drawn = time.monotonic()

    def draw() -> None:
        nonlocal drawn
        if (out / "metrics.jsonl").is_file():
            save_curve(read_curve(out), out / "loss.png")
        drawn = time.monotonic()

    with (
        tracking(options.track, out, recipe.as_dict()) as track,
        interruptible() as stop,
        bars.terminal(enabled=None if not options.quiet else False) as shown,
    ):
        progress = bars.silent if options.quiet else shown
        with training_bar(recipe.train.steps, enabled=False if options.quiet else None) as bar:

            def watch(metrics: dict[str, Any]) -> None:
                bar(metrics)
                track(metrics)
                if time.monotonic() - drawn > REDRAW:
                    draw()

            done = train(recipe, out, device=options.device, progress=progress, watch=watch, stop=stop)
    if not done.first:
        return 0
    draw()
    if not options.quiet:
        report(done, recipe)
    return 130 if done.stopped else 0


def report(done: Any, recipe: Any) -> None:
    """The summary on standard output; what was passed over on standard error."""
    from pellucid.lab.training.speed import FORMULA

    for note in done.notes:
        print(note, file=sys.stderr)
    held = "" if done.loss is None else f", held-out loss {done.loss:.4f} nats a token"
    print(f"{done.parameters:,} parameters, {done.steps:,} steps, {done.tokens:,} tokens in {done.seconds:.0f} s{held}")
    if done.peak is not None:
        print(f"peak: {done.peak[0] / 1e9:,.0f} GFLOP/s ({done.peak[1]}); work: {FORMULA}")
    if done.stopped:
        print(f"stopped after step {done.steps:,}; the same command goes on")
        return
    print(f"\n{done.sample.strip()}\n")
    print(f'the model: pellucid explain --model {done.folder} --raw "..."')
