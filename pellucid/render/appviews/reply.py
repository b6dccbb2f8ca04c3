"""A reply in a conversation: what was asked and said, and what had to leave the history for it.

chat.say("What is the capital of France?").show()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.render.appviews.shared import made, number, words
from pellucid.render.blocks import Cell, Element, Heading, Heat, Lines, Table
from pellucid.render.visible import one_line
from pellucid.render.words import role_name

if TYPE_CHECKING:
    from pellucid.apps.chat.results import Reply

SHOWN = 72  # characters of a turn in a table

tell = words(
    {
        "asked": {"en": "Asked", "zh": "提问"},
        "answered": {"en": "Answer", "zh": "回答"},
        "empty": {"en": "The model ended at once: the answer is empty.", "zh": "模型立即结束：回答为空。"},
        "stop": {"en": "the model ended it", "zh": "由模型结束"},
        "length": {"en": "cut at the most tokens an answer may have", "zh": "到达回答的长度上限"},
        "interrupted": {"en": "interrupted; what was written by then stays", "zh": "被中断；已写出的部分保留"},
        "intent": {"en": "Intent: {intent}.", "zh": "意图：{intent}。"},
        "greeting": {"en": "greeting", "zh": "问候"},
        "question": {"en": "question", "zh": "提问"},
        "command": {"en": "command", "zh": "指令"},
        "other": {"en": "other", "zh": "其他"},
        "facts": {
            "en": "{tokens} tokens, {logprob} nats a token; {end}.",
            "zh": "{tokens} 个词元，每词元 {logprob} 奈特；{end}。",
        },
        "ended": {"en": "{end}.", "zh": "{end}。"},
        "prompt": {
            "en": "Read {prompt} tokens, {reused} of them known from the turn before; first text after {first} s.",
            "zh": "读入 {prompt} 个词元，其中 {reused} 个来自上一轮的缓存；{first} 秒后出现第一段文字。",
        },
        "cut": {
            "en": "{n} turns left the history to make room ({tokens} tokens; {limit} are read at most)",
            "zh": "为腾出空间，{n} 条消息移出历史（{tokens} 个词元；最多读 {limit} 个）",
        },
        "turn": {"en": "turn", "zh": "编号"},
        "role": {"en": "role", "zh": "角色"},
        "text": {"en": "text", "zh": "内容"},
    }
)


def shortened(text: str, most: int = SHOWN) -> str:
    """A text in one line, its end left out where it is long."""
    line = one_line(text)
    return line if len(line) <= most else line[: most - 1] + "…"


def intent_name(intent: str, lang: str) -> str:
    """An intent as a reader knows it; the user's own as it is."""
    known = ("greeting", "question", "command", "other")
    return tell(intent, lang) if intent in known else one_line(intent)


def view(r: Reply, lang: str) -> list[Element]:
    """The reply."""
    end = tell(r.end, lang) if r.end in ("stop", "length", "interrupted") else one_line(r.end)
    blocks: list[Element] = [
        Heading(tell("asked", lang)),
        Heat(((r.asked, None, ""),)),
        Heading(tell("answered", lang)),
    ]
    blocks.append(Heat(((r.text, None, ""),)) if r.text.strip() else Lines((tell("empty", lang),)))
    facts = []
    if r.intent is not None:
        facts.append(tell("intent", lang, intent=intent_name(r.intent, lang)))
    if r.tokens is None:
        facts.append(tell("ended", lang, end=end))
    else:
        facts.append(tell("facts", lang, tokens=r.tokens, logprob=number(r.logprob), end=end))
    if r.reused is not None:
        facts.append(tell("prompt", lang, prompt=r.prompt, reused=r.reused, first=number(r.first_seconds)))
    blocks.append(Lines(tuple(facts), True))
    if r.cut is not None:
        blocks.append(
            Heading(tell("cut", lang, n=len(r.cut.turns), tokens=r.cut.tokens, limit=r.cut.limit)),
        )
        blocks.append(
            Table(
                (tell("turn", lang), tell("role", lang), tell("text", lang)),
                tuple(
                    (Cell(str(t.id)), Cell(role_name(t.role, lang)), Cell(shortened(t.content))) for t in r.cut.turns
                ),
                frozenset({0}),
            )
        )
    return [*blocks, made(r.model, r.seconds, lang)]
