"""Lens views as one HTML file, which loads nothing from anywhere.

    model.logit_lens("The capital of France is", raw=True).save("lens.html")

Colours are classes, and every character is escaped; the page's own script and style are named by their hashes in its
content security policy. What a cell has to say stands in ``data-t`` and is told at the foot of the page, by pointer or
keyboard (arrows walk).
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from pellucid.lens.plain import Result
from pellucid.render.blocks import Cell, Chart, Element, Frames, Graph, Heading, Heat, Lines, Matrix, Table, Tree
from pellucid.render.chart import svg
from pellucid.render.document import document, framed
from pellucid.render.html import escaped
from pellucid.render.lensterminal import blanks
from pellucid.render.lensviews import blocks_of
from pellucid.render.lenswords import tell
from pellucid.render.relevancehtml import LEVELS, colours
from pellucid.render.visible import one_line, visible
from pellucid.render.words import chosen

#: Where it is told what stands under pointer or focus.
TIP = '<output id="tip" aria-live="polite"></output>'


@cache
def asset(name: str) -> str:
    """A file of this room's assets."""
    return (files("pellucid.render") / "assets" / name).read_text(encoding="utf-8")


def _level(share: float | None) -> str:
    level = 0 if share is None else round(min(max(share, 0.0), 1.0) * LEVELS)
    return f"l{level}" if level else ""


def _marked(classes: list[str], tip: str) -> str:
    name = " ".join(c for c in classes if c)
    told = f' data-t="{escaped(visible(tip))}" tabindex="-1"' if tip else ""
    return (f' class="{name}"' if name else "") + told


def _heat(block: Heat) -> str:
    out = []
    for k, (text, share, tip) in enumerate(block.parts):
        shown = escaped(visible(text).replace("↵\n", "\n"))
        body = shown.lstrip(" ")
        blank = shown[: len(shown) - len(body)]
        mark = _marked([_level(share), "mark" if k in block.marks else ""], tip)
        out.append(f"{blank}<span{mark}>{body}</span>" if mark else shown)
    return f'<div class="heat{" code" if block.code else ""}">{"".join(out)}</div>'


def _matrix(block: Matrix) -> str:
    """Small cells, names of columns from the bottom up; what a cell says is told as those of a table are."""
    most = block.most or 1.0
    rows, columns = ([escaped(blanks(n).strip(" ") or "␣") for n in names] for names in (block.rows, block.columns))
    heads = "".join(f'<th scope="col"><span>{c}</span></th>' for c in columns)
    out = []
    for name, shares in zip(rows, block.shares, strict=True):
        cells = "".join(
            "<td></td>"
            if x is None
            else f'<td class="{_level(x / most)}" data-t="{name} ← {column}: {100 * x:.1f} %" tabindex="-1"></td>'
            for x, column in zip(shares, columns, strict=True)
        )
        out.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    return (
        f'<figure><figcaption>{escaped(one_line(block.name))}</figcaption><div class="scroll"><table class="matrix">'
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{''.join(out)}</tbody></table></div></figure>"
    )


def _cell(cell: Cell, number: bool) -> str:
    mark = _marked(["n" if number else "", _level(cell.share), "strong" if cell.strong else ""], cell.tip)
    return f"<td{mark}>{escaped(blanks(cell.text) if cell.token else one_line(cell.text))}</td>"


def _table(block: Table) -> str:
    heads = "".join(
        f'<th scope="col"{_marked(["n" if k in block.numbers else ""], "")}>{escaped(one_line(name))}</th>'
        if name
        else "<td></td>"
        for k, name in enumerate(block.columns)
    )
    rows = "".join(f"<tr>{''.join(_cell(c, k in block.numbers) for k, c in enumerate(row))}</tr>" for row in block.rows)
    kind = ' class="grid"' if block.grid else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _tree(block: Tree) -> str:
    children: dict[int, list[int]] = {}
    for k, t in enumerate(block.twigs):
        children.setdefault(t.parent, []).append(k)

    def branch(parent: int) -> str:
        out = []
        for k in children.get(parent, []):
            t = block.twigs[k]
            kind = "best" if t.best else "kept" if t.kept else "dropped"
            mark = _marked([kind, "greedy" if t.greedy else ""], f"{t.text} {t.note}")
            name = escaped(blanks(t.text).strip(" ") or "␣")
            out.append(f"<li><code{mark}>{name}</code> <small>{escaped(t.note)}</small>{branch(k)}</li>")
        return f"<ul>{''.join(out)}</ul>" if out else ""

    return f'<div class="scroll"><ul class="tree"><li>{escaped(block.root)}{branch(-1)}</li></ul></div>'


