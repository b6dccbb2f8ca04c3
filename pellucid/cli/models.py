"""``pellucid models``: what is embedded, what is in the cache, where, and how large.

pellucid models
"""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = commands.add_parser("models", help="list embedded models and what is in the cache")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    from pellucid.models import cache
    from pellucid.models.catalog import CATALOG, DEFAULT
    from pellucid.render.listing import size, table

    entries = cache.entries()
    by_name = {e.name: e for e in entries}
    rows = []
    for m in CATALOG.values():
        entry = by_name.pop(m.name, None)
        download = sum(w.size for w in m.wheels)
        state = f"cached, {size(entry.size)}" if entry else f"not fetched yet, {size(download)} to fetch"
        terms = m.licence + (f" ({m.terms}; --accept-license)" if m.terms else "")
        rows.append((m.name + (" (default)" if m.name == DEFAULT else ""), m.title, terms, state, _where(entry)))
    rows += [(e.name, "converted from GGUF", "", f"cached, {size(e.size)}", _where(e)) for e in by_name.values()]
    table(f"Models (cache: {cache.root()})", ("name", "what", "licence", "state", "where"), rows)
    return 0


def _where(entry: Any) -> str:
    return "" if entry is None else str(entry.path)
