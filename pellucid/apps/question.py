"""Answer a question from a context, and show where the answer stands and what it rests on.

    pellucid ask "Who designed the bridge?" --context bridge.txt
    a = model.ask("Who designed the bridge?", context); a.answer, a.place, a.supported, a.traces

A model that answers with a part of a context points at it (start, end, or no answer; long contexts in windows:
``trace/extract.py``). Any other model writes: the context and the question go into a prompt, and the answer is looked
for in the context (``apps/place.py``). ``supported`` says whether the context is what it rests on: with the answer's
log-probability per token under the prompt with the context, and with the context taken away (the prompt's other words
as they are),

    supported = mean_i log p(answer_i | prompt) - mean_i log p(answer_i | prompt without the context)   [nats a token]

which is a pointwise conditional mutual information (Fernandes et al. 2021, arXiv:2105.03482) per token. About 0: the
model would have said it anyway.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.apps.place import place
from pellucid.apps.speaker import Decoding, Speaker, check_text, speaker
from pellucid.errors import ContextError, OptionError, unknown
from pellucid.lens.plain import Result
from pellucid.progress import Progress, silent
from pellucid.relevance.prompts import language_of
from pellucid.trace.result import ModelInfo, Trace, UnitScore

if TYPE_CHECKING:
    from pellucid.model import Model
    from pellucid.models.load import LoadedModel

METHODS = ("attention", "saliency", "lime")
UNITS = ("sentence", "paragraph", "word", "token")
#: What-if runs of LIME where the units are a few sentences; its own default is for many words.
SAMPLES = 64
TEMPLATES = {
    "en": "Read the text and answer the question with as few words as possible.\n\n{context}\n\n"
    "Question: {question}\nAnswer:",
    "zh": "阅读下面的文字，用尽量少的词回答问题。\n\n{context}\n\n问题：{question}\n答案：",
}
_MARKS = ("{question}", "{context}")


@dataclass(frozen=True)
class Read:
    """One window of a long context: characters ``start`` to ``end``, ``tokens`` with the question and its frame; the
    sum of logits of its best span, and of no answer (None: the model has no place for it); ``explained``: the answer is
    from here."""

    start: int
    end: int
    tokens: int
    score: float
    no_answer: float | None
    explained: bool


@dataclass(frozen=True)
class Agreed:
    """How far methods agree on the context, by magnitude: rank correlation and share of the ``top_k`` largest in common
    [methods, methods], over ``entries`` units of the context."""

    methods: tuple[str, ...]
    spearman: tuple[tuple[float, ...], ...]
    overlap: tuple[tuple[float, ...], ...]
    top_k: int
    entries: int


@dataclass(frozen=True)
class Answered(Result):
    """A question, its answer, where that stands in the context, and what it rests on.

    - ``kind``: ``extracted`` (by a head that points at a part of the context) or ``written``.
    - ``answer``, ``generated`` (False: it was given); ``no_answer``: the model says that the context holds none.
    - ``place``: ``exact``, ``normalised``, ``overlap`` or ``none``; ``start`` to ``end``: its characters in the
      context; ``overlap``: F1 of the words there with the answer's, 1 for all.
    - ``logprob``: mean natural log-probability of the answer's tokens, nats (of a head: of start and end); ``alone``:
      the same without the context, ``supported`` the difference; NaN where there is none.
    - ``score``, ``no_answer_score``: sums of the head's two logits; ``no_answer_prob``: start times end, in the window
      that is explained; NaN where there is none. ``windows``: what was read, of a head.
    - ``prompt``: what was asked; the context stands in ``message`` of the trace's prompt from character ``offset``.
    - ``traces``: one a method; ``agreement``: None where there are fewer than two. ``seconds``: all of it.
    """

    SCHEMA: ClassVar[str] = "pellucid.answered/1"

    question: str
    context: str
    answer: str
    kind: str
    generated: bool
    no_answer: bool
    place: str
    start: int | None
    end: int | None
    overlap: float
    logprob: float
    alone: float
    supported: float
    score: float
    no_answer_score: float
    no_answer_prob: float
    windows: tuple[Read, ...]
    prompt: str
    message: int
    offset: int
    unit: str
    traces: tuple[Trace, ...]
    agreement: Agreed | None
    model: ModelInfo
    seconds: float

    def __getitem__(self, method: str) -> Trace:
        for trace in self.traces:
            if trace.method.name == method:
                return trace
        raise KeyError(f"{method!r}: this answer holds {', '.join(t.method.name for t in self.traces) or 'no trace'}")

    def units_of(self, trace: Trace) -> tuple[UnitScore, ...]:
        """What got scores in the context: the trace's units, its tokens where it has none."""
        return within(trace, self.message, self.offset, len(self.context))

    def rows(self) -> list[dict[str, Any]]:
        """One row a unit of the context and method; one row for the answer where nothing was traced."""
        whole = {"question": self.question, "answer": self.answer, "place": self.place}
        if not self.traces:
            return [{**whole, "start": self.start, "end": self.end, "logprob": self.logprob, "alone": self.alone}]
        return [
            {
                **whole,
                "method": t.method.name,
                "unit": u.text,
                "start": u.start - self.offset,
                "end": u.end - self.offset,
                "score": u.score,
            }
            for t in self.traces
            for u in self.units_of(t)
        ]


