"""Every sentence that terminal and PNG show, in English and Chinese, in one table.

    LANG=zh_CN.UTF-8 python -c "from pellucid.render.words import language, say; print(say('answer',
    language()))"

``say`` fills a sentence in; ``trust_line``, ``provenance`` and ``title`` put a trace's own facts into words.
The language is that of the locale unless asked for. Names from the trace (model, method) are made safe here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from pellucid.errors import unknown
from pellucid.render.visible import one_line
from pellucid.trace.result import FRAME_ROLES, Trace, Trust

LANGUAGES = ("en", "zh")

TEXTS: dict[str, dict[str, str]] = {
    "title": {"en": "What made {model} say “{part}”", "zh": "{model} 为什么说“{part}”"},
    "prompt": {"en": "Prompt", "zh": "提示词"},
    "answer": {"en": "Answer", "zh": "回答"},
    "given": {"en": "Answer (given)", "zh": "回答（给定）"},
    "top": {"en": "What mattered most", "zh": "影响最大的词元"},
    "token": {"en": "token", "zh": "词元"},
    "score": {"en": "score", "zh": "得分"},
    "role": {"en": "role", "zh": "角色"},
    "where": {"en": "where", "zh": "位置"},
    "user": {"en": "user", "zh": "用户"},
    "system": {"en": "system", "zh": "系统"},
    "assistant": {"en": "assistant", "zh": "助手"},
    "tool": {"en": "tool", "zh": "工具"},
    "first": {"en": "first", "zh": "第一段"},
    "second": {"en": "second", "zh": "第二段"},
    "question": {"en": "question", "zh": "问题"},
    "context": {"en": "context", "zh": "上下文"},
    "template": {"en": "template", "zh": "模板"},
    "special": {"en": "special", "zh": "特殊"},
    "nothing": {"en": "(empty)", "zh": "（空）"},
    # Relevance
    "relevance_degree": {
        "en": "“{query}”: {degree} related ({calibrated} nats beside a text about nothing)",
        "zh": "“{query}”：相关度 {degree}（比无关文字高 {calibrated} 奈特）",
    },
    "relevance_top": {"en": "What matters most for it: {tokens}", "zh": "最相关的词元：{tokens}"},
    "relevance_text": {"en": "Text", "zh": "文字"},
    "relevance_cut": {
        "en": "The text was cut at character {at}, as max_tokens asked; the rest was not read.",
        "zh": "按 max_tokens 的要求，文字在第 {at} 个字符处截断，其余未读。",
    },
    "relevance_windows": {
        "en": "Read in {n} windows; the degree is that of the best one.",
        "zh": "分 {n} 个窗口阅读；相关度取最高的窗口。",
    },
    "relevance_lost": {
        "en": "{n} of {of} scores came out as no number and are not shaded.",
        "zh": "{of} 个得分中有 {n} 个不是数，未着色。",
    },
    "relevance_made": {
        "en": "{model}; degree: {degree}, tokens: {tokens}, {method}; {seconds} s",
        "zh": "{model}；相关度：{degree}，词元：{tokens}，{method}；{seconds} 秒",
    },
    # Folding
    "gap": {"en": "… {n} tokens …", "zh": "…… {n} 个词元 ……"},
    "gap_one": {"en": "… 1 token …", "zh": "…… 1 个词元 ……"},
    "gap_messages": {
        "en": "… {messages} messages, {n} tokens …",
        "zh": "…… {messages} 条消息，{n} 个词元 ……",
    },
    "folded": {
        "en": "Folded around what mattered: {shown} of {all} tokens shown; full shows all.",
        "zh": "已折叠，只显示重要部分：{all} 个词元中的 {shown} 个；full 显示全部。",
    },
    "folded_png": {
        "en": "Folded around what mattered: {shown} of {all} tokens shown",
        "zh": "已折叠，只显示重要部分：{all} 个词元中的 {shown} 个",
    },
    "cut": {"en": "… {n} more lines …", "zh": "…… 还有 {n} 行 ……"},
    "frame": {
        "en": "{mark} = {n} tokens of the template, {share} % of all magnitude; full shows them.",
        "zh": "{mark} = 模板的 {n} 个词元，占总量的 {share}%；full 显示它们。",
    },
    "frame_png": {
        "en": "{mark} = {n} tokens of the template, {share} % of all magnitude",
        "zh": "{mark} = 模板的 {n} 个词元，占总量的 {share}%",
    },
    # Legends
    "weak": {"en": "weak", "zh": "弱"},
    "strong": {"en": "strong", "zh": "强"},
    "against": {"en": "against", "zh": "反对"},
    "for": {"en": "for", "zh": "支持"},
    "marks": {
        "en": "{example} = level 1 to 9 of 9; below level {least} unmarked.",
        "zh": "{example} = 强度，最高 9；低于 {least} 不标。",
    },
    "marks_signed": {
        "en": "{example} for, {against} against the answer, level 1 to 9 of 9; below level {least} unmarked.",
        "zh": "{example} 支持、{against} 反对该回答，强度最高 9；低于 {least} 不标。",
    },
    "unlikely_underlined": {
        "en": "Least likely (underlined): {tokens}.",
        "zh": "最不可能的（下划线）：{tokens}。",
    },
    "unlikely": {"en": "Least likely: {tokens}.", "zh": "最不可能的：{tokens}。"},
    "span": {"en": "{mark} = the part that is explained", "zh": "{mark} = 被解释的部分"},
    "matrix": {
        "en": "Score of each prompt token for each answer token",
        "zh": "每个提示词元对每个回答词元的得分",
    },
    "matrix_rows": {"en": "answer token", "zh": "回答词元"},
    "matrix_columns": {"en": "prompt token", "zh": "提示词元"},
    "binned": {"en": "one cell = the strongest of up to {n} scores", "zh": "每格为至多 {n} 个得分中最强者"},
    "unseen": {"en": "hatched: not explained", "zh": "斜线：未解释"},
    # Comparison
    "compare_title": {
        "en": "What made {model} say “{part}”, by {n} methods",
        "zh": "{model} 为什么说“{part}”：{n} 种方法的比较",
    },
    "method": {"en": "method", "zh": "方法"},
    "unit_name": {"en": "part", "zh": "部分"},
    # Interactions
    "alone": {"en": "its own share", "zh": "自身份额"},
    "together": {
        "en": "Together beyond the sum (+ they need each other, − they say the same)",
        "zh": "共同作用与各自之和的差（+ 相互依赖，− 内容重复）",
    },
    "pairs": {
        "en": "Every two units together (on the diagonal: each by itself)",
        "zh": "每两个单元的共同作用（对角线为各自的份额）",
    },
    "pairs_left": {
        "en": "{n} of {of} units are drawn, those with the largest numbers; the JSON file holds all.",
        "zh": "共 {of} 个单元，只画出数值最大的 {n} 个；JSON 文件含全部。",
    },
    "exact": {"en": "exact, all {n} sets run", "zh": "精确，全部 {n} 个子集"},
    "estimated": {"en": "estimated from {n} sets", "zh": "由 {n} 个子集估计"},
    "explained": {"en": ", explains {share} % of what they did", "zh": "，解释了其变化的 {share}%"},
    "interactions_line": {
        "en": "{index}, {how}{fit}; {whole} with all, {none} with none; {seconds} s",
        "zh": "{index}，{how}{fit}；全部保留 {whole}，全部去除 {none}；{seconds} 秒",
    },
    "agreement": {"en": "Agreement", "zh": "一致程度"},
    "spearman": {
        "en": "Rank correlation (Spearman) of the magnitudes of {n} scores",
        "zh": "{n} 个得分的大小的秩相关（Spearman）",
    },
    "overlap": {"en": "Share of the {k} largest that two have in common", "zh": "得分最高的 {k} 个中两者共有的比例"},
    "shaded_alone": {
        "en": "Each method is shaded by its own largest score; scores of two methods are not comparable in size.",
        "zh": "每种方法按各自的最大得分着色；不同方法的得分大小不可直接比较。",
    },
    "auto": {
        "en": "Chosen for the budget “{budget}”: {method}, {why}.",
        "zh": "按预算“{budget}”选择：{method}，{why}。",
    },
    "named_spans": {"en": "Parts of the answer, each by itself", "zh": "回答中单独解释的部分"},
    "named_span": {"en": "{name} “{text}”: {causes}", "zh": "{name}“{text}”：{causes}"},
    "top_units": {"en": "What mattered most, by part", "zh": "影响最大的部分"},
    # Trust
    "trust": {
        "en": "Trust: without the top {n} of {all} tokens ({share} %) {change}; without {n} random ones"
        " {random} ({draws}): {verdict}",
        "zh": "可信度：去掉得分最高的 {n} 个词元（共 {all} 个，{share}%），{change}；"
        "随机去掉 {n} 个，{random}（{draws}）：{verdict}",
    },
    "trust_one": {
        "en": "Trust: without the top token of {all} ({share} %) {change}; without a random one {random}"
        " ({draws}): {verdict}",
        "zh": "可信度：去掉得分最高的 1 个词元（共 {all} 个，{share}%），{change}；"
        "随机去掉 1 个，{random}（{draws}）：{verdict}",
    },
    "loses": {"en": "the answer loses {x} nats per token", "zh": "回答每个词元损失 {x} 奈特"},
    "gains": {"en": "the answer gains {x} nats per token", "zh": "回答每个词元反而增加 {x} 奈特"},
    "keeps": {"en": "the answer stays as likely", "zh": "回答的概率不变"},
    "random_loses": {"en": "it loses {x}", "zh": "损失 {x}"},
    "random_gains": {"en": "it gains {x}", "zh": "增加 {x}"},
    "random_keeps": {"en": "it stays as likely", "zh": "概率不变"},
    "draws": {"en": "mean of {n} draws", "zh": "{n} 次平均"},
    "draws_one": {"en": "1 draw", "zh": "1 次"},
    "times": {"en": "{x} times as much.", "zh": "前者是后者的 {x} 倍。"},
    "as_good": {
        "en": "{x} times as much. But {k} of the random draws did as much harm: weak evidence.",
        "zh": "前者是后者的 {x} 倍。但有 {k} 次随机去除造成同样大的损失：证据较弱。",
    },
    "no_better": {
        "en": "the explanation does no better than random. Do not rely on it.",
        "zh": "这个解释不比随机选择更好，请勿依赖。",
    },
    "no_judge": {
        "en": "random removal did no harm, so there is no ratio to judge the explanation by.",
        "zh": "随机去除没有造成损失，因此无法用倍数评判这个解释。",
    },
    "lost_parts": {
        "en": "NaN or infinite without: {names}; these have no score, the others stand.",
        "zh": "去除下列部分后结果为 NaN 或无穷：{names}；它们没有得分，其余有效。",
    },
    "lost_runs": {
        "en": "{n} of the what-if runs came out as NaN or infinite (numbers {names}) and were left out.",
        "zh": "{n} 次假设运行的结果为 NaN 或无穷（编号 {names}），已排除。",
    },
    "no_trust": {"en": "Trust: not measured ({why}).", "zh": "可信度：未测量（{why}）。"},
    "no_reason": {"en": "no reason given", "zh": "未说明原因"},
    # Provenance
    "logprob": {"en": "log-probability", "zh": "对数概率"},
    "logit": {"en": "logit", "zh": "logit"},
    "prob": {"en": "probability", "zh": "概率"},
    "margin": {"en": "margin", "zh": "logit 差距"},
    "log_odds": {"en": "log-odds", "zh": "对数几率"},
    "entropy": {"en": "entropy", "zh": "熵"},
    "cross_entropy": {"en": "cross-entropy", "zh": "交叉熵"},
    "contrast": {"en": "contrast", "zh": "对比"},
    "kl": {"en": "KL divergence", "zh": "KL 散度"},
    "pcxmi": {"en": "pointwise conditional mutual information", "zh": "逐点条件互信息"},
    "provenance": {
        "en": "{model} · {method} of the {objective}{fast} ·"
        " {seconds}\u00a0s, {forward} forward and {backward} backward, {memory}",
        "zh": "{model} · {method}，目标：{objective}{fast} ·"
        " {seconds} 秒，前向 {forward} 次，反向 {backward} 次，{memory}",
    },
    "fast": {"en": " in bfloat16", "zh": "（bfloat16）"},
    # Said in English where no font can draw Chinese.
    "no_cjk": {
        "en": "No installed font has the Chinese, Japanese or Korean characters, drawn as □ here. "
        "On Debian or Ubuntu: apt install fonts-noto-cjk (macOS and Windows bring such a font).",
    },
    "no_script": {
        "en": "No installed font has some of the characters ({example}), drawn as □ here. "
        "On Debian or Ubuntu: apt install fonts-noto-core.",
    },
}


def language(env: Mapping[str, str] | None = None) -> str:
    """``zh`` or ``en``, by the locale: the first of LC_ALL, LC_MESSAGES, LANG that is set, as POSIX has it."""
    env = os.environ if env is None else env
    locale = next((env[k] for k in ("LC_ALL", "LC_MESSAGES", "LANG") if env.get(k)), "")
    return "zh" if locale.lower().startswith("zh") else "en"


def chosen(lang: str | None) -> str:
    """``lang`` where it is given and known, else that of the locale. Raises ``OptionError``."""
    if lang is None:
        return language()
    if lang not in LANGUAGES:
        raise unknown("language", lang, list(LANGUAGES))
    return lang


def say(key: str, lang: str, **facts: object) -> str:
    """The sentence ``key``, with its facts filled in."""
    return TEXTS[key][lang].format(**facts)


def role_name(role: str, lang: str) -> str:
    """A role's name; one that is not in the table as it is."""
    return TEXTS[role][lang] if role in TEXTS else one_line(role)


