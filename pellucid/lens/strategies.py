"""How the next token is chosen: the decoding strategies, by name and number.

    parse("greedy"); parse("beam:4"); parse("top_p:0.9+temperature:0.7"); parse("contrastive:0.6")

Samplers may be joined with ``+`` and are applied in the order of ``STRATEGIES``; each is transformers' own processor
of logits, so what they do is what ``generate`` does. Beam search is ``lens.beams``, contrastive search
``lens.contrastive``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pellucid.errors import OptionError, unknown


@dataclass(frozen=True)
class Kind:
    """A way to choose. ``low`` to ``high`` is what its number may be (``above``: more than ``low``), ``default`` the
    number where none is given; None: it takes no number. ``draws``: it samples."""

    name: str
    description: str
    default: float | None = None
    low: float = 0.0
    high: float = math.inf
    above: bool = True
    whole: bool = False
    draws: bool = True
    alone: bool = False
    make: Callable[[float], Any] | None = None


def _processor(name: str, **fixed: Any) -> Callable[[float], Any]:
    """Makes transformers' processor of that class."""

    def make(value: float) -> Any:
        from transformers.generation import logits_process

        return getattr(logits_process, name)(value, **fixed)

    return make


STRATEGIES: dict[str, Kind] = {
    k.name: k
    for k in (
        Kind("greedy", "always the likeliest token", draws=False),
        Kind("beam", "the k likeliest beginnings, kept side by side", 4, 1, 64, whole=True, draws=False, alone=True),
        Kind(
            "contrastive",
            "likely, and unlike what was said: (1 - a) p - a max cosine of hidden states, of the 4 likeliest "
            "(Su et al. 2022)",
            0.6,
            0,
            1,
            above=False,
            draws=False,
            alone=True,
        ),
        Kind(
            "repetition_penalty",
            "logits of tokens that were there are divided (negative ones multiplied) by it (Keskar et al. 2019)",
            1.2,
            0,
            draws=False,
            make=_processor("RepetitionPenaltyLogitsProcessor"),
        ),
        Kind("temperature", "logits are divided by the number", 1.0, 0, make=_processor("TemperatureLogitsWarper")),
        Kind("top_k", "of the k likeliest tokens", 50, 0, whole=True, make=_processor("TopKLogitsWarper")),
        Kind(
            "top_p",
            "of the likeliest tokens that together have probability p (Holtzman et al. 2020)",
            0.9,
            0,
            1,
            make=_processor("TopPLogitsWarper"),
        ),
        Kind(
            "min_p",
            "of the tokens at least p times as likely as the likeliest (Nguyen et al. 2024)",
            0.05,
            0,
            1,
            above=False,
            make=_processor("MinPLogitsWarper"),
        ),
        Kind(
            "typical",
            "of the tokens whose surprisal is nearest the entropy, up to mass p (Meister et al. 2023)",
            0.9,
            0,
            1,
            make=_processor("TypicalLogitsWarper"),
        ),
    )
}


@dataclass(frozen=True)
class Strategy:
    """``parts`` are (name, number) in the order in which they are applied; ``text`` is how the user would write it."""

    parts: tuple[tuple[str, float | None], ...]

    @property
    def text(self) -> str:
        """``top_p:0.9+temperature:0.7``."""
        return "+".join(n if v is None else f"{n}:{v:g}" for n, v in self.parts)

    @property
    def draws(self) -> bool:
        """Does it sample?"""
        return any(STRATEGIES[n].draws for n, _ in self.parts)

    @property
    def alone(self) -> tuple[str, float] | None:
        """(name, number) of one that is no processor of logits: beam, contrastive."""
        name, value = self.parts[0]
        return (name, float(value or 0.0)) if STRATEGIES[name].alone else None

    def processors(self) -> list[Any]:
        """Transformers' processors, in order: ``(ids [1, tokens], logits [1, vocabulary])`` to logits."""
        found = []
        for name, value in self.parts:
            make = STRATEGIES[name].make
            if make is not None and value is not None:
                found.append(make(int(value) if STRATEGIES[name].whole else value))
        return found


def parse(text: str) -> Strategy:
    """The strategy that ``text`` names. Raises ``OptionError`` with the nearest name, or the range of its number."""
    if not isinstance(text, str) or not text.strip():
        raise OptionError(f"a strategy is expected, such as greedy, beam:4 or top_p:0.9, given {text!r}")
    parts: dict[str, float | None] = {}
    for item in text.split("+"):
        name, _, number = item.partition(":")
        name = name.strip().replace("-", "_")
        if name not in STRATEGIES:
            raise unknown("strategy", name, list(STRATEGIES))
        if name in parts:
            raise OptionError(f"the strategy '{text}' names {name} twice")
        parts[name] = _number(STRATEGIES[name], number.strip())
    alone = [n for n in parts if STRATEGIES[n].alone or n == "greedy"]
    if alone and len(parts) > 1:
        raise OptionError(f"{alone[0]} stands alone and cannot be joined with others, given '{text}'")
    order = list(STRATEGIES)
    return Strategy(tuple(sorted(parts.items(), key=lambda p: order.index(p[0]))))


def _number(kind: Kind, text: str) -> float | None:
    if kind.default is None:
        if text:
            raise OptionError(f"{kind.name} takes no number, given '{text}'")
        return None
    if not text:
        return kind.default
    what = "a whole number" if kind.whole else "a number"
    least = (
        f"above {kind.low:g}" if kind.above and not kind.whole else f"from {max(kind.low, 1 if kind.whole else 0):g}"
    )
    span = least + (f" to {kind.high:g}" if math.isfinite(kind.high) else "")
    try:
        value = float(text)
    except ValueError:
        raise OptionError(f"{kind.name} takes {what} {span}, given '{text}'") from None
    low = value > kind.low if kind.above and not kind.whole else value >= max(kind.low, 1 if kind.whole else 0)
    if not (low and value <= kind.high and math.isfinite(value)) or (kind.whole and value != int(value)):
        raise OptionError(f"{kind.name} takes {what} {span}, given '{text}'")
    return value
