"""Lens results as blocks: what is told of each, in which order. One function a kind of result, in ``VIEWS``.

blocks_of(model.next_tokens("The capital of France is", raw=True), "en")
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pellucid.lab.watched import Watched
from pellucid.lens.flow import Flow
from pellucid.lens.plain import Result
from pellucid.lens.results import (
    Anatomy,
    Branch,
    Decoded,
    Decodings,
    LogitLens,
    NextTokens,
    Positions,
    Surprisal,
    Surprise,
)
from pellucid.render.appviews import app_view
from pellucid.render.blocks import Cell, Element, Graph, Heading, Heat, Lines, Node, Table, Tree, Twig
from pellucid.render.lenswords import tell
from pellucid.render.shading import percent
from pellucid.render.visible import one_line
from pellucid.render.watchviews import watched
from pellucid.trace.result import FRAME_ROLES

#: Columns of a grid that are drawn; a page shows them all.
POSITIONS = 400
#: A token this surprising has the full colour.
FULL_BITS = 16.0


def quoted(text: str) -> str:
    """A token in a sentence, its blanks to be seen."""
    return f"“{one_line(text).replace(' ', '␣')}”"


def _number(x: float, digits: int = 2) -> str:
    return f"{x:.{digits}f}".replace("-", "−")


def _made(result: Any, lang: str) -> Lines:
    return Lines((tell("made", lang, model=one_line(result.model.name), seconds=_number(result.seconds, 1)),), True)


def _prompt(text: str, lang: str) -> list[Element]:
    return [Heading(tell("prompt", lang)), Heat(((text, None, ""),))]


def _next(r: NextTokens, lang: str) -> list[Element]:
    ranks = range(1, max((len(s.choices) for s in r.steps), default=0) + 1)
    columns = (
        tell("step", lang),
        tell("so_far", lang),
        *(tell("rank_n", lang, n=k) for k in ranks),
        tell("entropy", lang),
        tell("total", lang),
    )
    rows, others = [], []
    for s in r.steps:
        cells = [Cell(str(s.step)), Cell(s.text[-40:], token=True, tip=s.text)]
        for c in s.choices:
            cells.append(
                Cell(
                    f"{c.text}\u2002{percent(c.prob)}",
                    c.prob,
                    f"id {c.id}, logit {c.logit:.3f}",
                    c.id == s.chosen.id,
                    True,
                )
            )
        cells += [Cell("")] * (len(ranks) - len(s.choices))
        rows.append((*cells, Cell(_number(s.entropy)), Cell(_number(s.total))))
        if s.chosen.id not in {c.id for c in s.choices}:
            token = {"token": quoted(s.chosen.text), "prob": percent(s.chosen.prob), "rank": s.chosen.rank}
            others.append(f"{s.step}: {tell('other', lang, **token)}")
    numbers = frozenset({0, len(columns) - 2, len(columns) - 1})
    last = [tell("ended", lang)] if r.ended else []
    return [
        Heading(tell("next_title", lang, model=one_line(r.model.name))),
        *_prompt(r.prompt, lang),
        Table(columns, tuple(rows), numbers, grid=True),
        *([Lines(tuple(others))] if others else []),
        Heading(tell("said", lang)),
        Heat(((r.text, None, ""),)),
        Lines((*last, tell("strategy", lang, strategy=r.strategy, seed=r.seed), tell("next_note", lang)), True),
        _made(r, lang),
    ]


def _decodings(r: Decodings, lang: str) -> list[Element]:
    columns = tuple(tell(k, lang) for k in ("strategy_name", "per_token", "tokens", "distinct", "seconds", "text"))
    best = max((d.logprob for d in r.outcomes), default=0.0)
    rows = tuple(
        (
            Cell(d.strategy, strong=True),
            Cell(_number(d.logprob), strong=d.logprob == best),
            Cell(str(d.tokens)),
            Cell(_number(d.distinct)),
            Cell(_number(d.seconds)),
            Cell(d.text, token=True),
        )
        for d in r.outcomes
    )
    found: list[Element] = [
        Heading(tell("decode_title", lang, model=one_line(r.model.name), n=len(r.outcomes))),
        *_prompt(r.prompt, lang),
        Table(columns, rows, frozenset({1, 2, 3, 4})),
    ]
    for d in r.outcomes:
        if d.tree:
            found += _tree(d, lang)
    return [*found, _made(r, lang)]


def _tree(d: Decoded, lang: str) -> list[Element]:
    twigs = tuple(Twig(b.text, b.parent, b.depth, _number(b.total), b.kept, b.best, b.greedy, b.total) for b in d.tree)
    return [
        Heading(tell("tree_title", lang, strategy=d.strategy)),
        Tree("…", twigs),
        Lines((_parting(d, lang), tell("tree_note", lang)), True),
        Heading(tell("beams_found", lang)),
        Lines(tuple(f"{k}. {one_line(text)}" for k, text in enumerate(d.beams, 1))),
    ]


def _parting(d: Decoded, lang: str) -> str:
    """Where the greedy path and the best path part."""
    both = [b for b in d.tree if b.best and b.greedy]
    best = [b for b in d.tree if b.best]
    if len(both) == len(best):
        return tell("same_path", lang)
    return tell("parted", lang, text=one_line("".join(b.text for b in _unique(both))).strip() or "…")


def _unique(branches: list[Branch]) -> list[Branch]:
    return sorted(branches, key=lambda b: b.depth)


def _surprise_tip(t: Surprise, lang: str) -> str:
    if t.bits is None:
        return tell("surprisal_first", lang)
    expected = ", ".join(f"{quoted(a.text)} {percent(a.prob)}" for a in t.alternatives)
    facts = {"bits": _number(t.bits), "rank": t.rank, "entropy": _number(t.entropy or 0.0), "expected": expected}
    return tell("surprisal_tip", lang, token=quoted(t.text), **facts)


def _surprisal(r: Surprisal, lang: str) -> list[Element]:
    # Pieces of one character stand as one, with the sum of their bits.
    parts: list[tuple[str, float | None, str]] = []
    at = 0
    for t in r.tokens:
        share = None if t.bits is None else min(t.bits / FULL_BITS, 1.0)
        if t.end <= at and parts:
            text, before, tip = parts[-1]
            parts[-1] = (text, min((before or 0.0) + (share or 0.0), 1.0), f"{tip}\n{_surprise_tip(t, lang)}")
            continue
        parts.append((r.text[max(t.start, at) : t.end], share, _surprise_tip(t, lang)))
        at = t.end
    totals = {
        "token": _number(r.bits_per_token),
        "byte": _number(r.bits_per_byte),
        "perplexity": f"{r.perplexity:.4g}",
        "n": r.scored,
        "bytes": r.bytes,
    }
    notes = [tell("surprisal_bos", lang, bos=one_line(r.bos)) if r.bos else tell("surprisal_first", lang)]
    if r.windows > 1:
        notes.append(tell("surprisal_windows", lang, n=r.windows, window=r.window, least=r.context_least))
    rows = tuple(
        (
            Cell(t.text, min((t.bits or 0.0) / FULL_BITS, 1.0), token=True),
            Cell(_number(t.bits or 0.0)),
            Cell(str(t.rank)),
            Cell(", ".join(f"{quoted(a.text)} {percent(a.prob)}" for a in t.alternatives[:3])),
        )
        for t in r.top(10)
    )
    return [
        Heading(tell("surprisal_title", lang, model=one_line(r.model.name))),
        Lines((tell("surprisal_totals", lang, **totals),)),
        Heat(tuple(parts)),
        Heading(tell("surprising", lang)),
        Table(tuple(tell(k, lang) for k in ("token", "bits", "rank", "expected")), rows, frozenset({1, 2})),
        Lines(tuple(notes), True),
        _made(r, lang),
    ]


def _positions(r: Positions, lang: str) -> list[Element]:
    ranks = range(1, r.top_k + 1)
    columns = (
        tell("position", lang),
        tell("after", lang),
        *(tell("rank_n", lang, n=k) for k in ranks),
        tell("follows", lang),
        tell("rank", lang),
    )
    rows = tuple(
        (
            Cell(str(p.position)),
            Cell(p.text, token=True),
            *(
                Cell(f"{c.text}\u2002{percent(c.prob)}", c.prob, f"id {c.id}", c.id == p.next_id, True)
                for c in p.choices
            ),
            Cell("" if p.next is None else f"{p.next}\u2002{percent(p.next_prob or 0.0)}", p.next_prob, token=True),
            Cell("" if p.next_rank is None else str(p.next_rank)),
        )
        for p in r.positions
    )
    return [
        Heading(tell("positions_title", lang, model=one_line(r.model.name))),
        Table(columns, rows, frozenset({0, len(columns) - 1}), grid=True),
        _made(r, lang),
    ]


def _lens(r: LogitLens, lang: str) -> list[Element]:
    drawn = r.columns[-POSITIONS:]
    columns = (tell("layer", lang), *(one_line(c.text) for c in drawn))
    rows: list[tuple[Cell, ...]] = []
    for k in range(len(r.layers) - 1, -1, -1):  # the last layer on top, as the stream goes up
        rows.append((Cell(str(r.layers[k])), *(_lens_cell(r, c, k, lang) for c in drawn)))
    for key in ("lens_answer", "lens_first", "lens_lead"):
        values = {
            "lens_answer": [c.answer or "" for c in drawn],
            "lens_first": ["–" if c.lead is None else str(c.lead) for c in drawn],
            "lens_lead": ["–" if c.settled is None else str(c.settled) for c in drawn],
        }[key]
        rows.append((Cell(tell(key, lang)), *(Cell(v, strong=True, token=key == "lens_answer") for v in values)))
    notes = [tell("lens_note", lang)]
    if r.tuned:
        notes.append(tell("lens_tuned", lang, name=one_line(r.tuned)))
    if len(drawn) < len(r.columns):
        notes.append(tell("lens_left", lang, n=len(drawn), of=len(r.columns)))
    return [
        Heading(tell("lens_title", lang, model=one_line(r.model.name), kind=tell(r.kind, lang))),
        Table(columns, tuple(rows), grid=True),
        Lines(tuple(notes), True),
        _made(r, lang),
    ]


def _lens_cell(r: LogitLens, column: Any, k: int, lang: str) -> Cell:
    c = column.cells[k]
    tip = tell(
        "lens_tip",
        lang,
        layer=r.layers[k],
        after=quoted(column.text),
        token=quoted(c.text),
        prob=percent(c.prob),
        entropy=_number(c.entropy),
        answer=quoted(column.answer or ""),
        answer_prob="–" if c.answer_prob is None else percent(c.answer_prob),
        rank="–" if c.answer_rank is None else c.answer_rank,
    )
    return Cell(c.text, c.prob, tip, c.id == column.answer_id, True)


def size(n: int) -> str:
    """Bytes for people."""
    return f"{n / 1e9:.2f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{n / 1e3:.1f} kB"


def _anatomy(r: Anatomy, lang: str) -> list[Element]:
    total = max(r.parameters, 1)
    parts = tuple(
        (
            Cell("\u2003" * p.depth + p.name + (f" × {p.count}" if p.count > 1 else ""), tip=p.path),
            Cell(p.kind),
            Cell(p.role),
            Cell(f"{p.parameters:,}", p.parameters * p.count / total),
            Cell(size(p.bytes)),
            Cell(("; ".join(p.shapes)) + (f" {tell('shared_with', lang, name=p.tied)}" if p.tied else "")),
        )
        for p in r.parts
    )
    run = tuple((Cell(s.name), Cell(str(list(s.shape))), Cell(tell(f"shape_{s.key}", lang))) for s in r.run)
    found: list[Element] = [
        Heading(
            tell(
                "anatomy_title", lang, model=one_line(r.model.name), parameters=f"{r.parameters:,}", bytes=size(r.bytes)
            )
        ),
        Table((tell("facts", lang), ""), tuple((Cell(k), Cell(one_line(v))) for k, v in r.facts.items())),
        Heading(tell("by_role", lang)),
        Table(
            (tell("role", lang), tell("parameters", lang), tell("share", lang)),
            tuple((Cell(k), Cell(f"{n:,}", n / total), Cell(percent(n / total))) for k, n in r.by_role.items()),
            frozenset({1, 2}),
        ),
        Heading(tell("modules", lang)),
        Table(
            (*(tell(k, lang) for k in ("module", "kind", "role", "parameters")), "", tell("shapes", lang)),
            parts,
            frozenset({3, 4}),
        ),
    ]
    if run:
        found += [
            Heading(tell("run", lang, sentence=one_line(r.sentence), n=len(r.tokens))),
            Table(tuple(tell(k, lang) for k in ("tensor", "shape", "what")), run),
        ]
    if r.same is not None:
        key = "same_yes" if r.normed else "same_no"
        found.append(Lines((tell(key, lang, by=f"{r.same:.3g}"),)))
    return [*found, _made(r, lang)]


def _flow(r: Flow, lang: str) -> list[Element]:
    # The template's own tokens stand there only where something flows from them.
    joined = {e.source for e in r.edges} | {e.target for e in r.edges}
    drawn = [k for k, n in enumerate(r.nodes) if n.role not in FRAME_ROLES or k in joined]
    place = {k: i for i, k in enumerate(drawn)}
    heaviest = max((n.incoming + n.outgoing for n in r.nodes), default=0.0) or 1.0
    nodes = tuple(Node(n.text, n.answer, (n.incoming + n.outgoing) / heaviest) for n in (r.nodes[k] for k in drawn))
    edges = tuple((place[e.source], place[e.target], e.share, e.score >= 0) for e in r.edges)
    strongest = sorted(r.edges, key=lambda e: -abs(e.score))[:10]
    rows = tuple(
        (
            Cell(r.nodes[e.source].text, token=True),
            Cell(r.nodes[e.target].text, token=True),
            Cell(f"{e.score:.3g}".replace("-", "−"), e.share),
        )
        for e in strongest
    )
    facts = {"top": r.top, "share": percent(r.share), "least": percent(r.least)}
    return [
        Heading(tell("flow_title", lang, model=one_line(r.model.name), method=one_line(r.method))),
        Graph(nodes, edges, (tell("flow_prompt", lang), tell("flow_answer", lang))),
        Table(tuple(tell(k, lang) for k in ("from", "to", "score")), rows, frozenset({2})),
        Lines((tell("flow_note", lang, **facts),), True),
    ]


VIEWS: dict[type[Result], Callable[[Any, str], list[Element]]] = {
    NextTokens: _next,
    Decodings: _decodings,
    Surprisal: _surprisal,
    Positions: _positions,
    LogitLens: _lens,
    Anatomy: _anatomy,
    Flow: _flow,
    Watched: watched,
}


def blocks_of(result: Result, lang: str) -> list[Element]:
    """What is drawn of a result, the applications' results too (``render/appviews``)."""
    if type(result) in VIEWS:
        return VIEWS[type(result)](result, lang)
    return app_view(result)(result, lang)
