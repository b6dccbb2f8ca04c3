"""What was measured that asks for a second look, each with its number, its threshold and what to try.

    python -c "from pellucid.apps.report.conditions import CONDITIONS; print(*CONDITIONS)"

A condition is a function of one trace (or of a group of traces that explain the same answer) to a value and a
threshold, an entry of ``CONDITIONS``, and its sentences in ``advice``. It is met where the value is beyond the
threshold. No threshold is a bare constant where the trace itself has something to compare with:

- ``punctuation``, ``stop_words``, ``first_token``, ``first_user_token``: the part of the attribution that these tokens
  hold, against their part of the tokens q. If a method knew nothing of them it would give them q. The threshold is
  1.5 q; where q is over a half, halfway from q to all, which is to say that the other tokens get less than half of
  theirs; and at least a fifth, because below that four fifths of the explanation are elsewhere whatever the ratio.
- ``template``: more than half of the attribution of all tokens, that is, more than on everything that the user wrote;
  and more than the template's part of the tokens, which in short prompts is most of them.
- ``even``: the effective share of tokens, exp(H)/n for the entropy H of the n shares (1: all alike, 1/n: one has all;
  its logarithm is ln n times the normalised entropy less one). Scores that are Gaussian noise have, for large n,
  exp(ln E|z| - E[|z| ln|z|]/E|z|) = 0.753: an explanation that is as even as this tells no more tokens apart than noise
  would.
- ``unlikely``: how much more surprising the answer is than what the model writes by itself, mean of -ln p(t) less the
  mean entropy. What is drawn from the model has 0 on average, and a greedy answer never more than 0 (the likeliest
  token has p >= exp(-H)); 1 nat means that its tokens had e times less probability than the model's own have.
- ``trust``: the fall of the answer's log-probability without the tenth that scores highest, less that without random
  tenths: 0 or less is no better than chance.
- ``disagreement``: mean Spearman correlation of methods: below 0.5, at which one ranking says a quarter of another's
  variance; in short prompts below 1.645/sqrt(n - 1), which unrelated rankings of n entries reach in one of 20 cases.
- ``not_measured``: any token that the user wrote without a score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pellucid.apps.report.advice import SAYS, TRIES
from pellucid.apps.report.reading import PUNCTUATION, STOP, Reading
from pellucid.apps.report.stopwords import EXTRA
from pellucid.trace.aligned import Matrix
from pellucid.trace.combine import Agreement

LIFT, LEAST = 1.5, 0.2
#: exp(ln E|z| - E[|z| ln|z|]/E|z|) for a standard normal z: E|z| = sqrt(2/pi), E[|z| ln|z|]/E|z| = (ln 2 - gamma)/2.
NOISE = math.sqrt(2 / math.pi) * math.exp((0.5772156649015329 - math.log(2)) / 2)
SURPRISE = 1.0  # nats a token
AGREE, ONE_IN_TWENTY = 0.5, 1.645
FEW = 5  # tokens, below which neither evenness nor a correlation says much
#: What-if methods take nothing of the template away: 0 on all of it is no measurement.
UNSCORED = "the method gives the template no score"


@dataclass(frozen=True)
class Case:
    """One measurement: of these traces (their places in the report), ``value`` against ``threshold``."""

    traces: tuple[int, ...]
    value: float
    threshold: float
    met: bool


@dataclass(frozen=True)
class Finding:
    """A condition over all traces. ``value`` and ``threshold`` are means over the cases where it is met (over all that
    were measured, where it is met nowhere; NaN where there is none), in ``unit``: ``share``, ``nats`` or
    ``correlation``. ``share`` of the measured cases meet it; ``where`` are the traces of these. ``why`` says why
    nothing was measured. ``says`` and ``tries`` are sentences by language, en and zh."""

    name: str
    met: bool
    value: float
    threshold: float
    unit: str
    share: float
    where: tuple[int, ...]
    cases: tuple[Case, ...]
    why: str
    says: dict[str, str]
    tries: dict[str, str]


#: (value, threshold), or why it was not measured.
Measured = tuple[float, float] | str


@dataclass(frozen=True)
class Group:
    """Traces (their places) that explain the same answer, and how far they agree."""

    traces: tuple[int, ...]
    agreement: Agreement


@dataclass(frozen=True)
class Condition:
    """``of_trace`` or ``of_group`` measures it; it is met where the value is ``above`` its threshold, or where not."""

    of_trace: Callable[[Reading], Measured] | None = None
    of_group: Callable[[Agreement], Measured] | None = None
    unit: str = "share"
    above: bool = True


def _lifted(share: float, part: float) -> tuple[float, float]:
    return share, max(LEAST, min(LIFT * part, (1 + part) / 2))


def _kind(reading: Reading, kind: str) -> Measured:
    known = [w for w in reading.words if math.isfinite(w.share)]
    tokens = sum(w.tokens for w in known)
    if not tokens:
        return "no word of the user's has a score"
    some = [w for w in known if w.kind == kind]
    return _lifted(sum(w.share for w in some), sum(w.tokens for w in some) / tokens)


def punctuation(reading: Reading) -> Measured:
    """Attribution on punctuation and line breaks."""
    return _kind(reading, PUNCTUATION)


def stop_words(reading: Reading) -> Measured:
    """Attribution on function words."""
    return _kind(reading, STOP)


def template(reading: Reading) -> Measured:
    """Attribution on what the user did not write."""
    if not reading.written or len(reading.written) == len(reading.trace.sources):
        return "the prompt is all template, or none"
    part = 1 - len(reading.written) / len(reading.trace.sources)
    return UNSCORED if not reading.frame > 0 else (reading.frame, max(0.5, part))


def first_token(reading: Reading) -> Measured:
    """Attribution on the sequence's very first token, of the attribution on all tokens."""
    if reading.written[:1] != (0,) and not reading.frame > 0:
        return UNSCORED
    if math.isnan(reading.first):
        return "all scores are 0"
    return _lifted(reading.first, 1 / len(reading.trace.sources))