def within(trace: Trace, message: int, offset: int, length: int) -> tuple[UnitScore, ...]:
    """The trace's units (its tokens where it has none) that lie in ``length`` characters from ``offset`` of a message;
    a bare prompt is message 0."""
    found = trace.units or tuple(
        UnitScore("", s.text, s.start, s.end, s.message, (i,), float(trace.total[i]))
        for i, s in enumerate(trace.sources)
        if s.start is not None and s.end is not None
    )
    return tuple(u for u in found if (u.message or 0) == message and u.end > offset and u.start < offset + length)


def agreed(traces: Sequence[Trace], message: int, offset: int, length: int, top_k: int) -> Agreed | None:
    """Agreement on the context alone; None where fewer than two traces, or fewer than two units, can be compared."""
    from pellucid.trace.combine import agreement

    if len(traces) < 2:
        return None
    here = [replace(t, units=within(t, message, offset, length)) for t in traces]
    if any(len(t.units) < 2 for t in here):
        return None
    found = agreement(here, top_k=top_k)
    rows = [tuple(tuple(float(x) for x in row) for row in m) for m in (found.spearman, found.overlap)]
    return Agreed(found.methods, rows[0], rows[1], min(top_k, found.entries), found.entries)


def filled(template: str, question: str, context: str) -> tuple[str, int]:
    """The prompt, and where the context begins in it; what the texts hold in braces stays as it is."""
    a, b = template.index("{question}"), template.index("{context}")
    if a < b:
        head = template[:a] + question + template[a + len("{question}") : b]
        return head + context + template[b + len("{context}") :], len(head)
    head = template[:b]
    return head + context + template[b + len("{context}") : a] + question + template[a + len("{question}") :], len(head)


def check_template(template: str) -> str:
    """Raises ``OptionError`` for one that does not hold both of its marks once."""
    for mark in _MARKS:
        if template.count(mark) != 1:
            raise OptionError(
                f"the template should hold {mark} once, and holds it {template.count(mark)} times: given {template!r}"
            )
    return template


def check_options(
    methods: Sequence[str] | None, parameters: Mapping[str, Mapping[str, Any]], unit: str, top_k: int
) -> None:
    """Raises ``OptionError`` for what is wrong whatever the model."""
    from pellucid.trace.compare import check_methods

    if unit not in UNITS:
        raise unknown("unit", unit, list(UNITS))
    if top_k < 1:
        raise OptionError(f"top_k should be at least 1, given {top_k}")
    if methods is None or methods:
        check_methods(METHODS if methods is None else methods, parameters, top_k)
    elif parameters:
        raise OptionError(f"parameters for '{next(iter(parameters))}', and no method is asked for")


