"""A question answered from what was retrieved: passages, answer, and for each of its sentences what it rests on.

    answer = ask(model, Knowledge.open("kb"), "How do I resume training?")
    answer.show()

Citations are not what the model says it read, but what its answer changes without (``citations``).
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pellucid.apps.rag.citations import LEAST, cite, measure
from pellucid.apps.rag.cited import Cited, Claimed, Sentence
from pellucid.apps.rag.confidence import confidence
from pellucid.apps.rag.passage import Found, Searcher
from pellucid.apps.rag.prompt import check_template, passages_prompt
from pellucid.apps.rag.rewriting import Turn, standalone
from pellucid.apps.speaker import Decoding, OnText, Speaker, check_text, speaker
from pellucid.errors import ContextError, OptionError
from pellucid.progress import Progress, silent
from pellucid.relevance.prompts import language_of
from pellucid.trace.provenance import versions

if TYPE_CHECKING:
    from pellucid.model import Model
    from pellucid.models.load import LoadedModel

PASSAGES, NEW_TOKENS = 3, 64
_CLAIM = re.compile(r"\[(\d{1,3})\]")
EMPTY = {"en": "The model's answer is empty.", "zh": "模型的回答为空。"}
LEFT_OUT = {
    "en": "{gone} of {all} passages did not fit the window of {window} tokens and were left out.",
    "zh": "{all} 个段落中有 {gone} 个放不进 {window} 个词元的窗口，已略去。",
}
NOTHING = {
    "en": "Nothing in the index fits the question: no answer was made.",
    "zh": "索引中没有与问题相符的内容：未作回答。",
}


def ask(
    model: Model | LoadedModel | Speaker,
    knowledge: Searcher,
    question: str,
    *,
    passages: int = PASSAGES,
    answer: str | None = None,
    decoding: Decoding | None = None,
    template: str | None = None,
    system: str | None = None,
    samples: int = 0,
    verbal: bool = False,
    least: float = LEAST,
    history: Sequence[Turn] = (),
    on_text: OnText | None = None,
    progress: Progress = silent,
) -> Cited:
    """Search for ``question``, answer from the ``passages`` best, and cite.

    - ``answer``: a given one is cited instead of the model's own.
    - ``decoding``: greedy, at most 64 new tokens (one line of a model that reads no messages), where None.
    - ``template``: with ``{passages}`` and ``{question}``; ``system``: a system message before.
    - ``samples``: other answers drawn for the consistency of the confidence; ``verbal``: ask the model's own rating.
    - ``least``: nats a token that a sentence's strongest passage must give it to count as supported.
    - ``history``: the turns before; the question is then made to stand by itself (``rewriting``), searched for and
      answered so, and ``Cited.standalone`` is that.

    Passages that do not fit the model's window are left out from the last on, and the notes say so. Raises
    ``OptionError``, ``ContextError`` where not even one passage fits.
    """
    check_text(question, "the question")
    if not isinstance(passages, int) or isinstance(passages, bool) or passages < 1:
        raise OptionError(f"passages should be a whole number, at least 1, given {passages!r}")
    if template is not None:
        check_template(template)
    began, me = time.perf_counter(), speaker(model)
    alone = standalone(me, history, question, progress=progress)
    progress("searching", 0, 1)
    found = list(knowledge.search(alone.question, passages))
    progress("searching", 1, 1)
    answered = answer_from(
        me,
        alone.question,
        found,
        answer=answer,
        decoding=decoding,
        template=template,
        system=system,
        samples=samples,
        verbal=verbal,
        least=least,
        on_text=on_text,
        progress=progress,
    )
    notes = (*((alone.note,) if alone.note else ()), *answered.notes)
    seconds = round(time.perf_counter() - began, 4)
    return replace(answered, question=question, notes=notes, seconds=seconds)


def answer_from(
    model: Model | LoadedModel | Speaker,
    question: str,
    found: Sequence[Found],
    *,
    answer: str | None = None,
    decoding: Decoding | None = None,
    template: str | None = None,
    system: str | None = None,
    samples: int = 0,
    verbal: bool = False,
    least: float = LEAST,
    on_text: OnText | None = None,
    progress: Progress = silent,
) -> Cited:
    """The same from passages that are there already, best first; options as of ``ask``."""
    began = time.perf_counter()
    me = speaker(model)
    # A model that goes on with a text would ask itself the next question: its answer ends with the line.
    how = decoding or Decoding(max_new_tokens=NEW_TOKENS, stop=() if me.chats else ("\n",))
    if not found:
        return _nothing(me, question, began)
    kept, notes = fitting(me, question, list(found), how.max_new_tokens, template, system)
    texts = [f.passage.text for f in kept]
    asked = passages_prompt(question, texts, template=template, system=system, cue=not me.chats)
    wrote, end = 0.0, "given"
    if answer is None:
        start = time.perf_counter()
        said = me.write(asked.messages, how, on_text=on_text, progress=progress)
        answer, end, wrote = said.text, said.end, time.perf_counter() - start
    check_text(answer, "the answer") if end == "given" else None
    if not answer.strip():
        return uncited(me, question, answer, end, kept, began, wrote, (*notes, EMPTY[asked.language]))
    evidence = measure(me, question, texts, answer, asked, template=template, system=system, progress=progress)
    sentences, within = cite(me, texts, answer, asked, evidence, least=least, progress=progress)
    sure = confidence(
        me,
        question,
        asked,
        texts,
        answer,
        evidence,
        sentences,
        decoding=how,
        samples=samples,
        verbal=verbal,
        progress=progress,
    )
    trace = evidence.drops.trace
    return Cited(
        question=question,
        standalone=question,
        answer=answer,
        end=end,
        passages=tuple(kept),
        sentences=sentences,
        claimed=claims(answer, sentences, len(kept)),
        confidence=sure,
        trace=trace,
        within=within,
        collection=kept[0].passage.collection,
        model=me.info,
        seconds=round(time.perf_counter() - began, 4),
        generate_seconds=round(wrote, 4),
        forward_passes=trace.cost.forward_passes + (within.cost.forward_passes if within else 0) + 1 + len(kept),
        notes=tuple(notes),
        versions=versions(),
    )


def claims(answer: str, sentences: Sequence[Sentence], passages: int) -> tuple[Claimed, ...]:
    """The model's own bracketed citations, checked against the computed ones of the sentence they stand in. A number
    that follows a sentence's end belongs to it."""
    found = []
    for m in _CLAIM.finditer(answer):
        number = int(m[1])
        inside = [k for k, s in enumerate(sentences) if s.start <= m.start()]
        at = inside[-1] if inside else 0
        if at and not answer[sentences[at].start : m.start()].strip():  # it opens the next sentence: it ends the last
            at -= 1
        held = bool(sentences) and number in {c.number for c in sentences[at].citations}
        found.append(Claimed(number, at, 1 <= number <= passages, held))
    return tuple(found)


