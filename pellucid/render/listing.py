"""Plain tables for the command line's lists.

pellucid methods; pellucid models
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def size(count: float) -> str:
    """Bytes for people, in powers of 1000: ``size(538_090_408)`` is ``538 MB``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output: boxed and wrapped in a terminal, lines of tab-separated cells in a pipe."""
    if not sys.stdout.isatty():
        for row in (head, *rows):
            print("\t".join(row))
        print()
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    t = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in head:
        t.add_column(name, overflow="fold")
    for row in rows:
        t.add_row(*(Text(cell) for cell in row))
    Console().print(t)
