"""Interactions between units: what two or more parts of a prompt do together, beyond what each does alone.

    pellucid interactions --unit sentence --file prompt.txt
    found = model.interactions("...", unit="sentence"); found.top(5); found.save("pairs.html")

A unit is in or out; v(S) is the objective of the explained answer (a log-probability, in nats) with the units S alone
left in the prompt. A positive number for a pair says that both together do more than the sum of what each does (they
need each other), a negative one that they do less (they say the same). ``index`` names the sharing rule:

- ``SII``: sum over S without T of |S|! (n - |S| - |T|)! / (n - |T| + 1)! times the discrete derivative of v by T at S
  (Grabisch & Roubens 1999, doi:10.1007/s001820050125); ``BII`` weighs every S alike.
- ``k-SII``: SII with what belongs to larger sets up to ``order`` taken out of the smaller ones, so that all numbers add
  up to v(all) - v(none) (Bordt & von Luxburg 2023, arXiv:2209.04012).
- ``STII``: Shapley-Taylor, smaller sets by their derivative at nothing (Sundararajan et al. 2020, arXiv:1902.05622).
- ``FSII``, ``FBII``: the best fit to v by sets of at most ``order`` units, weighed as Shapley or Banzhaf values are
  (Tsai et al. 2023, arXiv:2203.00870).

Where all 2^n sets fit into ``budget`` they are all run and the numbers are exact. Else shapiq (Muschalik et al. 2024,
arXiv:2410.01649; an extra) chooses the sets and estimates: by KernelSHAP-IQ (Fumagalli et al. 2024, arXiv:2405.10852)
for SII and k-SII, by regression for FSII and FBII, by SVARM-IQ (Kolpaczki et al. 2024, arXiv:2401.13371) for STII and
BII; from few sets FSII and FBII are by far the surest (docs/decisions.md). All sets go to ``ablate.effects`` in one
call, so that equal prompts run once and all share what they can.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import InputError, MissingExtraError, NumericError, OptionError, SchemaError, unknown
from pellucid.progress import Progress, silent
from pellucid.trace.result import Answer, Cost, ModelInfo, Prompt, Span
from pellucid.version import __version__

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pellucid.models.encode import Encoded, Messages
    from pellucid.models.load import LoadedModel
    from pellucid.trace.objective import Function
    from pellucid.trace.reference import Part
    from pellucid.trace.units import Kind, Unit

    Game = Callable[[npt.NDArray[np.bool_]], npt.NDArray[np.float64]]

SCHEMA = "pellucid.interactions/1"
#: index: (what of shapiq estimates it, do all numbers add up to a model of v?)
INDICES = {
    "k-SII": ("KernelSHAPIQ", True),
    "SII": ("KernelSHAPIQ", False),
    "STII": ("SVARMIQ", True),
    "FSII": ("RegressionFSII", True),
    "BII": ("SVARMIQ", False),
    "FBII": ("RegressionFBII", True),
}
DEFAULT_BUDGET = 512


@dataclass(frozen=True)
class Interaction:
    """A set of units (places in ``Interactions.units``) with its number, in the objective's unit (nats)."""

    units: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class Piece:
    """A unit: ``text`` stands between ``start`` and ``end``, characters of the bare prompt or of message
    ``message``."""

    name: str
    text: str
    start: int
    end: int
    message: int | None


