"""A classification as blocks: the class, every class's probability, a heat map and its trust line a method, agreement.

blocks = view(found, "en")
"""

from __future__ import annotations

import math

from pellucid.apps.classification import Classification
from pellucid.render.appviews.shared import made, number, over, trusted, words
from pellucid.render.blocks import Cell, Element, Heading, Heat, Lines, Table
from pellucid.render.shading import percent
from pellucid.render.visible import one_line
from pellucid.trace.result import Trace, UnitScore

BAR = 12  # cells of a probability of 1
NAMED = 5  # words that are named beneath a signed heat map

tell = words(
    {
        "title": {"en": "{label} ({prob})", "zh": "{label}（{prob}）"},
        "value": {"en": "{label} = {value}", "zh": "{label} = {value}"},
        "several": {"en": "All likelier than not: {labels}", "zh": "概率过半的标签：{labels}"},
        "text": {"en": "Text", "zh": "文本"},
        "probabilities": {"en": "Probability of each label", "zh": "各标签的概率"},
        "values": {"en": "Values", "zh": "数值"},
        "label": {"en": "label", "zh": "标签"},
        "prob": {"en": "probability", "zh": "概率"},
        "score": {"en": "score", "zh": "得分"},
        "logit": {"en": "logit", "zh": "logit"},
        "number": {"en": "value", "zh": "数值"},
        "plain": {"en": "uncalibrated", "zh": "未校准"},
        "logprob": {"en": "log p", "zh": "log p"},
        "mean": {"en": "a token", "zh": "每词元"},
        "why": {"en": "{method}: why “{label}”", "zh": "{method}：为什么是“{label}”"},
        "why_not": {
            "en": "{method}: why “{label}” and not “{other}”",
            "zh": "{method}：为什么是“{label}”而不是“{other}”",
        },
        "for": {"en": "For “{label}”: {words}", "zh": "支持“{label}”：{words}"},
        "against": {"en": "Against “{label}”: {words}", "zh": "反对“{label}”：{words}"},
        "most": {"en": "Most: {words}", "zh": "最重要：{words}"},
        "none": {"en": "none", "zh": "无"},
        "agreement": {
            "en": "How far the methods agree on {n} words (by magnitude)",
            "zh": "各方法对 {n} 个词的一致程度（按绝对值）",
        },
        "methods": {"en": "methods", "zh": "方法"},
        "spearman": {"en": "Spearman", "zh": "Spearman 相关"},
        "overlap": {"en": "top {k} in common", "zh": "前 {k} 名重合"},
        "calibrated": {
            "en": "Score: log p, in nats, less what it is after {n} texts that say nothing (calibrated).",
            "zh": "得分：以奈特计的 log p，减去在 {n} 段无内容文本之后的值（已校准）。",
        },
        "uncalibrated": {
            "en": "Score: log p, in nats, not calibrated, so that a likely word wins by itself.",
            "zh": "得分：以奈特计的 log p，未校准，因此常见的词自身就占优。",
        },
        "asked": {"en": "Asked: {instruction}", "zh": "提问：{instruction}"},
        "comma": {"en": ", ", "zh": "、"},
    }
)


def view(c: Classification, lang: str) -> list[Element]:
    """The blocks."""
    out: list[Element] = [Heading(_title(c, lang))]
    if c.kind == "sigmoid" and len(c.chosen) > 1:
        out.append(Lines((tell("several", lang, labels=tell("comma", lang).join(map(one_line, c.chosen))),)))
    texts = [t for t in (c.text, c.second) if t is not None]
    if not c.traces:
        out += [Heading(tell("text", lang)), *(Heat(((t, None, ""),)) for t in texts)]
    out += [Heading(tell("values" if c.kind == "value" else "probabilities", lang)), _scores(c, lang)]
    for trace in c.traces:
        out += _explained(c, trace, texts, lang)
    if c.agreement is not None:
        out += [Heading(tell("agreement", lang, n=c.agreement.entries)), _agreement(c, lang)]
    if c.instruction is not None:
        said = tell("calibrated", lang, n=len(c.neutral)) if c.neutral else tell("uncalibrated", lang)
        out.append(Lines((said, tell("asked", lang, instruction=one_line(c.instruction.replace("\n", " ")))), True))
    return [*out, made(c.model, c.seconds, lang)]


