"""Which method is right? Every method on the same questions of a dataset, judged by the same ablations.

    pellucid bench faithfulness xquad-en.json --model smollm2-135m-instruct --methods ifr,gim --out board/

The model's own answer to each example is what is explained (``asking``): what it writes, its translation, its class, or
its part of a context. The example's text is what may go. Every method runs on the same answer and is judged
(``trace.faithful``) with shared ablations; its seconds are divided by those of a forward pass F measured just before
and after it. Each record is on disk before the next example begins: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pellucid.bench.asking import Asked, ask
from pellucid.bench.lines import read_any
from pellucid.bench.records import Records
from pellucid.errors import Error, InputError, OptionError, unknown
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent
from pellucid.trace import faithful as judging
from pellucid.trace.combine import spearman
from pellucid.trace.curves import roc_area
from pellucid.trace.engine import Run
from pellucid.trace.faithful import Judge, Verdict, importance
from pellucid.trace.memory import budget
from pellucid.trace.methods import Method, parse
from pellucid.trace.objective import OBJECTIVES
from pellucid.trace.randomise import randomised
from pellucid.trace.runs import run_class
from pellucid.version import __version__

PROMPT = "{context}\n\n{question}"
RANKS = ("signed", "magnitude")


@dataclass(frozen=True)
class Entry:
    """A row of the board: a method with parameters, written ``gim`` or ``gim:temperature=1``. ``@signed`` or
    ``@magnitude`` at the end reads its scores so, instead of as the method says (``Method.ranks``)."""

    label: str
    method: Method
    parameters: dict[str, Any]
    ranks: str

    @classmethod
    def parse(cls, text: str) -> Entry:
        """From text. Raises ``OptionError``."""
        label = text.strip()
        name, at, ranks = label.rpartition("@")
        if at and ranks not in RANKS:
            raise unknown("way to read scores", ranks, list(RANKS))
        chosen, parameters = parse(name if at else label)
        return cls(label, chosen, parameters, ranks if at else chosen.ranks)


@dataclass(frozen=True)
class Settings:
    """What the numbers depend on; the same in a folder's first run and in those that go on with it.

    ``skip`` leaves out the file's first paragraphs, so that methods can be tuned on some and measured on others.
    ``randomise``: on how many examples methods also run on a model with random weights.
    """

    data: str
    sha256: str
    model: str
    prompt: str = PROMPT
    examples: int = 40
    skip: int = 0
    max_prompt_tokens: int = 320
    max_new_tokens: int = 12
    ablations: int = judging.ABLATIONS
    orders: int = 4
    randomise: int = 3
    seed: int = 0


def check(settings: Settings) -> None:
    """Raise ``OptionError`` for settings that cannot be run."""
    if settings.prompt.count("{context}") != 1 or settings.prompt.count("{question}") != 1:
        raise OptionError(f"prompt should hold {{context}} and {{question}} once each, given {settings.prompt!r}")
    for name in ("examples", "max_prompt_tokens", "max_new_tokens", "orders"):
        if getattr(settings, name) < 1:
            raise OptionError(f"{name} should be at least 1, given {getattr(settings, name)}")
    for name in ("skip", "randomise"):
        if getattr(settings, name) < 0:
            raise OptionError(f"{name} should be at least 0, given {getattr(settings, name)}")


def fingerprint(path: Path) -> str:
    """SHA-256 of a file. Raises ``InputError`` where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from None


def measure(
    loaded: LoadedModel,
    path: Path,
    entries: Sequence[Entry],
    out: Path,
    settings: Settings,
    progress: Progress = silent,
) -> Records:
    """Run what is not measured yet, and return all records. Raises what reading, encoding and running raise."""
    check(settings)
    labels = [e.label for e in entries]
    if len(set(labels)) < len(labels) or not labels:
        raise OptionError(f"methods should be one or more, each once, given {', '.join(labels) or 'none'}")
    for e in entries:
        e.method.check_kind(loaded.kind, loaded.name)
    examples = read_any(path)
    records = Records.open(out, {**asdict(settings), "pellucid": __version__})
    done: dict[str, set[str]] = {}
    for r in records.lines:
        done.setdefault(r["example"], set()).add(r.get("method", ""))
    taken = 0
    for example in examples[settings.skip :]:
        if taken == settings.examples:
            break
        progress("examples", taken, settings.examples)
        missing = [e for e in entries if e.label not in done.get(example.id, set())]
        if example.id in done and not missing:
            taken += 1
            continue
        asked = ask(loaded, example, settings)
        if asked is None:
            continue
        sanity = taken < settings.randomise

        def report(stage: str, part: float, whole: float | None, taken: int = taken) -> None:
            progress(f"example {taken + 1} of {settings.examples}: {stage}", part, whole)

        records.add(*_records(loaded, asked, missing, settings, report, sanity, fresh=example.id not in done))
        taken += 1
    progress("examples", taken, settings.examples)
    if taken < settings.examples:
        raise InputError(
            f"{path.name} has {taken} examples of at most {settings.max_prompt_tokens} prompt tokens after the first "
            f"{settings.skip}, and {settings.examples} were asked for: the {taken} are measured; ask for fewer, or "
            "allow longer prompts"
        )
    return records


