"""An answer set off in its context, over what each method says that it rests on."""

from __future__ import annotations

import math

from pellucid.apps.question import Answered
from pellucid.render.appviews.shared import made, number, over, trusted, words
from pellucid.render.blocks import Cell, Element, Heading, Heat, Lines, Table
from pellucid.render.shading import percent
from pellucid.render.units import source_units
from pellucid.render.visible import one_line
from pellucid.render.words import score_text
from pellucid.trace.result import Trace

#: Units in the table of scores.
UNITS = 8

_tell = words(
    {
        "title": {"en": "Question: {question}", "zh": "问题：{question}"},
        "answer": {"en": "Answer: {answer}", "zh": "回答：{answer}"},
        "given": {"en": "Answer (given): {answer}", "zh": "回答（给定）：{answer}"},
        "empty": {"en": "The model wrote nothing.", "zh": "模型没有写出任何内容。"},
        "no_answer": {
            "en": "No answer: the model says that the context holds none.",
            "zh": "无答案：模型认为上下文中没有答案。",
        },
        "exact": {
            "en": "It stands in the context as it is, at characters {start} to {end}.",
            "zh": "它原样出现在上下文中，第 {start} 至 {end} 个字符。",
        },
        "normalised": {
            "en": "It stands in the context but for case, marks and articles: “{text}”, characters {start} to {end}.",
            "zh": "忽略大小写、标点和冠词后，它出现在上下文中：“{text}”，第 {start} 至 {end} 个字符。",
        },
        "overlap": {
            "en": "It is no part of the context. The nearest one, “{text}” at characters {start} to {end}, shares "
            "words with it (F1 {overlap}).",
            "zh": "它不是上下文的一部分。最接近的是“{text}”，第 {start} 至 {end} 个字符（F1 为 {overlap}）。",
        },
        "none": {"en": "It is not in the context.", "zh": "它不在上下文中。"},
        "supported": {
            "en": "The context makes it likelier by {supported} nats a token: {logprob} with it, {alone} without it.",
            "zh": "上下文使它每词元更可能 {supported} 奈特：有上下文时 {logprob}，没有时 {alone}。",
        },
        "unsupported": {
            "en": "The context does not make it likelier: {logprob} nats a token with it, {alone} without it.",
            "zh": "上下文没有使它更可能：有上下文时每词元 {logprob} 奈特，没有时 {alone}。",
        },
        "head": {
            "en": "Score {score} (sum of two logits), probability {prob}.",
            "zh": "得分 {score}（两个 logit 之和），概率 {prob}。",
        },
        "head_none": {
            "en": "Score {score} (sum of two logits), probability {prob}; for no answer {none_score} and {none}.",
            "zh": "得分 {score}（两个 logit 之和），概率 {prob}；“无答案”为 {none_score} 和 {none}。",
        },
        "context": {"en": "Context", "zh": "上下文"},
        "by": {"en": "Context, by {method}", "zh": "上下文，方法：{method}"},
        "units": {"en": "Scores in the context, by {unit}", "zh": "上下文中的得分，按{unit}"},
        "sentence": {"en": "sentence", "zh": "句子"},
        "paragraph": {"en": "paragraph", "zh": "段落"},
        "word": {"en": "word", "zh": "词"},
        "token": {"en": "token", "zh": "词元"},
        "units_left": {
            "en": "The {n} of {all} with the largest scores of any method, in reading order.",
            "zh": "任一方法得分最大的 {n} 个（共 {all} 个），按阅读顺序。",
        },
        "agreement": {"en": "How far the methods agree on the context", "zh": "各方法在上下文上的一致程度"},
        "agreement_note": {
            "en": "Spearman's rank correlation of magnitudes over {entries} units, and what of the top {k} two have in "
            "common.",
            "zh": "{entries} 个单位得分大小的 Spearman 秩相关，以及前 {k} 个的重合比例。",
        },
        "windows": {"en": "The context was read in {n} windows", "zh": "上下文分 {n} 个窗口阅读"},
        "characters": {"en": "characters", "zh": "字符"},
        "tokens": {"en": "tokens", "zh": "词元数"},
        "best": {"en": "best span", "zh": "最佳片段"},
        "nothing": {"en": "no answer", "zh": "无答案"},
        "note": {
            "en": "Shaded by the size of each method's scores, for or against. Underlined (in a terminal between ⟦ and "
            "⟧): the answer's place.",
            "zh": "颜色深浅表示各方法得分的大小，不分正负。下划线（终端中为 ⟦ 与 ⟧ 之间）：回答所在之处。",
        },
        "marked": {
            "en": "Underlined (in a terminal between ⟦ and ⟧): the answer's place.",
            "zh": "下划线（终端中为 ⟦ 与 ⟧ 之间）：回答所在之处。",
        },
    }
)


