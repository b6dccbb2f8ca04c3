"""Does an explanation hold? What becomes of the answer as the input goes, best first, against random orders.

    report = faithfulness(model.loaded, trace)
    report.verdict.comprehensiveness, report.random["comprehensiveness"]

A ``Judge`` holds one prompt and answer. It is asked about any number of rankings of the same tokens, and runs each
ablation once, whichever ranking or measure wants it. The formulas are in ``curves``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from pellucid.errors import InputError, OptionError
from pellucid.models.load import LoadedModel
from pellucid.models.seq2seq import speaking
from pellucid.progress import Progress, silent
from pellucid.trace import curves
from pellucid.trace.ablate import effects, original
from pellucid.trace.combine import spearman
from pellucid.trace.engine import Run
from pellucid.trace.memory import budget
from pellucid.trace.objective import OBJECTIVES
from pellucid.trace.result import FRAME_ROLES, Trace
from pellucid.trace.runs import run_class

Floats = npt.NDArray[np.float64]

ABLATIONS, KEEP, GROUP = 40, 0.7, 4  # of the linear datamodelling score
RANDOM_ORDERS = 8


@dataclass(frozen=True)
class Verdict:
    """What one ranking is worth. Values are the objective's, a mean over the explained targets, in its own unit.

    ``deletion`` and ``insertion`` [points of ``curves.GRID``]. ``comprehensiveness`` (up) and ``sufficiency`` (down)
    are drops; ``deletion_area`` (down), ``insertion_area`` (up) areas in the objective's unit; ``rise_*`` the same in
    probability, ``mas_*`` aligned with the scores (NaN where the objective is no log-probability); ``lds`` (up) the
    linear datamodelling score.
    """

    comprehensiveness: float
    sufficiency: float
    deletion_area: float
    insertion_area: float
    rise_deletion: float
    rise_insertion: float
    mas_deletion: float
    mas_insertion: float
    lds: float
    deletion: tuple[float, ...]
    insertion: tuple[float, ...]

    @classmethod
    def numbers(cls) -> tuple[str, ...]:
        """Names of the measures, without the curves."""
        return tuple(f.name for f in fields(cls) if f.name not in ("deletion", "insertion"))


class Judge:
    """Ablations of one ``run``, whose units are the candidates: single tokens that may go.

    - ``ablations`` random ones, in which each group of ``group`` neighbouring candidates stays with chance ``keep``,
      are what the linear datamodelling score is measured on.

    ``passes`` counts the ablations that really ran. Raises ``InputError`` for fewer than two candidates, or where
    nothing of the prompt would be left without them.
    """

    def __init__(
        self, run: Run, *, ablations: int = ABLATIONS, keep: float = KEEP, group: int = GROUP, seed: int = 0
    ) -> None:
        count = len(run.units)
        if count < 2:
            raise InputError(f"faithfulness needs two tokens that can be removed, and the prompt has {count}")
        if sum(map(len, run.units)) >= run.prompt_length:
            raise InputError(
                "faithfulness removes every candidate, and nothing would be left of this prompt: keep one token of it "
                "out of the candidates"
            )
        if ablations < 2 or not 0 < keep < 1 or group < 1:
            raise OptionError(
                f"expected at least 2 ablations, keep between 0 and 1 and groups of at least 1 token, given "
                f"{ablations}, {keep} and {group}"
            )
        self.run, self.passes = run, 0
        self._known: dict[bytes, float] = {}
        random = np.random.default_rng(seed)
        self.groups = [np.arange(k, min(k + group, count)) for k in range(0, count, group)]
        stays = random.random((ablations, len(self.groups))) < keep
        owner = np.arange(count) // group
        self.random_kept: npt.NDArray[np.bool_] = stays[:, owner]  # [ablations, candidates]

    @property
    def whole(self) -> float:
        """The value with nothing taken away."""
        return float(original(self.run).mean())

    def values(self, kept: npt.NDArray[np.bool_]) -> list[float]:
        """The value under each ablation ``kept`` [ablations, candidates]; those that ran before are remembered."""
        keys = [np.packbits(row).tobytes() for row in kept]
        new = {key: i for i, key in reversed(list(enumerate(keys))) if key not in self._known}
        if new:
            found = effects(self.run, kept[list(new.values())], stage="faithfulness").mean(1)
            self.passes += len(new)
            self._known.update(zip(new, found.tolist(), strict=True))
        return [self._known[key] for key in keys]

    def verdicts(self, scores: Mapping[str, Floats]) -> dict[str, Verdict]:
        """A verdict for each ranking: ``scores`` [candidates], larger matters more; signs count as they are."""
        count = len(self.run.units)
        for name, s in scores.items():
            if s.shape != (count,) or not np.isfinite(s).all():
                raise ValueError(f"{name}: expected {count} finite scores, got {s.shape}")
        masks = {name: self._masks(s) for name, s in scores.items()}
        self.values(np.concatenate([*masks.values(), self.random_kept]))  # all at once: batches of neighbours
        return {name: self._verdict(s, masks[name]) for name, s in scores.items()}

    def _masks(self, scores: Floats) -> npt.NDArray[np.bool_]:
        """What stays along the deletion curve, then along the insertion curve [2 points, candidates]."""
        place = np.empty(len(scores), dtype=np.int64)
        place[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
        sizes = np.array(curves.counts(len(scores)))[:, None]
        return np.concatenate([place >= sizes, place < sizes])

    def _verdict(self, scores: Floats, masks: npt.NDArray[np.bool_]) -> Verdict:
        values = self.values(masks)
        deletion, insertion = values[: len(curves.GRID)], values[len(curves.GRID) :]
        whole, nothing = deletion[0], insertion[0]
        rise = mas = (math.nan, math.nan)
        if self.run.objective.name == "logprob":
            gone, back = [math.exp(v) for v in deletion], [math.exp(v) for v in insertion]
            rise = curves.area(gone), curves.area(back)
            size = np.abs(scores)
            mass = (masks @ size / size.sum() if size.sum() else masks.mean(1)).tolist()
            ends = math.exp(nothing), math.exp(whole)
            mas = (
                curves.aligned(curves.normalised(gone, *ends), mass[: len(gone)], insertion=False),
                curves.aligned(curves.normalised(back, *ends), mass[len(gone) :], insertion=True),
            )
        predicted = self.random_kept @ scores
        return Verdict(
            comprehensiveness=curves.comprehensiveness(deletion),
            sufficiency=curves.sufficiency(insertion),
            deletion_area=curves.area(deletion),
            insertion_area=curves.area(insertion),
            rise_deletion=rise[0],
            rise_insertion=rise[1],
            mas_deletion=mas[0],
            mas_insertion=mas[1],
            lds=spearman(predicted, np.array(self.values(self.random_kept))),
            deletion=tuple(deletion),
            insertion=tuple(insertion),
        )

    def random_orders(self, draws: int, seed: int = 0) -> dict[str, Floats]:
        """Scores drawn evenly from 0 to 1: the baseline that knows nothing."""
        random = np.random.default_rng([seed, 1])
        return {f"random {k}": random.random(len(self.run.units)) for k in range(draws)}


@dataclass(frozen=True)
class Report:
    """A verdict beside random orders of the same tokens.

    ``random``: for each measure the mean over the orders and the bootstrap interval of that mean, at 95 %.
    """

    method: str
    objective: str
    candidates: int
    verdict: Verdict
    random: dict[str, tuple[float, float, float]]
    orders: int
    ablations: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what is undefined is None."""

        def plain(x: Any) -> Any:
            if isinstance(x, dict):
                return {k: plain(v) for k, v in x.items()}
            if isinstance(x, list | tuple):
                return [plain(v) for v in x]
            return None if isinstance(x, float) and not math.isfinite(x) else x

        found: dict[str, Any] = plain({"schema": "pellucid.faithfulness/1", "fractions": curves.GRID, **asdict(self)})
        return found


