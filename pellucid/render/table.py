"""The list of what mattered most, as a table for the terminal.

    python -c "import pellucid; pellucid.Trace.load('trace.json').show()"      # under "What mattered most"

A token alone often says little ("the", a single Chinese character), so each is shown with its surroundings
too.
"""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from pellucid.render.colors import Scale, scale_of
from pellucid.render.shading import Shading
from pellucid.render.units import Unit, around
from pellucid.render.visible import label, one_line
from pellucid.render.words import role_name, say, score_text
from pellucid.trace.result import Trace

BAR = 12
#: Cells of surroundings to each side; wider terminals have room for them.
AROUND = 14
WIDE_ENOUGH = 72


def top_table(
    best: list[Unit], units: list[Unit], trace: Trace, steps: Scale, style: Shading, lang: str, width: int
) -> Table:
    """The units ``best``, one a row: token, score, bar, role (in a chat), surroundings (given the room)."""
    chat = trace.prompt.messages is not None
    where = width >= WIDE_ENOUGH
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=style.of("dim"), show_edge=False, pad_edge=False)
    table.add_column(say("token", lang), no_wrap=True, overflow="ellipsis", max_width=max(8, min(24, width // 4)))
    table.add_column(say("score", lang), justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, width=BAR)
    if chat:
        table.add_column(say("role", lang), no_wrap=True)
    if where:
        table.add_column(say("where", lang), no_wrap=True)
    for unit in best:
        bar = style.bar(abs(steps.level(unit.score)), steps.level(unit.score) >= 0, BAR)
        row = [
            Text(label(unit.text), style=style.of("bold")),
            Text(score_text(unit.score, steps.signed)),
            Text(bar.text, style=bar.style),
        ]
        if chat:
            row.append(Text(role_name(unit.role, lang)))
        if where:
            row.append(_where(unit, units, style))
        table.add_row(*row)
    return table


def units_table(trace: Trace, style: Shading, lang: str, most: int) -> Table:
    """The trace's own units (sentences, documents, ...) by magnitude: rank, score, bar, text, name."""
    scores = [Unit(u.text, u.score, "user", u.message, u.tokens) for u in trace.units]
    steps = scale_of(scores, signed=trace.method.signed)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=style.of("dim"), show_edge=False, pad_edge=False)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column(say("score", lang), justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, width=BAR)
    table.add_column(say("unit_name", lang), no_wrap=True, overflow="ellipsis")
    for entry in trace.ranking(most):
        level = steps.level(entry.score)
        bar = style.bar(abs(level), level >= 0, BAR)
        table.add_row(
            "–" if entry.rank is None else str(entry.rank),
            score_text(entry.score, steps.signed),
            Text(bar.text, style=bar.style),
            Text(one_line(" ".join(entry.text.split()))),
        )
    return table


def _where(unit: Unit, units: list[Unit], style: Shading) -> Text:
    """The token amid its neighbours of the same message."""
    before, after = around(unit, units, AROUND)
    text = Text(no_wrap=True)
    text.append(before, style.of("dim") or None)
    text.append(one_line(unit.text), style.of("bold") or None)
    text.append(after, style.of("dim") or None)
    return text
