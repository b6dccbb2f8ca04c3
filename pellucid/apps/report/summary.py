"""Many traces as one report: what mattered, who agrees, what holds, what it cost, what to try.

    found = report(traces); found.types[0]; [f.says["en"] for f in found.recommendations]

What is added up are shares (``reading``: scores over the sum of their absolute values over the user's tokens), so that
no trace's unit dominates; each trace has as much to say as another one, whatever its length.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pellucid.apps.report import conditions
from pellucid.apps.report.collect import Origin, Passed, texts_of
from pellucid.apps.report.conditions import Finding, Group, mean_pair
from pellucid.apps.report.reading import Reading, Word, read
from pellucid.apps.report.stopwords import folded, stop_words
from pellucid.errors import InputError, OptionError
from pellucid.lens.plain import Result
from pellucid.progress import Progress, silent
from pellucid.trace.combine import agreement
from pellucid.trace.result import Trace

#: Entries that the overlap of two rankings looks at, at most; half of the entries where there are fewer than ten.
TOP = 5
AROUND = 24  # characters of surroundings to each side


@dataclass(frozen=True)
class Spread:
    """A number over all traces."""

    least: float
    median: float
    mean: float
    most: float


@dataclass(frozen=True)
class Analysis:
    """One trace. ``prompt``, ``written``, ``answer``: tokens of prompt, of the user, of the answer; ``logprob``: mean
    of the answer's, nats a token; ``generated``: by the model; ``ratio``, ``beats_all``: of its trust (None: not
    measured, ``ratio`` also where random removal did not lower the answer); ``top``: the word with the largest
    share."""

    file: str
    place: str
    model: str
    method: str
    objective: str
    prompt: int
    written: int
    answer: int
    logprob: float
    generated: bool
    ratio: float | None
    beats_all: bool | None
    seconds: float
    forward_passes: int
    backward_passes: int
    top: str


@dataclass(frozen=True)
class Occurrence:
    """A word at one place: ``trace`` is its number, ``start`` to ``end`` are characters of ``message`` (None: a bare
    prompt), ``share`` is of its trace's attribution, ``net`` the same with signs; ``before`` and ``after`` stand around
    it."""

    text: str
    kind: str
    share: float
    net: float
    trace: int
    file: str
    place: str
    message: int | None
    start: int
    end: int
    before: str
    after: str


@dataclass(frozen=True)
class WordType:
    """A word wherever it stands, capitals or not: ``total`` of its shares, their ``mean``, how often (``count``), in
    how many ``traces``; ``net`` is the total with signs."""

    text: str
    kind: str
    total: float
    mean: float
    count: int
    traces: int
    net: float


@dataclass(frozen=True)
class Agreeing:
    """Traces that explain the same part of the same answer: ``spearman`` [traces, traces] of magnitudes (NaN: one is
    constant), ``overlap`` of the ``top_k`` largest, their means over pairs; unrelated rankings have ``by_chance`` of
    ``overlap`` in common."""

    answer: str
    traces: tuple[int, ...]
    methods: tuple[str, ...]
    spearman: tuple[tuple[float, ...], ...]
    mean_spearman: float
    mean_overlap: float
    top_k: int
    entries: int
    by_chance: float


@dataclass(frozen=True)
class Holding:
    """Trust: of ``measured`` traces, ``ratios`` have one, with ``mean`` and ``median``; in ``beat_all`` the top tenth
    lowers the answer more than every random tenth. ``unmeasured``: how many were not asked, or could not be."""

    measured: int
    unmeasured: int
    ratios: int
    mean: float
    median: float
    beat_all: int


@dataclass(frozen=True)
class ByMethod:
    """A method's traces: how many, their trust, and what they cost on average."""

    method: str
    traces: int
    trust: Holding
    seconds: float
    forward_passes: float
    backward_passes: float


