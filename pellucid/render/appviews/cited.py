"""An answer from passages: its sentences with their marks, the passages with what was rested on, the confidence.

blocks = view(ask(model, knowledge, "How old is it?"), "en")
"""

from __future__ import annotations

from pellucid.apps.rag.cited import Cited, Claimed, Hop, Sentence
from pellucid.apps.rag.passage import Found
from pellucid.render.appviews.shared import made, number, over, words
from pellucid.render.blocks import Cell, Element, Heading, Heat, Lines, Table
from pellucid.render.visible import one_line

tell = words(
    {
        "title": {"en": "Answered from {n} passages", "zh": "根据 {n} 个段落的回答"},
        "nothing": {"en": "No answer", "zh": "没有回答"},
        "question": {"en": "Question: {question}", "zh": "问题：{question}"},
        "searched": {"en": "Searched for: {question}", "zh": "检索用的问题：{question}"},
        "answer": {"en": "Answer", "zh": "回答"},
        "rests": {"en": "What each sentence rests on", "zh": "每句话的依据"},
        "sentence": {"en": "sentence", "zh": "句子"},
        "passage": {"en": "passage", "zh": "段落"},
        "drop": {"en": "drop without it, nats", "zh": "去掉后的下降（奈特）"},
        "alone": {"en": "rise by it alone, nats", "zh": "仅有它时的上升（奈特）"},
        "mostly": {"en": "mostly its sentence", "zh": "主要依据其中这句"},
        "unsupported": {"en": "unsupported: rests on nothing retrieved", "zh": "无依据：不以任何检索到的内容为据"},
        "mark": {"en": " [unsupported]", "zh": "［无依据］"},
        "passages": {"en": "Passages", "zh": "段落"},
        "place": {
            "en": "[{n}] {document}{heading}, characters {start} to {end}, score {score}",
            "zh": "[{n}] {document}{heading}，第 {start} 至 {end} 字符，得分 {score}",
        },
        "claimed": {"en": "The model's own marks", "zh": "模型自己写的引用"},
        "claim_held": {
            "en": "[{n}] in sentence {s}: held by the computed citations",
            "zh": "第 {s} 句中的 [{n}]：与计算出的引用一致",
        },
        "claim_not": {
            "en": "[{n}] in sentence {s}: the sentence does not rest on that passage",
            "zh": "第 {s} 句中的 [{n}]：该句并不以此段落为据",
        },
        "claim_none": {
            "en": "[{n}] in sentence {s}: there is no such passage",
            "zh": "第 {s} 句中的 [{n}]：没有这个段落",
        },
        "confidence": {"en": "Confidence {value}", "zh": "可信度 {value}"},
        "facts": {
            "en": "The passages make the answer {gain} nats a token likelier; with them it has {logprob} nats a token; "
            "{support} % of it rests on them; the passage nearest the question makes that {relevance} nats a token "
            "likelier.",
            "zh": "段落使回答每词元增加 {gain} 奈特；有段落时每词元 {logprob} 奈特；其中 {support} % 以段落为据；"
            "最相关的段落使问题每词元增加 {relevance} 奈特。",
        },
        "consistency": {
            "en": "Sampled answers agree with it to {x} (1: the same words).",
            "zh": "抽样回答与它的一致程度为 {x}（1：用词相同）。",
        },
        "verbal": {
            "en": "The model itself says {x} of 10 (no part of the figure above).",
            "zh": "模型自己说 {x}/10（不计入上面的数字）。",
        },
        "calibrated": {"en": "Calibrated on: {what}.", "zh": "校准所用：{what}。"},
        "hop": {"en": "Step {n}: {question}", "zh": "第 {n} 步：{question}"},
    }
)


def view(result: Cited, lang: str) -> list[Element]:
    """The view."""
    title = tell("title", lang, n=len(result.passages)) if result.sentences else tell("nothing", lang)
    said = [tell("question", lang, question=one_line(result.question))]
    if result.standalone != result.question:
        said.append(tell("searched", lang, question=one_line(result.standalone)))
    parts: list[Element] = [Heading(title), Lines(tuple(said))]
    if result.notes:
        parts.append(Lines(tuple(one_line(n) for n in result.notes)))
    for n, hop in enumerate(result.hops):
        parts += _hop(n + 1, hop, lang)
    if result.sentences:
        parts += [Heading(tell("answer", lang)), answer(result.answer, result.sentences, lang)]
        parts += [Heading(tell("rests", lang)), table(result.sentences, result.passages, lang)]
    if result.claimed:
        parts += [Heading(tell("claimed", lang)), _claimed(result, lang)]
    if result.passages:
        parts += [Heading(tell("passages", lang)), *passages(result.passages, result.sentences, lang)]
    if result.confidence is not None:
        parts += _confidence(result, lang)
    return [*parts, made(result.model, result.seconds, lang)]


