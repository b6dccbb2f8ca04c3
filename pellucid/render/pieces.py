"""A trace as pieces of styled text, before anything is laid out: terminal and PNG start from the same ones.

from pellucid.render.pieces import prompt_pieces
prompt_pieces(trace, fold.arrange(units, full=False), scale(trace), Colors(dark=True), "en")
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pellucid.render import fold
from pellucid.render.colors import Scale
from pellucid.render.shading import Shading, split, unit_pieces
from pellucid.render.units import Unit, target_units
from pellucid.render.visible import one_line
from pellucid.render.words import auto_line, frame_share, lost_lines, role_name, say
from pellucid.render.wrap import Piece
from pellucid.trace.result import Trace


def _spaced(before: list[Piece], now: list[Piece]) -> list[Piece]:
    """A blank between what is folded away and the text beside it, never two."""
    if not before or not now or not (before[-1].folded or now[0].folded):
        return now
    blank = before[-1].text.endswith((" ", "\n")) or now[0].text.startswith((" ", "\n"))
    return now if blank else [Piece(" "), *now]


def _item(item: fold.Item, steps: Scale, style: Shading, lang: str) -> list[Piece]:
    if isinstance(item, Unit):
        return unit_pieces(item, steps, style)
    if isinstance(item, fold.Frame):
        return [Piece(style.frame(item.tokens), style.of("dim"), folded=True)]
    text = say(fold.gap_key(item), lang, n=item.tokens, messages=item.messages)
    return [Piece(text, style.of("dim italic"), folded=True)]


def prompt_pieces(
    trace: Trace, sections: list[fold.Section], steps: Scale, style: Shading, lang: str
) -> list[tuple[str, list[Piece]]]:
    """Each section's name (its role in a chat, else nothing) and its pieces."""
    chat = trace.prompt.messages is not None
    rows = []
    for section in sections:
        pieces: list[Piece] = []
        for item in section.items:
            pieces += _spaced(pieces, _item(item, steps, style, lang))
        rows.append((role_name(section.role, lang) if chat and section.role else "", pieces))
    return rows or [("", [Piece(say("nothing", lang), style.of("dim"))])]


def answer_pieces(trace: Trace, style: Shading, lang: str, *, limit: int, words: bool = False) -> list[Piece]:
    """The answer, its explained part between marks; folded around that part where it is beyond ``limit``."""
    units = target_units(trace, words=words)
    inside = set(trace.span.targets) if trace.span else set()
    keep = fold.kept(units, [u for u in units if inside & set(u.indices)][:1], limit=limit)
    pieces: list[Piece] = []
    gap, within, end = 0, False, 0
    for i, unit in enumerate(units):
        start, before = trace.targets[unit.indices[0]].start, end
        end = max(end, *(trace.targets[k].end for k in unit.indices))
        if i not in keep:
            gap += len(unit.indices)
            continue
        if gap:
            pieces += _spaced(pieces, _item(fold.Gap(gap), Scale(0, False), style, lang))
            gap = 0
        if i and i - 1 in keep and start > before:  # what stands between a classifier's classes
            pieces.append(Piece(one_line(trace.answer.text[before:start]), style.of("dim")))
        blank, body = split(unit.text)
        marked = bool(inside & set(unit.indices))
        now = style.answer(replace(unit, text=body), marked)
        if marked != within:  # the mark stands at the word, not before the blank in front of it
            now = [style.span(True), *now] if marked else now
            pieces += [] if marked else [style.span(False)]
            within = marked
        pieces += _spaced(pieces, [Piece(blank), *now] if blank else now)
    if gap:
        pieces += _spaced(pieces, _item(fold.Gap(gap), Scale(0, False), style, lang))
    if within:
        pieces.append(style.span(False))
    return pieces or [Piece(say("nothing", lang), style.of("dim"))]


def notes(trace: Trace, sections: list[fold.Section], lang: str, *, can_unfold: bool) -> Iterator[str]:
    """What the marks in prompt and answer stand for; ``can_unfold`` where the reader may ask for all."""
    if trace.span:
        yield say("span", lang, mark="⟦ ⟧")
    frames = sum(i.tokens for s in sections for i in s.items if isinstance(i, fold.Frame))
    if frames:
        key = "frame" if can_unfold else "frame_png"
        yield say(key, lang, mark="⟨n⟩", n=frames, share=frame_share(trace))
    if fold.folded(sections):
        key = "folded" if can_unfold else "folded_png"
        yield say(key, lang, shown=fold.shown(sections), all=len(trace.content))
    yield from lost_lines(trace, lang)
    chosen = auto_line(trace, lang)
    if chosen is not None:
        yield chosen
