"""Elimination: find what the answer needs most, take it away, and look again at what is left.

    pellucid explain --method elimination "..."
    pellucid explain --method elimination --param 'guides=["gim:times_input=false"]' --param 'exact=[24]' "..."

Leave-one-out and gradients judge each unit beside all others, so that of two units that say the same neither seems to
matter. Here a round leaves out the units one at a time, as leave-one-out does: s(rest) - s(rest without u). The best
``shares`` (of all units) are then gone, and the next round judges the others without them. score_u is the mean over the
rounds in which the unit was still there.

``shares``: how much is gone in each round after the first, adding up: one round more than shares.
``exact``: how many units a round leaves out one at a time, a number for each round (the last holds for those that
follow) or ``"all"``; 0 leaves the round to its guide. With fewer than all, ``guides`` name the cheap methods that
choose them, one a round in the same way (``guided_leave_one_out`` says how the others are scored); ``null`` keeps the
scores of the guide before it, and costs nothing.

A round costs its guide's passes and a forward pass a unit that is left out, over a prompt that becomes shorter.
``details["rounds"]`` says what each did. Ours; after recursive feature elimination (Guyon et al. 2002, Machine Learning
46). Measured in docs/leaderboard.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pellucid.errors import OptionError
from pellucid.trace.methods import Method, parse
from pellucid.trace.methods.hierarchical_leave_one_out import beneath, guide_scores

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.trace.engine import Run, Scores


def elimination(
    run: Run, *, shares: Sequence[float], exact: str | int | Sequence[int], guides: str | Sequence[str] | None
) -> Scores:
    """Falls in rounds, each without the best of those before; their mean."""
    import torch

    from pellucid.trace.ablate import original, token_scores

    if not shares or not all(isinstance(s, float) and 0 < s < 1 for s in shares) or sum(shares) >= 1:
        raise OptionError(f"shares should be numbers above 0 that add up to less than 1, given {shares!r}")
    count, rounds = len(run.units), len(shares) + 1
    counts = _each(exact, rounds, "exact", count)
    names = _each(guides, rounds, "guides", count)
    whole = torch.zeros(len(run.selected), count, dtype=torch.float64)  # sums over rounds
    seen = torch.zeros(count, dtype=torch.float64)
    gone: list[int] = []
    told: list[dict[str, Any]] = []
    guess: Tensor | None = None  # of all units, by the last guide that was asked
    for k in range(rounds):
        here = shortened(run, gone) if gone else run
        if gone:
            here.progress = _told(run, k, rounds)
        left = [u for u in range(count) if u not in set(gone)]
        number = len(left) if counts[k] == "all" else min(counts[k], len(left))
        if number < len(left) and names[k] is not None:
            guess = torch.zeros(count, dtype=torch.float64)
            guess[left] = guide_scores(here, names[k])
        found = _round(here, number, None if guess is None else guess[left])  # [selected, units left]
        whole[:, left] += found
        seen[left] += 1
        if gone:
            run.forwards, run.backwards = run.forwards + here.forwards, run.backwards + here.backwards
        told.append({"units": len(left), "measured": number, "guide": names[k] if number < len(left) else None})
        if k + 1 < rounds:
            size = min(len(gone) + max(1, round(shares[k] * count)), count - 1)
            mean = (whole / seen).sum(0).nan_to_num(nan=float("inf"))
            gone = mean.argsort(descending=True, stable=True)[:size].tolist()
    original(run)
    return token_scores(run, whole / seen, {"rounds": told})


def shortened(run: Run, gone: Sequence[int]) -> Run:
    """The same question of a prompt without the units ``gone``; the units that are left keep their order."""
    lost = {token for u in gone for token in run.units[u]}
    kept = [i for i in range(run.prompt_length) if i not in lost]
    place = {i: k for k, i in enumerate(kept)}
    out = set(gone)
    return type(run)(
        run.loaded,
        run.ids[0, kept].tolist(),
        run.answer.tolist(),
        run.objective,
        selected=run.selected,
        precision=run.precision,
        allowed=run.allowed,
        units=[[place[i] for i in unit] for u, unit in enumerate(run.units) if u not in out],
        seed=run.seed,
    )


def _round(run: Run, number: int, guess: Tensor | None) -> Tensor:
    """Scores of the run's units in one round [selected, units]; ``number`` of them by leaving them out."""
    import numpy as np
    import torch

    from pellucid.trace.ablate import effects, original

    count = len(run.units)
    if number < count and guess is None:
        raise OptionError(f"exact={number} of {count} units needs guides that choose them, such as ['ifr']")
    size = torch.zeros(count, dtype=torch.float64) if guess is None else guess
    best = size.argsort(descending=True, stable=True)[:number].tolist() if number < count else list(range(count))
    if not best:
        return size.expand(len(run.selected), -1) / len(run.selected)
    kept = np.ones((len(best), count), dtype=bool)
    kept[np.arange(len(best)), best] = False
    falls = original(run) - effects(run, kept, stage="leaving out")  # [measured, selected]
    rest = beneath(size, set(best), falls.sum(1).abs()) / len(run.selected)
    units = rest.expand(len(run.selected), -1).clone()
    units[:, best] = falls.T
    return units


def _each(given: Any, rounds: int, name: str, count: int) -> list[Any]:
    """A value for each round: one for all, or a list whose last holds for those that follow. Raises ``OptionError``."""
    values = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if not values or len(values) > rounds:
        raise OptionError(f"{name} should be one value, or at most one for each of {rounds} rounds, given {given!r}")
    for v in values:
        if name == "guides" and v is not None:
            parse(v)
        whole = isinstance(v, int) and not isinstance(v, bool) and v >= 0
        if name == "exact" and v != "all" and not whole:
            raise OptionError(f"exact should be 'all' or a number of units of at least 0, given {v!r}")
    return [values[min(k, len(values) - 1)] for k in range(rounds)]


def _told(run: Run, k: int, rounds: int) -> Any:
    return lambda stage, done, total: run.progress(f"round {k + 1} of {rounds}: {stage}", done, total)


METHOD = Method(
    name="elimination",
    description="leave-one-out in rounds, each without the best of the rounds before, and their mean",
    paper="ours; after Guyon et al. 2002, doi:10.1023/A:1012487302797",
    formula="mean over rounds of s(rest) - s(rest without u)",
    cost="1 forward a unit and round; with guides, theirs and 1 forward a measured unit",
    signed=True,
    ranks="signed",
    needs="forward",
    kinds=("causal", "seq2seq", "classifier"),
    function=elimination,
    parameters={"shares": [0.1], "exact": "all", "guides": None},
)
