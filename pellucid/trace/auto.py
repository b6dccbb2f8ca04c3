"""``method="auto"``: which method, for what one is ready to wait, by what was measured.

    trace = model.explain("...", method="auto", budget="balanced"); trace.details["auto"]

A budget names what an explanation may cost in forward passes F over the same tokens: ``fast`` at most 3, ``balanced``
at most 25, ``thorough`` what it takes. Each has its methods in order; the first that this model can be explained by is
taken (a family that a method does not know is passed over, and the trace says so). The order is that of the
leaderboard (docs/leaderboard.md) where one was measured for this kind of model; elsewhere it is a guess, and the trace
says that too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pellucid.errors import OptionError, unknown

AUTO = "auto"
BUDGETS = ("fast", "balanced", "thorough")
DEFAULT_BUDGET = "balanced"


@dataclass(frozen=True)
class Choice:
    """A method, its parameters, and why: for the trace."""

    method: str
    why: str
    parameters: dict[str, Any] = field(default_factory=dict)


#: Where no leaderboard was measured.
_UNMEASURED = "no leaderboard was measured for this kind of model"
_BOARD = "docs/leaderboard.md, smollm2-135m-instruct on 40 English paragraphs"
_CLASSES = "docs/leaderboard.md, an SST-2 classifier on 80 sentences, and on 80 others"
_TRANSLATIONS = "docs/leaderboard.md, a German-English Marian on 60 sentences, and on 60 others"
_FAST = "docs/leaderboard.md, 40 paragraphs each: smollm2-135m-instruct, gemma3-270m in English, in Chinese"
_FALLBACK = "for families that the first choice does not know"
#: kind of model -> budget -> choices, best first.
CHOICES: dict[str, dict[str, tuple[Choice, ...]]] = {
    "causal": {
        "fast": (
            Choice(
                "layered_gim",
                f"2.5 F; comprehensiveness 0.48, 0.67, 0.94 and LDS 0.54, 0.66, 0.69, ifr 0.42, 0.63, 0.86 and 0.42, "
                f"0.53, 0.52 ({_FAST})",
            ),
            Choice("ifr", f"1.3 F; {_FALLBACK}"),
            Choice("saliency", f"2.2 F; {_FALLBACK}"),
        ),
        "balanced": (
            Choice(
                "elimination",
                f"20 F; comprehensiveness 0.557, leave-one-out 0.550 in 51 F ({_BOARD})",
                {"exact": [16, 12], "guides": ["gim"]},
            ),
            Choice("elimination", f"about 20 F; {_FALLBACK}", {"exact": [16, 12], "guides": ["ifr"]}),
            Choice("elimination", f"about 20 F; {_FALLBACK}", {"exact": [16, 12], "guides": ["saliency"]}),
        ),
        "thorough": (
            Choice("elimination", f"97 F; comprehensiveness 0.633, LDS 0.708, leave-one-out 0.550, 0.700 ({_BOARD})"),
        ),
    },
    "classifier": {
        "fast": (Choice("saliency", f"1.9 F; comprehensiveness 0.49, 0.45, input_x_gradient 0.29 ({_CLASSES})"),),
        "balanced": (
            Choice(
                "context_cite",
                "14 F; comprehensiveness 1.12, 1.07 and LDS 0.66, 0.76, leave-one-out 1.04, 1.02 and 0.69, 0.71 "
                f"({_CLASSES})",
                {"ablations": 48},
            ),
        ),
        "thorough": (
            Choice("lime", f"70 F; comprehensiveness 1.27, 1.23 and LDS 0.68, 0.75, leave-one-out below ({_CLASSES})"),
        ),
    },
    "seq2seq": {
        "fast": (
            Choice(
                "attention",
                f"1.1 F; comprehensiveness 1.39, 1.43 and LDS 0.90, 0.91, saliency 1.26, 1.33 and 0.85, 0.87 "
                f"({_TRANSLATIONS})",
            ),
            Choice("saliency", f"1.9 F; {_FALLBACK}"),
        ),
        "balanced": (
            Choice(
                "elimination",
                f"10 F; comprehensiveness 1.84, 1.93, leave-one-out 1.82, 1.89 ({_TRANSLATIONS})",
                {"exact": [16, 12], "guides": ["attention"]},
            ),
            Choice("elimination", f"about 12 F; {_FALLBACK}", {"exact": [16, 12], "guides": ["saliency"]}),
        ),
        "thorough": (
            Choice(
                "lime",
                f"48 F; comprehensiveness 1.84, 1.93 and LDS 0.97, 0.97, leave-one-out 1.82, 1.89 and 0.95, 0.95 "
                f"({_TRANSLATIONS})",
            ),
        ),
    },
}
_ELSEWHERE: dict[str, tuple[Choice, ...]] = {
    "fast": (Choice("saliency", f"{_UNMEASURED}; 2 F"),),
    "balanced": (Choice("context_cite", f"{_UNMEASURED}: as for classifiers; at most 24 F", {"ablations": 48}),),
    "thorough": (Choice("lime", f"{_UNMEASURED}: as for classifiers; about 100 F"),),
}


def check(method: str, budget: str | None, parameters: object) -> None:
    """Raise ``OptionError`` for a budget that is none, or that the method does not take."""
    if budget is not None and budget not in BUDGETS:
        raise unknown("budget", budget, list(BUDGETS))
    if budget is not None and method != AUTO:
        raise OptionError(f"budget chooses a method for method='auto', and the method is '{method}': leave one out")
    if method == AUTO and parameters:
        raise OptionError("method='auto' chooses the method and its parameters: name a method to give your own")


def choices(kind: str, budget: str | None) -> tuple[Choice, ...]:
    """What to try for this kind of model, in order."""
    return CHOICES.get(kind, _ELSEWHERE)[budget or DEFAULT_BUDGET]
