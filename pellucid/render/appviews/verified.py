"""An answer checked: each claim with its verdict, what supports it, what contradicts it; then the passages.

blocks = view(verify(model, knowledge, "The bridge opened in 1950."), "en")
"""

from __future__ import annotations

from pellucid.apps.rag.verified import SUPPORTED, VERDICTS, Claim, Verified
from pellucid.render.appviews.shared import made, number, over, words
from pellucid.render.blocks import Cell, Element, Heading, Heat, Lines, Table
from pellucid.render.visible import one_line

tell = words(
    {
        "title": {
            "en": "Checked: {supported} supported, {contradicted} contradicted, {not_found} not found",
            "zh": "核对结果：有依据 {supported} 句，被否定 {contradicted} 句，未找到 {not_found} 句",
        },
        "question": {"en": "Question: {question}", "zh": "问题：{question}"},
        "supported": {"en": "supported", "zh": "有依据"},
        "contradicted": {"en": "contradicted", "zh": "被否定"},
        "not found": {"en": "not found", "zh": "未找到"},
        "disputed": {"en": "supported, but disputed", "zh": "有依据，但有争议"},
        "mark": {"en": " [{verdict}]", "zh": "［{verdict}］"},
        "claim": {"en": "claim", "zh": "句子"},
        "verdict": {"en": "verdict", "zh": "结论"},
        "gain": {"en": "gain, nats a token", "zh": "增益（奈特/词元）"},
        "words": {"en": "its words, %", "zh": "用词重合 %"},
        "rests": {"en": "what it is nearest to, and why", "zh": "最接近的原文与理由"},
        "missing": {"en": "without {what}", "zh": "其中没有 {what}"},
        "against": {"en": "against it: [{n}] {text}", "zh": "与之相反：[{n}] {text}"},
        "differs": {"en": "({claimed} / {stated})", "zh": "（{claimed} / {stated}）"},
        "nothing": {"en": "no passage was found", "zh": "没有检索到段落"},
        "how": {
            "en": "Supported: a passage makes the claim at least {least} nats a token likelier, holds its numbers, "
            "dates and names and most of its other words, and does not contradict it. Not found does not mean false.",
            "zh": "有依据：某个段落使这句话每词元的对数概率至少增加 {least} 奈特，"
            "含有其中的数字、日期、名称和大部分其他的词，且不与之矛盾。未找到不等于错误。",
        },
        "passages": {"en": "Passages", "zh": "段落"},
        "place": {
            "en": "[{n}] {document}, characters {start} to {end}",
            "zh": "[{n}] {document}，第 {start} 至 {end} 字符",
        },
    }
)


def view(result: Verified, lang: str) -> list[Element]:
    """The view."""
    counts = {v.replace(" ", "_"): sum(c.verdict == v for c in result.claims) for v in VERDICTS}
    parts: list[Element] = [Heading(tell("title", lang, **counts))]
    if result.question:
        parts.append(Lines((tell("question", lang, question=one_line(result.question)),)))
    columns = tuple(tell(k, lang) for k in ("claim", "verdict", "gain", "words", "rests"))
    rows = tuple(_row(n, c, lang) for n, c in enumerate(result.claims, 1))
    parts += [_answer(result, lang), Table(columns, rows, frozenset({0, 2, 3}))]
    parts.append(Lines((tell("how", lang, least=f"{result.least:g}"),), True))
    if result.passages:
        parts += [Heading(tell("passages", lang)), *_passages(result, lang)]
    return [*parts, made(result.model, result.seconds, lang)]


def _answer(result: Verified, lang: str) -> Heat:
    """The answer with each claim's verdict behind it; those that are supported are shaded."""
    parts: list[tuple[str, float | None, str]] = []
    at = 0
    for c in result.claims:
        parts.append((result.answer[at : c.start], None, ""))
        parts.append((c.text, 0.4 if c.verdict == SUPPORTED else None, number(c.gain)))
        parts.append((tell("mark", lang, verdict=_verdict(c, lang)), None, ""))
        at = c.end
    parts.append((result.answer[at:], None, ""))
    return Heat(tuple(p for p in parts if p[0]))


def _verdict(c: Claim, lang: str) -> str:
    return tell("disputed" if c.disputed else c.verdict, lang)


def _row(n: int, c: Claim, lang: str) -> tuple[Cell, ...]:
    reasons = []
    if c.sentence is None:
        reasons.append(tell("nothing", lang))
    else:
        reasons.append(f"[{c.sentence.number}] {one_line(c.sentence.text)}")
    if c.missing:
        reasons.append(tell("missing", lang, what=", ".join(one_line(m) for m in c.missing)))
    if c.against is not None:
        said = tell("against", lang, n=c.against.place.number, text=one_line(c.against.place.text))
        if c.against.rule != "denial":
            said += " " + tell("differs", lang, claimed=one_line(c.against.claimed), stated=one_line(c.against.stated))
        reasons.append(said)
    share = "–" if c.words is None else str(round(100 * c.words))
    why = " · ".join(reasons)
    return (
        Cell(str(n)),
        Cell(_verdict(c, lang), strong=True),
        Cell(number(c.gain, sign=True)),
        Cell(share),
        Cell(why, tip=why),
    )


def _passages(result: Verified, lang: str) -> list[Element]:
    """Those that a claim is nearest to or contradicted by, with these sentences shaded."""
    places: dict[int, set[tuple[int, int]]] = {}
    for c in result.claims:
        for s in (c.sentence, None if c.against is None else c.against.place):
            if s is not None:
                places.setdefault(s.number, set()).add((s.start, s.end))
    out: list[Element] = []
    for n in sorted(places):
        p = result.passages[n - 1].passage
        line = tell("place", lang, n=n, document=one_line(p.document), start=p.start, end=p.end)
        out += [Lines((line,), True), over(p.text, [(a, b, 0.4, "") for a, b in places[n]])]
    return out