def importance(scores: npt.ArrayLike, ranks: str) -> Floats:
    """Scores as a ranking reads them: as they are (``signed``), or by ``magnitude``; what was not measured is 0."""
    known = np.nan_to_num(np.asarray(scores, dtype=np.float64), nan=0.0)
    return known if ranks == "signed" else np.abs(known)


def candidates_of(trace: Trace) -> list[int]:
    """Tokens that the user wrote; all but the first of a prompt that has nothing else."""
    written = [i for i, s in enumerate(trace.sources) if s.role not in FRAME_ROLES]
    return written[1:] if len(written) == len(trace.sources) else written


def faithfulness(
    loaded: LoadedModel,
    trace: Trace,
    *,
    ablations: int = ABLATIONS,
    orders: int = RANDOM_ORDERS,
    seed: int = 0,
    memory: str | int = "auto",
    progress: Progress = silent,
) -> Report:
    """Judge a trace of ``loaded`` by all measures, beside ``orders`` random ones.

    Ablations are measured by the trace's own objective. Raises ``InputError`` for a trace of another model, or of an
    objective that cannot be made again from its name (a contrast, a reference, a function).
    """
    from pellucid.trace.methods import methods

    if trace.model.name != loaded.name:
        raise InputError(f"this trace explains '{trace.model.name}', and the model is '{loaded.name}'")
    if trace.objective not in OBJECTIVES:
        raise InputError(
            f"the objective '{trace.objective}' cannot be made again from a trace: expected one of "
            f"{', '.join(OBJECTIVES)}"
        )
    loaded = speaking(loaded, trace.details.get("source_language"), trace.details.get("target_language"))
    candidates = candidates_of(trace)
    run = run_class(loaded)(
        loaded,
        [s.id for s in trace.sources],
        [t.id for t in trace.targets],
        OBJECTIVES[trace.objective],
        selected=None if trace.span is None else list(trace.span.targets),
        units=[[i] for i in candidates],
        allowed=budget(memory, loaded.device),
        seed=seed,
        progress=progress,
    )
    judge = Judge(run, ablations=ablations, seed=seed)
    known = methods().get(trace.method.name)
    own = importance(trace.total[candidates], known.ranks if known else "magnitude")
    random = judge.random_orders(orders, seed)
    found = judge.verdicts({"own": own, **random})
    own_verdict = found.pop("own")
    return Report(
        trace.method.name,
        trace.objective,
        len(candidates),
        own_verdict,
        {n: summary([getattr(v, n) for v in found.values()], seed) for n in Verdict.numbers()},
        orders,
        judge.passes,
        seed,
    )


def summary(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """(mean, low, high) with the bootstrap interval of the mean, over what is finite; NaN where nothing is."""
    finite = [v for v in values if math.isfinite(v)]
    return (float(np.mean(finite)) if finite else math.nan, *curves.interval(finite, seed=seed))
