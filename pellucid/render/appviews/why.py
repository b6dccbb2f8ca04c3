"""What an answer rests on: the messages in a table, their sentences and tokens as heat over the conversation.

chat.why().show()
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pellucid.render.appviews.reply import shortened
from pellucid.render.appviews.shared import heat, made, number, over, trusted, words
from pellucid.render.blocks import Cell, Element, Heading, Heat, Lines, Table
from pellucid.render.words import role_name
from pellucid.trace.result import UnitScore

if TYPE_CHECKING:
    from pellucid.apps.chat.results import Message, Why

tell = words(
    {
        "title": {"en": "Why this answer", "zh": "为什么这样回答"},
        "span": {"en": "Explained: {span}", "zh": "所解释的部分：{span}"},
        "message": {"en": "By message", "zh": "按消息"},
        "sentence": {"en": "By sentence", "zh": "按句子"},
        "token": {"en": "By token ({method})", "zh": "按词元（{method}）"},
        "falls": {
            "en": "Nats that the answer's log-probability falls by when it is left out; negative: it rises.",
            "zh": "去掉它时回答的对数概率下降多少（奈特）；负数表示上升。",
        },
        "against": {
            "en": "{n} of {all} sentences speak against the answer, most of all ({score}): {text}",
            "zh": "{all} 个句子中有 {n} 个不利于这个回答，其中最不利的（{score}）：{text}",
        },
        "most": {"en": "Most of all ({score}): {text}", "zh": "影响最大的（{score}）：{text}"},
        "turn": {"en": "turn", "zh": "编号"},
        "role": {"en": "role", "zh": "角色"},
        "score": {"en": "nats", "zh": "奈特"},
        "text": {"en": "text", "zh": "内容"},
        "of": {"en": "{role}, turn {turn}", "zh": "{role}，第 {turn} 条"},
    }
)


def _named(message: Message, lang: str) -> str:
    role = role_name(message.role, lang)
    return role if message.turn is None else tell("of", lang, role=role, turn=message.turn)


def _share(score: float, most: float) -> float | None:
    """What speaks for the answer is shaded; what speaks against it is told in words."""
    return score / most if score > 0 and math.isfinite(score) else None


def _most(units: list[UnitScore]) -> float:
    return max((u.score for u in units if math.isfinite(u.score)), default=0.0) or 1.0


def _messages(r: Why, lang: str) -> list[Element]:
    scored = r.scored("message")
    most = _most([u for _, u in scored])
    rows = []
    for k, unit in scored:
        m = r.messages[k or 0]
        rows.append(
            (
                Cell("–" if m.turn is None else str(m.turn)),
                Cell(role_name(m.role, lang)),
                Cell(number(unit.score, sign=True), _share(unit.score, most)),
                Cell(shortened(m.content)),
            )
        )
    columns = (tell("turn", lang), tell("role", lang), tell("score", lang), tell("text", lang))
    return [Table(columns, tuple(rows), frozenset({0, 2})), Lines((tell("falls", lang),), True)]


def _sentences(r: Why, lang: str) -> list[Element]:
    scored = r.scored("sentence")
    units = [u for _, u in scored]
    most = _most(units)
    blocks: list[Element] = []
    by_message: dict[int | None, list[UnitScore]] = {}
    for k, unit in scored:
        by_message.setdefault(k, []).append(unit)
    for k, some in by_message.items():
        text = (r.traces["sentence"].prompt.text or "") if k is None else r.messages[k].content
        if k is not None:
            blocks.append(Lines((_named(r.messages[k], lang),), True))
        blocks.append(over(text, [(u.start, u.end, _share(u.score, most), number(u.score, sign=True)) for u in some]))
    known = [u for u in units if math.isfinite(u.score)]
    against = [u for u in known if u.score < 0]
    told = []
    if known:
        top = max(known, key=lambda u: u.score)
        told.append(tell("most", lang, score=number(top.score, sign=True), text=shortened(top.text)))
    if against:
        low = min(against, key=lambda u: u.score)
        score = number(low.score, sign=True)
        told.append(tell("against", lang, n=len(against), all=len(units), score=score, text=shortened(low.text)))
    return [*blocks, Lines((*told, tell("falls", lang)), True)]


def _tokens(r: Why, lang: str) -> list[Element]:
    trace = r.traces["token"]
    if trace.prompt.messages is None:
        return [heat(trace), trusted(trace, lang)]
    blocks: list[Element] = []
    for k, m in enumerate(r.messages):
        if m.content.strip():
            blocks += [Lines((_named(m, lang),), True), heat(trace, message=k)]
    return [*blocks, trusted(trace, lang)]


def view(r: Why, lang: str) -> list[Element]:
    """The answer, then each level that was asked for."""
    blocks: list[Element] = [Heading(tell("title", lang)), Heat(((r.answer, None, ""),))]
    if r.span is not None:
        blocks.append(Lines((tell("span", lang, span=shortened(r.span)),)))
    for level, draw in (("message", _messages), ("sentence", _sentences), ("token", _tokens)):
        if level in r.traces:
            method = r.traces[level].method.name
            blocks += [Heading(tell(level, lang, method=method)), *draw(r, lang)]
    return [*blocks, made(r.model, r.seconds, lang)]