@dataclass(frozen=True)
class TraceReport(Result):
    """What many traces say together. ``models``, ``methods``, ``objectives``: name to count. ``occurrences`` and
    ``types`` are the largest of ``all_occurrences`` and ``all_types``. ``findings`` are all conditions. Seconds and
    passes are sums; ``generate_seconds`` come on top."""

    SCHEMA: ClassVar[str] = "pellucid.report/1"

    analyses: tuple[Analysis, ...]
    models: dict[str, int]
    methods: dict[str, int]
    objectives: dict[str, int]
    prompt: Spread
    answer: Spread
    occurrences: tuple[Occurrence, ...]
    all_occurrences: int
    types: tuple[WordType, ...]
    all_types: int
    agreeing: tuple[Agreeing, ...]
    trust: Holding
    by_method: tuple[ByMethod, ...]
    seconds: float
    generate_seconds: float
    forward_passes: int
    backward_passes: int
    findings: tuple[Finding, ...]
    passed: tuple[Passed, ...]

    @property
    def recommendations(self) -> tuple[Finding, ...]:
        """The conditions that are met, those met in most cases first."""
        return tuple(sorted((f for f in self.findings if f.met), key=lambda f: -f.share))

    def rows(self) -> list[dict[str, Any]]:
        """One row a trace."""
        return [dict(vars(a)) for a in self.analyses]


def report(
    traces: Iterable[Trace],
    *,
    origins: Sequence[Origin] | None = None,
    passed: Sequence[Passed] = (),
    top: int = 20,
    progress: Progress = silent,
) -> TraceReport:
    """A report over ``traces``; ``origins`` say where each was found, ``top`` how many words are listed.

    Raises ``InputError`` where there is none, ``OptionError`` for a ``top`` below 1 or origins that do not fit.
    """
    traces = list(traces)
    if not traces:
        raise InputError("there is nothing to report on: expected one trace or more")
    if top < 1:
        raise OptionError(f"top should be at least 1, given {top}")
    where = [Origin("", f"trace {k}") for k in range(len(traces))] if origins is None else list(origins)
    if len(where) != len(traces):
        raise OptionError(f"origins should be as many as traces, {len(traces)}, given {len(where)}")
    stops = stop_words()
    readings = []
    for k, trace in enumerate(traces):
        progress("words", k, len(traces))
        readings.append(read(trace, stops))
    progress("words", len(traces), len(traces))
    groups = _groups(traces, progress)
    found, kinds = _occurrences(readings, where), _types(readings)
    analyses = tuple(_analysis(r, o) for r, o in zip(readings, where, strict=True))
    return TraceReport(
        analyses=analyses,
        models=_counted(a.model for a in analyses),
        methods=_counted(a.method for a in analyses),
        objectives=_counted(a.objective for a in analyses),
        prompt=_spread([a.prompt for a in analyses]),
        answer=_spread([a.answer for a in analyses]),
        occurrences=tuple(found[:top]),
        all_occurrences=len(found),
        types=tuple(kinds[:top]),
        all_types=len(kinds),
        agreeing=tuple(_agreeing(g, traces) for g in groups),
        trust=_holding(traces),
        by_method=_by_method(traces),
        seconds=sum(t.cost.seconds for t in traces),
        generate_seconds=sum(t.cost.generate_seconds for t in traces),
        forward_passes=sum(t.cost.forward_passes for t in traces),
        backward_passes=sum(t.cost.backward_passes for t in traces),
        findings=conditions.check(readings, groups, stops=stops is not None),
        passed=tuple(passed),
    )


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _spread(values: Sequence[int]) -> Spread:
    return Spread(float(min(values)), float(statistics.median(values)), statistics.fmean(values), float(max(values)))


def _analysis(reading: Reading, origin: Origin) -> Analysis:
    t = reading.trace
    logprobs = [x.logprob for x in t.targets]
    ratio, beats = (None, None) if t.trust is None else (t.trust.ratio, _beats(t))
    best = max((w for w in reading.words if math.isfinite(w.share)), key=lambda w: w.share, default=None)
    return Analysis(
        origin.file,
        origin.place,
        t.model.name,
        t.method.name,
        t.objective,
        len(t.sources),
        len(reading.written),
        len(t.targets),
        statistics.fmean(logprobs) if logprobs else math.nan,
        t.answer.generated,
        ratio,
        beats,
        t.cost.seconds,
        t.cost.forward_passes,
        t.cost.backward_passes,
        best.text if best is not None else "",
    )


