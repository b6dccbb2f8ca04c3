"""Token after token to text, streamed: whole characters only, stop texts, and what was read kept for the next turn.

said, kept = stepped(loaded, ids, Decoding("greedy", 64), 64, None, on_text=print)
"""

from __future__ import annotations

from pellucid.apps.speaker import Decoding, OnText, Said
from pellucid.errors import InputError, OptionError
from pellucid.lens.steps import Continued, walk
from pellucid.lens.strategies import parse
from pellucid.models.align import align_ids
from pellucid.models.generate import end_tokens, generate
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent


class Stream:
    """Text as it grows: hands on what is certain, so no half character, and nothing that a stop text may begin in."""

    def __init__(self, stop: tuple[str, ...], on_text: OnText | None) -> None:
        if any(not s for s in stop):
            raise OptionError("a stop text is empty: expected some characters")
        self.stop, self.on_text, self.given = stop, on_text, 0
        self.text, self.stopped = "", False

    def grow(self, text: str, *, last: bool = False) -> bool:
        """``text`` is all that was said so far; True where a stop text ends it here."""
        places = [at for s in self.stop if (at := text.find(s)) >= 0]
        if places:
            self.text, self.stopped, last = text[: min(places)], True, True
        else:
            self.text = text
        sure = len(self.text) if last else self._sure()
        if sure > self.given and self.on_text is not None:
            self.on_text(self.text[self.given : sure])
        self.given = max(self.given, sure)
        return self.stopped

    def _sure(self) -> int:
        sure = len(self.text.rstrip("\ufffd"))
        for s in self.stop:  # a stop text may have begun at the end
            for k in range(min(len(s) - 1, sure), 0, -1):
                if self.text[:sure].endswith(s[:k]):
                    sure -= k
                    break
        return sure


def stepped(
    loaded: LoadedModel,
    ids: list[int],
    decoding: Decoding,
    room: int,
    kept: Continued | None,
    *,
    on_text: OnText | None = None,
    progress: Progress = silent,
) -> tuple[Said, Continued | None]:
    """What a causal model says after ``ids``, at most ``room`` tokens, and what it has read by then."""
    import torch

    strategy = parse(decoding.strategy)
    stream = Stream(decoding.stop, on_text)
    if strategy.alone is not None:
        return _at_once(loaded, ids, decoding, room, stream, progress), None
    network = kept if kept is not None else Continued(loaded)
    reused = network.rewind(ids)
    ends, said, total, end = end_tokens(loaded), [], 0.0, "length"
    for k, step in enumerate(walk(loaded, ids, strategy, steps=room, seed=decoding.seed, network=network)):
        progress("writing", k + 1, room)
        total += float(torch.log_softmax(step.logits.double(), -1)[step.token])
        if step.token in ends:
            end = "stop"
            break
        said.append(step.token)
        if stream.grow(align_ids(loaded.tokenizer, said)[0]):
            end = "stop"
            break
    stream.grow(stream.text, last=True)
    counted = len(said) + (end == "stop" and not stream.stopped)
    return Said(stream.text, len(said), total / max(counted, 1), end, len(ids), reused), network


def _at_once(
    loaded: LoadedModel, ids: list[int], decoding: Decoding, room: int, stream: Stream, progress: Progress
) -> Said:
    """Strategies that know their text only when it is whole: beams, contrastive search."""
    import torch

    from pellucid.lens.decode import said_by
    from pellucid.lens.nexttokens import forced

    said, _ = said_by(loaded, ids, parse(decoding.strategy), steps=room, seed=decoding.seed, progress=progress)
    logprobs = torch.log_softmax(forced(loaded, ids, said).double(), -1)
    total = sum(float(logprobs[k, t]) for k, t in enumerate(said))
    ended = bool(said) and said[-1] in end_tokens(loaded)
    text = said[:-1] if ended else said
    stream.grow(align_ids(loaded.tokenizer, text)[0], last=True)
    end = "stop" if ended or stream.stopped else "length"
    return Said(stream.text, len(text), total / max(len(said), 1), end, len(ids))


def generated(
    loaded: LoadedModel, ids: list[int], decoding: Decoding, *, on_text: OnText | None, progress: Progress
) -> Said:
    """What an encoder-decoder writes: greedy, or drawn by a temperature."""
    import torch

    from pellucid.trace.objective import objective
    from pellucid.trace.runs import run_class

    strategy = parse(decoding.strategy)
    names = dict(strategy.parts)
    if set(names) - {"greedy", "temperature"}:
        raise OptionError(
            f"an encoder-decoder such as '{loaded.name}' writes by greedy or temperature:T here, given "
            f"'{decoding.strategy}'"
        )
    stream = Stream(decoding.stop, on_text)
    try:
        said = generate(
            loaded,
            ids,
            max_new_tokens=decoding.max_new_tokens,
            temperature=float(names.get("temperature") or 0.0),
            seed=decoding.seed,
            progress=progress,
        )
    except InputError:  # it ended at once
        return Said("", 0, 0.0, "stop", len(ids))
    run = run_class(loaded)(loaded, ids, said, objective("logprob"))
    with torch.no_grad():
        logp = torch.log_softmax(run.logits_after([ids])[0].double(), -1)
    total = sum(float(logp[k, t]) for k, t in enumerate(said))
    stream.grow(align_ids(loaded.tokenizer, said)[0], last=True)
    ended = len(said) < decoding.max_new_tokens or stream.stopped
    return Said(stream.text, len(said), total / len(said), "stop" if ended else "length", len(ids))
