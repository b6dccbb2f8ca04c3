"""A text's class and what it rests on, by several methods: with a classifier's head, or with label words.

    found = classify(model, "A joy to watch.", ["positive", "negative"])     # a language model: label words
    found = classify(classifier, "A joy to watch.")                          # a head: the model's own classes
    found.label, found.confidence; found.show()

A head is read as ``trace/classify.py`` says; label words as ``apps/labelwords.py`` does.

What is explained is the difference between the class and the strongest other one, log p(class) - log p(other), because
it alone decides: most of what makes "positive" likely as an answer (the instruction, that it names the label, that a
label has to come) makes "negative" as likely, and would drown the words of the text that tell the two apart. The
calibration adds a number that does not depend on the text, so that this is also the explanation of the calibrated
score. ``against`` names another class to contrast with; ``contrast=False`` explains log p(class) by itself. So are,
always, the classes of a multi-label model, which do not exclude each other, and a label that another one begins with,
whose tokens leave nothing to contrast; of a regression it is the number.

Words of the text are scored, not those of the instruction; attention weights and gradient norms have no sign, and show
where the model looked or what it is sensitive to; a signed method (integrated gradients) also says for which class.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pellucid.apps.classification import Agreed, Classification, LabelScore
from pellucid.apps.labelwords import LabelWords
from pellucid.apps.speaker import check_text, speaker
from pellucid.errors import OptionError, unknown
from pellucid.progress import Progress, silent
from pellucid.trace.combine import agreement
from pellucid.trace.compare import check_methods
from pellucid.trace.result import Trace
from pellucid.trace.segments import words

if TYPE_CHECKING:
    from pellucid.apps.speaker import Speaker
    from pellucid.model import Model
    from pellucid.models.load import LoadedModel

METHODS = ("attention", "saliency", "integrated_gradients")
TOP_K = 5


def classify(
    model: Model | LoadedModel | Speaker,
    text: str | Sequence[str],
    labels: Sequence[str] | None = None,
    *,
    methods: Sequence[str] = METHODS,
    target: str | None = None,
    against: str | None = None,
    contrast: bool = True,
    calibrate: bool = True,
    instruction: str | None = None,
    neutral: Sequence[str] | None = None,
    traces: bool = True,
    trust: bool = True,
    top_k: int = TOP_K,
    progress: Progress = silent,
) -> Classification:
    """The class of ``text``, every class's probability, and by each of ``methods`` which words made it so.

    - ``text``: a text; for a head that reads two, (first, second).
    - ``labels``: of a language model the words to choose among, two or more. A head has its own; ``labels`` then
      limits the choice to some of them, whose probabilities stay as the model gives them.
    - ``methods``: names that ``pellucid methods`` lists; ``traces=False`` leaves explanation out.
    - ``target``: the class to explain, the one that was chosen where None (of several labels all that were chosen, of a
      regression all numbers). ``against``, ``contrast``: see above.
    - ``calibrate``, ``instruction`` (a template with ``{text}`` and ``{labels}``), ``neutral`` (texts that say
      nothing): for label words, see ``apps/labelwords.py``.
    - ``trust``: measure it for each trace. ``top_k``: how many of the largest the overlap between methods looks at.

    Raises ``OptionError`` for labels, classes, methods or templates that cannot be, ``InputError`` for text that cannot
    be read, and what ``Model.explain`` raises.
    """
    began = time.perf_counter()
    if traces:
        check_methods(methods, {}, top_k)
    if not contrast and against is not None:
        raise OptionError(f"contrast=False explains a class by itself: leave against={against!r} out")
    how = {"methods": tuple(methods) if traces else (), "trust": trust, "top_k": top_k, "progress": progress}
    loaded: Any = getattr(model, "loaded", model)
    kind = getattr(loaded, "kind", None)
    if kind == "classifier":
        if instruction is not None or neutral is not None:
            raise OptionError(
                f"instruction and neutral are for label words, and '{loaded.name}' has classes of its own: leave them "
                "out"
            )
        return _by_head(loaded, text, labels, target, against, contrast, how, began)
    if kind == "span":
        raise OptionError(
            f"'{loaded.name}' answers with a part of a context and cannot choose a class: give a classifier, or a "
            "language model with label words"
        )
    me = speaker(model)
    if not isinstance(text, str) and isinstance(text, Sequence):
        raise OptionError(f"label words are for one text, given {len(text)}: pairs are for a classifier that reads two")
    by_words = LabelWords(me, labels, instruction=instruction, calibrate=calibrate, neutral=neutral)
    check_text(text, "the text")
    return _by_words(by_words, text, target, against, contrast, how, began)


def _by_words(
    choice: LabelWords,
    text: str,
    target: str | None,
    against: str | None,
    contrast: bool,
    how: dict[str, Any],
    began: float,
) -> Classification:
    for option, label in (("target", target), ("against", against)):
        if label is not None:
            _known(option, label, choice.labels)
    progress: Progress = how["progress"]
    scores = choice.weigh(text, progress=progress)
    best = max(scores, key=lambda s: s.score).label
    explained = best if target is None else target
    other = _other(scores, (explained,), against, contrast)
    if against is None and other is not None and _begins(explained, other):
        other = None
    asked = choice.asked_of(text)
    places = [(0, asked.start + a, asked.start + b) for a, b in words(text)]
    goal = {} if other is None else {"objective": "contrast", "instead_of": choice.answer(other, asked)}
    found: list[Trace] = []
    for name in how["methods"]:

        def report(stage: str, done: float, total: float | None, name: str = name) -> None:
            progress(f"{name}: {stage}", done, total)

        found.append(
            choice.me.explain(
                asked.messages,
                choice.answer(explained, asked),
                method=name,
                unit=places,
                trust=how["trust"],
                progress=report,
                **goal,
            )
        )
    return Classification(
        choice.me.info,
        text,
        None,
        "words",
        best,
        next(s.prob for s in scores if s.label == best),
        (best,),
        scores,
        (explained,),
        other if found else None,
        tuple(found),
        _agreed(found, how["top_k"]),
        asked.start,
        choice.instruction(text),
        choice.neutral(text),
        time.perf_counter() - began,
    )


def _by_head(
    loaded: LoadedModel,
    text: str | Sequence[str],
    labels: Sequence[str] | None,
    target: str | None,
    against: str | None,
    contrast: bool,
    how: dict[str, Any],
    began: float,
) -> Classification:
    from pellucid.apps.headscores import head_scores
    from pellucid.trace.compare import compare
    from pellucid.trace.provenance import model_info

    kind, every = head_scores(loaded, text)
    names = [s.label for s in every]
    if labels is not None:
        if isinstance(labels, str) or not isinstance(labels, Sequence) or not labels:
            raise OptionError(f"labels should be a list of the model's classes, {', '.join(names)}, given {labels!r}")
        for label in labels:
            _known("label", label, names, loaded.name)
        every = tuple(s for s in every if s.label in labels)
    among = [s.label for s in every]
    for option, given in (("target", target), ("against", against)):
        if given is not None:
            _known(option, given, among, loaded.name)
    if kind == "value" and against is not None:
        raise OptionError(f"'{loaded.name}' gives numbers and no classes to contrast: leave against out")
    best = max(every, key=lambda s: s.score)
    likely = tuple(s.label for s in every if s.prob > 0.5)
    chosen = tuple(among) if kind == "value" else (likely or (best.label,)) if kind == "sigmoid" else (best.label,)
    explained = chosen if target is None else (target,)
    other = _other(every, explained, against, contrast and kind == "softmax")
    found: tuple[Trace, ...] = ()
    if how["methods"]:
        goal: dict[str, Any] = {"objective": "logit" if kind == "value" else "logprob"}
        if other is not None:
            goal = {"objective": "contrast", "instead_of": other}
        found = compare(
            loaded,
            text,
            how["methods"],
            list(explained),
            unit="word",
            trust=how["trust"],
            progress=how["progress"],
            **goal,
        ).traces
    first, second = (text, None) if isinstance(text, str) else _pair(text)
    return Classification(
        model_info(loaded),
        first,
        second,
        kind,
        ", ".join(chosen) if kind == "value" else best.label,
        None if kind == "value" else best.prob,
        chosen,
        every,
        explained,
        other if found else None,
        found,
        _agreed(found, how["top_k"]),
        0,
        None,
        (),
        time.perf_counter() - began,
    )


def _pair(text: Any) -> tuple[str, str | None]:
    """The texts of a prompt that has been read: one or two, in a list or by name."""
    parts = list(text.values()) if hasattr(text, "values") else list(text)
    return str(parts[0]), str(parts[1]) if len(parts) > 1 else None


def _known(option: str, label: object, among: Sequence[str], model: str = "") -> None:
    """Raise ``OptionError`` that lists the classes where ``label`` is not ``among`` them."""
    if label not in among:
        hint = unknown(option, label, list(among))
        raise OptionError(f"{hint} '{model}' has classes of its own." if model else str(hint))


def _other(scores: Sequence[LabelScore], explained: Sequence[str], against: str | None, contrast: bool) -> str | None:
    """The class to contrast with: the one that was named, or the strongest that is not explained."""
    if against is not None:
        if against in explained:
            raise OptionError(f"nothing to contrast: '{against}' is the class that is explained; name another one")
        return against
    rest = [s for s in scores if s.label not in explained]
    return max(rest, key=lambda s: s.score).label if contrast and rest else None


def _begins(a: str, b: str) -> bool:
    """Does one begin with the other?"""
    return a.startswith(b) or b.startswith(a)


def _agreed(traces: Sequence[Trace], top_k: int) -> Agreed | None:
    """How far several traces agree; None of one or none."""
    if len(traces) < 2:
        return None
    a = agreement(traces, top_k=top_k)

    def plain(matrix: Any) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(float(x) for x in row) for row in matrix)

    return Agreed(a.methods, plain(a.spearman), plain(a.overlap), min(top_k, a.entries), a.entries)
