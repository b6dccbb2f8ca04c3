"""What to show of a long prompt: the surroundings of what mattered, with the rest folded away.

    from pellucid.render.fold import arrange
    arrange(source_units(trace), full=False)        # sections, one a message, of units, gaps and frames

Terminal and PNG draw the same sections. Nothing is dropped in silence: a gap says how many tokens it stands
for, and a frame how many tokens of the template.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from rich.cells import cell_len

from pellucid.render.units import Unit, content, ranked
from pellucid.render.visible import visible

#: Space in character cells: up to LIMIT all is shown; beyond, CONTEXT to each side of each of the TOP units.
LIMIT = 1600
CONTEXT = 60
TOP = 10
#: A line break, or a new message, takes about as much room as this many characters.
BREAK = 40


@dataclass
class Gap:
    """Tokens that are folded away, ``messages`` whole ones where it stands between messages."""

    tokens: int
    messages: int = 0


@dataclass
class Frame:
    """Tokens of the template that are folded away."""

    units: list[Unit]

    @property
    def tokens(self) -> int:
        return sum(len(u.indices) for u in self.units)


Item = Unit | Gap | Frame


@dataclass
class Section:
    """One message (or the whole prompt), in reading order."""

    role: str | None
    message: int | None
    items: list[Item] = field(default_factory=list)


def cost(unit: Unit) -> int:
    """About how many character cells a unit takes."""
    drawn = visible(unit.text)
    breaks = drawn.count("\n")
    return max(cell_len(drawn.replace("\n", "")), 1) + BREAK * breaks


def _costs(units: list[Unit]) -> list[int]:
    costs = [cost(u) for u in units]
    for i in range(1, len(units)):
        if units[i].message != units[i - 1].message:
            costs[i] += BREAK
    return costs


def kept(units: list[Unit], seeds: list[Unit], *, limit: int = LIMIT) -> set[int]:
    """Positions to show: all within ``limit``, else what surrounds the ``seeds`` and both ends."""
    costs = _costs(units)
    if sum(costs) <= limit:
        return set(range(len(units)))
    at = {id(u): i for i, u in enumerate(units)}
    keep: set[int] = set()
    for seed in {0, len(units) - 1, *(at[id(u)] for u in seeds)}:
        keep.add(seed)
        for step in (-1, 1):
            i, left = seed + step, CONTEXT
            while 0 <= i < len(units) and left - costs[i] >= 0:
                left -= costs[i]
                keep.add(i)
                i += step
    return _without_small_gaps(keep, costs)


def _without_small_gaps(keep: set[int], costs: list[int]) -> set[int]:
    """Show what would take no more room than the words "… 12 tokens …" that stand for it."""
    shown = sorted(keep)
    for a, b in pairwise(shown):
        if sum(costs[a + 1 : b]) <= BREAK + 20:
            keep.update(range(a + 1, b))
    return keep


def arrange(units: list[Unit], *, full: bool, limit: int = LIMIT) -> list[Section]:
    """The prompt in sections. ``full`` folds nothing; a prompt that is all frame folds no frame."""
    written = content(units)
    framed = any(not u.frame for u in units)
    keep = set(range(len(written))) if full else kept(written, ranked(units)[:TOP], limit=limit)
    sections: list[Section] = []
    waiting: list[Unit] = []  # the frame before a message belongs to that message
    position = 0
    for unit in units:
        if framed and unit.frame:
            waiting.append(unit)
            continue
        same = sections and (sections[-1].message, sections[-1].role) == (unit.message, unit.role)
        if not same and (framed or not sections):
            sections.append(Section(unit.role if framed else None, unit.message))
        items = sections[-1].items
        items += _frame(waiting, full)
        waiting = []
        if position in keep:
            items.append(unit)
        elif items and isinstance(items[-1], Gap):
            items[-1].tokens += len(unit.indices)
        else:
            items.append(Gap(len(unit.indices)))
        position += 1
    if waiting:
        sections[-1].items += _frame(waiting, full)
    return _collapsed(sections)


def _frame(units: list[Unit], full: bool) -> list[Item]:
    return list(units) if full else [Frame(units)] if units else []


def _collapsed(sections: list[Section]) -> list[Section]:
    """Messages of which nothing is shown, in a row, become one gap."""
    out: list[Section] = []
    for section in sections:
        if any(isinstance(item, Unit) for item in section.items):
            out.append(section)
            continue
        tokens = sum(len(i.indices) if isinstance(i, Unit) else i.tokens for i in section.items)
        last = out[-1].items[0] if out and out[-1].items else None
        if isinstance(last, Gap) and last.messages:
            last.tokens += tokens
            last.messages += 1
        else:
            out.append(Section(None, None, [Gap(tokens, 1)]))
    return out


def shown(sections: list[Section]) -> int:
    """How many tokens are drawn as themselves."""
    return sum(len(i.indices) for s in sections for i in s.items if isinstance(i, Unit))


def folded(sections: list[Section]) -> bool:
    """Whether anything that the user wrote is folded away."""
    return any(isinstance(i, Gap) for s in sections for i in s.items)


def gap_key(gap: Gap) -> str:
    """The sentence for a gap."""
    return "gap_messages" if gap.messages > 1 else "gap_one" if gap.tokens == 1 else "gap"
