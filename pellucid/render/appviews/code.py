"""Code that was written: the code, whether Python can read it, what a fix changed, and the lines that it rests on."""

from __future__ import annotations

from pellucid.apps.code import Coded
from pellucid.render.appviews.shared import heat, made, number, trusted, words
from pellucid.render.appviews.written import ACROSS, named, placed
from pellucid.render.blocks import Cell, Element, Heading, Heat, Lines, Table
from pellucid.render.visible import one_line

tell = words(
    {
        "code": {"en": "Code in {language}", "zh": "{language} 代码"},
        "function": {"en": "Function in {language}", "zh": "{language} 函数"},
        "fix": {"en": "Corrected {language} code", "zh": "改正后的 {language} 代码"},
        "answer": {"en": "The answer, which holds no code", "zh": "回答（其中没有代码）"},
        "nothing": {"en": "(nothing)", "zh": "（没有文字）"},
        "reads": {"en": "Python's parser reads it. It was not run.", "zh": "Python 解析器可以读懂。没有运行。"},
        "wrong": {
            "en": "Python's parser does not read it{where}: {message}. It was not run.",
            "zh": "Python 解析器读不懂{where}：{message}。没有运行。",
        },
        "line": {"en": " (line {n})", "zh": "（第 {n} 行）"},
        "unparsed": {
            "en": "{language} is not parsed here, and it was not run.",
            "zh": "这里不解析 {language}，也没有运行。",
        },
        "length": {
            "en": "{tokens} tokens, {logprob} nats a token; {end}; {strategy}",
            "zh": "{tokens} 个词元，每词元 {logprob} 奈特；{end}；{strategy}",
        },
        "stop": {"en": "ended by itself", "zh": "自行结束"},
        "cut": {"en": "cut at the longest that was asked for", "zh": "到达所要求的长度上限而截断"},
        "note": {"en": "Note: {note}", "zh": "说明：{note}"},
        "diff": {"en": "What was changed", "zh": "改动"},
        "same": {"en": "Nothing: the code came back as it was given.", "zh": "没有改动：代码原样返回。"},
        "rests_code": {
            "en": "What the code rests on: the fall of its log-probability without each (nats)",
            "zh": "代码的依据：去掉每一项后其对数概率的下降（奈特）",
        },
        "rests_fix": {
            "en": "What the correction rests on: the fall of its new lines' log-probability without each (nats)",
            "zh": "改正的依据：去掉每一项后新写各行对数概率的下降（奈特）",
        },
        "given": {"en": "Given", "zh": "所给内容"},
        "unused": {"en": "Not used: {names}", "zh": "没有用到：{names}"},
        "part": {"en": "part {n}", "zh": "第{n}处"},
        "threshold": {"en": "threshold", "zh": "阈值"},
        "none": {
            "en": "Nothing that was given is above a threshold: the model would have written it anyway, or several of "
            "the given lines stand in for each other.",
            "zh": "所给内容都没有超过阈值：模型本来就会这样写，或者所给的几行可以互相代替。",
        },
        "prompt": {"en": "The prompt: what the whole answer rests on", "zh": "提示：整个回答的依据"},
    }
)


def _read(result: Coded, lang: str) -> str:
    s = result.syntax
    if s.ok is None:
        return tell("unparsed", lang, language=one_line(result.language))
    where = "" if s.line is None else tell("line", lang, n=s.line)
    return tell("reads", lang) if s.ok else tell("wrong", lang, where=where, message=one_line(s.message))


def rests(result: Coded, lang: str) -> Table:
    """[given + 1, parts]: falls, shaded where they are above their part's threshold; laid out as in ``written``."""
    most = max((f for p in result.points for f in p.falls), default=0.0) or 1.0
    many = len(result.parts) > ACROSS
    rows = []
    for p in result.points:
        cells = []
        for fall, part in zip(p.falls, result.parts, strict=True):
            used = fall > part.threshold
            cells.append(Cell(number(fall, 1, sign=True), max(fall, 0.0) / most if used else None, "", used))
        name = named(p, lang, numbered=True)
        rows.append(placed(cells, Cell(name, tip=name), many))
    limits = [Cell(number(p.threshold, 1)) for p in result.parts]
    heads = [tell("part", lang, n=k + 1) for k in range(len(result.parts))]
    first = 1 if many else 0
    return Table(
        (tell("given", lang), *heads) if many else (*heads, tell("given", lang)),
        (*rows, placed(limits, Cell(tell("threshold", lang)), many)),
        frozenset(range(first, first + len(result.parts))),
        grid=many,
    )


def _unused(result: Coded, lang: str) -> list[Element]:
    """What was asked for and not used; of a fix, whose lines are mostly beside the point, where nothing was."""
    if not result.rests_on:
        return [Lines((tell("none", lang),))]
    names = "; ".join(named(p, lang, numbered=True) for p in result.unused)
    return [Lines((tell("unused", lang, names=names),))] if names and result.task != "fix" else []


def view(result: Coded, lang: str) -> list[Element]:
    """The code, what was said of it, the diff, the table, the prompt shaded."""
    elements: list[Element] = [
        Heading(tell(result.task, lang, language=one_line(result.language))),
    ]
    if result.code:
        elements += [Heat(((result.code, None, ""),), code=True), Lines((_read(result, lang),))]
    else:
        elements += [
            Lines((tell("answer", lang),)),
            Heat(((result.text or tell("nothing", lang), None, ""),)),
        ]
    if result.note:
        elements.append(Lines((tell("note", lang, note=one_line(result.note)),)))
    if result.task == "fix" and result.code:
        elements.append(Heading(tell("diff", lang)))
        elements.append(Heat(((result.diff, None, ""),), code=True) if result.diff else Lines((tell("same", lang),)))
    if result.trace is not None:
        elements += [
            Heading(tell("rests_fix" if result.diff else "rests_code", lang)),
            rests(result, lang),
            *_unused(result, lang),
            Heading(tell("prompt", lang)),
            heat(result.trace),
            trusted(result.trace, lang),
        ]
    elements.append(
        Lines(
            (
                tell(
                    "length",
                    lang,
                    tokens=result.tokens,
                    logprob=number(result.logprob),
                    end=tell("stop" if result.ended == "stop" else "cut", lang),
                    strategy=result.decoding.strategy,
                ),
            ),
            True,
        )
    )
    return [*elements, made(result.model, result.seconds, lang)]
