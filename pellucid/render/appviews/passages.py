"""Passages that a search found: each under its document, the question's words shaded by what they add to its score."""

from __future__ import annotations

from pellucid.apps.rag.passage import Found
from pellucid.apps.rag.passages import Passages, Why
from pellucid.render.appviews.shared import number, over, words
from pellucid.render.blocks import Element, Heading, Lines
from pellucid.render.visible import one_line

_tell = words(
    {
        "title": {"en": "Passages for: {query}", "zh": "检索：{query}"},
        "none": {"en": "Nothing was found.", "zh": "没有找到任何段落。"},
        "how": {
            "en": "{n} passages by {retriever}{where}; {seconds} s",
            "zh": "{n} 个段落，检索方法 {retriever}{where}；{seconds} 秒",
        },
        "where": {"en": " in the collection {collection}", "zh": "，文档集 {collection}"},
        "score": {
            "en": "score {score}; characters {start} to {end} of {document}",
            "zh": "得分 {score}；{document} 第 {start} 至 {end} 个字符",
        },
        "ranks": {"en": "rank {ranks}", "zh": "名次 {ranks}"},
        "shares": {"en": "BM25 {total} = {shares}", "zh": "BM25 {total} = {shares}"},
        "missing": {
            "en": "The file has gone since it was indexed: this is the text that it had.",
            "zh": "索引之后该文件已不存在：以下是当时的文本。",
        },
        "changed": {
            "en": "The file has changed since it was indexed: this is the text that it had.",
            "zh": "索引之后该文件已被改动：以下是当时的文本。",
        },
    }
)


def view(result: Passages, lang: str) -> list[Element]:
    """In blocks."""
    where = _tell("where", lang, collection=one_line(result.collection)) if result.collection else ""
    blocks: list[Element] = [Heading(_tell("title", lang, query=one_line(result.query)))]
    if not result.found:
        return [*blocks, Lines((_tell("none", lang),))]
    how = {"n": len(result.found), "retriever": result.retriever, "where": where, "seconds": number(result.seconds)}
    blocks.append(Lines((_tell("how", lang, **how),), True))
    for found, why in zip(result.found, result.why, strict=True):
        stale = result.stale.get(found.passage.document)
        blocks += _passage(found, why, result.retriever, lang)
        if stale:
            blocks.insert(-1, Lines((_tell(stale, lang),)))
    return blocks


def _passage(found: Found, why: Why, retriever: str, lang: str) -> list[Element]:
    p = found.passage
    name = one_line(p.heading or p.document)
    digits = 4 if retriever == "hybrid" else 2
    said = _tell(
        "score", lang, score=number(found.score, digits), start=p.start, end=p.end, document=one_line(p.document)
    )
    ranks = ", ".join(f"{n} {rank}" for n, rank in found.ranks.items())
    lines = [said + (f"; {_tell('ranks', lang, ranks=ranks)}" if ranks else "")]
    if why.shares:
        parts = " + ".join(f"{one_line(w)} {number(s)}" for w, s in why.shares.items())
        lines.append(_tell("shares", lang, total=number(sum(why.shares.values())), shares=parts))
    most = max(why.shares.values(), default=1.0)
    places = [(a, b, why.shares[w] / most, f"{w} {number(why.shares[w])}") for a, b, w in why.places]
    return [Heading(f"{found.rank}. {name}"), Lines(tuple(lines), True), over(p.text, places)]
