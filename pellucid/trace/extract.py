"""Extractive question answering: a start and an end in a context (``...ForQuestionAnswering``).

    model = pellucid.load("deepset/roberta-base-squad2")
    trace = model.explain(("Who came?", "Ann came at noon, and Ben left."), per_token=True)     # rows: start, end
    model.explain({"question": "Who?", "context": "..."}, "Ben", span="start")

Two targets: where the answer starts, and where it ends. Their "vocabulary" is the tokens of the window that was read:
logits [2, tokens], as in training, so log p(start) + log p(end) is the span's log-probability. ``span="start"`` or
``"end"`` explains one of them.

**Answer.** The best span within the context: start <= end, at most ``max_new_tokens`` tokens, by the sum of both
logits; "no answer" where a model that has a token for it ([CLS], SQuAD 2) gives that more. **Windows.** A context that
does not fit is read in windows of ``window`` tokens (question and frame included) that share ``stride`` tokens of the
context. The one with the best span is explained; "no answer" needs every window's, and the least sure one is explained.
``details["windows"]`` tells them all.

**What is taken away stays in its place as padding**: the padding token, which nothing attends to. So no position moves,
the answer's own tokens may go too, and every target keeps its number.

Devlin et al. 2019, BERT (arXiv:1810.04805), sections 4.2 and 4.3.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import ContextError, InputError, ModelError, OptionError
from pellucid.models.encode import Encoded, Token, check_text
from pellucid.models.heads import encode_parts, framed, longest, part_tokens, read_parts
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent
from pellucid.trace.heads import HOLE, Answered, HeadRun
from pellucid.trace.objective import OBJECTIVES, RECIPES, Objective, logit
from pellucid.trace.result import Span

NO_ANSWER = "no answer"
ENDS = ("start", "end")
_SHARED = 128  # tokens that two windows share where nothing is said: as in BERT's


class SpanRun(HeadRun):
    """One window of question and context, with a start and an end in it."""

    def __init__(self, loaded: LoadedModel, prompt: Sequence[int], answer: Sequence[int], *args: Any, **options: Any):
        if len(answer) != 2:
            raise ValueError(f"answer: expected the places of a start and an end, got {list(answer)}")
        super().__init__(loaded, prompt, answer, *args, **options)

    @property
    def choices(self) -> int:
        """The tokens."""
        return self.prompt_length

    def rows(self, out: Any) -> Tensor:
        """Logits of start and end [rows, 2, tokens]."""
        start, end = getattr(out, "start_logits", None), getattr(out, "end_logits", None)
        if start is None or end is None:
            raise ModelError(
                f"'{self.loaded.name}' ({type(self.loaded.network).__name__}) gives no logits of start and end for "
                "each token: it is a head of another kind"
            )
        return torch.stack([start, end], 1)

    def choice(self, number: int) -> str:
        """The token at a place."""
        return super().choice(int(self.ids[0, number]))

    def logits_after(self, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
        """The logits [2, tokens] of each prompt, with padding that nothing attends to in its holes."""
        tokenizer: Any = self.loaded.tokenizer
        blank = next((i for i in (tokenizer.pad_token_id, tokenizer.mask_token_id) if i is not None), 0)
        given = torch.tensor([list(p) for p in prompts], device=self.ids.device)
        mask = (given != HOLE).long()
        return list(self._run(given.masked_fill(given == HOLE, blank), mask, self._types(len(prompts))))


@dataclass(frozen=True)
class Window:
    """One reading: tokens ``first`` to ``last`` (exclusive) of the context, which begin at place ``at`` of ``encoded``;
    ``logits`` [2, tokens]; ``none`` is the place that stands for no answer."""

    encoded: Encoded
    first: int
    last: int
    at: int
    none: int | None
    logits: Tensor

    def score(self, start: int, end: int) -> float:
        """Sum of both logits of places in ``encoded``."""
        return float(self.logits[0, start] + self.logits[1, end])

    @property
    def nothing(self) -> float | None:
        """That of no answer, None for a model without a place for it."""
        return None if self.none is None else self.score(self.none, self.none)


def best_span(logits: Tensor, first: int, last: int, limit: int) -> tuple[int, int]:
    """The (start, end) with the largest sum of logits [2, tokens], first <= start <= end < last, at most ``limit``
    tokens long; the earliest where two are equal."""
    sums = logits[0, first:last, None] + logits[1, None, first:last]  # [starts, ends]
    legal = torch.ones_like(sums, dtype=torch.bool).triu() & torch.ones_like(sums, dtype=torch.bool).tril(limit - 1)
    at = int(sums.masked_fill(~legal, float("-inf")).argmax())
    return first + at // (last - first), first + at % (last - first)


def starts(tokens: int, room: int, stride: int) -> list[int]:
    """Where windows of ``room`` tokens begin, so that neighbours share ``stride`` of them and the last is full or ends
    with the context."""
    out = [0]
    while out[-1] + room < tokens:
        out.append(out[-1] + room - stride)
    return out


def check(window: int | None, stride: int | None, kind: str) -> None:
    """Raise ``OptionError`` for options that no answer head could take."""
    for name, value, least in (("window", window, 1), ("stride", stride, 0)):
        if value is None:
            continue
        if kind != "span":
            raise OptionError(f"{name} belongs to models that answer with a span of a context: leave it out")
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise OptionError(f"{name} should be a whole number of tokens of at least {least}, given {value!r}")


def windows(
    loaded: LoadedModel,
    prompt: Any,
    *,
    window: int | None = None,
    stride: int | None = None,
    precision: str = "full",
    progress: Progress = silent,
) -> list[Window]:
    """Every window of question and context, read. Raises ``InputError``, ``OptionError``, ``ContextError``."""
    check(window, stride, loaded.kind)
    parts = read_parts(loaded, prompt)
    assert parts is not None
    question, context = (part_tokens(loaded, text, role, k) for k, (role, text) in enumerate(parts))
    for (role, text), tokens in zip(parts, (question, context), strict=True):
        if not tokens:
            raise InputError(f"the {role} {text[:20]!r} holds no token of '{loaded.name}': expected some text")
    limit = longest(loaded)
    if window is not None and limit is not None and window > limit:
        raise OptionError(
            f"window={window} is more than the {limit} tokens that '{loaded.name}' can read: make it smaller"
        )
    size = window or limit or 10**9
    around = len(encode_parts(loaded, *parts).ids) - len(context)
    room = size - around
    if room < 1:
        raise ContextError(
            f"the question takes {around} tokens with its frame, and a window has {size}: shorten the question"
            f"{', or make window larger' if window else ''}"
        )
    shared = min(_SHARED, room // 2) if stride is None else stride
    begins = starts(len(context), room, shared) if shared < room else []
    if not begins:
        raise OptionError(
            f"stride={stride} leaves no new token in a window, which has room for {room} of the context: make it "
            "smaller"
        )
    found = []
    for k, first in enumerate(begins):
        progress("windows", k, len(begins))
        some = context[first : first + room]
        encoded = framed(loaded, parts, [question, some])
        at = next(i for i, t in enumerate(encoded.tokens) if t.message == 1)
        run = SpanRun(loaded, encoded.ids, [0, 0], OBJECTIVES["logit"], precision=precision)
        logits = run.logits_after([encoded.ids])[0].cpu()
        cls: Any = loaded.tokenizer.cls_token_id
        none = next((i for i, t in enumerate(encoded.tokens) if t.role == "special" and t.id == cls), None)
        found.append(Window(encoded, first, first + len(some), at, none, logits))
    progress("windows", len(begins), len(begins))
    return found


def answer(
    loaded: LoadedModel,
    prompt: Any,
    target: str | None = None,
    *,
    limit: int = 64,
    window: int | None = None,
    stride: int | None = None,
    precision: str = "full",
    progress: Progress = silent,
) -> Answered:
    """The window to explain, and the places of start and end: the model's own, or those of ``target`` in the context
    (its best-scored occurrence), or of "no answer". ``limit`` is the most tokens of the model's own answer."""
    if target is not None:
        check_text(target, "the target")
        if not target.strip():
            raise InputError(
                "the target is empty: expected a part of the context, 'no answer', or none to let the model answer"
            )
    elif limit < 1:
        raise OptionError(f"max_new_tokens should be at least 1, given {limit}")
    read = windows(loaded, prompt, window=window, stride=stride, precision=precision, progress=progress)
    messages = read[0].encoded.messages
    assert messages is not None
    context = messages[1]["content"]
    nothing = [w.nothing for w in read]
    own = [best_span(w.logits, w.at, w.at + w.last - w.first, limit) for w in read]
    scores = [w.score(*span) for w, span in zip(read, own, strict=True)]
    details: dict[str, Any] = {}
    if target is not None and not (target == NO_ANSWER and target not in context):
        places = [(k, *span) for k, w in enumerate(read) for span in _occurrences(w, context, target)]
        if not places:
            raise _missing(loaded, context, target)
        k, start, end = max(places, key=lambda p: read[p[0]].score(p[1], p[2]))
        details["occurrences"] = context.count(target)
    else:
        k = max(range(len(read)), key=lambda i: scores[i])
        start, end = own[k]
        none = read[0].none
        least = min((n for n in nothing if n is not None), default=None)
        if none is not None and least is not None and (target is not None or least > scores[k]):
            k, start, end = nothing.index(least), none, none
        elif target is not None:
            raise InputError(
                f"'{loaded.name}' has no token that stands for no answer, and {NO_ANSWER!r} is not in the context: "
                "give a part of the context"
            )
    chosen = read[k]
    details["windows"] = [
        {
            "start": _char(w, w.at),
            "end": w.encoded.tokens[w.at + w.last - w.first - 1].end,
            "tokens": len(w.encoded.ids),
            "score": s,
            "no_answer": n,
            "explained": w is chosen,
        }
        for w, s, n in zip(read, scores, nothing, strict=True)
    ]
    text, spans, place = _text(chosen, start, end, context)
    details["answer"] = {
        "start": None if place is None else place[0],
        "end": None if place is None else place[1],
        "score": chosen.score(start, end),
        "no_answer": place is None,
    }
    return Answered(chosen.encoded, [start, end], text, spans, target is None, details)