def _amount(x: float) -> str:
    """Two decimals, or as many significant digits where that would show 0."""
    return f"{x:.2f}" if abs(x) >= 0.1 or x == 0 else f"{x:.2g}"


def score_text(x: float, signed: bool) -> str:
    """A score in three significant digits, with its sign where signs mean something."""
    if x != x:
        return "–"
    text = f"{x:+#.3g}" if signed else f"{x:#.3g}"
    return text.rstrip(".").replace("-", "−")


def _change(drop: float, key: str, lang: str) -> str:
    kind = "loses" if drop > 0 else "gains" if drop < 0 else "keeps"
    return say(key + kind, lang, x=_amount(abs(drop)))


def _verdict(trust: Trust, lang: str) -> str:
    if trust.top_drop <= 0 or (trust.ratio is not None and trust.ratio <= 1):
        return say("no_better", lang)
    if trust.ratio is None:
        return say("no_judge", lang)
    # Beyond, random removal did next to nothing, and the digits would be those of its noise.
    ratio = f"{trust.ratio:.1f}" if trust.ratio < 100 else "100+"
    as_good = sum(d >= trust.top_drop for d in trust.random_drops)
    return say("as_good" if as_good else "times", lang, x=ratio, k=as_good)


def trust_line(trace: Trace, lang: str) -> str:
    """How far the explanation can be trusted, in a sentence."""
    trust = trace.trust
    if trust is None:
        why = one_line(trace.trust_note) if trace.trust_note else say("no_reason", lang)
        return say("no_trust", lang, why=why)
    draws = len(trust.random_drops)
    return say(
        "trust_one" if trust.removed == 1 else "trust",
        lang,
        n=trust.removed,
        all=trust.candidates,
        share=round(100 * trust.removed / max(trust.candidates, 1)),
        change=_change(trust.top_drop, "", lang),
        random=_change(trust.random_drop, "random_", lang),
        draws=say("draws_one" if draws == 1 else "draws", lang, n=draws),
        verdict=_verdict(trust, lang),
    )


