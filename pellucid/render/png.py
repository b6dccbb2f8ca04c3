"""One trace as a picture: the shaded prompt, the answer, bars of the top tokens, the matrix, trust.

    python -c "import pellucid; pellucid.Trace.load('trace.json').save('trace.png')"

matplotlib draws, without pyplot: no window, no global state, no setting of the user's is read or changed.
Every box is as wide as its text, measured with the renderer that draws it. Long prompts are folded as in the
terminal, and the size is bounded whatever the input. Emoji that no outline font has are shown by name,
letters that no font has as □ with a note and one ``UserWarning`` (see ``fonts``).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pellucid.render import fold
from pellucid.render.canvas import Block, Canvas, Typesetter
from pellucid.render.colors import scale, scale_of
from pellucid.render.fonts import Fonts, fonts_for
from pellucid.render.named import span_lines
from pellucid.render.panels import DIM, bars, legend, lines, note, text_strip, title_block
from pellucid.render.pieces import answer_pieces, notes, prompt_pieces
from pellucid.render.pngmatrix import matrix
from pellucid.render.shading import Colors
from pellucid.render.units import ranked, rows_of, source_units, target_units
from pellucid.render.visible import visible
from pellucid.render.words import TEXTS, chosen, provenance, say, title, trust_line
from pellucid.trace.result import Trace

#: Points; at DPI dots an inch the picture is 1800 pixels wide.
WIDTH = 900.0
MARGIN = 36.0
DPI = 144
#: Lines at most, so that no input makes the picture higher than 6000 pixels.
PROMPT_LINES = 56
ANSWER_LINES = 24
ANSWER_LIMIT = 2400


def fonts(traces: Sequence[Trace], lang: str) -> Fonts:
    """Fonts for everything that is drawn of these traces."""
    texts = [visible(s.text) for trace in traces for s in trace.sources]
    texts += [visible(t.text) for trace in traces for t in trace.targets]
    texts += [line for t in traces for line in span_lines(t, lang)]
    texts += [entry[lang] for entry in TEXTS.values() if lang in entry]
    texts += [line for t in traces for line in (title(t, lang), trust_line(t, lang), provenance(t, lang))]
    return fonts_for(texts)


def _blocks(trace: Trace, lang: str, setter: Typesetter) -> list[Block]:
    width = WIDTH - 2 * MARGIN
    units = source_units(trace)
    steps = scale(trace, units)
    style = Colors(dark=False)
    sections = fold.arrange(units, full=False)
    blocks = [title_block(setter, title(trace, lang), width)]
    blocks.append(
        text_strip(
            setter,
            say("prompt", lang),
            prompt_pieces(trace, sections, steps, style, lang),
            width,
            PROMPT_LINES,
            lang,
        )
    )
    blocks.append(legend(setter, steps, lang))
    key = "answer" if trace.answer.generated else "given"
    answer = answer_pieces(trace, style, lang, limit=ANSWER_LIMIT)
    blocks.append(text_strip(setter, say(key, lang), [("", answer)], width, ANSWER_LINES, lang))
    unlikely = style.unlikely(target_units(trace), lang)
    if unlikely:
        blocks.append(note(setter, unlikely, width))
    if trace.units:
        parts = rows_of(trace)
        own = scale_of(parts, signed=trace.method.signed)
        most = [u for u in ranked(parts)[: fold.TOP] if u.score != 0 and u.score == u.score]
        if most:
            blocks.append(bars(setter, say("top_units", lang), most, parts, trace, own, lang, width))
    best = [u for u in ranked(units)[: fold.TOP] if u.score != 0]
    if best:
        blocks.append(bars(setter, say("top", lang), best, units, trace, steps, lang, width))
    if trace.scores is not None and trace.targets and trace.sources:
        blocks.append(matrix(setter, trace, units, lang, width))
    if trace.spans:
        blocks.append(lines(setter, [say("named_spans", lang)], width, size=10.5, gap=2))
        blocks.append(lines(setter, span_lines(trace, lang), width, size=10, gap=12))
    blocks.append(lines(setter, [trust_line(trace, lang)], width, size=10.5, gap=14))
    small = [
        *notes(trace, sections, lang, can_unfold=False),
        provenance(trace, lang),
        *missing(setter.fonts),
    ]
    blocks.append(lines(setter, small, width, size=9, color=DIM))
    return blocks


def missing(fonts: Fonts) -> list[str]:
    """What to say of characters that no font has."""
    out = [say("no_cjk", "en")] if fonts.missing_cjk else []
    if fonts.missing:
        out.append(say("no_script", "en", example=", ".join(f"U+{ord(c[0]):04X}" for c in sorted(fonts.missing)[:3])))
    return out


def figure(trace: Trace, *, lang: str | None = None) -> Figure:
    """The picture as a matplotlib figure with an Agg canvas, at most about 1800 x 6000 pixels.

    ``lang`` is ``en`` or ``zh``, the locale's where None. Warns once, with a ``UserWarning``, where no
    installed font has some of the letters.
    """
    lang = chosen(lang)
    setter = Typesetter(fonts([trace], lang), DPI)
    blocks = _blocks(trace, lang, setter)
    for sentence in missing(setter.fonts):
        warnings.warn(sentence, UserWarning, stacklevel=2)
    return lay_out(blocks, setter)


def lay_out(blocks: list[Block], setter: Typesetter) -> Figure:
    """The blocks one under the other, on a white page of their height."""
    height = sum(b.height for b in blocks) + 2 * MARGIN
    fig = Figure(figsize=(WIDTH / 72, height / 72), dpi=DPI, facecolor="white", frameon=True)
    fig.set_layout_engine("none")  # rcParams may ask for one
    FigureCanvasAgg(fig)
    canvas = Canvas(fig, setter, height, MARGIN)
    y = MARGIN
    for block in blocks:
        block.draw(canvas, y)
        y += block.height
    return fig


def save_png(trace: Trace, target: Path | str | IO[bytes], *, lang: str | None = None) -> None:
    """Write the picture to a path or an open binary file. (``Trace.save`` writes whole or not at all.)"""
    write(figure(trace, lang=lang), target)


def write(fig: Figure, target: Path | str | IO[bytes]) -> None:
    """A figure of ``lay_out`` as PNG."""
    canvas = fig.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    # print_png, not savefig: savefig would obey the user's rcParams ("tight" cuts the margins off).
    canvas.print_png(target, metadata={"Software": None})  # type: ignore[no-untyped-call]