def _beats(trace: Trace) -> bool:
    """Does the top tenth lower the answer more than every random tenth?"""
    assert trace.trust is not None
    return trace.trust.top_drop > max(trace.trust.random_drops, default=math.inf)


def _measured(words: Sequence[Word]) -> list[Word]:
    return [w for w in words if math.isfinite(w.share) and w.share > 0]


def _occurrences(readings: Sequence[Reading], origins: Sequence[Origin]) -> list[Occurrence]:
    """Every word that has a share, the largest first; ties in the order of files and text."""
    out = []
    for k, (reading, origin) in enumerate(zip(readings, origins, strict=True)):
        texts = texts_of(reading.trace)
        for w in _measured(reading.words):
            text = texts[w.message]
            before, after = text[max(0, w.start - AROUND) : w.start], text[w.end : w.end + AROUND]
            place = (origin.file, origin.place, w.message, w.start, w.end)
            out.append(Occurrence(w.text, w.kind, w.share, w.net, k, *place, before, after))
    return sorted(out, key=lambda o: -o.share)


def _types(readings: Sequence[Reading]) -> list[WordType]:
    """The same by casefolded word, the largest total first; ties by the text."""
    held: dict[str, list[tuple[int, Word]]] = {}
    for k, reading in enumerate(readings):
        for w in _measured(reading.words):
            held.setdefault(folded(w.text), []).append((k, w))
    out = []
    for text, found in held.items():
        total = math.fsum(w.share for _, w in found)
        net = math.fsum(w.net for _, w in found)
        traces = len({k for k, _ in found})
        out.append(WordType(text, found[0][1].kind, total, total / len(found), len(found), traces, net))
    return sorted(out, key=lambda t: (-t.total, t.text))


def _groups(traces: Sequence[Trace], progress: Progress) -> list[Group]:
    """Traces of the same prompt, answer, explained part and objective, where there are two or more."""
    held: dict[str, list[int]] = {}
    for k, t in enumerate(traces):
        said = [[m["role"], m["content"]] for m in t.prompt.messages or ()] or t.prompt.text
        span = None if t.span is None else [t.span.start, t.span.end]
        held.setdefault(json.dumps([said, t.answer.text, span, t.objective]), []).append(k)
    same = [places for places in held.values() if len(places) > 1]
    out = []
    for k, places in enumerate(same):
        progress("agreement", k, len(same))
        some = [traces[p] for p in places]
        entries = agreement(some).entries
        out.append(Group(tuple(places), agreement(some, top_k=min(TOP, max(1, entries // 2)))))
    return out


def _agreeing(group: Group, traces: Sequence[Trace]) -> Agreeing:
    a, some = group.agreement, [traces[k] for k in group.traces]
    models = {t.model.name for t in some}
    names = tuple(t.method.name if len(models) == 1 else f"{t.method.name} ({t.model.name})" for t in some)
    return Agreeing(
        some[0].answer.text,
        group.traces,
        names,
        tuple(tuple(float(x) for x in row) for row in a.spearman),
        mean_pair(a.spearman),
        mean_pair(a.overlap),
        a.top_k,
        a.entries,
        a.top_k / a.entries if a.entries else math.nan,
    )


def _holding(traces: Sequence[Trace]) -> Holding:
    known = [t for t in traces if t.trust is not None]
    ratios = [t.trust.ratio for t in known if t.trust is not None and t.trust.ratio is not None]
    return Holding(
        len(known),
        len(traces) - len(known),
        len(ratios),
        statistics.fmean(ratios) if ratios else math.nan,
        statistics.median(ratios) if ratios else math.nan,
        sum(_beats(t) for t in known),
    )


def _by_method(traces: Sequence[Trace]) -> tuple[ByMethod, ...]:
    held: dict[str, list[Trace]] = {}
    for t in traces:
        held.setdefault(t.method.name, []).append(t)
    return tuple(
        ByMethod(
            name,
            len(some),
            _holding(some),
            statistics.fmean(t.cost.seconds for t in some),
            statistics.fmean(t.cost.forward_passes for t in some),
            statistics.fmean(t.cost.backward_passes for t in some),
        )
        for name, some in sorted(held.items(), key=lambda e: -len(e[1]))
    )
