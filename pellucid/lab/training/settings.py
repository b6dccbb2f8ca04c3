"""What a run is made of: data, model, training; from a preset, a TOML file, and the command line, in that order.

    recipe = read(preset="char-tiny", config="gpt.toml", sources=["book.txt"])

A TOML file has the tables ``[data]``, ``[model]`` (keywords of ``LabConfig``) and ``[train]``, each as far as it
differs from the preset (the key ``preset`` at its top names one).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pellucid.errors import InputError, OptionError, unknown

ATTENTION = ("auto", "sdpa", "eager", "flex_attention")


@dataclass(frozen=True)
class Data:
    """``sources`` as in ``lab.data.sources``; ``tokenizer``: characters, bytepairs, or a model's name; ``vocab_size``
    of byte pairs; ``held_out``: the share that training never sees; ``isolate``: documents of one block do not see
    each other; ``field``: where a JSON line keeps its text."""

    sources: tuple[str, ...] = ()
    tokenizer: str = "bytepairs"
    vocab_size: int = 4096
    held_out: float = 0.1
    isolate: bool = False
    field: str = "text"


@dataclass(frozen=True)
class Train:
    """How it is trained.

    ``steps`` optimiser steps of ``rows`` blocks of ``context`` tokens, in ``accumulate`` micro-batches (and over all
    processes); ``rate`` at its peak, ``adam_rate`` for what Muon leaves to AdamW, warm-up of ``warmup`` steps, then
    ``schedule`` down to ``least`` of the peak; ``attention``: the kernel, auto (the model's own choice: sdpa), sdpa,
    eager, or flex_attention (CUDA: its blocks skip what a window or a document hides); ``clip``: the longest gradient
    (0: none); ``precision``: auto, fp32, bf16, fp16; ``checkpointing``: layers are run again on the way back, for less
    memory; evaluation every ``evaluate_every`` steps over ``evaluate_tokens`` held-out tokens (0: all), a checkpoint
    every ``save_every``, of which the last ``keep_last`` and the best are kept (0: all).
    """

    steps: int = 1000
    rows: int = 16
    context: int = 256
    accumulate: int = 1
    optimiser: str = "adamw"
    rate: float = 1e-3
    adam_rate: float | None = None
    betas: tuple[float, float] = (0.9, 0.95)
    decay: float = 0.1
    warmup: int = 50
    schedule: str = "cosine"
    least: float = 0.1
    clip: float = 1.0
    precision: str = "auto"
    attention: str = "auto"
    compile: bool = False
    checkpointing: bool = False
    evaluate_every: int = 250
    evaluate_tokens: int = 0
    save_every: int = 250
    keep_last: int = 2
    seed: int = 0
    spread: str = "ddp"

    def __post_init__(self) -> None:
        from pellucid.lab.training import optimisers, precision, schedule

        for name in ("steps", "rows", "context", "accumulate", "evaluate_every", "save_every"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} should be at least 1, given {getattr(self, name)}")
        for name, known in (
            ("optimiser", optimisers.KINDS),
            ("schedule", schedule.SHAPES),
            ("precision", precision.KINDS),
            ("spread", ("ddp", "fsdp")),
            ("attention", ATTENTION),
        ):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), list(known))
        if self.rate <= 0:
            raise OptionError(f"rate should be above 0, given {self.rate}")
        if self.rows % self.accumulate:
            raise OptionError(f"{self.rows} rows do not divide into {self.accumulate} micro-batches")


@dataclass(frozen=True)
class Recipe:
    """All of a run; ``as_dict`` is what is written beside it and compared when it goes on."""

    data: Data = field(default_factory=Data)
    model: dict[str, Any] = field(default_factory=dict)
    train: Train = field(default_factory=Train)

    def as_dict(self) -> dict[str, Any]:
        """Plain data; sources by their names."""
        return {
            "data": {**dataclasses.asdict(self.data), "sources": list(self.data.sources)},
            "model": dict(self.model),
            "train": {**dataclasses.asdict(self.train), "betas": list(self.train.betas)},
        }


def read(
    *,
    preset: str | None = None,
    config: str | Path | None = None,
    sources: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
) -> Recipe:
    """A preset, changed by a TOML file, changed by ``sources``, ``data`` and ``train``.

    Raises ``OptionError`` for names and values that there are not, ``InputError`` for a file that is no TOML.
    """
    from pellucid.lab.presets import PRESETS

    tables = _toml(Path(config)) if config is not None else {}
    name = preset or tables.pop("preset", None)
    tables.pop("preset", None)
    if name is not None and name not in PRESETS:
        raise unknown("preset", name, list(PRESETS))
    for table in tables:
        if table not in ("data", "model", "train"):
            raise unknown(f"table in {config}", table, ["data", "model", "train"])
    base: dict[str, dict[str, Any]] = PRESETS[name] if name else {}
    merged = {t: {**base.get(t, {}), **tables.get(t, {})} for t in ("data", "model", "train")}
    merged["train"].update(train or {})
    merged["data"].update(data or {})
    if sources:
        merged["data"]["sources"] = tuple(sources)
    if not merged["data"].get("sources"):
        raise OptionError("no data was given: name a file, a folder, hub:NAME or stdlib with --data")
    made = Recipe(_make(Data, merged["data"]), merged["model"], _make(Train, merged["train"]))
    _check_model(made)
    return made


def _toml(path: Path) -> dict[str, Any]:
    import importlib

    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        found: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from None
    except (toml.TOMLDecodeError, UnicodeDecodeError) as e:
        raise InputError(f"{path} is not TOML: {e}") from None
    return found


def _make(kind: Any, given: Mapping[str, Any]) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    values = {}
    for name, value in given.items():
        if name not in fields:
            raise unknown(f"option of [{kind.__name__.lower()}]", name, list(fields))
        default = fields[name].default
        if isinstance(default, tuple) and isinstance(value, list):
            value = tuple(value)
        if isinstance(default, float) and type(value) is int:
            value = float(value)
        if default is not None and type(value) is not type(default):
            raise OptionError(f"{name} should be {type(default).__name__}, given {value!r}")
        values[name] = value
    return kind(**values)


def _check_model(recipe: Recipe) -> None:
    """Are the model's options known, and do its sizes fit, before any data is read?"""
    import inspect

    from pellucid.lab.configuration import LabConfig

    known = [n for n in inspect.signature(LabConfig.__init__).parameters if n not in ("self", "others", "vocab_size")]
    for name in recipe.model:
        if name not in known:
            raise unknown("option of [model]", name, known)
    LabConfig(**recipe.model)
