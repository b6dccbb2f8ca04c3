"""See through a model as it learns: one prompt, explained at every checkpoint of a run.

    pellucid lab watch runs/mine "ROMEO:" --html watch.html

    from pellucid.lab.watch import watch
    watch("runs/mine", "The capital of France is", answer=" Paris").save("watch.html")

The prompt and the answer are the same at every checkpoint, and so is the method: what changes is the model alone. A
run keeps all its checkpoints with ``--keep-last 0``.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import InputError, OptionError
from pellucid.lab.curve import read as read_curve
from pellucid.lab.training.checkpoints import Checkpoints, Found
from pellucid.lab.watched import Followed, Point, Seen, Watched
from pellucid.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.models.load import LoadedModel
    from pellucid.trace.result import Trace

TOKENS = 8  # of an answer, or of what a checkpoint writes, at most
PROMPT = 40  # tokens of a prompt that is taken from the held-out text
MOST = 40  # checkpoints that are looked at
TOP = 5
FOLLOWED = 6  # tokens whose probability is told at every checkpoint
POINTS = 400  # of a curve


def watch(
    run: str | Path,
    prompt: str | None = None,
    answer: str | None = None,
    *,
    method: str = "auto",
    top_k: int = TOP,
    most: int = MOST,
    raw: bool = False,
    device: str = "auto",
    progress: Progress = silent,
) -> Watched:
    """Explain ``answer`` to ``prompt`` at every checkpoint of the folder ``run``.

    ``prompt``: None takes the beginning of the held-out text. ``answer``: None takes what the last checkpoint says
    (greedily, eight tokens). ``method``: as of ``explain``; ``auto`` is settled once, for all. ``most``: so many
    checkpoints, evenly spaced, the first and the last among them. Raises ``InputError`` for a folder without
    checkpoints, ``OptionError``, and what ``explain`` raises.
    """
    from pellucid.lens.nexttokens import check_count, forced

    began = time.perf_counter()
    folder = Path(run)
    check_count(most, "most")
    check_count(top_k, "top_k")
    found = checkpoints(folder)
    some = evenly(found, most)
    curve = read_curve(folder)
    last = opened(some[-1], folder, device)
    if last.kind != "causal":
        raise InputError(f"{folder} holds no model that writes ({last.kind}): there is no next token to watch")
    if prompt is None:
        room = PROMPT if last.context is None else max(1, min(PROMPT, last.context - TOKENS))
        prompt, raw = beginning(folder, tokens=room), True
    said, chosen = _settle(last, prompt, answer, method, raw)
    rows: list[Seen] = []
    probs: list[Tensor] = []  # [vocabulary] each
    for k, checkpoint in enumerate(some):
        progress("watching checkpoints", k, len(some))
        loaded = last if k == len(some) - 1 else opened(checkpoint, folder, device)
        trace = _explained(loaded, prompt, said, chosen, raw)
        rows.append(_seen(checkpoint, loaded, trace, prompt, top_k, raw))
        logits = forced(loaded, [s.id for s in trace.sources], [trace.targets[0].id])
        probs.append(logits[0].float().softmax(-1).cpu())
    progress("watching checkpoints", len(some), len(some))
    return Watched(
        run=folder.name,
        prompt=prompt,
        answer=trace.answer.text,
        given=answer is not None,
        tokens=tuple(s.text for s in trace.sources),
        frame=tuple(s.start is None for s in trace.sources),
        method=trace.method.name,
        signed=trace.method.signed,
        checkpoints=tuple(_compared(rows)),
        followed=_followed(rows, probs),
        left_out=len(found) - len(some),
        loss=_points(curve.loss),
        held_out=_points(curve.held_out),
        model=replace(trace.model, name=folder.name),
        seconds=round(time.perf_counter() - began, 3),
        versions=trace.versions,
    )


def checkpoints(folder: Path) -> list[Found]:
    """The whole checkpoints of a run, from the first. Raises ``InputError``."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: expected one that 'pellucid lab train' made")
    found = Checkpoints(folder, {}).steps()
    if not found:
        raise InputError(
            f"{folder} holds no checkpoint: expected a folder that 'pellucid lab train', 'tune' or 'distill' made"
        )
    return found


def evenly(found: list[Found], most: int) -> list[Found]:
    """``most`` of them, evenly spaced by place; the first and the last stay."""
    if len(found) <= most:
        return found
    if most == 1:
        return found[-1:]
    return [found[round(k * (len(found) - 1) / (most - 1))] for k in range(most)]


