"""The panels of the picture, all but the matrix: text strips, bars, legend, sentences.

    text_strip(setter, "Prompt", rows, width, 56, "en").height

Each function lays a panel out and returns it as a ``Block``: how high it is, and how to draw it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.style import Style

from pellucid.render.canvas import INK, Block, Canvas, Typesetter
from pellucid.render.colors import BLUE_ON_PAPER, ORANGE_ON_PAPER, Scale, hex_of
from pellucid.render.units import Unit, around
from pellucid.render.visible import label, one_line
from pellucid.render.words import role_name, say, score_text
from pellucid.render.wrap import Piece, runs
from pellucid.trace.result import Trace

DIM = "#5f6b76"
FAINT_LINE = "#d5dade"
SIZE = 11.0
LINE = 20.0
HEADING = 26.0
#: Between the boxes of neighbours.
HAIR = 0.5


def _heading(canvas: Canvas, y: float, text: str) -> None:
    canvas.text(0, y + 14, canvas.setter.fonts.drawable(text), 10.5, bold=True, color=DIM)


def title_block(setter: Typesetter, text: str, width: float) -> Block:
    """The title, on one line."""
    shown = setter.cut(text, 16, width)
    return Block(34, lambda canvas, y: canvas.text(0, y + 16, shown, 16, bold=False))


def _drawable(setter: Typesetter, pieces: Iterable[Piece]) -> list[Piece]:
    return [Piece(setter.fonts.drawable(p.text), p.style) for p in pieces]


def text_strip(
    setter: Typesetter,
    heading: str,
    rows: Sequence[tuple[str, list[Piece]]],
    width: float,
    most: int,
    lang: str,
) -> Block:
    """Text in lines, each piece in its style, the rows' names in a margin; beyond ``most`` lines it is cut,
    and says how much."""
    names = [setter.cut(name, SIZE, width / 5) for name, _ in rows]
    margin = max((setter.width(n, SIZE, bold=True) + 12 for n in names if n), default=0.0)
    laid: list[tuple[str, list[tuple[Piece, str]]]] = []
    for name, (_, pieces) in zip(names, rows, strict=True):
        clean = _drawable(setter, pieces)
        broken = runs(clean, width - margin - 8, lambda s: setter.width(s, SIZE))
        laid += [(name if i == 0 else "", [(clean[p], s) for p, s in line]) for i, line in enumerate(broken)]
    if len(laid) > most:
        rest = setter.fonts.drawable(say("cut", lang, n=len(laid) - most + 1))
        laid = [*laid[: most - 1], ("", [(Piece(rest, "dim italic"), rest)])]

    def draw(canvas: Canvas, y: float) -> None:
        _heading(canvas, y, heading)
        y += HEADING
        for name, line in laid:
            canvas.text(0, y + 14, name, SIZE, bold=True)
            x = margin
            for piece, text in line:
                x += _run(canvas, x, y, text, piece.style)
            y += LINE

    return Block(HEADING + LINE * len(laid) + 10, draw)


def _run(canvas: Canvas, x: float, y: float, text: str, style: str | Style) -> float:
    """Draw a run of one style at ``x``; how wide it is."""
    color, bold, italic = INK, False, False
    width = canvas.setter.width(text, SIZE)
    if isinstance(style, Style):
        if style.bgcolor is not None:
            canvas.box(x, y + 1, width - HAIR, LINE - 4, style.bgcolor.name)
        color = style.color.name if style.color is not None else INK
        italic = bool(style.italic)
        if style.underline:
            canvas.box(x, y + LINE - 3, width, 2, hex_of(ORANGE_ON_PAPER))
    else:
        bold, italic = "bold" in style, "italic" in style
        color = DIM if "dim" in style else INK
        width = canvas.setter.width(text, SIZE, bold=bold, italic=italic)
        if "underline" in style:
            canvas.box(x, y + 17, width, 0.8, DIM)
    canvas.text(x, y + 14, text, SIZE, color=color, bold=bold, italic=italic)
    return width


def legend(setter: Typesetter, steps: Scale, lang: str) -> Block:
    """The scale as swatches, with the score of its full colour."""
    left = setter.fonts.drawable(say("against" if steps.signed else "weak", lang))
    right = setter.fonts.drawable(say("for" if steps.signed else "strong", lang))
    full = score_text(steps.limit, steps.signed)
    left = f"{left} {score_text(-steps.limit, True)}" if steps.signed else left
    shares = [i / 8 for i in range(-8, 9)] if steps.signed else [i / 12 for i in range(13)]

    def draw(canvas: Canvas, y: float) -> None:
        canvas.text(0, y + 9, left, 9, color=DIM)
        x = setter.width(left, 9) + 6
        for share in shares:
            canvas.box(x, y, 10, 11, hex_of(steps.color(share * steps.limit)))
            x += 10
        canvas.text(x + 6, y + 9, f"{right} {full}", 9, color=DIM)

    return Block(26, draw)


def bars(
    setter: Typesetter,
    heading: str,
    best: list[Unit],
    units: list[Unit],
    trace: Trace,
    steps: Scale,
    lang: str,
    width: float,
) -> Block:
    """The top tokens: name, bar (from a middle line where both signs occur), score, role, surroundings."""
    names = [setter.cut(label(u.text), SIZE, 150) for u in best]
    room = max(setter.width(n, SIZE) for n in names) + 12
    length = 300.0
    both = any(u.score < 0 for u in best) and any(u.score > 0 for u in best)
    zero = room + (length / 2 if both else 0)
    reach = length / 2 if both else length
    chat = trace.prompt.messages is not None
    roles = [setter.fonts.drawable(role_name(u.role, lang)) if chat else "" for u in best]
    at_role = room + length + 62
    at_where = at_role + (max(setter.width(r, 9.5) for r in roles) + 14 if chat else 0)

    def draw(canvas: Canvas, y: float) -> None:
        _heading(canvas, y, heading)
        y += HEADING
        canvas.box(zero - 0.5, y - 2, 0.75, LINE * len(best) + 2, DIM)
        for unit, name, role in zip(best, names, roles, strict=True):
            canvas.text(room - 8, y + 13, name, SIZE, ha="right")
            size = abs(steps.level(unit.score)) * reach
            negative = steps.level(unit.score) < 0
            start = zero - size if both and negative else zero
            canvas.box(start, y + 2, size, LINE - 6, hex_of(ORANGE_ON_PAPER if negative else BLUE_ON_PAPER))
            canvas.text(room + length + 52, y + 13, score_text(unit.score, steps.signed), 9.5, ha="right")
            canvas.text(at_role, y + 13, role, 9.5, color=DIM)
            _where(canvas, at_where, y + 13, unit, units, width)
            y += LINE

    return Block(HEADING + LINE * len(best) + 12, draw)


def _where(canvas: Canvas, x: float, y: float, unit: Unit, units: list[Unit], width: float) -> None:
    """The token amid its neighbours, as far as there is room."""
    before, after = around(unit, units, 18)
    for text, color in ((before, DIM), (one_line(unit.text), INK), (after, DIM)):
        if x >= width:
            return
        text = canvas.setter.cut(text, 9.5, width - x)
        canvas.text(x, y, text, 9.5, color=color)
        x += canvas.setter.width(text, 9.5)


def note(setter: Typesetter, text: str, width: float) -> Block:
    """A small sentence under a panel."""
    return lines(setter, [text], width, size=9, color=DIM, gap=10)


def lines(
    setter: Typesetter, sentences: list[str], width: float, *, size: float, color: str = INK, gap: float = 8
) -> Block:
    """Sentences, each from a line of its own."""
    pitch = size * 1.6
    laid: list[str] = []
    for sentence in sentences:
        clean = [Piece(setter.fonts.drawable(sentence))]
        broken = runs(clean, width, lambda s: setter.width(s, size))
        laid += ["".join(text for _, text in line) for line in broken]

    def draw(canvas: Canvas, y: float) -> None:
        for line in laid:
            canvas.text(0, y + size * 1.15, line, size, color=color)
            y += pitch

    return Block(pitch * len(laid) + gap, draw)
