"""The table of ``bench relevance`` as Markdown.

markdown(board)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.render.board import difference, number

if TYPE_CHECKING:
    from pellucid.bench.relevanceboard import RelevanceBoard, RelevanceRow

COLUMNS = {
    "span_roc": "tokens, answer: ROC",
    "span_precision": "precision",
    "sentence_roc": "tokens, its sentence: ROC",
    "sentence_precision": "precision",
    "top1": "sentence, first",
    "top3": "first three",
    "degree": "degree: ROC",
    "calibrated": "calibrated",
}
_WITH_INTERVAL = ("span_roc", "top3", "degree")
#: Of these the differences from the reference are shown too.
COMPARED = {"span_roc": "tokens", "top1": "first", "top3": "first three", "degree": "degree"}


def _line(row: RelevanceRow) -> str:
    cells = [f"`{row.label}`", *(number(row.means[m], interval=m in _WITH_INTERVAL) for m in COLUMNS)]
    return f"| {' | '.join([*cells, f'{row.seconds:.2f}'])} |"


def markdown(board: RelevanceBoard) -> str:
    """The whole table as text."""
    s = board.settings
    most = max((r.examples for r in board.rows), default=0)
    lines = [
        f"## {s['model']} on {s['data']}",
        "",
        f"{most} questions, the first of each paragraph (without the file's first {s['skip']}, at most "
        f"{s['max_text_tokens']} tokens), {s['others']} other paragraphs each. "
        f"{', '.join(f'{k}: {v}' for k, v in board.made.items())}.",
        "",
        f"| row | {' | '.join(COLUMNS.values())} | seconds |",
        f"|{'---|' * (len(COLUMNS) + 2)}",
        *map(_line, board.rows),
        "",
        "Larger is better everywhere. In brackets the 95 % bootstrap interval over questions.",
    ]
    if board.reference is not None:
        lines += [
            "",
            f"`{board.reference}` less each row, on the same questions:",
            "",
            f"| row | {' | '.join(COMPARED.values())} |",
            f"|{'---|' * (len(COMPARED) + 1)}",
            *(
                f"| `{r.label}` | {' | '.join(difference(r.beside.get(m)) for m in COMPARED)} |"
                for r in board.rows
                if r.label != board.reference
            ),
        ]
    return "\n".join(lines) + "\n"
