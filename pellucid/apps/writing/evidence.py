"""Which of the given values each part of an answer used: falls of its log-probability, against lines that say nothing.

    found = weigh(speaker, filled, answer, paragraphs(answer), "en")
    found.falls[value][part], found.parts[part].threshold         # nats

**Fall** of a part without a value: the sum of its tokens' log-probabilities as the prompt is, less that with the
value's tokens taken out of it (leave-one-out; Li et al. 2016, arXiv:1612.08220). One what-if run a value gives all
parts.

**Used**: the fall is above the part's threshold, which is the largest change, up or down, that any of a few neutral
lines makes of the same part when it is added to the prompt, and ``FLOOR`` at least. The answer was written without
those lines, so what they change is what any change of the prompt changes. docs/writing.md has the measurement.

A part is weighed behind the parts before it: where it says again what an earlier part said, the earlier part can tell
the model as well, and the fall is smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.apps.falls import leave_out, weighed
from pellucid.apps.speaker import Messages, Speaker
from pellucid.apps.writing.tasks import TASKS
from pellucid.apps.writing.template import Filled
from pellucid.progress import Progress, silent
from pellucid.trace.result import Target, Trace

#: Nats: what is below makes a part less than 7.4 times as likely, whatever the neutral lines do.
FLOOR = 2.0
#: Lines that ask for nothing and that no text is about.
NEUTRAL = {
    "en": (
        "It was an ordinary day, and nothing much happened.",
        "A bus went by, and after some minutes another one did.",
        "Somebody had left a window open on the second floor.",
        "The kettle stood where it always stands.",
    ),
    "zh": (
        "这是平常的一天，没有发生什么事情。",
        "一辆公共汽车开过去了，几分钟后又来了一辆。",
        "有人忘了关二楼的一扇窗户。",
        "水壶放在它一直放着的地方。",
    ),
}
Range = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """A part of the answer: characters ``start`` to ``end``, ``tokens`` of them, their log-probability together
    (nats), what each neutral line added to it (nats, mostly negative), and the fall above which a value was used."""

    start: int
    end: int
    tokens: int
    logprob: float
    neutral: tuple[float, ...]
    threshold: float


@dataclass(frozen=True)
class Evidence:
    """``falls`` [values][parts] in nats; ``trace`` is of the whole answer, its units the values."""

    falls: tuple[tuple[float, ...], ...]
    parts: tuple[Part, ...]
    trace: Trace

    def used(self, value: int) -> list[int]:
        """The parts that used a value."""
        return [k for k, fall in enumerate(self.falls[value]) if fall > self.parts[k].threshold]


def owned(targets: Sequence[Target], ranges: Sequence[Range], text: str) -> list[list[int]]:
    """The tokens of each range: those whose first visible character lies in it."""
    found: list[list[int]] = [[] for _ in ranges]
    for i, t in enumerate(targets):
        at = next((c for c in range(t.start, t.end) if not text[c].isspace()), None)
        for k, (start, end) in enumerate(ranges):
            if at is not None and start <= at < end:
                found[k].append(i)
    return found


def with_line(filled: Filled, line: str, task: str) -> Messages:
    """The prompt with one line more: behind the last value of a field that takes several, begun as that one's line is;
    where there is none, behind the last value, as it is."""
    several = [g for g in filled.given if TASKS[task].field(g.field).many]
    after = several[-1] if several else filled.given[-1]
    messages = [dict(m) for m in filled.messages]
    content = messages[after.message]["content"]
    begun = content[content.rfind("\n", 0, after.start) + 1 : after.start] if several else ""
    messages[after.message]["content"] = f"{content[: after.end]}\n{begun}{line}{content[after.end :]}"
    return messages


def weigh(
    me: Speaker,
    filled: Filled,
    task: str,
    answer: str,
    ranges: Sequence[Range],
    lang: str,
    *,
    trust: bool = True,
    progress: Progress = silent,
) -> Evidence:
    """The falls of ``ranges`` (characters of ``answer``) without each value. Raises as ``Model.explain`` does."""
    places = {f"{g.field} {g.number}": (g.message, g.start, g.end) for g in filled.given}
    found = leave_out(me, filled.messages, answer, places, trust=trust, progress=progress)
    prompts = [with_line(filled, line, task) for line in NEUTRAL[lang]]
    changed = np.array(weighed(me, prompts, answer, progress=progress))  # [lines, targets]
    falls, parts = [], []
    for (start, end), tokens in zip(ranges, owned(found.trace.targets, ranges, answer), strict=True):
        moved = tuple(float(x) for x in (changed[:, tokens] - found.logprobs[tokens]).sum(1))
        threshold = max(FLOOR, *(abs(x) for x in moved))
        parts.append(Part(start, end, len(tokens), float(found.logprobs[tokens].sum()), moved, threshold))
        falls.append(found.falls[:, tokens].sum(1))
    by_value = np.array(falls).T.tolist()
    return Evidence(tuple(tuple(row) for row in by_value), tuple(parts), found.trace)