@dataclass(frozen=True, eq=False)
class Interactions:
    """What units of the prompt do to the answer, alone and together.

    ``values`` holds every set of 1 to ``order`` units. ``whole`` and ``none`` are the objective with all units and with
    none; ``exact`` says whether all sets were run, ``ablations`` how many were. ``r2`` is the share of the variance of
    v over the sets that ran which the numbers of their subsets, added up, explain; None for an index that does not add
    up.
    """

    model: ModelInfo
    prompt: Prompt
    answer: Answer
    span: Span | None
    objective: str
    reduce: str
    unit: str
    units: tuple[Piece, ...]
    index: str
    order: int
    values: tuple[Interaction, ...]
    whole: float
    none: float
    exact: bool
    r2: float | None
    ablations: int
    budget: int
    replace: str | int
    precision: str
    seed: int
    cost: Cost
    versions: dict[str, str]
    created: str

    def __getitem__(self, units: int | tuple[int, ...]) -> float:
        """The number of a unit, or of a set of units by their places."""
        wanted = (units,) if isinstance(units, int) else tuple(sorted(units))
        for v in self.values:
            if v.units == wanted:
                return v.value
        raise KeyError(f"{units}: expected up to {self.order} different places of {len(self.units)} units")

    def top(self, k: int = 10, *, order: int | None = None) -> list[Interaction]:
        """The ``k`` sets with the largest magnitudes, of any size or of ``order`` units."""
        some = [v for v in self.values if order is None or len(v.units) == order]
        return sorted(some, key=lambda v: -abs(v.value))[:k]

    def to_dict(self) -> dict[str, Any]:
        """Plain data in schema ``pellucid.interactions/1``."""
        data = {"schema": SCHEMA, "pellucid": __version__, **asdict(self)}
        data["values"] = [{"units": list(v.units), "value": v.value} for v in self.values]
        data["units"] = [asdict(u) for u in self.units]
        if self.span is not None:
            data["span"]["targets"] = list(self.span.targets)
        if self.prompt.messages is not None:
            data["prompt"]["messages"] = list(data["prompt"]["messages"])
        return data

    def to_json(self, *, indent: int | None = None) -> str:
        """A JSON text (strict: no NaN), characters as they are."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=indent)

    @classmethod
    def from_dict(cls, data: object) -> Interactions:
        """From plain data. Raises ``SchemaError``."""
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise SchemaError(f'not interactions: expected an object with "schema": "{SCHEMA}"')
        try:
            span, prompt = data["span"], dict(data["prompt"])
            messages = prompt["messages"]
            made: dict[str, Any] = {
                "model": ModelInfo(**data["model"]),
                "prompt": Prompt(**{**prompt, "messages": None if messages is None else tuple(messages)}),
                "answer": Answer(**data["answer"]),
                "span": None if span is None else Span(**{**span, "targets": tuple(span["targets"])}),
                "units": tuple(Piece(**u) for u in data["units"]),
                "values": tuple(Interaction(tuple(v["units"]), float(v["value"])) for v in data["values"]),
                "cost": Cost(**data["cost"]),
            }
            known = {name: data[name] for name in cls.__dataclass_fields__ if name not in made}
        except (KeyError, TypeError, ValueError) as e:
            raise SchemaError(f"not whole interactions: {type(e).__name__} {e}") from None
        return cls(**known, **made)

    @classmethod
    def load(cls, path: str | Path) -> Interactions:
        """From a JSON file. Raises ``SchemaError``, or ``InputError`` where the file cannot be read."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as e:
            raise InputError(f"cannot read {path}: {e.strerror or e}") from None
        except (UnicodeDecodeError, json.JSONDecodeError) as e:
            raise SchemaError(f"{path} holds no interactions, or was cut short: {e}") from None

    def show(self, k: int = 20) -> None:
        """Print the ``k`` largest as a table."""
        from pellucid.render.interactions import show

        show(self, k=k)

    def save(self, path: str | Path) -> Path:
        """Write to a ``.json``, ``.html`` or ``.png`` file, whole or not at all."""
        from pellucid.render import save_interactions

        return save_interactions(self, Path(path))

    def __repr__(self) -> str:
        how = "exact" if self.exact else "estimated"
        return f"Interactions({self.index}, order {self.order}, {len(self.units)} units, {how})"


