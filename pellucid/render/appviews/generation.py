"""An answer token by token: the prompt by mean attribution, the matrix, and how sure the model was."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pellucid.apps.generation import Generation
from pellucid.render.appviews.shared import made, number, over, trusted, words
from pellucid.render.blocks import Cell, Element, Heading, Heat, Lines, Matrix, Table
from pellucid.render.shading import percent
from pellucid.render.units import Unit, source_units, target_units
from pellucid.render.visible import one_line
from pellucid.trace.result import Source, Target

#: Rows of the table of statistics.
ROWS = 200

_tell = words(
    {
        "title": {"en": "{model}: each token of an answer", "zh": "{model}：逐词元解释回答"},
        "prompt": {
            "en": "Prompt, by mean attribution over the answer's tokens ({method})",
            "zh": "提示词：对回答各词元的平均归因（{method}）",
        },
        "answer": {"en": "Answer, by how unsure the model was", "zh": "回答：按模型的不确定程度"},
        "given": {"en": "Answer (given), by how unsure the model was", "zh": "回答（给定）：按模型的不确定程度"},
        "matrix": {
            "en": "Share of each prompt token (columns) in each answer token (rows)",
            "zh": "提示词各词元（列）在回答各词元（行）中的份额",
        },
        "statistics": {"en": "Each token", "zh": "各词元"},
        "token": {"en": "token", "zh": "词元"},
        "prob": {"en": "probability", "zh": "概率"},
        "rank": {"en": "rank", "zh": "名次"},
        "entropy": {"en": "entropy", "zh": "熵"},
        "from": {"en": "mostly from", "zh": "主要来自"},
        "tip": {
            "en": "{token}: probability {prob}, rank {rank}, entropy {entropy} nats",
            "zh": "{token}：概率 {prob}，名次 {rank}，熵 {entropy} 奈特",
        },
        "mean_tip": {"en": "{token}: {share} of the answer", "zh": "{token}：占回答的 {share}"},
        "whole": {"en": "{logprob} nats a token, {n} tokens.", "zh": "每词元 {logprob} 奈特，共 {n} 个词元。"},
        "written": {
            "en": "Written by {strategy}, seed {seed}; ended by {end}. {whole}",
            "zh": "生成方式 {strategy}，种子 {seed}；结束于{end}。{whole}",
        },
        "stop": {"en": "itself or a stop text", "zh": "模型自身或停止文本"},
        "length": {"en": "length", "zh": "长度上限"},
        "note": {
            "en": "Shares are of sizes, over what the user wrote; each answer token has the same say in the mean.",
            "zh": "份额按大小计算，只计用户所写的词元；每个回答词元在平均中权重相同。",
        },
        "left": {"en": "… {n} more tokens; CSV and JSON hold all.", "zh": "…… 还有 {n} 个词元，CSV 与 JSON 中齐全。"},
    }
)


def view(result: Generation, lang: str) -> list[Element]:
    """Prompt, answer, matrix, statistics."""
    trace = result.trace
    title = _tell("title", lang, model=one_line(result.model.name))
    method = one_line(trace.method.name)
    whole = _tell("whole", lang, logprob=number(result.logprob), n=len(trace.targets))
    if result.generated:
        facts = {"strategy": one_line(result.strategy), "seed": result.seed, "end": _tell(result.end, lang)}
        whole = _tell("written", lang, whole=whole, **facts)
    return [
        Heading(title),
        Heading(_tell("answer" if result.generated else "given", lang)),
        _answer(result, lang),
        Lines((whole,)),
        Heading(_tell("prompt", lang, method=method)),
        *_prompts(result, lang),
        trusted(trace, lang),
        _matrix(result, lang),
        Heading(_tell("statistics", lang)),
        *_statistics(result, lang),
        Lines((_tell("note", lang),), True),
        made(result.model, result.seconds, lang),
    ]


def _prompts(r: Generation, lang: str) -> list[Element]:
    """Each message in a heat of its own, one scale for all."""
    units = [u for u in source_units(r.trace, words=True) if not u.frame]
    shares = [math.fsum(r.mean[i] for i in u.indices if math.isfinite(r.mean[i])) for u in units]
    most = max(shares, default=0.0) or 1.0
    out: list[Element] = []
    for message in dict.fromkeys(u.message for u in units):
        given = r.trace.prompt
        text = given.text if message is None or given.messages is None else given.messages[message]["content"]
        parts = [
            (*_place(u, r.trace.sources), s / most, _tell("mean_tip", lang, token=one_line(u.text), share=percent(s)))
            for u, s in zip(units, shares, strict=True)
            if u.message == message
        ]
        out.append(over(text or "", parts))
    return out


def _place(unit: Unit, tokens: Sequence[Source | Target]) -> tuple[int, int]:
    """Its characters."""
    return tokens[unit.indices[0]].start or 0, tokens[unit.indices[-1]].end or 0


def _answer(r: Generation, lang: str) -> Heat:
    parts = []
    for u in target_units(r.trace):
        t = r.trace.targets[u.indices[0]]
        facts = {"rank": t.rank, "entropy": number(t.entropy), "token": one_line(u.text)}
        prob = math.exp(u.score)
        parts.append((*_place(u, r.trace.targets), 1 - prob, _tell("tip", lang, prob=percent(prob), **facts)))
    return over(r.answer, parts)


def _matrix(r: Generation, lang: str) -> Matrix:
    """By words of the prompt and tokens of the answer."""
    rows, columns = target_units(r.trace), [u for u in source_units(r.trace, words=True) if not u.frame]
    assert r.trace.scores is not None
    size = np.nan_to_num(np.abs(r.trace.scores.astype(np.float64)))
    mine = list(r.trace.content)
    shares = []
    for u in rows:
        # Pieces of one character are one row: the mean of their shares.
        each = [size[i] / (size[i, mine].sum() or 1.0) for i in u.indices]
        row = np.mean(each, axis=0)
        shares.append(tuple(float(row[list(c.indices)].sum()) for c in columns))
    names = tuple(u.text for u in rows), tuple(u.text for u in columns)
    return Matrix(_tell("matrix", lang), *names, tuple(shares))


def _statistics(r: Generation, lang: str) -> list[Element]:
    targets = r.trace.targets[:ROWS]
    rows = []
    for i, t in enumerate(targets):
        best = r.largest(i)
        rows.append(
            (
                Cell(t.text, token=True),
                Cell(percent(t.prob), 1 - t.prob),
                Cell(str(t.rank)),
                Cell(number(t.entropy)),
                Cell("" if best is None else r.trace.sources[best].text, token=True),
            )
        )
    columns = tuple(_tell(k, lang) for k in ("token", "prob", "rank", "entropy", "from"))
    left = len(r.trace.targets) - len(targets)
    more = [Lines((_tell("left", lang, n=left),), True)] if left else []
    return [Table(columns, tuple(rows), frozenset({1, 2, 3})), *more]
