"""What quantisation cost: a table for the terminal, or a file of JSON.

print("\\n".join(lines(report))); save(report, Path("report.json"))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.render.visible import one_line

if TYPE_CHECKING:
    from pellucid.lab.quantisation.report import Report


def save(report: Report, path: Path) -> Path:
    """Write JSON to ``path``, whole or not at all. Raises ``OutputError``."""
    from pellucid.render import _write

    return _write(report, path, lambda r: (r.to_json(indent=1) + "\n").encode("utf-8", "backslashreplace"))


def lines(report: Report) -> Iterator[str]:
    """Before and after, line by line: what was packed, and what it costs."""
    group = "" if report.group is None else f", groups of {report.group}"
    yield one_line(f"{report.model} to {report.to}{group} on {report.device}")
    yield ""
    before, after = report.before, report.after
    rows = [
        ("", "before", "after", ""),
        ("dtype of activations", before.dtype, after.dtype, ""),
        ("bytes in memory", _bytes(before.memory), _bytes(after.memory), _share(after.memory, before.memory)),
        ("bytes on disk", _bytes(before.disk), _bytes(after.disk), _share(after.disk, before.disk)),
        ("as bfloat16", _bytes(report.bfloat16), "", f"after is {after.memory / report.bfloat16:.1%} of it"),
        ("perplexity", f"{before.perplexity:.4f}", f"{after.perplexity:.4f}", f"{report.cost:+.2%}"),
        ("tokens/s reading", f"{before.reading:.1f}", f"{after.reading:.1f}", _times(after.reading, before.reading)),
        ("tokens/s writing", f"{before.writing:.1f}", f"{after.writing:.1f}", _times(after.writing, before.writing)),
    ]
    widths = [max(len(r[k]) for r in rows) for k in range(3)]
    for name, old, new, note in rows:
        yield f"{name:<{widths[0]}}  {old:>{widths[1]}}  {new:>{widths[2]}}  {note}".rstrip()
    yield ""
    yield f"packed: {len(report.converted)} weights, {report.share:.2%} of {report.parameters:,} parameters"
    packed = Counter((c.module, c.stored) for c in report.converted)
    for (module, stored), count in packed.items():
        yield f"  {count} {module} as {stored}"
    kept = Counter(k.why for k in report.kept)
    sizes = {why: sum(k.parameters for k in report.kept if k.why == why) for why in kept}
    yield f"left: {len(report.kept)} weights, {sum(sizes.values()):,} parameters"
    for why, count in kept.items():
        yield one_line(f"  {count} ({sizes[why]:,}): {why}")
    text = report.text
    yield one_line(f"measured on {text.tokens} tokens, windows of {text.window}: {', '.join(text.names[:4])}")
    for note in report.notes:
        yield f"note: {note}"


def _bytes(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


def _share(after: int | None, before: int | None) -> str:
    return "" if after is None or not before else f"{after / before:.1%}"


def _times(after: float, before: float) -> str:
    return f"{after / before:.2f} times"