def first_user_token(reading: Reading) -> Measured:
    """Attribution on the first token that the user wrote, where it is not the very first."""
    if reading.written[:1] == (0,):
        return "the user's first token is the very first"
    if not reading.shares or not math.isfinite(reading.shares[0]):
        return "the user's first token has no score"
    return _lifted(reading.shares[0], 1 / len(reading.shares))


def even(reading: Reading) -> Measured:
    """Effective share of the user's tokens."""
    shares = [x for x in reading.shares if math.isfinite(x)]
    if len(shares) < FEW:
        return f"fewer than {FEW} tokens have a score"
    entropy = -sum(x * math.log(x) for x in shares if x > 0)
    return math.exp(entropy) / len(shares), NOISE


def not_measured(reading: Reading) -> Measured:
    """Part of the user's tokens without a score."""
    if not reading.written:
        return "the user wrote no token"
    total = reading.trace.total
    return sum(not math.isfinite(float(total[i])) for i in reading.written) / len(reading.written), 0.0


def unlikely(reading: Reading) -> Measured:
    """Surprisal of the explained answer tokens beyond the model's own entropy, nats a token."""
    trace = reading.trace
    places = range(len(trace.targets)) if trace.span is None else trace.span.targets
    some = [trace.targets[k] for k in places if 0 <= k < len(trace.targets)]
    beyond = [-t.logprob - t.entropy for t in some if math.isfinite(t.logprob) and math.isfinite(t.entropy)]
    return (sum(beyond) / len(beyond), SURPRISE) if beyond else "the answer has no token with a probability"


def trust(reading: Reading) -> Measured:
    """What the top tenth does beyond random tenths, nats a token."""
    found = reading.trace.trust
    if found is None:
        return "trust was not measured"
    return min(found.top_drop, found.top_drop - found.random_drop), 0.0


def disagreement(agreement: Agreement) -> Measured:
    """Mean rank correlation over pairs of methods."""
    value = mean_pair(agreement.spearman)
    if math.isnan(value):
        return "one of the methods gives all tokens the same score"
    if agreement.entries < FEW:
        return f"fewer than {FEW} tokens to rank"
    return value, max(AGREE, ONE_IN_TWENTY / math.sqrt(agreement.entries - 1))


def mean_pair(matrix: Matrix) -> float:
    """Mean over pairs of different methods; NaN where no pair has a number."""
    rows = matrix.tolist()
    pairs = [rows[i][j] for i in range(len(rows)) for j in range(i + 1, len(rows))]
    known = [x for x in pairs if math.isfinite(x)]
    return sum(known) / len(known) if known else math.nan


CONDITIONS: Mapping[str, Condition] = {
    "punctuation": Condition(punctuation),
    "stop_words": Condition(stop_words),
    "template": Condition(template),
    "first_token": Condition(first_token),
    "first_user_token": Condition(first_user_token),
    "disagreement": Condition(of_group=disagreement, unit="correlation", above=False),
    "trust": Condition(trust, unit="nats", above=False),
    "even": Condition(even),
    "not_measured": Condition(not_measured),
    "unlikely": Condition(unlikely, unit="nats"),
}


def check(readings: Sequence[Reading], groups: Sequence[Group], *, stops: bool = True) -> tuple[Finding, ...]:
    """Every condition over all traces; ``stops``: whether function words are known."""
    return tuple(_finding(name, c, readings, groups, stops) for name, c in CONDITIONS.items())


def _finding(
    name: str, condition: Condition, readings: Sequence[Reading], groups: Sequence[Group], stops: bool
) -> Finding:
    measured: list[tuple[tuple[int, ...], Measured]]
    if condition.of_group is not None:
        measured = [(g.traces, condition.of_group(g.agreement)) for g in groups]
        none = "no two methods explain the same answer"
    else:
        assert condition.of_trace is not None
        measured = [((k,), condition.of_trace(r)) for k, r in enumerate(readings)]
        none = "there is no trace"
    if name == "stop_words" and not stops:
        measured, none = [], f"the lists of function words are not installed: {EXTRA}"
    cases = tuple(
        Case(traces, found[0], found[1], found[0] > found[1] if condition.above else found[0] <= found[1])
        for traces, found in measured
        if not isinstance(found, str)
    )
    met = [c for c in cases if c.met]
    counted = met or list(cases)
    value = sum(c.value for c in counted) / len(counted) if counted else math.nan
    threshold = sum(c.threshold for c in counted) / len(counted) if counted else math.nan
    reasons = list(dict.fromkeys(found for _, found in measured if isinstance(found, str)))
    why = "" if cases else ("; ".join(reasons) or none)
    facts = {"value": told(value, condition.unit), "threshold": told(threshold, condition.unit)}
    return Finding(
        name,
        bool(met),
        value,
        threshold,
        condition.unit,
        len(met) / len(cases) if cases else 0.0,
        tuple(dict.fromkeys(t for c in met for t in c.traces)),
        cases,
        why,
        {lang: text.format(**facts) for lang, text in SAYS[name].items()},
        dict(TRIES[name]),
    )


def told(x: float, unit: str) -> str:
    """``34 %`` of a share (its blank unbreakable), ``1.20`` of the rest; a dash where there is none."""
    if not math.isfinite(x):
        return "–"
    return f"{100 * x:.0f}\u00a0%" if unit == "share" else f"{x:.2f}".replace("-", "−")
