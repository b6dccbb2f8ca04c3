"""What a tuning run is made of, and what is sane for one where nothing else is asked for.

Tuning("smollm2-135m-instruct", ("chats.jsonl",), lora=16, train={"rows": 8})
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pellucid.errors import OptionError, unknown
from pellucid.lab import lora
from pellucid.lab.data.replies import LONG
from pellucid.lab.training.settings import Train

CONTEXT = 1024  # tokens of a conversation, unless asked for otherwise
#: Peak rates: of all weights, and of adapters (Hu et al. 2021 and Dettmers et al. 2023, arXiv:2305.14314).
RATE, ADAPTER_RATE = 2e-5, 2e-4
#: What fine-tuning does otherwise than training from nothing: no decay towards zero, and a longer memory of gradients.
DEFAULTS: dict[str, Any] = {"rows": 16, "decay": 0.0, "betas": (0.9, 0.999), "keep_last": 1}
MICRO_BATCHES = 4  # of a step, where its rows divide into them
WARMUP = 0.05  # of all steps
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Tuning:
    """What is tuned, on what, and how.

    ``model`` is any that Pellucid loads; ``sources`` are .jsonl files (``lab.data.chats``), of whose conversations
    ``held_out`` (a share) are never learned. ``lora``: the adapters' rank (None: all weights learn), with ``alpha``
    (None: twice the rank) and ``dropout``. ``epochs``: how often each conversation is read. ``long``: conversations
    longer than the block are cut, or dropped. ``last_reply``: learn the last reply of each alone; ``raw``: prompts and
    completions without the chat template. ``dtype`` of the weights. ``train``: options of ``Train`` over what is sane
    for tuning; ``steps`` among them instead of ``epochs``.
    """

    model: str
    sources: tuple[str, ...]
    lora: int | None = None
    alpha: float | None = None
    dropout: float = 0.0
    epochs: float = 3.0
    held_out: float = 0.1
    long: str = "cut"
    last_reply: bool = False
    raw: bool = False
    dtype: str = "float32"
    train: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.lora is not None:
            lora.check(self.lora, 2.0 * self.lora if self.alpha is None else self.alpha, self.dropout)
        elif self.alpha is not None or self.dropout:
            raise OptionError("alpha and dropout are LoRA's: give its rank too (--lora 16)")
        if not 0 < self.epochs < math.inf:
            raise OptionError(f"epochs should be above 0, given {self.epochs:g}")
        for name, known in (("long", LONG), ("dtype", DTYPES)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), list(known))
        if self.lora is None and self.dtype != "float32":
            raise OptionError("small steps are lost in 16-bit weights: tune all weights in float32, or give --lora")
        self.settings(1, None)  # what is wrong with ``train`` is said before a model is loaded

    def settings(self, per_epoch: int, context: int | None) -> Train:
        """How it is trained, where an epoch is so many steps and the model reads ``context`` tokens.

        Raises ``OptionError``.
        """
        fields = [f.name for f in dataclasses.fields(Train)]
        for name in self.train:
            if name not in fields:
                raise unknown("option of training", name, fields)
        steps = self.train.get("steps", math.ceil(self.epochs * per_epoch))
        usual = {
            **DEFAULTS,
            "accumulate": math.gcd(int(self.train.get("rows", DEFAULTS["rows"])), MICRO_BATCHES),
            "context": min(CONTEXT, context or CONTEXT),
            "rate": RATE if self.lora is None else ADAPTER_RATE,
            "warmup": math.ceil(WARMUP * steps),
            "evaluate_every": per_epoch,
            "save_every": min(per_epoch, 100),
        }
        made = Train(**{**usual, **self.train, "steps": steps})
        if context is not None and made.context > context:
            raise OptionError(f"the model reads {context:,} tokens, and a block of {made.context:,} is asked for")
        if self.lora is not None and made.spread == "fsdp":
            raise OptionError("fsdp spreads weights that learn, and LoRA's are few: choose spread = ddp")
        return made


@dataclass(frozen=True)
class Run:
    """What is compared when a run goes on, and written beside it."""

    tuning: Tuning
    settings: Train
    hashes: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        given = dataclasses.asdict(self.tuning)
        del given["train"]
        train = {**dataclasses.asdict(self.settings), "betas": list(self.settings.betas)}
        return {"data": self.hashes, "tune": {**given, "sources": list(self.tuning.sources)}, "train": train}
