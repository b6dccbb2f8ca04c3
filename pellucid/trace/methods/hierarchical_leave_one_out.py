"""Hierarchical leave-one-out: large groups first, and only those that matter are taken apart.

    pellucid explain --method hierarchical_leave_one_out --param keep=0.25 "..."

Groups of units (documents or paragraphs where there are any, else stretches of ``branch`` groups each) are left out
one at a time; the ``keep`` that the answer falls most without (a share of a level's groups, or a count) are replaced
by the groups inside them, and so on down to the units. score_u of a unit that was reached is its own fall, as in
leave-one-out; a group that was not refined shares its fall equally over its units. ``details["levels"]`` says how many
groups each level left out and refined. With w units and b of them a group, about w / b + keep * w forward passes.

``guide`` names a cheap method (``ifr``, ``gim:times_input=false``, ...) that chooses among the groups of all levels but
the last in place of leaving them out: its scores, summed over a group, say which are refined. Its passes
then take the place of a forward pass a group; a group that is not refined shares the guide's sum, scaled below the
smallest measured fall.

``replace``: what stands in for a unit that goes: nothing (``remove``), ``pad``, ``neutral``, ``sample`` or a token.

Liu et al. 2025, "AttriBoT: A Bag of Tricks for Efficiently Approximating Leave-One-Out Context Attribution"
(arXiv:2411.15102).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.errors import OptionError
from pellucid.trace.methods import Method, parse

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.trace.engine import Run, Scores

Group = list[int]  # of units


def hierarchy(run: Run, branch: int) -> list[list[Group]]:
    """Partitions of the units, coarsest first, the last of single units: from ``run.levels``, and between or without
    them stretches of ``branch``. A unit belongs to the group that holds its first token."""
    units = [[u] for u in range(len(run.units))]
    levels: list[list[Group]] = []
    for level in run.levels:
        owner = {token: k for k, group in enumerate(level) for token in group}
        groups: dict[Any, Group] = {}
        for u, unit in enumerate(run.units):
            groups.setdefault(owner.get(unit[0], ("alone", u)), []).append(u)
        if 1 < len(groups) < len(run.units) and (not levels or len(groups) > len(levels[-1])):
            levels.append(list(groups.values()))
    if not levels:
        size = branch
        while size < len(run.units):
            levels.insert(0, [list(range(k, min(k + size, len(run.units)))) for k in range(0, len(run.units), size)])
            size *= branch
    return [*levels, units]


def check_keep(keep: float) -> None:
    """Raise ``OptionError`` unless ``keep`` is a share above 0 and below 1, or a whole number of at least 1."""
    whole = isinstance(keep, int) and not isinstance(keep, bool)
    if not (keep >= 1 if whole else isinstance(keep, float) and 0 < keep <= 1):
        raise OptionError(f"keep should be a share from 0 to 1, or a number of groups of at least 1, given {keep!r}")


def how_many(keep: float, count: int) -> int:
    """Of ``count`` groups, those that are refined."""
    return min(count, keep if isinstance(keep, int) else max(1, round(keep * count)))


def hierarchical_leave_one_out(run: Run, *, keep: float, branch: int, guide: str | None, replace: str | int) -> Scores:
    """Falls of groups, refined where they are large."""
    import numpy as np
    import torch

    from pellucid.trace.ablate import effects, original, token_scores

    check_keep(keep)
    if not isinstance(branch, int) or isinstance(branch, bool) or branch < 2:
        raise OptionError(f"branch should be a whole number of at least 2, given {branch!r}")
    levels = hierarchy(run, branch)
    guess = None if guide is None else guide_scores(run, guide)
    scores = torch.zeros(len(run.selected), len(run.units), dtype=torch.float64)
    open_units = set(range(len(run.units)))
    told: list[dict[str, int]] = []
    for depth, level in enumerate(levels):
        groups = [g for g in level if open_units.issuperset(g)]
        last = depth + 1 == len(levels)
        if guess is not None and not last:
            size = torch.stack([guess[g].sum() for g in groups])
            chosen = size.argsort(descending=True, stable=True)[: how_many(keep, len(groups))].tolist()
            open_units = {u for k in chosen for u in groups[k]}
            told.append({"groups": len(groups), "refined": len(chosen)})
            continue
        kept = np.ones((len(groups), len(run.units)), dtype=bool)
        for row, group in zip(kept, groups, strict=True):
            row[group] = False
        falls = original(run) - effects(run, kept, replace=replace, stage=f"level {depth + 1} of {len(levels)}")
        for group, fall in zip(groups, falls, strict=True):
            scores[:, group] = (fall / len(group))[:, None]
        size = falls.sum(1).abs().nan_to_num(nan=float("inf"))  # what cannot be weighed is looked into
        chosen = [] if last else size.argsort(descending=True, stable=True)[: how_many(keep, len(groups))].tolist()
        open_units = {u for k in chosen for u in groups[k]}
        told.append({"groups": len(groups), "refined": len(chosen)})
        if guess is not None:
            scores += beneath(guess, {u for g in groups for u in g}, falls.sum(1).abs()) / len(run.selected)
    return token_scores(run, scores, {"levels": told})


def guide_scores(run: Run, guide: str) -> Tensor:
    """Each unit's score by a cheap method as that method's rankings read it, signed or by magnitude [units], in float64
    on the CPU. Raises ``OptionError`` for a guide that is a what-if method itself."""
    import torch

    chosen, parameters = parse(guide)
    if chosen.needs == "forward":
        raise OptionError(f"the guide '{guide}' is a what-if method itself: expected a cheap one, such as ifr or gim")
    chosen.check_kind(run.loaded.kind, run.loaded.name)
    total = chosen(run, **parameters).total
    found = torch.stack([total[unit].sum() for unit in run.units]).double().cpu()
    return found if chosen.ranks == "signed" else found.abs()


def beneath(guess: Tensor, measured: set[int], exact: Tensor) -> Tensor:
    """The guide's scores of units that were not measured [units], 0 for the others: scaled so that guide and ``exact``
    magnitudes of the measured ones add up to the same, and held below the smallest of these."""
    import torch

    known = exact[exact.isfinite()]
    whole = float(guess[sorted(measured)].abs().sum())
    factor = float(known.sum()) / whole if whole > 0 else 0.0
    ceiling = float(known.min()) if len(known) else 0.0
    rest = (guess * factor).clamp(max=ceiling)
    rest[sorted(measured)] = 0.0
    return torch.as_tensor(rest)


METHOD = Method(
    name="hierarchical_leave_one_out",
    description="leave-one-out of large groups first, taken apart where the answer falls most",
    paper="Liu et al. 2025, arXiv:2411.15102",
    formula="s(x) - s(x without u), groups before units",
    cost="1 forward a group, and a unit of the refined groups",
    signed=True,
    ranks="signed",
    needs="forward",
    function=hierarchical_leave_one_out,
    parameters={"keep": 0.25, "branch": 8, "guide": None, "replace": "remove"},
)