def check(index: str, order: int, budget: int) -> None:
    """Raise ``OptionError`` for options that are wrong whatever the prompt, ``MissingExtraError`` without shapiq."""
    if index not in INDICES:
        raise unknown("index", index, list(INDICES))
    for name, value, least in (("order", order, 1), ("budget", budget, 2)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise OptionError(f"{name} should be a whole number of at least {least}, given {value!r}")
    try:
        import shapiq  # noqa: F401
    except ImportError:
        raise MissingExtraError("interactions need shapiq: pip install 'pellucid[shapiq]'") from None


def check_size(units: int, kind: str, order: int, budget: int) -> None:
    """Raise ``OptionError`` where the prompt has too few units for ``order``, or ``budget`` too few sets for them."""
    if units < order:
        raise OptionError(
            f"interactions of order {order} need at least {order} units, and the prompt has {units} of the kind "
            f"'{kind}': use a smaller unit or order"
        )
    asked = sum(math.comb(units, size) for size in range(order + 1))
    if budget < min(asked + 1, 2**units):
        raise OptionError(
            f"{units} units have {asked - 1} sets of up to {order}, more than a budget of {budget} ablations can tell "
            f"apart: use a larger unit (now '{kind}'), a smaller order, or a budget of {asked + 1} and more"
        )


def game_interactions(
    game: Game, units: int, *, index: str, order: int, budget: int, seed: int
) -> tuple[dict[tuple[int, ...], float], float, bool]:
    """(number of each set of 1 to ``order`` units, that of the empty set, is it exact?) of a game.

    ``game`` takes sets [sets, units] and gives v [sets]; it is called once.
    """
    import shapiq

    exact = 2**units <= budget
    found: Any
    if exact:
        computer: Any = shapiq.ExactComputer(game, units)
        found = computer(index, order)
    else:
        options = {} if INDICES[index][0].startswith("Regression") else {"index": index}
        estimator = getattr(shapiq, INDICES[index][0])(n=units, max_order=order, random_state=seed, **options)
        with warnings.catch_warnings():
            # It says that drawing nearly all sets is slow: a few thousand draws are nothing beside one forward pass.
            warnings.filterwarnings("ignore", message="Sampling might be inefficient", category=UserWarning)
            found = estimator.approximate(budget, game)
    values = found.dict_values
    sets = [s for size in range(1, order + 1) for s in combinations(range(units), size)]
    return {s: float(values.get(s, 0.0)) for s in sets}, float(values.get((), found.baseline_value)), exact


def explained(
    masks: npt.NDArray[np.bool_], v: npt.NDArray[np.float64], values: Mapping[tuple[int, ...], float], empty: float
) -> float | None:
    """Share of the variance of ``v`` [sets] that the numbers of each set's subsets, added up, explain."""
    import numpy as np

    fitted = np.full(len(v), empty)
    for units, value in values.items():
        fitted += value * masks[:, list(units)].all(1)
    spread = float(((v - v.mean()) ** 2).sum())
    return 1 - float(((v - fitted) ** 2).sum()) / spread if spread > 0 else None


def interactions(
    loaded: LoadedModel,
    prompt: str | Messages | Sequence[str] | Mapping[str, str],
    target: str | None = None,
    *,
    unit: Kind = "sentence",
    order: int = 2,
    index: str = "k-SII",
    budget: int = DEFAULT_BUDGET,
    replace: str | int = "remove",
    objective: str | Function = "logprob",
    instead_of: str | None = None,
    without: Part | None = None,
    reduce: str = "sum",
    span: str | tuple[int, int] | None = None,
    raw: bool = False,
    parse_special: bool = False,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    precision: str = "full",
    memory: str | int = "auto",
    progress: Progress = silent,
) -> Interactions:
    """What sets of up to ``order`` units of the prompt do together to the answer.

    - ``index``: one of ``INDICES``; ``budget``: how many ablations may run, one forward pass each.
    - ``replace``: what stands in for a unit that goes: nothing (``remove``), ``pad``, ``neutral``, ``sample`` or a
      token.
    - The others are those of ``pellucid.trace.explain.explain``.

    Raises ``MissingExtraError`` where shapiq is not installed, ``NumericError`` where an ablation's number is NaN or
    infinite (every interaction would hang on it), and what ``explain`` raises.
    """
    check(index, order, budget)
    import numpy as np

    from pellucid.models.encode import encode
    from pellucid.models.kinds import CHOOSING
    from pellucid.trace import units as stretches
    from pellucid.trace.memory import PeakMemory
    from pellucid.trace.prepare import one_text, prepare
    from pellucid.trace.provenance import model_info, versions

    kind = stretches.kind_name(unit)
    if loaded.kind not in CHOOSING:  # before a long answer is generated
        early = encode(loaded, one_text(loaded, prompt), raw=raw, parse_special=parse_special)
        check_size(len(stretches.units(early, unit) or _tokens(early)), kind, order, budget)
    ready = prepare(
        loaded,
        prompt,
        target,
        objective=objective,
        instead_of=instead_of,
        without=without,
        reduce=reduce,
        span=span,
        unit=unit,
        raw=raw,
        parse_special=parse_special,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        precision=precision,
        memory=memory,
        progress=progress,
    )
    units = ready.units or _tokens(ready.encoded)
    check_size(len(units), kind, order, budget)
    began = time.perf_counter()
    with PeakMemory(loaded.device) as peak:
        groups = [list(u.tokens) for u in units]
        run = ready.run(loaded, units=groups, precision=precision, seed=seed, progress=progress)
        asked: list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]] = []

        def game(sets: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
            asked.append(_measured(run, sets, units, replace))
            return asked[-1][1]

        values, empty, exact = game_interactions(game, len(units), index=index, order=order, budget=budget, seed=seed)
    masks, v = (np.concatenate(a) for a in zip(*asked, strict=True))
    return Interactions(
        model=model_info(loaded),
        prompt=Prompt(ready.encoded.text, ready.encoded.messages, ready.encoded.rendered, ready.encoded.raw),
        answer=ready.answer,
        span=ready.part,
        objective=ready.goal.objective.name,
        reduce=reduce,
        unit=kind,
        units=tuple(Piece(u.name, u.text, u.start, u.end, u.message) for u in units),
        index=index,
        order=order,
        values=tuple(Interaction(s, x) for s, x in values.items()),
        whole=float(v[masks.all(1)][0]),
        none=float(v[~masks.any(1)][0]),
        exact=exact,
        r2=explained(masks, v, values, empty) if INDICES[index][1] else None,
        ablations=len(masks),
        budget=budget,
        replace=replace,
        precision=run.precision,
        seed=seed,
        cost=Cost(
            round(time.perf_counter() - began, 4),
            run.forwards + ready.goal.forwards,
            0,
            peak.bytes,
            round(ready.generate_seconds, 4),
        ),
        versions=versions("shapiq"),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _measured(
    run: Any, sets: npt.NDArray[np.bool_], units: Sequence[Unit], replace: str | int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """(sets, v of each) by one call of ``effects``. Raises ``NumericError`` that names the first lost set."""
    import numpy as np

    from pellucid.trace.ablate import effects

    masks = np.asarray(sets, dtype=bool)
    v = effects(run, masks, replace=replace, stage="coalitions").sum(1).numpy()
    lost = np.flatnonzero(~np.isfinite(v))
    if len(lost):
        names = [u.name for u, stays in zip(units, masks[lost[0]], strict=True) if stays]
        raise NumericError(
            f"{len(lost)} of {len(v)} ablations came out as NaN or infinite, and every interaction hangs on each; the "
            f"first keeps {', '.join(names) or 'no unit'}: try dtype='float32', other units, or replace='neutral'"
        )
    return masks, v


def _tokens(encoded: Encoded) -> list[Unit]:
    """The user's own tokens as units."""
    from pellucid.trace.result import FRAME_ROLES
    from pellucid.trace.units import Unit

    return [
        Unit(f"token {i + 1}", t.text, t.start, t.end, t.message, (i,))
        for i, t in enumerate(encoded.tokens)
        if t.role not in FRAME_ROLES and t.start is not None and t.end is not None
    ]