def view(result: Answered, lang: str) -> list[Element]:
    """Answer and its place; the context by each method; scores, agreement, windows."""
    marked = None if result.start is None or result.end is None else (result.start, result.end)
    found: list[Element] = [Heading(_tell("title", lang, question=one_line(result.question))), _said(result, lang)]
    if len(result.windows) > 1:
        found += _windows(result, lang)
    if not result.traces:
        found += [Heading(_tell("context", lang)), over(result.context, [], marked=marked)]
    for trace in result.traces:
        found += [
            Heading(_tell("by", lang, method=one_line(trace.method.name))),
            shaded(result, trace, marked),
            trusted(trace, lang),
        ]
    if result.traces:
        found += _scores(result, lang)
    if result.agreement is not None:
        found += _agreement(result, lang)
    key = "note" if result.traces else "marked"
    notes = [Lines((_tell(key, lang),), True)] if result.traces or marked else []
    return [*found, *notes, made(result.model, result.seconds, lang)]


def _said(r: Answered, lang: str) -> Lines:
    if not r.answer.strip():
        return Lines((_tell("empty", lang),))
    if r.no_answer:
        lines = [_tell("no_answer", lang)]
    else:
        lines = [_tell("answer" if r.generated else "given", lang, answer=r.answer.strip())]
        text = "" if r.start is None else one_line(r.context[r.start : r.end])
        facts = {"text": text, "start": r.start, "end": r.end, "overlap": number(r.overlap)}
        lines.append(_tell(r.place, lang, **facts))
    if r.kind == "written":
        weighed = {"logprob": number(r.logprob), "alone": number(r.alone), "supported": number(r.supported)}
        lines.append(_tell("supported" if r.supported > 0 else "unsupported", lang, **weighed))
    else:
        head = {"score": number(r.score), "prob": percent(math.exp(2 * r.logprob))}
        if math.isnan(r.no_answer_prob):
            lines.append(_tell("head", lang, **head))
        else:
            none = {"none_score": number(r.no_answer_score), "none": percent(r.no_answer_prob)}
            lines.append(_tell("head_none", lang, **head, **none))
    return Lines(tuple(lines))


def shaded(r: Answered, trace: Trace, marked: tuple[int, int] | None) -> Heat:
    """The context by words, or by whole units where the method took these away; the answer's place set off."""
    stretches: list[tuple[int, int, float]] = []
    if trace.unit_merge == "method":
        stretches = [(u.start, u.end, u.score) for u in r.units_of(trace)]
    else:
        for unit in source_units(trace, words=True):
            first, last = trace.sources[unit.indices[0]], trace.sources[unit.indices[-1]]
            if not unit.frame and (unit.message or 0) == r.message and first.start is not None and last.end is not None:
                stretches.append((first.start, last.end, unit.score))
    length = len(r.context)
    inside = [
        (max(a - r.offset, 0), min(b - r.offset, length), score)
        for a, b, score in stretches
        if b > r.offset and a < r.offset + length
    ]
    most = max((abs(s) for _, _, s in inside if math.isfinite(s)), default=0.0) or 1.0
    parts = [
        (a, b, abs(s) / most if math.isfinite(s) else None, f"{r.context[a:b].strip()}: {number(s, 4, sign=True)}")
        for a, b, s in inside
    ]
    return over(r.context, parts, marked=marked)


def _scores(r: Answered, lang: str) -> list[Element]:
    each = [r.units_of(t) for t in r.traces]
    if not each[0]:
        return []
    most = [max((abs(u.score) for u in units if math.isfinite(u.score)), default=0.0) or 1.0 for units in each]
    share = [
        [abs(u.score) / m if math.isfinite(u.score) else 0.0 for u in units]
        for units, m in zip(each, most, strict=True)
    ]
    order = sorted(range(len(each[0])), key=lambda k: -max(s[k] for s in share))[:UNITS]
    rows = tuple(
        (
            *(Cell(score_text(units[k].score, False), s[k]) for units, s in zip(each, share, strict=True)),
            Cell(each[0][k].text),
        )
        for k in sorted(order)
    )
    name = _tell(r.unit, lang)
    table = Table((*(t.method.name for t in r.traces), name), rows, frozenset(range(len(each))))
    left = {"n": len(order), "all": len(each[0])}
    note = [Lines((_tell("units_left", lang, **left),), True)] if len(order) < len(each[0]) else []
    return [Heading(_tell("units", lang, unit=name)), table, *note]


def _agreement(r: Answered, lang: str) -> list[Element]:
    assert r.agreement is not None
    a = r.agreement

    def cell(k: int, j: int) -> Cell:
        return Cell("" if k == j else f"{number(a.spearman[k][j])} · {percent(a.overlap[k][j])}")

    rows = tuple((Cell(n), *(cell(k, j) for j in range(len(a.methods)))) for k, n in enumerate(a.methods))
    return [
        Heading(_tell("agreement", lang)),
        Table(("", *a.methods), rows),
        Lines((_tell("agreement_note", lang, entries=a.entries, k=a.top_k),), True),
    ]


def _windows(r: Answered, lang: str) -> list[Element]:
    rows = tuple(
        (
            Cell(f"{w.start}–{w.end}", strong=w.explained),
            Cell(str(w.tokens)),
            Cell(number(w.score)),
            Cell(number(w.no_answer)),
        )
        for w in r.windows
    )
    columns = tuple(_tell(k, lang) for k in ("characters", "tokens", "best", "nothing"))
    return [Heading(_tell("windows", lang, n=len(r.windows))), Table(columns, rows, frozenset({1, 2, 3}))]
