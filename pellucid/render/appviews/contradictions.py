"""Sentences of passages that contradict each other: pair by pair, with what stands against what; then the passages.

blocks = view(contradictions(knowledge, "When was the bridge opened?"), "en")
"""

from __future__ import annotations

from pellucid.apps.rag.contradictions import Contradictions, Pair, Stated
from pellucid.render.appviews.shared import number, over, words
from pellucid.render.blocks import Cell, Element, Heading, Lines, Table
from pellucid.render.visible import one_line

tell = words(
    {
        "title": {"en": "Contradictions among {n} passages: {pairs}", "zh": "{n} 个段落之间的矛盾：{pairs} 处"},
        "none": {
            "en": "No two sentences were found to contradict each other.",
            "zh": "没有发现互相矛盾的句子。",
        },
        "question": {"en": "Question: {question}", "zh": "问题：{question}"},
        "by_rule": {
            "en": "{compared} pairs of sentences were compared by rule: numbers, dates, denials. Other contradictions "
            "are not seen by it.",
            "zh": "按规则比较了 {compared} 对句子：数字、日期、否定。其他矛盾规则看不出来。",
        },
        "by_model": {
            "en": "Of {candidates} other pairs that share words, {judged} were judged by {model} (at most {most}).",
            "zh": "其余 {candidates} 对有共同词语的句子中，{judged} 对由 {model} 判断（最多 {most} 对）。",
        },
        "number": {"en": "number", "zh": "数字"},
        "date": {"en": "date", "zh": "日期"},
        "denial": {"en": "denial", "zh": "否定"},
        "model": {"en": "the model's judgement", "zh": "模型的判断"},
        "why": {"en": "why", "zh": "依据"},
        "against": {"en": "{why}: {one} / {other}", "zh": "{why}：{one} / {other}"},
        "judged": {"en": "{why}: contradicts {x}", "zh": "{why}：矛盾 {x}"},
        "first": {"en": "one sentence", "zh": "一句"},
        "second": {"en": "the other", "zh": "另一句"},
        "passages": {"en": "Passages", "zh": "段落"},
        "place": {
            "en": "[{n}] {document}, characters {start} to {end}",
            "zh": "[{n}] {document}，第 {start} 至 {end} 字符",
        },
        "seconds": {"en": "{x} s", "zh": "{x} 秒"},
    }
)


def view(result: Contradictions, lang: str) -> list[Element]:
    """The view."""
    parts: list[Element] = [Heading(tell("title", lang, n=len(result.passages), pairs=len(result.pairs)))]
    if result.question:
        parts.append(Lines((tell("question", lang, question=one_line(result.question)),)))
    if result.pairs:
        columns = tuple(tell(k, lang) for k in ("why", "first", "second"))
        parts.append(Table(columns, tuple(_row(p, lang) for p in result.pairs)))
    else:
        parts.append(Lines((tell("none", lang),)))
    said = [tell("by_rule", lang, compared=result.compared)]
    if result.model is not None:
        facts = {"candidates": result.candidates, "judged": result.judged, "most": result.most}
        said.append(tell("by_model", lang, **facts, model=one_line(result.model.name)))
    parts.append(Lines((*said, tell("seconds", lang, x=number(result.seconds, 1))), True))
    if result.pairs:
        parts += [Heading(tell("passages", lang)), *_passages(result, lang)]
    return parts


def _row(pair: Pair, lang: str) -> tuple[Cell, ...]:
    why = tell(pair.rule, lang)
    if pair.rule in ("number", "date"):
        why = tell("against", lang, why=why, one=one_line(pair.one), other=one_line(pair.other))
    if pair.judged:
        why = tell("judged", lang, why=why, x=number(pair.judged["contradicts"]))
    return Cell(why, strong=True), _cell(pair.first), _cell(pair.second)


def _cell(s: Stated) -> Cell:
    return Cell(f"[{s.number}] {one_line(s.text)}")


def _passages(result: Contradictions, lang: str) -> list[Element]:
    """Those that hold a sentence of a pair, it shaded."""
    places: dict[int, set[tuple[int, int]]] = {}
    for pair in result.pairs:
        for s in (pair.first, pair.second):
            places.setdefault(s.number, set()).add((s.start, s.end))
    out: list[Element] = []
    for n in sorted(places):
        p = result.passages[n - 1].passage
        line = tell("place", lang, n=n, document=one_line(p.document), start=p.start, end=p.end)
        out += [Lines((line,), True), over(p.text, [(a, b, 0.4, "") for a, b in places[n]])]
    return out
