"""What a training run shows while it runs, and how Ctrl-C ends it.

    with interruptible() as stop, training_bar(1000, enabled=True) as watch:
        train(recipe, out, watch=watch, stop=stop)

The bar has the loss, the held-out loss, tokens a second, the share of the machine's peak, and the time left. Ctrl-C
lets the step end and a checkpoint be written; a second one stops at once.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def training_bar(steps: int, *, enabled: bool | None = None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A callback for a step's numbers (those of ``metrics.jsonl``) that draws one line on standard error.

    Where standard error is no terminal, the evaluations get a line each (``enabled=False``: nothing at all).
    """
    if enabled is False:
        yield lambda metrics: None
        return
    if not sys.stderr.isatty():
        yield lambda metrics: print(line(metrics, steps), file=sys.stderr) if "held_out" in metrics else None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=steps)
        kept: dict[str, Any] = {}

        def watch(metrics: dict[str, Any]) -> None:
            if "held_out" in metrics:
                kept["held_out"] = metrics["held_out"]
            bar.update(task, completed=metrics["step"], description=line({**metrics, **kept}, steps))

        yield watch


def line(metrics: dict[str, Any], steps: int) -> str:
    """A step's numbers in one line; losses in nats a token."""
    parts = [f"step {metrics['step']:,}/{steps:,}", f"loss {metrics['loss']:.3f}"]
    if "held_out" in metrics:
        parts.append(f"held out {metrics['held_out']:.3f}")
    if "tokens_per_second" in metrics:
        parts.append(f"{metrics['tokens_per_second']:,.0f} tokens/s")
    if "of_peak" in metrics:
        parts.append(f"{metrics['of_peak']:.0%} of peak")
    if metrics.get("left") is not None:
        minutes, seconds = divmod(round(metrics["left"]), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return "  ".join(parts)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """``stop()``: has Ctrl-C been pressed in here? A second Ctrl-C raises ``KeyboardInterrupt`` at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield asked.is_set
        return

    def note(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        print("ending this step and writing a checkpoint; once more stops at once", file=sys.stderr)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