def _records(
    loaded: LoadedModel,
    asked: Asked,
    entries: Sequence[Entry],
    settings: Settings,
    progress: Progress,
    sanity: bool,
    fresh: bool,
) -> list[dict[str, Any]]:
    """Everything about one example: a record of its own, and one a method."""

    def new_run() -> Run:
        return run_class(loaded)(
            loaded,
            asked.encoded.ids,
            asked.answer,
            OBJECTIVES["logprob"],
            units=[[i] for i in asked.candidates],
            allowed=budget("auto", loaded.device),
            seed=settings.seed,
        )

    human = np.array(asked.human)
    scores, found = {}, []
    before = forward_seconds(new_run())
    for k, e in enumerate(entries):
        progress(e.label, k, len(entries))
        record: dict[str, Any] = {"example": asked.id, "method": e.label, "signed": e.ranks == "signed"}
        run = new_run()
        began = time.perf_counter()
        try:
            total = e.method(run, **e.parameters).total
        except Error as error:  # of ours, in a sentence: the board says so, and the other methods go on
            found.append({**record, "error": str(error)})
            continue
        synchronise(loaded)
        seconds = time.perf_counter() - began
        after = forward_seconds(new_run())
        own = importance(total.double().cpu().numpy()[asked.candidates], e.ranks)
        scores[e.label] = own
        record |= {
            "seconds": round(seconds, 4),
            "cost": round(seconds / ((before + after) / 2), 3),
            "forwards": run.forwards,
            "backwards": run.backwards,
            "roc": finite(roc_area(own, human)),
        }
        before = after
        if sanity:
            with randomised(loaded.network, seed=settings.seed):
                other = e.method(new_run(), **e.parameters).total.double().cpu().numpy()[asked.candidates]
            record["randomised"] = finite(spearman(np.abs(own), np.abs(importance(other, e.ranks))))
        found.append(record)
    run = new_run()
    run.progress = progress
    judge = Judge(run, ablations=settings.ablations, seed=settings.seed)
    orders = judge.random_orders(settings.orders, settings.seed) if fresh else {}
    verdicts = judge.verdicts({**scores, **orders})
    for record in found:
        if record["method"] in verdicts:
            record |= {k: _rounded(v) for k, v in asdict(verdicts[record["method"]]).items()}
    if fresh:
        mean = {n: finite(float(np.mean([getattr(verdicts[o], n) for o in orders]))) for n in Verdict.numbers()}
        found.insert(
            0,
            {
                "example": asked.id,
                "prompt_tokens": len(asked.encoded.ids),
                "answer_tokens": len(asked.answer),
                "candidates": len(asked.candidates),
                "marked": int(human.sum()),
                "answer": asked.text,
                "whole": round(judge.whole, 6),
                "forward_seconds": round(before, 4),
                "random": mean,
            },
        )
    return found


def forward_seconds(run: Run) -> float:
    """Seconds of F: one forward pass over prompt and answer."""
    began = time.perf_counter()
    run.values()
    synchronise(run.loaded)
    return time.perf_counter() - began


def synchronise(loaded: LoadedModel) -> None:
    """Wait for a GPU to finish, so that a clock tells the truth."""
    if loaded.device.type == "cuda":
        torch.cuda.synchronize(loaded.device)


def finite(x: float) -> float | None:
    """JSON knows no NaN."""
    return round(x, 6) if math.isfinite(x) else None


def _rounded(x: Any) -> Any:
    return [finite(v) for v in x] if isinstance(x, tuple) else finite(x)


def made(loaded: LoadedModel) -> dict[str, str]:
    """On what a board was made: device, threads, versions, day."""
    import transformers

    where = str(loaded.device)
    return {
        "device": f"{where}, {torch.get_num_threads()} threads" if where == "cpu" else where,
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
        "pellucid": __version__,
        "day": time.strftime("%Y-%m-%d", time.gmtime()),
    }