def fitting(
    me: Speaker, question: str, found: list[Found], room: int, template: str | None, system: str | None
) -> tuple[list[Found], list[str]]:
    """The passages that fit the window with ``room`` tokens of answer, and a note where some do not."""
    kept = list(found)
    while kept:
        texts = [f.passage.text for f in kept]
        asked = passages_prompt(question, texts, template=template, system=system, cue=not me.chats)
        tokens = me.count(asked.messages)
        if me.context is None or tokens + room <= me.context:
            break
        kept.pop()
    if not kept:
        raise ContextError(
            f"the question with one passage and {room} tokens of answer does not fit the {me.context} tokens that "
            f"'{me.name}' reads: shorten the question, index smaller passages, or ask for fewer new tokens"
        )
    gone = len(found) - len(kept)
    note = LEFT_OUT[language_of(question)].format(gone=gone, all=len(found), window=me.context)
    return kept, [note] if gone else []


def _nothing(me: Speaker, question: str, began: float) -> Cited:
    return uncited(me, question, "", "nothing found", [], began, 0.0, (NOTHING[language_of(question)],))


def uncited(
    me: Speaker,
    question: str,
    answer: str,
    end: str,
    kept: list[Found],
    began: float,
    wrote: float,
    notes: Sequence[str],
) -> Cited:
    """A result without evidence: nothing was found, or nothing was said."""
    return Cited(
        question=question,
        standalone=question,
        answer=answer,
        end=end,
        passages=tuple(kept),
        sentences=(),
        claimed=(),
        confidence=None,
        trace=None,
        within=None,
        collection=kept[0].passage.collection if kept else "",
        model=me.info,
        seconds=round(time.perf_counter() - began, 4),
        generate_seconds=round(wrote, 4),
        notes=tuple(notes),
        versions=versions(),
    )
