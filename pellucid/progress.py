"""Progress as a callback: long tasks report ``(stage, done, total)``; who shows it, and how, is the caller's affair.

    model = pellucid.load("smollm2-135m-instruct", progress=lambda stage, done, total: print(stage, done, total))

``total`` is None where the length is not known. A callback may raise, ``KeyboardInterrupt`` too: the task then ends
cleanly. ``terminal()`` is the callback that draws bars on standard error, for people.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, float, "float | None"], None]


def silent(stage: str, done: float, total: float | None) -> None:
    """Report to nobody."""


@contextmanager
def terminal(*, enabled: bool | None = None) -> Iterator[Progress]:
    """A callback that draws a bar a stage on standard error, and clears them at the end.

    Nothing is drawn where standard error is not a terminal (``enabled`` overrules); stages are then named once, in
    a line each, when they have more than a moment's work (a known total).
    """
    if enabled is None:
        enabled = sys.stderr.isatty()
    if not enabled:
        named: set[str] = set()

        def report(stage: str, done: float, total: float | None) -> None:
            if stage not in named:
                named.add(stage)
                print(f"{stage} ...", file=sys.stderr, flush=True)

        yield report
        return

    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(file=sys.stderr), transient=True) as bars:
        tasks: dict[str, int] = {}

        def draw(stage: str, done: float, total: float | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]  # TaskID is an int

        yield draw
