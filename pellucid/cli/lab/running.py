"""What commands that train have in common: options of training, and a run that shows itself and can be stopped.

add_training(parser, ("steps", "rows", "rate"))
with running(options, out, {}) as run:
    done = tune(tuning, out, progress=run.progress, watch=run.watch, stop=run.stop)
run.draw()
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.cli.lab.bars import interruptible, training_bar
from pellucid.cli.lab.train import FLAGS, REDRAW
from pellucid.progress import Progress

#: Options of training, by their names in ``lab.training.settings.Train``.
TRAINING = (*FLAGS, "checkpointing")


def add_training(p: Any, defaults: dict[str, str]) -> None:
    """Put training's options on a group of a parser; ``defaults``: what the help says they are."""
    for name, (kind, text) in FLAGS.items():
        usual = f"; default: {defaults[name]}" if name in defaults else ""
        p.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=kind.__name__.upper()[:1], help=text + usual)

    p.add_argument(
        "--checkpointing", action="store_true", default=None, help="run layers again instead of keeping them"
    )


def add_shown(p: argparse.ArgumentParser) -> None:
    """Device, trackers and silence."""
    p.add_argument(
        "--track", action="append", default=[], metavar="NAME", help="also log to tensorboard, wandb or trackio"
    )
    p.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps")
    p.add_argument("--quiet", action="store_true", help="no progress, no summary")


def given(options: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Those of the options that were given."""
    return {n: v for n in names if (v := getattr(options, n)) is not None}


@dataclass(frozen=True)
class Running:
    """Callbacks for a run, and ``draw``, which writes ``loss.png`` as far as there is something to draw."""

    progress: Progress
    watch: Callable[[dict[str, Any]], None]
    stop: Callable[[], bool]
    draw: Callable[[], None]


@contextmanager
def running(options: argparse.Namespace, out: Path, recipe: dict[str, Any]) -> Iterator[Running]:
    """A bar that opens with the first step, the loss curve as it goes, trackers, and Ctrl-C between two steps."""
    from pellucid import progress as bars
    from pellucid.lab.curve import read
    from pellucid.lab.training.trackers import tracking
    from pellucid.render.curve import save_curve

    drawn = time.monotonic()
    quiet = options.quiet

    def draw() -> None:
        nonlocal drawn
        if (out / "metrics.jsonl").is_file():
            save_curve(read(out), out / "loss.png")
        drawn = time.monotonic()

    with ExitStack() as stack:
        track = stack.enter_context(tracking(options.track, out, recipe))
        stop = stack.enter_context(interruptible())
        shown = stack.enter_context(bars.terminal(enabled=False if quiet else None))
        opened: list[Callable[[dict[str, Any]], None]] = []

        def watch(metrics: dict[str, Any]) -> None:
            steps = metrics["of_steps"]
            if not opened:
                opened.append(stack.enter_context(training_bar(steps, enabled=False if quiet else None)))
            opened[0](metrics)
            track({n: v for n, v in metrics.items() if n != "of_steps"})
            if time.monotonic() - drawn > REDRAW:
                draw()

        yield Running(bars.silent if quiet else shown, watch, stop, draw)