def _graph(block: Graph, lang: str) -> str:
    def row(second: bool) -> str:
        found = []
        for k, n in enumerate(block.nodes):
            if n.second is second:
                name = escaped(blanks(n.text).strip(" ") or "␣")
                kind = ' class="second"' if second else ""
                told = escaped(one_line(n.text))
                found.append(f'<button type="button" data-n="{k}" data-t="{told}"{kind}>{name}</button>')
        return " ".join(found)

    choices = " ".join(
        f'<button type="button" value="{n}" aria-pressed="{str(n == "arcs").lower()}">{escaped(tell(k, lang))}</button>'
        for n, k in (("arcs", "arcs"), ("steps", "steps_layout"), ("layers", "layers_layout"))
    )
    edges = json.dumps([[s, t, round(share, 3), positive] for s, t, share, positive in block.edges])
    first, second = (escaped(x) for x in block.labels)
    return (
        f'<div class="choose">{choices}</div><div class="flow" data-layout="arcs" data-edges="{escaped(edges)}">'
        f'<svg aria-hidden="true" width="100%" height="100%"></svg><div class="nodes">'
        f'<span class="first" role="group" aria-label="{first}">{row(False)}</span> '
        f'<span class="second-row" role="group" aria-label="{second}">{row(True)}</span></div></div>'
    )


def _frames(block: Frames, lang: str) -> str:
    """All of them, the last one seen; a slider chooses."""
    last = len(block.steps) - 1
    steps = " ".join(str(s) for s in block.steps)
    slider = (
        f'<label class="choose">{escaped(block.name)} <input type="range" class="steps" min="0" max="{last}" '
        f'value="{last}" step="1" data-steps="{steps}" aria-valuetext="{block.steps[last]}"> '
        f"<output>{block.steps[last]:,}</output></label>"
    )
    shown = []
    for k, frame in enumerate(block.frames):
        hidden = "" if k == last else " hidden"
        shown.append(f"<section{hidden}>{''.join(_block(b, 1, lang) for b in frame)}</section>")
    return f'{slider}<div class="frames">{"".join(shown)}</div>'


def _block(block: Element, k: int, lang: str, top: int = 1) -> str:
    """``k``: its place; the first heading is of level ``top``."""
    if isinstance(block, Heading):
        tag = f"h{top + 1 if k else top}"
        return f"<{tag}>{escaped(one_line(block.text))}</{tag}>"
    if isinstance(block, Lines):
        kind = ' class="quiet"' if block.quiet else ""
        return "".join(f"<p{kind}>{escaped(visible(line))}</p>" for line in block.lines)
    if isinstance(block, Heat):
        return _heat(block)
    if isinstance(block, Matrix):
        return _matrix(block)
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Chart):
        return f"<figure><figcaption>{escaped(block.name)}</figcaption>{svg(block)}</figure>"
    if isinstance(block, Frames):
        return _frames(block, lang)
    return _tree(block) if isinstance(block, Tree) else _graph(block, lang)


def page(result: Result, *, lang: str | None = None) -> str:
    """The whole document; ``lang`` is ``en`` or ``zh``, the locale's where None."""
    lang = chosen(lang)
    blocks = blocks_of(result, lang)
    title = next(b.text for b in blocks if isinstance(b, Heading))
    body = "\n".join(_block(b, k, lang) for k, b in enumerate(blocks))
    return document(one_line(title), f"{body}\n{TIP}", css=styles(), js=asset("lens.js"), chinese=lang == "zh")


def styles() -> str:
    """What a view is drawn with: the sheet, and the colours of its levels."""
    return asset("lens.css") + colours()


def fragment(result: Result, *, lang: str | None = None) -> str:
    """The view alone, without style and script, to stand in a shadow root of another page under a heading of that
    page's: beside ``styles`` and lens.js, whose ``pellucidLens(root)`` makes it live."""
    lang = chosen(lang)
    return "\n".join([*(_block(b, k, lang, top=2) for k, b in enumerate(blocks_of(result, lang))), TIP])


def notebook(result: Result) -> str:
    """The page in a frame, as the output of a notebook cell."""
    return framed(page(result), 480)