def _title(c: Classification, lang: str) -> str:
    if c.kind == "value":
        return tell("comma", lang).join(
            tell("value", lang, label=one_line(s.label), value=number(s.score, 3)) for s in c.scores
        )
    return tell("title", lang, label=one_line(c.label), prob=percent(c.confidence or 0.0))


def _scores(c: Classification, lang: str) -> Table:
    """Labels by probability; label words with what they were before calibration."""
    by_words = c.kind == "words"
    columns = [tell("label", lang)]
    if c.kind != "value":
        columns += [tell("prob", lang), ""]
    columns.append(tell({"words": "score", "value": "number"}.get(c.kind, "logit"), lang))
    if by_words:
        columns += [tell(k, lang) for k in ("plain", "logprob", "mean")]
    rows = []
    for s in c.scores if c.kind == "value" else sorted(c.scores, key=lambda s: -s.score):
        cells = [Cell(s.label, strong=s.label in c.chosen)]
        if c.kind != "value":
            cells += [Cell(percent(s.prob)), Cell("█" * round(s.prob * BAR) or "▏")]
        cells.append(Cell(number(s.score, 2 if c.kind != "value" else 4, sign=True)))
        if by_words:
            cells += [Cell(percent(s.plain_prob)), Cell(number(s.logprob)), Cell(number(s.mean_logprob))]
        rows.append(tuple(cells))
    numbers = frozenset(range(1, len(columns))) - (frozenset() if c.kind == "value" else frozenset({2}))
    return Table(tuple(columns), tuple(rows), numbers)


def _explained(c: Classification, trace: Trace, texts: list[str], lang: str) -> list[Element]:
    """One method: the text shaded by the magnitude of its words' scores, the words for and against, trust."""
    what = tell("comma", lang).join(map(one_line, c.explained))
    key = "why" if c.against is None else "why_not"
    out: list[Element] = [
        Heading(tell(key, lang, method=trace.method.name, label=what, other=one_line(c.against or "")))
    ]
    known = [u for u in trace.units if math.isfinite(u.score)]
    most = max((abs(u.score) for u in known), default=0.0) or 1.0
    for k, text in enumerate(texts):
        here = [u for u in trace.units if len(texts) == 1 or u.message == k]
        out.append(over(text, [_stretch(u, c.start, most) for u in here]))
    ranked = sorted(known, key=lambda u: -abs(u.score))
    if trace.method.signed:
        named = [(k, [u for u in ranked if u.score * sign > 0]) for k, sign in (("for", 1), ("against", -1))]
    else:
        named = [("most", [u for u in ranked if u.score])]
    lines = tuple(tell(k, lang, label=what, words=_named(units, trace.method.signed, lang)) for k, units in named)
    return [*out, Lines(lines), trusted(trace, lang)]


def _stretch(u: UnitScore, start: int, most: float) -> tuple[int, int, float | None, str]:
    share = abs(u.score) / most if math.isfinite(u.score) else None
    return u.start - start, u.end - start, share, f"{u.text} {number(u.score, 4, sign=True)}"


def _named(units: list[UnitScore], signed: bool, lang: str) -> str:
    shown = [f"“{one_line(u.text)}” {number(u.score, 3, sign=signed)}" for u in units[:NAMED]]
    return tell("comma", lang).join(shown) or tell("none", lang)


def _agreement(c: Classification, lang: str) -> Table:
    """A row a pair of methods."""
    a = c.agreement
    assert a is not None
    rows = []
    for i, first in enumerate(a.methods):
        for j in range(i + 1, len(a.methods)):
            rho, common = a.spearman[i][j], a.overlap[i][j]
            shade = max(rho, 0.0) if math.isfinite(rho) else None
            rows.append(
                (
                    Cell(f"{first} – {a.methods[j]}"),
                    Cell(number(rho), shade),
                    Cell(f"{round(common * a.top_k)}/{a.top_k}", common),
                )
            )
    columns = (tell("methods", lang), tell("spearman", lang), tell("overlap", lang, k=a.top_k))
    return Table(columns, tuple(rows), frozenset({1, 2}))
