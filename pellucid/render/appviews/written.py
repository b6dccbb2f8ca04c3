"""A text that was written, and a table of what was given: where each was used, and what never was."""

from __future__ import annotations

from pellucid.apps.writing.result import Point, Written
from pellucid.render.appviews.shared import heat, made, number, trusted, words
from pellucid.render.blocks import Cell, Element, Heading, Heat, Lines, Table
from pellucid.render.visible import one_line

tell = words(
    {
        "article": {"en": "Article: {about}", "zh": "文章：{about}"},
        "story": {"en": "Story: {about}", "zh": "故事：{about}"},
        "personal": {"en": "For a reader: {about}", "zh": "写给读者：{about}"},
        "mail": {"en": "Mail: {about}", "zh": "邮件：{about}"},
        "length": {
            "en": "{tokens} tokens, {logprob} nats a token; {end}; {strategy}",
            "zh": "{tokens} 个词元，每词元 {logprob} 奈特；{end}；{strategy}",
        },
        "stop": {"en": "ended by itself", "zh": "自行结束"},
        "cut": {"en": "cut at the longest that was asked for", "zh": "到达所要求的长度上限而截断"},
        "nothing": {"en": "(nothing)", "zh": "（没有文字）"},
        "given": {
            "en": "What was given, and the fall of each paragraph's log-probability without it (nats)",
            "zh": "所给内容，以及去掉它后各段对数概率的下降（奈特）",
        },
        "point": {"en": "Given", "zh": "所给内容"},
        "first": {"en": "First in", "zh": "首次用于"},
        "paragraph": {"en": "¶{n}", "zh": "第{n}段"},
        "threshold": {"en": "threshold", "zh": "阈值"},
        "never": {"en": "never", "zh": "从未"},
        "unused": {"en": "Never used: {names}", "zh": "从未用到：{names}"},
        "all": {"en": "Everything that was given was used.", "zh": "所给的内容都用到了。"},
        "rule": {
            "en": "Used: the fall is above the paragraph's threshold, the most that any of {n} neutral lines changes "
            "it, {floor} nats at least.",
            "zh": "“用到”：下降超过该段的阈值，即 {n} 行无关文字中任何一行给它带来的最大变化，至少 {floor} 奈特。",
        },
        "prompt": {"en": "The prompt: what the whole text rests on", "zh": "提示：整篇文字的依据"},
        "note": {"en": "No trace: {note}", "zh": "没有归因：{note}"},
    }
)
NAMES = {
    "topic": {"en": "topic", "zh": "主题"},
    "points": {"en": "point", "zh": "要点"},
    "audience": {"en": "reader", "zh": "读者"},
    "style": {"en": "style", "zh": "风格"},
    "tone": {"en": "tone", "zh": "语气"},
    "length": {"en": "length", "zh": "篇幅"},
    "genre": {"en": "genre", "zh": "类型"},
    "characters": {"en": "character", "zh": "人物"},
    "setting": {"en": "setting", "zh": "地点与时代"},
    "events": {"en": "event", "zh": "情节"},
    "interests": {"en": "interest", "zh": "兴趣"},
    "level": {"en": "level", "zh": "阅读水平"},
    "purpose": {"en": "purpose", "zh": "目的"},
    "recipient": {"en": "to", "zh": "收件人"},
    "sender": {"en": "from", "zh": "发件人"},
    "code": {"en": "line", "zh": "代码行"},
    "error": {"en": "error, line", "zh": "错误信息，行"},
    "description": {"en": "description", "zh": "功能"},
    "signature": {"en": "signature, line", "zh": "函数，行"},
}

#: Paragraphs that stand side by side in a terminal, with what was given beside them.
ACROSS = 6


def named(point: Point, lang: str, *, numbered: bool) -> str:
    """``point 2: Friday``."""
    name = NAMES[point.field].get(lang, NAMES[point.field]["en"])
    between = "：" if lang == "zh" else ": "
    return f"{name}{f' {point.number}' if numbered else ''}{between}{one_line(point.text)}"


def _numbered(result: Written, point: Point) -> bool:
    return len(result.fields.get(point.field, ())) > 1


def falls(result: Written, lang: str) -> Table:
    """[given + 1, paragraphs]: a cell is shaded by its share of the largest fall where it was used. What was given
    stands last, where it has room; first, where there are too many paragraphs for one row of a terminal."""
    most = max((f for p in result.points for f in p.falls), default=0.0) or 1.0
    many = len(result.paragraphs) > ACROSS
    rows = []
    for p in result.points:
        never = p.first is None
        cells = [Cell(tell("never", lang) if never else tell("paragraph", lang, n=p.first), strong=never)]
        for fall, part in zip(p.falls, result.paragraphs, strict=True):
            used = fall > part.threshold
            cells.append(
                Cell(number(fall, 1, sign=True), max(fall, 0.0) / most if used else None, one_line(p.text), used)
            )
        name = named(p, lang, numbered=_numbered(result, p))
        rows.append(placed(cells, Cell(name, tip=name), many))
    limits = [Cell(""), *(Cell(number(p.threshold, 1)) for p in result.paragraphs)]
    heads = [tell("first", lang), *(tell("paragraph", lang, n=k + 1) for k in range(len(result.paragraphs)))]
    columns = [tell("point", lang), *heads] if many else [*heads, tell("point", lang)]
    first = 2 if many else 1
    return Table(
        tuple(columns),
        (*rows, placed(limits, Cell(tell("threshold", lang)), many)),
        frozenset(range(first, first + len(result.paragraphs))),
        grid=many,
    )


def placed(cells: list[Cell], name: Cell, first: bool) -> tuple[Cell, ...]:
    """A row with what it is about at its beginning, or at its end."""
    return (name, *cells) if first else (*cells, name)


def view(result: Written, lang: str) -> list[Element]:
    """The text, the table, what was never used, the prompt shaded."""
    from pellucid.apps.writing.evidence import FLOOR

    about = one_line(next(iter(result.fields.values()))[0])
    end = tell("stop" if result.end == "stop" else "cut", lang)
    elements: list[Element] = [
        Heading(tell(result.task, lang, about=about)),
        Heat(((result.text or tell("nothing", lang), None, ""),)),
        Lines(
            (
                tell(
                    "length",
                    lang,
                    tokens=result.tokens,
                    logprob=number(result.logprob),
                    end=end,
                    strategy=result.decoding.strategy,
                ),
            ),
            True,
        ),
    ]
    if result.note:
        elements.append(Lines((tell("note", lang, note=one_line(result.note)),)))
    if result.trace is not None:
        unused = "; ".join(named(p, lang, numbered=_numbered(result, p)) for p in result.unused)
        count = len(result.paragraphs[0].neutral) if result.paragraphs else 0
        elements += [
            Heading(tell("given", lang)),
            falls(result, lang),
            Lines((tell("unused", lang, names=unused) if unused else tell("all", lang),)),
            Lines((tell("rule", lang, n=count, floor=f"{FLOOR:g}"),), True),
            Heading(tell("prompt", lang)),
            heat(result.trace),
            trusted(result.trace, lang),
        ]
    return [*elements, made(result.model, result.seconds, lang)]
