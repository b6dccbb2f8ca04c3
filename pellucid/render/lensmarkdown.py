"""Lens views as GitHub Markdown: tables, nested lists, and for shades a raised number from 1 to 9.

    model.next_tokens("The capital of France is", raw=True).save("next.md")

Whatever a token holds stays text: marks that Markdown or HTML would read are escaped, control characters made visible;
only a stretch between backquotes in a sentence is code. A shaded text is a paragraph of plain HTML, because a token may
begin or end where Markdown allows no emphasis. Tips, and all but the last of several frames, are left to the page.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from pellucid.lens.plain import Result
from pellucid.render.blocks import Cell, Chart, Element, Frames, Graph, Heading, Heat, Lines, Matrix, Table, Tree
from pellucid.render.chart import number
from pellucid.render.lensterminal import EDGES, SOURCES, TWIGS, blanks
from pellucid.render.lensviews import blocks_of
from pellucid.render.shading import LEAST
from pellucid.render.visible import one_line, visible
from pellucid.render.words import chosen, say

#: What Markdown reads wherever it stands (an underscore inside a word is none); ``<``, ``>`` and ``&`` become entities.
_MARKS = re.compile(r"[\\`*\[\]|~$@]|(?<![^\W_])_|_(?![^\W_])")
#: What it reads at the beginning of a line.
_OPENING = re.compile(r"^( *)([-+=#]|\d+[.)](?=\s|$))", re.MULTILINE)
_ADDRESS = re.compile(r"(?<=\w)(:(?=//))|(?<=www)(\.)")
#: A pair of backquotes with one line of plain text in it, as sentences of our own have them.
_CODE = re.compile(r"`([^`\n|]+)`")
POINTS = 24  # of a chart's lines, that stand in its table


def escaped(text: str) -> str:
    """``text`` as Markdown that shows it as it is; line breaks stay line breaks."""
    text = _MARKS.sub(r"\\\g<0>", visible(text).replace("↵\n", "\n"))
    text = html.escape(text, quote=False)
    text = _OPENING.sub(lambda m: f"{m[1]}{m[2][:-1]}\\{m[2][-1]}", text)
    text = _ADDRESS.sub(r"\\\g<0>", text)
    text = re.sub(r"^ +| +$|(?<= ) +", lambda m: "&nbsp;" * len(m[0]), text, flags=re.MULTILINE)
    return text.replace("\n", "\\\n")


def line(text: str) -> str:
    """``escaped`` in one line."""
    return escaped(one_line(text))


def sentence(text: str) -> str:
    """A sentence, in which `commands` in backquotes are code."""
    out, at = [], 0
    for m in _CODE.finditer(text):
        out += [escaped(text[at : m.start()]) if m.start() > at else "", f"`{one_line(m[1])}`"]
        at = m.end()
    # A piece that ends in a blank: the blank stands between words here, and not at the end of a line.
    return (
        "".join([*out, escaped(text[at:]) if at < len(text) else ""]).replace("&nbsp;`", " `").replace("`&nbsp;", "` ")
    )


def _cell(cell: Cell) -> str:
    text = line(blanks(cell.text) if cell.token else cell.text)
    return f"**{text}**" if cell.strong and text.strip() == text and text else text


def _table(block: Table) -> Iterator[str]:
    # A backslash before a bar is read by the table before anything else is, so it is safe in every cell.
    yield f"| {' | '.join(line(c) or ' ' for c in block.columns)} |"
    yield f"|{'|'.join('---:' if k in block.numbers else '---' for k in range(len(block.columns)))}|"
    for row in block.rows:
        yield f"| {' | '.join(_cell(c) or ' ' for c in row)} |"


def _raised(share: float | None) -> int:
    nine = 0 if share is None else int(9 * min(max(share, 0.0), 1.0) + 0.5)
    return nine if nine >= LEAST else 0


def _raw(text: str) -> str:
    """Text inside a paragraph of HTML, in one line."""
    out = html.escape(visible(text).replace("↵\n", "\n"), quote=False)
    for mark in "$@":  # this is HTML, but formulas and names are looked for all the same
        out = out.replace(mark, f"&#{ord(mark)};")
    return re.sub(r" {2,}", lambda m: "&nbsp;" * len(m[0]), out).replace("\n", "<br>")


def _heat(block: Heat) -> str:
    out = []
    for k, (text, share, _) in enumerate(block.parts):
        body = text.strip(" ")
        level = _raised(share) if body else 0
        before, after = text[: len(text) - len(text.lstrip(" "))], text[len(text.rstrip(" ")) :] if body else ""
        shown = f"{_raw(body)}<sup>{level}</sup>" if level else _raw(body)
        shown = f"<b>{shown}</b>" if level > 4 else shown
        out.append(f"{_raw(before)}{f'<u>{shown}</u>' if k in block.marks else shown}{_raw(after)}")
    return f"<p>{''.join(out)}</p>"


def _tree(block: Tree) -> Iterator[str]:
    children: dict[int, list[int]] = {}
    for k, t in enumerate(block.twigs):
        children.setdefault(t.parent, []).append(k)
    yield f"- {line(block.root) or '…'}"
    drawn, todo = 0, [(k, 1) for k in reversed(children.get(-1, []))]
    while todo and drawn < TWIGS:
        k, depth = todo.pop()
        drawn += 1
        twig = block.twigs[k]
        name = line(blanks(twig.text).strip(" ") or "␣")
        shown = f"**{name}**" if twig.best else name if twig.kept else f"<del>{name}</del>"
        yield f"{'  ' * depth}- {shown} {line(twig.note + (' g' if twig.greedy else ''))}"
        todo += [(j, depth + 1) for j in reversed(children.get(k, []))]
    if todo:
        yield f"- … {len(block.twigs) - drawn}"


def _sources(name: str, sources: Sequence[tuple[str, float]]) -> str:
    """An answer token with what fed it, the strongest first."""
    parts = []
    for text, share in sources:
        level = _raised(share)
        parts.append(line(blanks(text).strip(" ") or "␣") + (f"<sup>{level}</sup>" if level else ""))
    return f"- **{line(blanks(name).strip(' ') or '␣')}** ← {' '.join(parts) or '–'}"


def _graph(block: Graph) -> Iterator[str]:
    for k, node in enumerate(block.nodes):
        if node.second:
            best = sorted((e for e in block.edges if e[1] == k), key=lambda e: -e[2])[:EDGES]
            yield _sources(node.text, [(block.nodes[e[0]].text, e[2]) for e in best])


def _matrix(block: Matrix) -> Iterator[str]:
    most = block.most or 1.0
    yield f"{line(block.name)}\n"
    for name, row in zip(block.rows, block.shares, strict=True):
        best = sorted(((x, k) for k, x in enumerate(row) if x), key=lambda e: (-e[0], e[1]))[:SOURCES]
        yield _sources(name, [(block.columns[k], x / most) for x, k in best])


def _chart(block: Chart) -> Iterator[str]:
    """Its points as a table, evenly chosen where there are many."""
    at = sorted({x for s in block.series for x, _ in s.points})
    if len(at) > POINTS:
        at = [at[round(k * (len(at) - 1) / (POINTS - 1))] for k in range(POINTS)]
    held = [dict(s.points) for s in block.series]
    rows = tuple((Cell(number(x)), *(Cell(number(h[x]) if x in h and h[x] == h[x] else "–") for h in held)) for x in at)
    names = (block.across, *(s.name for s in block.series))
    yield f"**{line(block.name)}**\n"
    yield from _table(Table(names, rows, frozenset(range(len(names)))))


def _block(block: Element, first: bool) -> Iterator[str]:
    if isinstance(block, Heading):
        yield f"{'#' if first else '##'} {line(block.text)}"
    elif isinstance(block, Lines):
        shown = [sentence(text) for text in block.lines if text.strip()]
        yield "\n\n".join(f"<sub>{s}</sub>" for s in shown) if block.quiet else "\n\n".join(shown)
    elif isinstance(block, Heat):
        yield _heat(block)
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Matrix):
        yield from _matrix(block)
    elif isinstance(block, Tree):
        yield from _tree(block)
    elif isinstance(block, Graph):
        yield from _graph(block)
    elif isinstance(block, Chart):
        yield from _chart(block)
    else:
        yield from _frames(block)


def _frames(block: Frames) -> Iterator[str]:
    yield f"**{line(block.name)} {block.steps[-1]:,}**\n"
    yield "\n\n".join("\n".join(_block(b, False)) for b in block.frames[-1])


def _shaded(blocks: Sequence[Element]) -> bool:
    return any(
        isinstance(b, Graph | Matrix)
        or (isinstance(b, Heat) and any(share is not None for _, share, _ in b.parts))
        or (isinstance(b, Frames) and _shaded(b.frames[-1]))
        for b in blocks
    )


def page(result: Result, *, lang: str | None = None) -> str:
    """The whole text; ``lang`` is ``en`` or ``zh``, the locale's where None."""
    lang = chosen(lang)
    blocks = blocks_of(result, lang)
    parts = ["\n".join(_block(b, k == 0)) for k, b in enumerate(blocks)]
    if _shaded(blocks):
        parts.append(f"<sub>{say('marks', lang, example='…<sup>9</sup>', least=LEAST)}</sub>")
    return "\n\n".join(p for p in parts if p) + "\n"
