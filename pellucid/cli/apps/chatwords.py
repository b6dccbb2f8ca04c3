"""What ``pellucid chat`` says besides the model's answers, in English and Chinese.

tell("forgot", "zh", n=2)
"""

from __future__ import annotations

#: Command -> (what follows it, what it does in English, in Chinese).
COMMANDS = {
    "/why": (
        "[message|sentence|token]",
        "what the last answer rests on; by message if not said",
        "上一个回答依据什么；默认按消息",
    ),
    "/forget": (
        "[N]",
        "forget the last N questions with their answers, or all",
        "忘掉最后 N 轮问答，不给 N 则全部忘掉",
    ),
    "/turns": ("", "the turns that the model reads, with their numbers", "模型读到的各条消息及其编号"),
    "/pin": (
        "[N]",
        "never cut turn N (the last) and its answer; again: undo",
        "固定第 N 条（默认最后一条）所在的一轮，不会被移出；再用一次则取消",
    ),
    "/system": ("[TEXT|off]", "set the instruction, show it, or do without", "设置、显示或去掉系统指令"),
    "/model": ("NAME", "go on with another model", "换一个模型继续"),
    "/save": ("PATH", "save the conversation", "保存对话"),
    "/load": ("PATH", "go on with a saved conversation", "继续保存过的对话"),
    "/help": ("", "this list", "显示本列表"),
    "/quit": ("", "end (so does Ctrl-D)", "结束（Ctrl-D 亦可）"),
}

_TEXTS = {
    "hello": {
        "en": "{model}. Ctrl-C stops an answer, Ctrl-D ends; /help lists commands.",
        "zh": "{model}。Ctrl-C 停止回答，Ctrl-D 结束；/help 列出命令。",
    },
    "also": {
        "en": '//text sends /text as it is; """ begins and ends a message of several lines.',
        "zh": '//文字 会原样发送 /文字；多行消息以 """ 开始和结束。',
    },
    "stopped": {"en": "(stopped; what was written stays)", "zh": "（已停止；已写出的部分保留）"},
    "nothing": {
        "en": "(stopped; nothing was written, and the question is forgotten)",
        "zh": "（已停止；尚未写出内容，问题不计入对话）",
    },
    "again": {"en": "(Ctrl-C once more, or Ctrl-D, ends)", "zh": "（再按一次 Ctrl-C 或 Ctrl-D 结束）"},
    "broken": {"en": "(stopped)", "zh": "（已停止）"},
    "length": {
        "en": "(cut at {n} tokens, the most of an answer)",
        "zh": "（已达回答的长度上限，{n} 个词元）",
    },
    "empty": {"en": "(the model said nothing)", "zh": "（模型没有回答）"},
    "cut": {
        "en": "(turns {turns} left the history to make room: {tokens} tokens)",
        "zh": "（第 {turns} 条移出历史，腾出 {tokens} 个词元）",
    },
    "forgot": {"en": "(forgot {n} turns)", "zh": "（忘掉了 {n} 条消息）"},
    "pinned": {"en": "(turns {turns} are pinned)", "zh": "（第 {turns} 条已固定）"},
    "unpinned": {"en": "(turns {turns} are no longer pinned)", "zh": "（第 {turns} 条已取消固定）"},
    "pin": {"en": "pinned", "zh": "已固定"},
    "no_turns": {"en": "(nothing was said yet)", "zh": "（还没有对话）"},
    "system": {"en": "(instruction: {text})", "zh": "（系统指令：{text}）"},
    "no_system": {"en": "(no instruction)", "zh": "（没有系统指令）"},
    "model": {"en": "(now {model})", "zh": "（现在使用 {model}）"},
    "saved": {"en": "(saved to {path})", "zh": "（已保存到 {path}）"},
    "loaded": {"en": "({n} turns loaded)", "zh": "（已载入 {n} 条消息）"},
}


def tell(key: str, lang: str, **facts: object) -> str:
    """A sentence, with its facts."""
    return _TEXTS[key][lang].format(**facts)


def help_lines(lang: str) -> list[str]:
    """The commands, a line each."""
    names = {name: f"{name} {what}".rstrip() for name, (what, _, _) in COMMANDS.items()}
    width = max(map(len, names.values()))
    lines = [f"{names[n]:<{width}}  {zh if lang == 'zh' else en}" for n, (_, en, zh) in COMMANDS.items()]
    return [*lines, tell("also", lang)]