def _text(w: Window, start: int, end: int, context: str) -> tuple[str, list[tuple[int, int]], tuple[int, int] | None]:
    """The answer's text; the characters of start and end in it (the start's reach up to the last token, so that all of
    the answer belongs to one of them); and its characters in the context, None for no answer."""
    if start < w.at:
        return NO_ANSWER, [(0, len(NO_ANSWER))] * 2, None
    a, b = _char(w, start), w.encoded.tokens[end].end
    assert b is not None
    while a < b - 1 and context[a].isspace():
        a += 1
    while b - 1 > a and context[b - 1].isspace():
        b -= 1
    border, whole = _char(w, end) - a, (0, b - a)
    return context[a:b], [(0, border), (border, b - a)] if 0 < border < b - a else [whole, whole], (a, b)


def _char(w: Window, place: int) -> int:
    start = w.encoded.tokens[place].start
    assert start is not None
    return start


def _occurrences(w: Window, context: str, target: str) -> list[tuple[int, int]]:
    """Places (start, end) in a window of each occurrence that lies in it whole."""
    tokens = w.encoded.tokens[w.at : w.at + w.last - w.first]
    out, at = [], context.find(target)
    while at >= 0:
        inside = [i for i, t in enumerate(tokens) if _overlaps(t, context, at, at + len(target))]
        low, high = tokens[0].start or 0, tokens[-1].end or 0
        if inside and low <= at and at + len(target) <= high:
            out.append((w.at + inside[0], w.at + inside[-1]))
        at = context.find(target, at + 1)
    return out


