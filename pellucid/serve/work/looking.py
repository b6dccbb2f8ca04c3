"""What the model expects, and how it comes to it: next tokens, strategies, surprisal, the logit lens, anatomy.

Next tokens and surprisal of several requests run as one batch (``lens/together.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pellucid.serve import requests as ask
from pellucid.serve.jobs import Job, Made, Step
from pellucid.serve.lane import Voice
from pellucid.serve.settings import Settings
from pellucid.serve.work.prompts import check_length, check_tokens, plain, size_of, title


def next_tokens(asked: ask.Next, settings: Settings) -> list[Step]:
    """Step by step; those whose strategy chooses one token at a time run as a batch."""
    how: dict[str, Any] = {n: getattr(asked, n) for n in ("steps", "top_k", "strategy", "seed", "raw", "begin")}

    def read(voice: Voice) -> Any:
        from pellucid.lens.nexttokens import read

        found = read(voice.loaded, plain(asked.prompt), **how)
        check_tokens(len(found.encoded.ids) + asked.steps, settings)
        return found

    def alone(voice: Voice, job: Job, before: Any) -> Made:
        from pellucid.lens.nexttokens import next_tokens

        read(voice)
        found = next_tokens(voice.loaded, plain(asked.prompt), progress=job.progress, **how)
        return Made("next", found, title(asked.prompt))

    def many(voice: Voice, jobs: Sequence[tuple[Job, Step]]) -> list[Any]:
        from pellucid.lens.together import can_batch, next_tokens_together

        if not can_batch(voice.loaded):
            return [step.run(voice, job, None) for job, step in jobs]
        return together(voice, jobs, lambda rows: next_tokens_together(voice.loaded, rows), "next")

    single = asked.strategy.split(":")[0].strip() not in ("beam", "contrastive")
    return [
        Step(
            "quick",
            alone,
            key="next" if single else None,
            size=size_of(asked.prompt),
            passes=len(asked.begin) + asked.steps - 1,
            many=many if single else None,
            read=read,
            title=title(asked.prompt),
        )
    ]


def together(voice: Voice, jobs: Sequence[tuple[Job, Step]], run: Any, kind: str) -> list[Any]:
    """Read each request; those that can be read run as one, the others get their own error."""
    outcomes: list[Any] = []
    rows: list[Any] = []
    for job, step in jobs:
        try:
            job.check()
            assert step.read is not None  # whatever has a key has it
            rows.append(step.read(voice))
            outcomes.append(None)
        except Exception as e:
            outcomes.append(e)
    made = iter(run(rows) if rows else ())
    return [
        Made(kind, next(made), step.title) if outcome is None else outcome
        for outcome, (_, step) in zip(outcomes, jobs, strict=True)
    ]


def surprisal(asked: ask.Surprisal, settings: Settings) -> list[Step]:
    """Of a text; texts of one window run as a batch."""

    def read(voice: Voice) -> Any:
        from pellucid.lens.surprisal import read

        found = read(voice.loaded, asked.text, top_k=asked.top_k)
        check_tokens(len(found.own), settings)
        return found

    def alone(voice: Voice, job: Job, before: Any) -> Made:
        from pellucid.lens.surprisal import surprisal

        read(voice)
        return Made(
            "surprisal",
            surprisal(voice.loaded, asked.text, top_k=asked.top_k, progress=job.progress),
            asked.text,
        )

    def many(voice: Voice, jobs: Sequence[tuple[Job, Step]]) -> list[Any]:
        from pellucid.lens.surprisal import surprisal
        from pellucid.lens.together import surprisal_together

        def run(rows: list[Any]) -> list[Any]:
            whole = [r for r in rows if len(r.windows) == 1]
            found = iter(surprisal_together(voice.loaded, whole) if whole else ())
            return [
                next(found) if len(r.windows) == 1 else surprisal(voice.loaded, r.text, top_k=r.top_k) for r in rows
            ]

        return together(voice, jobs, run, "surprisal")

    size = size_of(asked.text)
    return [Step("quick", alone, key="surprisal", size=size, many=many, read=read, title=asked.text)]


def decode(asked: ask.Decode, settings: Settings) -> list[Step]:
    """Strategies side by side."""

    def run(voice: Voice, job: Job, before: Any) -> Made:
        from pellucid.lens.decode import decode

        prompt = plain(asked.prompt)
        check_length(voice, prompt, settings, raw=asked.raw)
        found = decode(
            voice.loaded,
            prompt,
            asked.strategies,
            steps=asked.steps,
            seed=asked.seed,
            raw=asked.raw,
            progress=job.progress,
        )
        return Made("decodings", found, title(asked.prompt))

    return [Step("writing", run)]


def lens(asked: ask.Lens, settings: Settings) -> list[Step]:
    """The grid of layers and positions."""

    def run(voice: Voice, job: Job, before: Any) -> Made:
        from pellucid.lens.logitlens import logit_lens

        prompt = plain(asked.prompt)
        check_length(voice, prompt, settings, raw=asked.raw)
        found = logit_lens(
            voice.loaded,
            prompt,
            kind=asked.kind,
            of=asked.of,
            last=asked.last,
            raw=asked.raw,
            progress=job.progress,
        )
        return Made("logit_lens", found, title(asked.prompt))

    return [Step("long", run)]


def anatomy(asked: ask.Anatomy, settings: Settings) -> list[Step]:
    """Modules and shapes."""

    def run(voice: Voice, job: Job, before: Any) -> Made:
        from pellucid.lens.anatomy import anatomy

        return Made("anatomy", anatomy(voice.loaded, asked.sentence), asked.sentence)

    return [Step("long", run)]