def opened(checkpoint: Found, run: Path, device: str) -> LoadedModel:
    """The model of a checkpoint; adapters are put into the model that they belong to."""
    from pellucid.lab import lora
    from pellucid.models.load import LoadedModel, load_model

    if not (checkpoint.folder / lora.WEIGHTS).is_file():
        return load_model(checkpoint.folder, device=device)
    about = json.loads((checkpoint.folder / "adapter_config.json").read_text(encoding="utf-8"))
    loaded = load_model(about["base_model_name_or_path"], device=device)
    adapted = lora.attach(loaded.network, rank=about["r"], alpha=about["lora_alpha"])
    lora.restore(adapted, checkpoint.folder)
    return LoadedModel.wrap(lora.merged(adapted), loaded.tokenizer, name=str(run))


def beginning(run: Path, *, tokens: int) -> str:
    """The first tokens of what a run holds out. Raises ``InputError`` where it has no packed text."""
    import numpy as np
    from transformers import AutoTokenizer

    folder = run / "data"
    try:
        manifest = json.loads((folder / "data.json").read_text(encoding="utf-8"))
        ids = np.fromfile(folder / "held-out.bin", dtype=manifest["dtype"], count=tokens)
    except (OSError, KeyError, ValueError):
        raise InputError(f"{run} holds no packed text to take a prompt from: give a prompt") from None
    tokenizer: Any = AutoTokenizer.from_pretrained(folder / "tokenizer")
    text: str = tokenizer.decode(ids.tolist(), skip_special_tokens=True)
    if not text.strip():
        raise InputError("the held-out text begins with nothing that can be read: give a prompt")
    return text


def _settle(last: LoadedModel, prompt: str, answer: str | None, method: str, raw: bool) -> tuple[str, str]:
    """The answer and the method, from the last checkpoint."""
    from pellucid.trace.explain import explain

    if answer is not None and not answer:
        raise OptionError("the answer is empty: give what the model should say, or leave it out")
    trace = explain(last, prompt, answer, method=method, raw=raw, max_new_tokens=TOKENS, trust=False)
    return trace.answer.text, trace.method.name


def _explained(loaded: LoadedModel, prompt: str, answer: str, method: str, raw: bool) -> Trace:
    from pellucid.trace.explain import explain

    return explain(loaded, prompt, answer, method=method, raw=raw, trust=False)


def _seen(checkpoint: Found, loaded: LoadedModel, trace: Trace, prompt: str, top_k: int, raw: bool) -> Seen:
    from pellucid.lens.nexttokens import next_tokens
    from pellucid.lens.results import Expected

    vocabulary = int(loaded.network.config.get_text_config().vocab_size)
    room = TOKENS if loaded.context is None else max(1, min(TOKENS, loaded.context - len(trace.sources)))
    after = next_tokens(loaded, prompt, steps=room, top_k=min(top_k, vocabulary), raw=raw)
    loss: Any = checkpoint.state.get("loss")
    return Seen(
        step=checkpoint.step,
        held_out=None if loss is None else float(loss),
        logprob=sum(t.logprob for t in trace.targets) / len(trace.targets),
        choices=tuple(Expected(c.text, c.id, c.prob) for c in after.steps[0].choices),
        written=after.text,
        scores=tuple(float(v) for v in trace.total),
        like_last=None,
    )


def _followed(rows: list[Seen], probs: list[Tensor]) -> tuple[Followed, ...]:
    """The likeliest token of each checkpoint, those of the last ones first."""
    wanted: dict[int, str] = {}
    for row in reversed(rows):
        wanted.setdefault(row.choices[0].id, row.choices[0].text)
    return tuple(Followed(t, i, tuple(float(p[i]) for p in probs)) for i, t in list(wanted.items())[:FOLLOWED])


def _compared(rows: list[Seen]) -> list[Seen]:
    """With each one's rank correlation with the last."""
    import numpy as np

    from pellucid.trace.combine import spearman

    last = np.abs(np.array(rows[-1].scores))
    found = []
    for row in rows:
        like = float(spearman(np.abs(np.array(row.scores)), last))
        found.append(replace(row, like_last=like if np.isfinite(like) else None))
    return found


def _points(curve: tuple[tuple[int, float], ...]) -> tuple[Point, ...]:
    """At most ``POINTS`` of them, each the mean of a stretch of steps, named by its last."""
    size = -(-len(curve) // POINTS) or 1
    stretches = [curve[k : k + size] for k in range(0, len(curve), size)]
    return tuple(Point(s[-1][0], sum(v for _, v in s) / len(s)) for s in stretches)