def _overlaps(t: Token, context: str, start: int, end: int) -> bool:
    """Does a token hold a visible character of this stretch?"""
    if t.start is None or t.end is None:
        return False
    return any(not context[c].isspace() for c in range(max(t.start, start), min(t.end, end)))


def _missing(loaded: LoadedModel, context: str, target: str) -> InputError:
    if target in context:
        return InputError(
            f"the target {target[:60]!r} lies in no window as a whole: make stride at least as long as it, or "
            "window larger"
        )
    words = context.split()
    size = max(len(target.split()), 1)
    stretches = [" ".join(words[k : k + size]) for k in range(max(len(words) - size + 1, 1))]
    near = difflib.get_close_matches(target, stretches, n=1, cutoff=0.4)
    hint = f"; the nearest part of it is {near[0]!r}" if near else ""
    return InputError(
        f"the target {target[:60]!r} is not in the context, and '{loaded.name}' answers with parts of it{hint}"
    )


def find(span: str | tuple[int, int], text: str, tokens: Sequence[tuple[int, int]], name: str = "span") -> Span:
    """The target ``start`` or ``end`` as a span. Raises ``InputError`` for anything else."""
    if span not in ENDS:
        called = "span" if name == "span" else f"span '{name}'"
        raise InputError(
            f"{called} should be 'start' or 'end', given {span!r}: an answer in a context is a start and an end, and "
            "has no other parts (leave span out for both)"
        )
    i = ENDS.index(str(span))
    start, end = tokens[i]
    return Span(text[start:end], start, end, (i,))


def contrast(
    loaded: LoadedModel, encoded: Encoded, answer: Sequence[int], text: str, instead_of: str
) -> tuple[Objective, dict[str, Any]]:
    """log p(span) - log p(another span of the same window), start against start and end against end."""
    assert encoded.messages is not None
    check_text(instead_of, "instead_of")
    context = encoded.messages[1]["content"]
    at = next(i for i, t in enumerate(encoded.tokens) if t.message == 1)
    count = sum(t.message == 1 for t in encoded.tokens)
    w = Window(encoded, 0, count, at, None, torch.empty(2, 0))
    found = _occurrences(w, context, instead_of) if instead_of.strip() else []
    if not found:
        raise InputError(
            f"instead_of {instead_of[:60]!r} is not in the part of the context that was read: expected another answer "
            "from it"
        )
    other = found[0]
    if list(other) == list(answer):
        raise InputError(f"nothing to contrast between the answer {text!r} and {instead_of!r}: they are the same span")
    places = torch.tensor(other)

    def function(logits: Tensor, ids: Tensor) -> Tensor:
        there = places.to(logits.device).expand(logits.shape[:-1])
        return logit(logits, ids.expand(logits.shape[:-1])) - logit(logits, there)

    recipe = RECIPES["contrast"]
    differ = [i for i in range(2) if other[i] != answer[i]]
    details = {
        "instead_of": instead_of,
        "answer": text,
        "other": instead_of,
        "pairs": [{"target": i, "text": ENDS[i], "other": ENDS[i], "id": other[i]} for i in differ],
        "plain_logprob": [],
        "left_out": [],
    }
    return Objective(recipe.name, recipe.formula, recipe.unit, function), details
