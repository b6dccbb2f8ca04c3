"""A report over many explained answers as blocks: what to look at first, then what it rests on.

view(report(traces), "en")
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pellucid.apps.report.conditions import Finding, told
from pellucid.apps.report.summary import AROUND, Analysis, Holding, Occurrence, TraceReport
from pellucid.render.appviews.shared import number, words
from pellucid.render.blocks import Cell, Element, Heading, Lines, Table
from pellucid.render.visible import one_line

#: Rows of a list of traces, agreements or files.
MOST = 60
LONG = 24  # characters of an answer or a name that a table shows

tell = words(
    {
        "title": {"en": "Report on {n} explanations", "zh": "{n} 次解释的汇总报告"},
        "title_one": {"en": "Report on one explanation", "zh": "1 次解释的汇总报告"},
        "models": {
            "en": "Models: {names}. Methods: {methods}. Objectives: {objectives}.",
            "zh": "模型：{names}。方法：{methods}。目标：{objectives}。",
        },
        "lengths": {
            "en": "Prompts of {p0} to {p1} tokens (median {p2}), answers of {a0} to {a1} (median {a2}).",
            "zh": "提示词 {p0} 至 {p1} 个词元（中位数 {p2}），回答 {a0} 至 {a1} 个（中位数 {a2}）。",
        },
        "cost": {
            "en": "{s} s of explaining, {g} s of writing the answers; {f} forward and {b} backward passes.",
            "zh": "解释用 {s} 秒，生成回答用 {g} 秒；前向 {f} 次，反向 {b} 次。",
        },
        "look": {"en": "What to look at", "zh": "需要留意"},
        "nothing": {"en": "None of the conditions is met.", "zh": "没有满足任何一项提示条件。"},
        "in_traces": {"en": "In {k} of {n}", "zh": "{n} 次中有 {k} 次"},
        "in_groups": {"en": "In {k} of {n} answers", "zh": "{n} 个回答中有 {k} 个"},
        "finding": {"en": "{name}. {where}{which}. {says}", "zh": "{name}。{where}{which}。{says}"},
        "which": {"en": " (traces {names})", "zh": "（第 {names} 次）"},
        "which_one": {"en": " (trace {names})", "zh": "（第 {names} 次）"},
        "try": {"en": "Try: {tries}", "zh": "可尝试：{tries}"},
        "conditions": {"en": "What was measured", "zh": "各项条件的测量结果"},
        "condition": {"en": "condition", "zh": "条件"},
        "value": {"en": "value", "zh": "数值"},
        "threshold": {"en": "threshold", "zh": "阈值"},
        "met": {"en": "met in", "zh": "满足次数"},
        "why": {"en": "not measured", "zh": "未测量的原因"},
        "of": {"en": "{k} of {n}", "zh": "{k} / {n}"},
        "punctuation": {"en": "Attribution on punctuation", "zh": "归因集中在标点"},
        "stop_words": {"en": "Attribution on function words", "zh": "归因集中在停用词"},
        "template": {"en": "Attribution on the template", "zh": "归因集中在模板"},
        "first_token": {"en": "Attribution on the very first token", "zh": "归因集中在序列第一个词元"},
        "first_user_token": {"en": "Attribution on the user's first token", "zh": "归因集中在用户第一个词元"},
        "disagreement": {"en": "Methods disagree", "zh": "方法之间不一致"},
        "trust": {"en": "No better than random", "zh": "不比随机更好"},
        "even": {"en": "Attribution spread evenly", "zh": "归因过于平均"},
        "not_measured": {"en": "Tokens without a score", "zh": "没有得分的词元"},
        "unlikely": {"en": "Answer unlikely for the model", "zh": "回答对模型而言不太可能"},
        "types": {"en": "Words that mattered most, all places together", "zh": "影响最大的词（所有位置合计）"},
        "occurrences": {"en": "Words that mattered most, each place by itself", "zh": "影响最大的词（逐个位置）"},
        "word": {"en": "word", "zh": "词"},
        "sum": {"en": "sum", "zh": "合计"},
        "mean": {"en": "mean", "zh": "平均"},
        "times": {"en": "times", "zh": "次数"},
        "in": {"en": "traces", "zh": "解释数"},
        "kind": {"en": "kind", "zh": "类别"},
        "kind_word": {"en": "", "zh": ""},
        "kind_stop": {"en": "function word", "zh": "停用词"},
        "kind_punctuation": {"en": "punctuation", "zh": "标点"},
        "share": {"en": "share", "zh": "占比"},
        "trace": {"en": "no.", "zh": "序号"},
        "at": {"en": "characters", "zh": "字符"},
        "message": {"en": "message {m}: ", "zh": "消息 {m}："},
        "where": {"en": "where", "zh": "位置"},
        "shown": {"en": "{k} of {n} are listed.", "zh": "共 {n} 项，列出 {k} 项。"},
        "agreement": {"en": "How far methods agree", "zh": "方法之间的一致程度"},
        "alone": {
            "en": "No answer is explained by two traces: nothing to compare.",
            "zh": "没有一个回答被解释两次，无从比较。",
        },
        "said": {"en": "answer", "zh": "回答"},
        "methods": {"en": "methods", "zh": "方法"},
        "spearman": {"en": "Spearman", "zh": "Spearman"},
        "overlap": {"en": "in common", "zh": "最大者重合"},
        "chance": {"en": "by chance", "zh": "随机期望"},
        "top_k": {"en": "{x} of {k}", "zh": "{k} 个中 {x} 个"},
        "by_method": {"en": "By method", "zh": "按方法"},
        "method": {"en": "method", "zh": "方法"},
        "ratio": {"en": "trust, median", "zh": "可信度中位数"},
        "beats": {"en": "beats random", "zh": "胜过全部随机"},
        "seconds": {"en": "s", "zh": "秒"},
        "forward": {"en": "forward", "zh": "前向"},
        "backward": {"en": "backward", "zh": "反向"},
        "holding": {
            "en": "Trust was measured in {n} of {all}: what the top tenth does is {mean} times what random tenths do "
            "(median {median}), and more than each of them in {k} of {n}.",
            "zh": "{all} 次中有 {n} 次测量了可信度：去掉得分最高的十分之一，效果平均为随机去掉的 {mean} 倍（中位数 "
            "{median}），{n} 次中有 {k} 次胜过每一次随机去除。",
        },
        "untrusted": {"en": "Trust was not measured in any trace.", "zh": "没有一次测量了可信度。"},
        "analyses": {"en": "The traces", "zh": "各次解释"},
        "file": {"en": "file", "zh": "文件"},
        "tokens": {"en": "tokens", "zh": "词元"},
        "logprob": {"en": "log p", "zh": "log p"},
        "held": {"en": "trust", "zh": "可信度"},
        "top": {"en": "word", "zh": "首要的词"},
        "passed": {"en": "{n} passed over:", "zh": "略过 {n} 项："},
        "scale": {
            "en": "Shares: a trace's scores over the sum of their absolute values over the tokens that the user wrote, "
            "so that each trace counts alike; a word's share is that of its tokens together.",
            "zh": "占比：每次解释的得分除以用户所写词元得分绝对值之和，使各次解释分量相同；词的占比为其词元之和。",
        },
        "columns": {
            "en": "Tokens of prompt and answer; the answer's mean log-probability, nats a token; trust: what the top "
            "tenth does in times of what random tenths do; the word with the largest share.",
            "zh": "词元：提示词与回答；log p：回答的平均对数概率（奈特/词元）；可信度：得分最高的十分之一相对随机十分"
            "之一的效果倍数；占比最大的词。",
        },
    }
)


def _few(text: str, most: int = LONG) -> str:
    text = one_line(" ".join(text.split()))
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _around(o: Occurrence) -> str:
    """The word amid what stands around it."""
    before, after = (one_line(re.sub(r"\s+", " ", s)) for s in (o.before, o.after))
    opens, closes = "…" if o.start > len(o.before) else "", "…" if len(o.after) == AROUND else ""
    return f"{opens}{before}[{one_line(o.text)}]{after}{closes}"


def _counts(names: Mapping[str, int]) -> str:
    return ", ".join(f"{_few(n)} ({k})" for n, k in names.items())


def _trace_no(k: int) -> str:
    return str(k + 1)


def _file(a: Analysis, usual: str) -> str:
    """Where it was found; of which model, where that is not the ``usual`` one."""
    name = f"{Path(a.file).name if a.file else ''} {a.place}".strip()
    return one_line(name if a.model == usual else f"{name} ({a.model})")


def _shown(k: int, n: int, lang: str) -> list[Element]:
    return [Lines((tell("shown", lang, k=k, n=n),), True)] if k < n else []


def _finding(f: Finding, lang: str) -> Lines:
    met = sum(c.met for c in f.cases)
    where = tell("in_groups" if f.name == "disagreement" else "in_traces", lang, k=met, n=len(f.cases))
    some = ", ".join(_trace_no(k) for k in f.where[:12]) + (" …" if len(f.where) > 12 else "")
    which = tell("which_one" if len(f.where) == 1 else "which", lang, names=some)
    says, tries = f.says.get(lang, f.says["en"]), f.tries.get(lang, f.tries["en"])
    return Lines(
        (
            tell("finding", lang, name=tell(f.name, lang), where=where, which=which, says=says),
            tell("try", lang, tries=tries),
        )
    )


def _conditions(findings: Sequence[Finding], lang: str) -> Table:
    rows = []
    for f in findings:
        met = sum(c.met for c in f.cases)
        rows.append(
            (
                Cell(tell(f.name, lang), strong=f.met),
                Cell(told(f.value, f.unit), f.share if f.met else None),
                Cell(told(f.threshold, f.unit)),
                Cell(tell("of", lang, k=met, n=len(f.cases)) if f.cases else "–"),
                Cell(f.why),
            )
        )
    columns = 5 if any(f.why for f in findings) else 4
    names = tuple(tell(k, lang) for k in ("condition", "value", "threshold", "met", "why")[:columns])
    return Table(names, tuple(row[:columns] for row in rows), frozenset({1, 2, 3}))


def _types(r: TraceReport, lang: str) -> list[Element]:
    most = max((t.total for t in r.types), default=0.0) or 1.0
    rows = tuple(
        (
            Cell(_few(t.text) or t.text, t.total / most, token=True),
            Cell(number(t.total)),
            Cell(number(t.mean)),
            Cell(str(t.count)),
            Cell(str(t.traces)),
            Cell(tell(f"kind_{t.kind}", lang)),
        )
        for t in r.types
    )
    names = tuple(tell(k, lang) for k in ("word", "sum", "mean", "times", "in", "kind"))
    table = Table(names, rows, frozenset({1, 2, 3, 4}))
    return [Heading(tell("types", lang)), table, *_shown(len(rows), r.all_types, lang)]


def _occurrences(r: TraceReport, lang: str) -> list[Element]:
    most = max((o.share for o in r.occurrences), default=0.0) or 1.0
    rows = []
    for o in r.occurrences:
        at = "" if o.message is None else tell("message", lang, m=o.message)
        rows.append(
            (
                Cell(_few(o.text) or o.text, o.share / most, token=True),
                Cell(told(o.share, "share")),
                Cell(_trace_no(o.trace), tip=o.file),
                Cell(f"{at}{o.start}–{o.end}"),
                Cell(_around(o)),
            )
        )
    names = tuple(tell(k, lang) for k in ("word", "share", "trace", "at", "where"))
    table = Table(names, tuple(rows), frozenset({1, 2}))
    return [Heading(tell("occurrences", lang)), table, *_shown(len(rows), r.all_occurrences, lang)]


def _agreement(r: TraceReport, lang: str) -> list[Element]:
    if not r.agreeing:
        return [Heading(tell("agreement", lang)), Lines((tell("alone", lang),))]
    rows = tuple(
        (
            Cell(_few(g.answer)),
            Cell(number(g.mean_spearman), max(g.mean_spearman, 0.0) if g.mean_spearman == g.mean_spearman else None),
            Cell(tell("top_k", lang, x=number(g.mean_overlap * g.top_k, 1), k=g.top_k)),
            Cell(number(g.by_chance * g.top_k, 1)),
            Cell(", ".join(one_line(m) for m in g.methods)),
        )
        for g in r.agreeing[:MOST]
    )
    names = tuple(tell(k, lang) for k in ("said", "spearman", "overlap", "chance", "methods"))
    table = Table(names, rows, frozenset({1, 2, 3}))
    return [Heading(tell("agreement", lang)), table, *_shown(len(rows), len(r.agreeing), lang)]


def _holds(h: Holding, total: int, lang: str) -> str:
    if not h.measured:
        return tell("untrusted", lang)
    return tell(
        "holding", lang, n=h.measured, all=total, mean=number(h.mean, 1), median=number(h.median, 1), k=h.beat_all
    )


def _methods(r: TraceReport, lang: str) -> list[Element]:
    rows = tuple(
        (
            Cell(one_line(m.method)),
            Cell(str(m.traces)),
            Cell(number(m.trust.median, 1)),
            Cell(tell("of", lang, k=m.trust.beat_all, n=m.trust.measured) if m.trust.measured else "–"),
            Cell(number(m.seconds)),
            Cell(number(m.forward_passes, 1)),
            Cell(number(m.backward_passes, 1)),
        )
        for m in r.by_method
    )
    names = tuple(tell(k, lang) for k in ("method", "in", "ratio", "beats", "seconds", "forward", "backward"))
    holds = Lines((_holds(r.trust, len(r.analyses), lang),))
    return [Heading(tell("by_method", lang)), holds, Table(names, rows, frozenset(range(1, 7)))]


def _analyses(r: TraceReport, lang: str) -> list[Element]:
    rows = tuple(
        (
            Cell(_trace_no(k)),
            Cell(_few(a.method)),
            Cell(f"{a.prompt}+{a.answer}"),
            Cell(number(a.logprob)),
            Cell(number(a.ratio, 1)),
            Cell(_few(a.top, 12), token=True),
            Cell(_file(a, next(iter(r.models))), tip=a.file),
        )
        for k, a in enumerate(r.analyses[:MOST])
    )
    keys = ("trace", "method", "tokens", "logprob", "held", "top", "file")
    names = tuple(tell(k, lang) for k in keys)
    table = Table(names, rows, frozenset({0, 2, 3, 4}))
    return [
        Heading(tell("analyses", lang)),
        table,
        Lines((tell("columns", lang),), True),
        *_shown(len(rows), len(r.analyses), lang),
    ]


def view(result: TraceReport, lang: str) -> list[Element]:
    """The report, what to look at first."""
    n = len(result.analyses)
    p, a = result.prompt, result.answer
    figures = {"p0": p.least, "p1": p.most, "p2": p.median, "a0": a.least, "a1": a.most, "a2": a.median}
    counts = {"names": result.models, "methods": result.methods, "objectives": result.objectives}
    lines = [
        tell("models", lang, **{k: _counts(v) for k, v in counts.items()}),
        tell("lengths", lang, **{k: f"{v:g}" for k, v in figures.items()}),
        tell(
            "cost",
            lang,
            s=number(result.seconds, 1),
            g=number(result.generate_seconds, 1),
            f=result.forward_passes,
            b=result.backward_passes,
        ),
    ]
    found = [_finding(f, lang) for f in result.recommendations] or [Lines((tell("nothing", lang),))]
    quiet = [tell("scale", lang)]
    if result.passed:
        quiet.append(tell("passed", lang, n=len(result.passed)))
        quiet += [f"– {one_line(f'{x.file} {x.place}'.strip())}: {one_line(x.why)}" for x in result.passed[:MOST]]
    return [
        Heading(tell("title_one" if n == 1 else "title", lang, n=n)),
        Lines(tuple(lines)),
        Heading(tell("look", lang)),
        *found,
        *_types(result, lang),
        *_occurrences(result, lang),
        *_agreement(result, lang),
        *_methods(result, lang),
        Heading(tell("conditions", lang)),
        _conditions(result.findings, lang),
        *_analyses(result, lang),
        Lines(tuple(quiet), True),
    ]
