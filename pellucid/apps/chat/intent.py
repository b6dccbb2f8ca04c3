"""What a message is: a greeting, a question, a command, or something else; in English and Chinese.

    by_rules("Hi, what is the capital of France?")        # question
    by_rules("帮我写一首诗")                                # command
    detector("model", me)("Tell me a joke")               # asks the model, by label words

The rules look at how a message begins and ends, and at nothing else: a greeting before something else is passed over;
"could you ..." with a verb of work is a command, whatever its mark; then come verbs, question marks, question words.
``model`` weighs one label word for each intent, calibrated against an empty message (``apps/labelwords.py``; Zhao et
al. 2021, arXiv:2102.09690).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pellucid.apps.speaker import Speaker
from pellucid.errors import OptionError, unknown

GREETING, QUESTION, COMMAND, OTHER = "greeting", "question", "command", "other"
INTENTS = (GREETING, QUESTION, COMMAND, OTHER)
#: How a message may be judged, besides a function of the user's own.
WAYS = ("rules", "model", "none")
#: Message -> intent; None: none.
Detect = Callable[[str], "str | None"]

_HELLO = re.compile(
    r"(?:hi|hello|hey|hiya|howdy|greetings|(?:good )?(?:morning|afternoon|evening)|good day|welcome|"
    r"how are you(?: doing)?(?: today)?|how(?:'s| is) it going|what's up|nice to meet you|"
    r"您好|你好|(?:大家|各位)?(?:早上|上午|中午|下午|晚上)好|大家好|各位好|嗨|哈喽|哈罗|喂|早安|晚安|早|在吗|很高兴认识[你您]|[你您]好吗|最近怎么样)"
    r"(?: there| everyone| everybody| all| again| you| (?:my )?friends?)?(?=$|[\s,.!?~，。！？～、啊呀])",
    re.IGNORECASE,
)
_MARKS = " \t\r\n,.!?~，。！？～、;；:：啊呀"
_BEFORE = re.compile(
    r"(?:(?:so|and|but|then|well|ok|okay|now|also|just|please|kindly)\b,? ?|请问[，,]?)+", re.IGNORECASE
)

_VERBS = (
    "write|list|name|tell|give|show|make|explain|describe|translate|summari[sz]e|rewrite|rephrase|paraphrase|compare|"
    "calculate|compute|count|find|create|generate|draw|draft|compose|continue|complete|fix|correct|check|convert|sort|"
    "help|let|imagine|pretend|act|answer|say|repeat|read|use|add|remove|delete|change|replace|turn|open|close|stop|"
    "start|run|play|call|send|set|put|pick|choose|suggest|recommend|propose|define|classify|extract|shorten|improve|"
    "teach|remind|be|go|solve|outline|analy[sz]e|review|format|print|prove|design|plan|book|order|keep|forget|remember"
)
_COMMAND = re.compile(
    rf"(?:(?:do not|don't|never|always) )?(?:{_VERBS})\b|"
    rf"(?:can|could|will|would) you (?:please |kindly |also )?(?:{_VERBS})\b|"
    r"i(?:'d| would) like you to\b|i (?:want|need) you to\b|would you mind\b",
    re.IGNORECASE,
)
_VERBS_ZH = (
    r"写|列出|列举|翻译|总结|概括|解释|说明|介绍|描述|比较|计算|算(?!了)|生成|创建|画|改写|改成|修改|续写|润色|推荐|举|分析|检查|"
    r"纠正|查|找|说说|说一|说出|讲讲|讲一|讲个|回答|继续|停"
)
_WOULD_ZH = rf"[你您]?(?:能不能|能否|可不可以|可以|能)(?:请[你您])?(?:[帮替给为]我|帮忙|{_VERBS_ZH})"
_COMMAND_ZH = re.compile(
    rf"请|麻烦|劳驾|帮[我忙个]|替我|给我|告诉我|让我们|{_WOULD_ZH}|把|不要|别[^人的]|用.{{1,12}}(?:说|造句|{_VERBS_ZH})"
)
_BARE_ZH = re.compile(_VERBS_ZH)

_ASKS = re.compile(
    r"(?:(?:in|at|on|for|to|from|by|with|of|about) )?(?:what|who|whom|whose|where|when|why|which|how)(?:'s|'re|\b)|"
    r"(?:is|are|am|was|were|do|does|did|has|have|had|can|could|will|would|shall|should|may|might)(?:n't)? |"
    r"any idea\b|i wonder\b",
    re.IGNORECASE,
)
_ASKS_ZH = re.compile(
    r"什么|怎么|怎样|为何|为啥|干嘛|如何|谁|哪|几[个点岁年天月次位时]|多[少久大长远高]|是否|能否|可否|"
    r"是不是|有没有|会不会|能不能|可不可以|要不要|对不对|好不好|[吗呢][。.！!]?$"
)


def by_rules(text: str) -> str:
    """The intent of a message, by how it begins and ends."""
    rest, greeted = text.strip(), False
    while (hello := _HELLO.match(rest)) is not None:
        greeted, rest = True, rest[hello.end() :].strip(_MARKS) + ("?" if rest.endswith(("?", "？")) else "")
        rest = rest.strip() if rest.strip("?") else ""
    if greeted and (not rest or _is_name(rest)):
        return GREETING
    before = _BEFORE.match(rest)
    rest = rest if before is None else rest[before.end() :]
    asked = rest.rstrip(" \t\r\n\"'”’)）").endswith(("?", "？"))
    if _COMMAND.match(rest) or _COMMAND_ZH.match(rest):
        return COMMAND
    if asked or _ASKS.match(rest) or (_ASKS_ZH.search(rest) and not _BARE_ZH.match(rest)):
        return QUESTION
    # A bare Chinese verb commands, unless a mark or a particle at the end makes it a question.
    return COMMAND if _BARE_ZH.match(rest) and not re.search(r"[吗呢]$", rest) else OTHER


def _is_name(rest: str) -> bool:
    """Whom the greeting was for: one short word with a capital letter."""
    return len(rest.split()) == 1 and len(rest) <= 12 and rest[0].isupper()


INSTRUCTIONS = {
    "en": "What kind of message is this: {labels}? Answer with one word.\n\nMessage: {text}",
    "zh": "下面的消息属于哪一类：{labels}？只回答一个词。\n\n消息：{text}",
}
LABELS = {"en": INTENTS, "zh": ("问候", "提问", "指令", "其他")}


class ByModel:
    """Zero-shot: the likeliest label word. The empty message is weighed once a language."""

    def __init__(self, me: Speaker) -> None:
        from pellucid.apps.labelwords import LabelWords

        self._words = {
            lang: LabelWords(me, LABELS[lang], instruction=INSTRUCTIONS[lang], neutral=("",)) for lang in INSTRUCTIONS
        }

    def __call__(self, text: str) -> str:
        """The intent of a message."""
        from pellucid.relevance.prompts import language_of

        scores = self._words[language_of(text)].weigh(text)
        return INTENTS[max(range(len(scores)), key=lambda k: scores[k].prob)]


def check_way(way: object) -> None:
    """Raise ``OptionError`` for what is neither a name nor a function."""
    if callable(way) or way is None:
        return
    if not isinstance(way, str):
        raise OptionError(f"intents should be {', '.join(WAYS)} or a function, given a {type(way).__name__}")
    if way not in WAYS:
        raise unknown("way to tell intents", way, [*WAYS])


def detector(way: str | Detect | None, me: Speaker) -> Detect:
    """What tells a message's intent. Raises ``OptionError``, the user's function's answer too where it is no text."""
    check_way(way)
    if way is None or way == "none":
        return lambda text: None
    if way == "rules":
        return by_rules
    if way == "model":
        return ByModel(me)
    own: Detect = way  # type: ignore[assignment]  # it is callable: checked

    def asked(text: str) -> str | None:
        found = own(text)
        if found is not None and not isinstance(found, str):
            raise OptionError(f"intents should give a name, a text or None, and gave a {type(found).__name__}")
        return found

    return asked