def ask(
    model: Model | LoadedModel | Speaker,
    question: str,
    context: str,
    *,
    methods: Sequence[str] | None = None,
    answer: str | None = None,
    template: str | None = None,
    max_new_tokens: int = 32,
    unit: str = "sentence",
    top_k: int = 3,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    window: int | None = None,
    stride: int | None = None,
    trust: bool = True,
    seed: int = 0,
    progress: Progress = silent,
) -> Answered:
    """The answer to ``question`` from ``context``, by the model or as given in ``answer``.

    - ``methods``: one trace each; ``METHODS`` where None (those of them that this kind of model knows), none for ().
      ``parameters`` are by method.
    - ``template``: the prompt of a model that writes, with ``{question}`` and ``{context}``; in the question's language
      where None. ``window`` and ``stride`` are for a model that points (tokens; see ``trace/extract.py``).
    - ``unit``: ``sentence`` or ``paragraph`` of the context; ``word`` or ``token`` of the whole prompt. What-if methods
      take whole ones away; the others' token scores are added up.
    - ``top_k``: of how many largest units the methods' overlap is taken.

    Raises ``OptionError``; ``ContextError`` where question or context are longer than the model reads; what ``explain``
    raises.
    """
    began = time.perf_counter()
    check_text(question, "the question")
    check_text(context, "the context")
    own = dict(parameters or {})
    check_options(methods, own, unit, top_k)
    if "lime" not in own and unit in ("sentence", "paragraph") and (methods is None or "lime" in methods):
        own["lime"] = {"samples": SAMPLES}
    loaded: Any = getattr(model, "loaded", model)
    kind = getattr(loaded, "kind", None)
    if kind == "classifier":
        raise OptionError(f"'{loaded.name}' is a classifier, and writes no answers: use a model that does")
    if kind == "span":
        from pellucid.apps.pointing import point

        if template is not None:
            raise OptionError(f"'{loaded.name}' points at its answer and reads no prompt: leave template out")
        return point(
            loaded,
            question,
            context,
            methods=methods,
            answer=answer,
            max_new_tokens=max_new_tokens,
            unit=unit,
            top_k=top_k,
            parameters=own,
            window=window,
            stride=stride,
            trust=trust,
            seed=seed,
            progress=progress,
        )
    if window is not None or stride is not None:
        raise OptionError("window and stride belong to models that point at a part of the context: leave them out")
    me = speaker(model)
    used = check_template(TEMPLATES[language_of(question)] if template is None else template)
    names = _known(METHODS if methods is None else methods, loaded, me.name, asked=methods is not None)
    prompt, offset = filled(used, question, context)
    with_it, without = ([{"role": "user", "content": text}] for text in (prompt, filled(used, question, "")[0]))
    _check_room(me, with_it, without)
    if answer is None:
        said = me.write(with_it, Decoding(max_new_tokens=max_new_tokens, seed=seed), progress=progress).text
    else:
        said = check_text(answer, "the answer")
    found = place(said, context, question)
    logprob = alone = float("nan")
    traces: list[Trace] = []
    if said.strip():
        logprob, alone = (sum(x) / len(x) for x in me.logprobs([with_it, without], [said, said], progress=progress))
        parts = units(unit, context, 0, offset)
        for name in names:
            traces.append(
                me.explain(
                    with_it,
                    said,
                    method=name,
                    unit=parts,
                    parameters=dict(own.get(name, {})),
                    trust=trust,
                    seed=seed,
                    progress=staged(progress, name),
                )
            )
    return Answered(
        question=question,
        context=context,
        answer=said,
        kind="written",
        generated=answer is None,
        no_answer=False,
        place=found.how,
        start=found.start,
        end=found.end,
        overlap=found.overlap,
        logprob=logprob,
        alone=alone,
        supported=logprob - alone,
        score=float("nan"),
        no_answer_score=float("nan"),
        no_answer_prob=float("nan"),
        windows=(),
        prompt=prompt,
        message=0,
        offset=offset,
        unit=unit,
        traces=tuple(traces),
        agreement=agreed(traces, 0, offset, len(context), top_k),
        model=me.info,
        seconds=time.perf_counter() - began,
    )


def units(unit: str, context: str, message: int, offset: int, *, low: int = 0, high: int | None = None) -> Any:
    """What ``explain`` takes: parts of the context (of its characters ``low`` to ``high``), or the kind's name."""
    if unit in ("word", "token"):
        return unit
    from pellucid.trace.segments import trimmed
    from pellucid.trace.units import KINDS

    end = len(context) if high is None else high
    cut = [trimmed(context, max(a, low), max(min(b, end), low)) for a, b in KINDS[unit](context)]
    return {f"{unit} {k + 1}": (message, offset + p[0], offset + p[1]) for k, p in enumerate(cut) if p is not None}


def staged(progress: Progress, name: str) -> Progress:
    """``progress`` with the method's name before each stage."""

    def report(stage: str, done: float, total: float | None) -> None:
        progress(f"{name}: {stage}", done, total)

    return report


def _known(methods: Sequence[str], loaded: Any, name: str, *, asked: bool) -> list[str]:
    """The methods that this kind of model knows. Raises ``OptionError`` where one that was asked for is not."""
    from pellucid.trace.methods import method

    kind = getattr(loaded, "kind", None)
    if kind is None:
        return list(methods)
    if asked:
        for m in methods:
            method(m).check_kind(kind, name)
    return [m for m in methods if kind in method(m).kinds]


def _check_room(me: Speaker, with_it: Any, without: Any) -> None:
    """Raises ``ContextError`` where there is no room for an answer."""
    limit = me.context
    if limit is None:
        return
    alone = me.count(without)
    if alone >= limit:
        raise ContextError(
            f"the question takes {alone} tokens with its prompt, and '{me.name}' reads {limit} with the answer: "
            "shorten the question"
        )
    whole = me.count(with_it)
    if whole >= limit:
        raise ContextError(
            f"question and context take {whole} tokens, and '{me.name}' reads {limit} with the answer: shorten the "
            "context, or let 'pellucid rag' look for the passages that matter"
        )
