"""The table of ``bench rag``: figures by group, and the reliability diagram.

blocks = view(RagBoard.of(records.lines, settings, made), "en")
"""

from __future__ import annotations

from itertools import groupby

from pellucid.bench.ragboard import RagBoard
from pellucid.render.appviews.shared import number, words
from pellucid.render.blocks import Cell, Chart, Element, Heading, Lines, Series, Table
from pellucid.render.visible import one_line

tell = words(
    {
        "title": {"en": "{model} on {data}", "zh": "{model}，{data}"},
        "how": {
            "en": "{n} questions, one a paragraph, without the file's first {skip} paragraphs; all paragraphs are the "
            "collection; {k} passages an answer, found by {retriever}; greedy, at most {new} tokens. {made}.",
            "zh": "{n} 个问题，每段一个，不含文件最前面的 {skip} 段；所有段落构成集合；每个回答用 {k} 个段落，"
            "由 {retriever} 检索；贪心解码，至多 {new} 个词元。{made}。",
        },
        "measure": {"en": "measure", "zh": "指标"},
        "value": {"en": "mean", "zh": "均值"},
        "interval": {"en": "95 %", "zh": "95 %"},
        "chance": {"en": "chance", "zh": "随机"},
        "n": {"en": "questions", "zh": "问题数"},
        "reliability": {"en": "Reliability: share right by confidence", "zh": "可靠性：按可信度的正确率"},
        "right": {"en": "share right", "zh": "正确率"},
        "even": {"en": "perfectly calibrated", "zh": "完全校准"},
        "confidence": {"en": "confidence", "zh": "可信度"},
    }
)


def view(result: RagBoard, lang: str) -> list[Element]:
    """The view."""
    s = result.settings
    how = {"n": s["examples"], "skip": s["skip"], "k": s["passages"], "retriever": s["retriever"]}
    made = ", ".join(f"{k}: {v}" for k, v in result.made.items())
    parts: list[Element] = [
        Heading(tell("title", lang, model=one_line(str(s["model"])), data=one_line(str(s["data"])))),
        Lines((tell("how", lang, **how, new=s["max_new_tokens"], made=made),), True),
    ]
    columns = tuple(tell(k, lang) for k in ("measure", "value", "interval", "chance", "n"))
    for group, figures in groupby(result.figures, key=lambda f: f.group):
        rows = tuple(
            (
                Cell(f.name),
                Cell(number(f.value, 3), strong=True),
                Cell(f"{number(f.low)}–{number(f.high)}"),
                Cell(number(f.chance) if f.chance is not None else ""),
                Cell(str(f.n)),
            )
            for f in figures
        )
        parts += [Heading(group), Table(columns, rows, frozenset({1, 2, 3, 4}))]
    if result.reliability:
        points = tuple((b.confidence, b.right) for b in sorted(result.reliability, key=lambda b: b.confidence))
        parts.append(
            Chart(
                tell("reliability", lang),
                tell("confidence", lang),
                (Series(tell("right", lang), points), Series(tell("even", lang), ((0.0, 0.0), (1.0, 1.0)))),
            )
        )
    return parts