def lost_lines(trace: Trace, lang: str) -> list[str]:
    """What-if runs that came out as NaN or infinite, by name or number, in a sentence each."""
    out = []
    parts = [u.text for u in trace.units] or [s.text for s in trace.sources if s.role not in FRAME_ROLES]
    gone = [f"“{one_line(parts[i].strip())[:40]}”" for i in trace.details.get("not_finite", ()) if i < len(parts)]
    if gone:
        out.append(say("lost_parts", lang, names=_some(gone)))
    runs = [str(i + 1) for i in trace.details.get("ablations_not_finite", ())]
    if runs:
        out.append(say("lost_runs", lang, n=len(runs), names=_some(runs)))
    return out


def auto_line(trace: Trace, lang: str) -> str | None:
    """Which method was chosen, and why; None where the user named one."""
    said = trace.details.get("auto")
    if not isinstance(said, dict):
        return None
    facts = {k: one_line(str(said.get(k, ""))) for k in ("budget", "method", "why")}
    return say("auto", lang, **facts)


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (" …" if len(names) > 6 else "")


def _memory(n: int) -> str:
    return f"{n / 1e9:.1f}\u00a0GB" if n >= 1e9 else f"{n / 1e6:.0f}\u00a0MB"


def provenance(trace: Trace, lang: str) -> str:
    """Model, method, objective, cost, in a line."""
    m = trace.model
    model = f"{one_line(m.name)} ({one_line(m.dtype)}, {one_line(m.device)})"
    objective = say(trace.objective, lang) if trace.objective in TEXTS else one_line(trace.objective)
    return say(
        "provenance",
        lang,
        model=model,
        method=one_line(trace.method.name),
        objective=objective,
        fast=say("fast", lang) if trace.precision == "fast" else "",
        seconds=_amount(trace.cost.seconds),
        forward=trace.cost.forward_passes,
        backward=trace.cost.backward_passes,
        memory=_memory(trace.cost.peak_memory_bytes),
    )


def title(trace: Trace, lang: str) -> str:
    """What the picture shows: the model, and the start of what it said."""
    return say("title", lang, model=one_line(trace.model.name), part=_part(trace))


def _part(trace: Trace) -> str:
    part = one_line((trace.span.text if trace.span else trace.answer.text).strip())
    return part if len(part) <= 48 else part[:47].rstrip() + "…"


def compare_title(traces: Sequence[Trace], lang: str) -> str:
    """What a comparison shows: the model, the start of what it said, how many methods."""
    first = traces[0]
    part = _part(first)
    return say("compare_title", lang, model=one_line(first.model.name), part=part, n=len(traces))


def share_text(x: float) -> str:
    """A correlation or a share in two decimals; a dash where there is none."""
    return "–" if x != x else f"{x:.2f}".replace("-", "−")


def frame_share(trace: Trace) -> int:
    """Per cent of all magnitude that lies on tokens of the template: what the ranking leaves out."""
    mass = [abs(float(x)) if x == x else 0.0 for x in trace.total]
    frame = sum(x for x, s in zip(mass, trace.sources, strict=True) if s.role in FRAME_ROLES)
    return round(100 * frame / sum(mass)) if sum(mass) > 0 else 0
