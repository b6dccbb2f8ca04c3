"""A question that takes several steps: taken apart, each part answered from its own passages, then put together.

    answer = ask_hops(model, Knowledge.open("kb"), "How old was the designer of the Brindle Bridge when it opened?")
    answer.hops[0].question, answer.hops[0].answer, answer.hops[0].sentences     # each step with its evidence

The model takes the question apart into a numbered list; a step may stand on the answer of an earlier one as #1. Where
no usable list comes of it, the question is asked as it is, and the notes say why. The answer is written with the steps'
answers in the prompt and their passages; its citations are measured without the steps' answers, which say what the
passages say and would hide them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pellucid.apps.rag.ask import EMPTY, NEW_TOKENS, PASSAGES, answer_from, ask, fitting, uncited
from pellucid.apps.rag.cited import Cited, Hop
from pellucid.apps.rag.content import content
from pellucid.apps.rag.passage import Found, Searcher
from pellucid.apps.rag.prompt import passages_prompt
from pellucid.apps.speaker import Decoding, OnText, Speaker, check_text, speaker
from pellucid.progress import Progress, silent
from pellucid.relevance.prompts import language_of

if TYPE_CHECKING:
    from pellucid.model import Model
    from pellucid.models.load import LoadedModel

#: Steps, at most; tokens that the list may take; passages of all steps together, times those of one step.
STEPS, LIST_TOKENS, TOGETHER = 5, 160, 2
PROMPT = {
    "en": "Question: {question}\n\nWrite the simpler questions that have to be answered one after another to answer "
    "this one, as a numbered list, at most five. Write #1 where the answer to the first is needed. Reply with the list "
    "alone.",
    "zh": "问题：{question}\n\n要回答这个问题，需要依次回答哪些更简单的问题？请写成编号列表，最多五个；"
    "需要用到第一个的答案时写 #1。只回答列表。",
}
KNOWN = {"en": "Known so far:", "zh": "已知："}
REASONS = {
    "list": {"en": "the model wrote no numbered list", "zh": "模型没有写出编号列表"},
    "one": {"en": "the model's list has one item", "zh": "模型的列表只有一项"},
    "many": {"en": f"the model's list has more than {STEPS} items", "zh": f"模型的列表超过 {STEPS} 项"},
    "empty": {"en": "an item holds no content word", "zh": "有一项没有实词"},
    "same": {"en": "two items are the same", "zh": "有两项相同"},
    "language": {"en": "an item is in another language", "zh": "有一项换了语言"},
    "nothing": {"en": "no step found anything", "zh": "各步都没有检索到内容"},
}
NOTES = {
    "single": {
        "en": "The question was not taken apart ({why}): it was asked as it is.",
        "zh": "问题未被分解（{why}）：按原样提问。",
    },
    "steps": {
        "en": "The answer was written with the steps' answers in the prompt; its citations are measured without them.",
        "zh": "回答时提示中有各步的答案；引用是在去掉这些答案后测得的。",
    },
}
_ITEM = re.compile(r"^\s*(\d{1,2})\s*[.)、．]\s*(\S.*)$")
_REFERENCE = re.compile(r"#(\d)")


def ask_hops(
    model: Model | LoadedModel | Speaker,
    knowledge: Searcher,
    question: str,
    *,
    passages: int = PASSAGES,
    decoding: Decoding | None = None,
    on_text: OnText | None = None,
    progress: Progress = silent,
) -> Cited:
    """The answer to ``question`` by steps, each from its own ``passages`` best; the answer itself from the best of all
    steps, at most twice as many. ``Cited.hops`` holds the steps. Raises ``OptionError``, ``ContextError``."""
    check_text(question, "the question")
    began, me = time.perf_counter(), speaker(model)
    steps, why = decompose(me, question, progress=progress)
    hops = [] if why else _answered(me, knowledge, steps, passages, decoding, progress)
    if not why and not any(h.passages for h in hops):
        why = "nothing"
    if why:
        language = language_of(question)
        note = NOTES["single"][language].format(why=REASONS[why][language])
        found = ask(me, knowledge, question, passages=passages, decoding=decoding, on_text=on_text, progress=progress)
        return replace(found, notes=(note, *found.notes), seconds=round(time.perf_counter() - began, 4))
    return _together(me, question, hops, passages, decoding, on_text, progress, began)


def decompose(me: Speaker, question: str, *, progress: Progress = silent) -> tuple[tuple[str, ...], str | None]:
    """The steps, and why they cannot be used (a key of ``REASONS``; None: they can)."""
    prompt = PROMPT[language_of(question)].replace("{question}", question)
    said = me.write([{"role": "user", "content": prompt}], Decoding(max_new_tokens=LIST_TOKENS), progress=progress)
    if said.end == "length":
        return (), "list"
    steps = numbered(said.text)
    return steps, unusable(steps, question)


def numbered(text: str) -> tuple[str, ...]:
    """The items of a text that is a numbered list, from 1 on without a gap, one a line, and nothing else but one line
    before it that ends in a colon; none of any other text."""
    lines = [x for x in text.splitlines() if x.strip()]
    if lines and lines[0].rstrip().endswith((":", "：")) and not _ITEM.match(lines[0]):
        lines = lines[1:]
    matches = [_ITEM.match(x) for x in lines]
    items = [(int(m[1]), m[2].strip()) for m in matches if m is not None]
    if len(items) < len(lines) or [n for n, _ in items] != list(range(1, len(items) + 1)):
        return ()
    return tuple(text for _, text in items)


def unusable(steps: Sequence[str], question: str) -> str | None:
    """Why ``steps`` are no decomposition of ``question``; None where they may be one."""
    if not steps:
        return "list"
    if len(steps) == 1:
        return "one"
    if len(steps) > STEPS:
        return "many"
    bare = [_REFERENCE.sub(" ", s) for s in steps]
    if not all(content(s) for s in bare):
        return "empty"
    if len({tuple(content(s)) for s in steps}) < len(steps):
        return "same"
    if any(language_of(s) != language_of(question) for s in bare):
        return "language"
    return None


def _answered(
    me: Speaker,
    knowledge: Searcher,
    steps: Sequence[str],
    passages: int,
    decoding: Decoding | None,
    progress: Progress,
) -> list[Hop]:
    hops: list[Hop] = []
    for k, step in enumerate(steps):
        progress("steps", k, len(steps))
        question = _REFERENCE.sub(lambda m: _reference(hops, int(m[1]), m[0]), step)
        found = ask(me, knowledge, question, passages=passages, decoding=decoding, progress=progress)
        hops.append(Hop(question, found.answer, found.passages, found.sentences, found.trace))
    progress("steps", len(steps), len(steps))
    return hops


def _reference(hops: Sequence[Hop], number: int, written: str) -> str:
    """The answer to an earlier step, as a part of a later one; as it was ``written`` where there is none."""
    if not 1 <= number <= len(hops) or not hops[number - 1].answer.strip():
        return written
    return " ".join(hops[number - 1].answer.split()).rstrip(".。")


def _together(
    me: Speaker,
    question: str,
    hops: Sequence[Hop],
    passages: int,
    decoding: Decoding | None,
    on_text: OnText | None,
    progress: Progress,
    began: float,
) -> Cited:
    how = decoding or Decoding(max_new_tokens=NEW_TOKENS)
    language = language_of(question)
    lines = [f"{k}. {h.question} {' '.join(h.answer.split())}" for k, h in enumerate(hops, 1) if h.answer.strip()]
    known = "\n".join([KNOWN[language], *lines])
    room = how.max_new_tokens + me.count([{"role": "user", "content": known}])
    kept, notes = fitting(me, question, merged(hops, TOGETHER * passages), room, None, None)
    asked = passages_prompt(question, [f.passage.text for f in kept])
    at = asked.places[0][2]  # the best passage is the last: what is known follows it
    body = asked.messages[-1]["content"]
    messages = [{"role": "user", "content": f"{body[:at]}\n\n{known}{body[at:]}"}]
    start = time.perf_counter()
    said = me.write(messages, how, on_text=on_text, progress=progress)
    wrote = time.perf_counter() - start
    notes = [NOTES["steps"][language], *notes]
    if said.text.strip():  # cited as an answer that was given: from the passages and the question alone
        found = answer_from(me, question, kept, answer=said.text, decoding=how, progress=progress)
    else:
        found = uncited(me, question, "", said.end, kept, began, wrote, [EMPTY[language_of(question)]])
    return replace(
        found,
        end=said.end,
        hops=tuple(hops),
        notes=(*notes, *found.notes),
        seconds=round(time.perf_counter() - began, 4),
        generate_seconds=round(wrote, 4),
    )


def merged(hops: Sequence[Hop], most: int) -> list[Found]:
    """The steps' passages, each once: the first of every step, then the second of every step, and so on; ranks anew."""
    found: dict[str, Found] = {}
    for place in range(max((len(h.passages) for h in hops), default=0)):
        for hop in hops:
            if place < len(hop.passages):
                found.setdefault(hop.passages[place].passage.id, hop.passages[place])
    return [replace(f, rank=k) for k, f in enumerate(list(found.values())[:most], 1)]
