"""A leaderboard as Markdown: one table, best first, with the intervals and how it was made.

markdown(board)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pellucid.trace.curves import FRACTIONS

if TYPE_CHECKING:
    from pellucid.bench.board import Board, Row

#: measure: column, whose arrow says which way is better
COLUMNS = {
    "comprehensiveness": "comprehensiveness ↑",
    "sufficiency": "sufficiency ↓",
    "lds": "LDS ↑",
    "roc": "answer span ↑",
    "rise_deletion": "RISE del ↓",
    "rise_insertion": "RISE ins ↑",
    "mas_deletion": "MAS del ↓",
    "mas_insertion": "MAS ins ↑",
    "randomised": "random weights ↓",
}
#: Of these the paired differences are shown too.
COMPARED = {"comprehensiveness": "comprehensiveness", "lds": "LDS"}


def number(value: tuple[float, float, float], *, interval: bool) -> str:
    """``0.412 (0.35–0.48)``; a dash where there is none."""
    mean, low, high = value
    if not math.isfinite(mean):
        return "–"
    return f"{mean:.3f} ({low:.2f}–{high:.2f})" if interval and math.isfinite(low) else f"{mean:.3f}"


def difference(value: tuple[float, float, float] | None) -> str:
    """``+0.09 (+0.06 to +0.12)``; a dash where there is none."""
    if value is None or not math.isfinite(value[0]):
        return "–"
    return f"{value[0]:+.3f} ({value[1]:+.2f} to {value[2]:+.2f})" if math.isfinite(value[1]) else f"{value[0]:+.3f}"


def _line(row: Row, *, compared: bool) -> str:
    cells = [f"`{row.label}`", f"{row.cost:.1f} F" if row.label != "random" else "0"]
    cells += [
        number(row.means[m], interval=m in ("comprehensiveness", "sufficiency", "lds", "over_random")) for m in COLUMNS
    ]
    cells += [difference(row.beside.get(key)) for key in COMPARED if compared]
    return f"| {' | '.join(cells)} |"


def markdown(board: Board) -> str:
    """The whole board as text."""
    s = board.settings
    shares = ", ".join(f"{100 * f:g}" for f in FRACTIONS)
    beside = board.reference is not None
    head = ["method", "cost", *COLUMNS.values(), *(f"{c} − `{board.reference}`'s" for c in COMPARED.values() if beside)]
    compared = f": the last two columns compare each method with `{board.reference}` example by example"
    most = max((r.examples for r in board.rows), default=0)
    lines_of_text = str(s["data"]).lower().endswith((".txt", ".tsv"))
    unit = "texts" if lines_of_text else "questions, the first of each paragraph"
    answers = f"the model's own answers of at most {s['max_new_tokens']} tokens"
    if lines_of_text and board.answer_tokens == 1:
        answers = "the class that the model chooses"
    lines = [
        f"## {s['model']} on {s['data']}",
        "",
        f"{most} {unit} (without the file's first {s['skip']}, at most {s['max_prompt_tokens']} prompt tokens), "
        f"{answers}; "
        f"on average {board.prompt_tokens:.0f} + {board.answer_tokens:.1f} tokens, F = "
        f"{board.forward_seconds:.2f} s. {', '.join(f'{k}: {v}' for k, v in board.made.items())}.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(_line(r, compared=beside) for r in board.rows),
        "",
        f"Comprehensiveness and sufficiency are falls in nats an answer token at {shares} % of the text's tokens, "
        "mean over these; in brackets the 95 % bootstrap interval of the mean over examples. Examples differ far "
        f"more than methods do{compared if beside else ''}. "
        "Random weights: rank correlation of a method's scores with those of a model that has learnt nothing.",
    ]
    failed = [r for r in board.rows if r.errors]
    if failed:
        lines += ["", *(f"- `{r.label}` failed on some examples: {'; '.join(r.errors)}" for r in failed)]
    return "\n".join(lines) + "\n"