def answer(text: str, sentences: tuple[Sentence, ...], lang: str) -> Heat:
    """The answer, each sentence followed by its passages' numbers or the mark that it has none."""
    parts: list[tuple[str, float | None, str]] = []
    at = 0
    most = max((s.strongest for s in sentences), default=0.0) or 1.0
    for s in sentences:
        if s.start > at:
            parts.append((text[at : s.start], None, ""))
        share = max(s.strongest, 0.0) / most if s.supported else None
        parts.append((text[s.start : s.end], share, f"{number(s.strongest, sign=True)}"))
        marks = "".join(f"[{c.number}]" for c in s.citations) if s.supported else tell("mark", lang)
        parts.append((f" {marks.strip()}" if s.supported else marks, None, ""))
        at = s.end
    if at < len(text):
        parts.append((text[at:], None, ""))
    return Heat(tuple(parts))


def table(sentences: tuple[Sentence, ...], found: tuple[Found, ...], lang: str) -> Table:
    """A row a citation, the strongest first; one row for a sentence that has none."""
    rows = []
    for n, s in enumerate(sentences):
        if not s.citations:
            rows.append((Cell(str(n + 1)), Cell(tell("unsupported", lang)), Cell(""), Cell(""), Cell("")))
        for c in s.citations:
            where = f"[{c.number}] {one_line(found[c.number - 1].passage.document)}"
            best = one_line(c.sentences[0].text) if c.sentences else ""
            rows.append(
                (
                    Cell(str(n + 1)),
                    Cell(where),
                    Cell(number(c.drop)),
                    Cell(number(c.alone)),
                    Cell(best, tip=best),
                )
            )
    columns = tuple(tell(k, lang) for k in ("sentence", "passage", "drop", "alone", "mostly"))
    return Table(columns, tuple(rows), frozenset({0, 2, 3}))


def passages(found: tuple[Found, ...], sentences: tuple[Sentence, ...], lang: str) -> list[Element]:
    """Each passage with its place; the sentences that an answer rests on are shaded by their drop."""
    drops: dict[int, dict[tuple[int, int], float]] = {}
    for s in sentences:
        for c in s.citations:
            for p in c.sentences:
                kept = drops.setdefault(c.number, {})
                kept[p.start, p.end] = max(kept.get((p.start, p.end), 0.0), p.drop)
    most = max((d for kept in drops.values() for d in kept.values()), default=0.0) or 1.0
    out: list[Element] = []
    for n, f in enumerate(found, 1):
        own = f.passage
        heading = f" · {one_line(own.heading)}" if own.heading else ""
        facts = {"start": own.start, "end": own.end, "score": number(f.score)}
        out.append(Lines((tell("place", lang, n=n, document=one_line(own.document), heading=heading, **facts),), True))
        out.append(over(own.text, [(a, b, d / most, number(d)) for (a, b), d in drops.get(n, {}).items()]))
    return out


def _claimed(result: Cited, lang: str) -> Lines:
    def line(c: Claimed) -> str:
        key = "claim_held" if c.held else "claim_not" if c.exists else "claim_none"
        return tell(key, lang, n=c.number, s=c.sentence + 1)

    return Lines(tuple(line(c) for c in result.claimed))


def _confidence(result: Cited, lang: str) -> list[Element]:
    c = result.confidence
    assert c is not None
    facts = {"gain": number(c.gain), "logprob": number(c.logprob), "support": round(100 * c.support)}
    lines = [tell("facts", lang, **facts, relevance=number(c.relevance))]
    if c.consistency is not None:
        lines.append(tell("consistency", lang, x=number(c.consistency)))
    if c.verbal is not None:
        lines.append(tell("verbal", lang, x=c.verbal))
    quiet = [tell("calibrated", lang, what=c.calibration)] if c.calibration else []
    return [
        Heading(tell("confidence", lang, value=number(c.value))),
        Lines(tuple(lines)),
        *([Lines(tuple(quiet), True)] if quiet else []),
    ]


def _hop(n: int, hop: Hop, lang: str) -> list[Element]:
    return [
        Heading(tell("hop", lang, n=n, question=one_line(hop.question))),
        answer(hop.answer, hop.sentences, lang),
        table(hop.sentences, hop.passages, lang),
    ]
