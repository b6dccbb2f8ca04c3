"""Supervised fine-tuning on conversations: what ``pellucid lab tune`` does.

    from pellucid.lab.tune import tune
    from pellucid.lab.training.tuning import Tuning
    tune(Tuning("smollm2-135m-instruct", ("chats.jsonl",), lora=16), "runs/mine")

The assistant's replies alone are learned. The folder is an ordinary model afterwards, ``pellucid.load("runs/mine")``;
with LoRA the adapter lies in it too (``adapter``), and checkpoints hold nothing else. Called again with the same
options, it goes on where it was stopped.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import InputError, ModelError, OutputError
from pellucid.lab import lora
from pellucid.lab.folder import RUN, claim, publish, read_weights
from pellucid.lab.training.tuning import Run, Tuning
from pellucid.progress import Progress, silent

if TYPE_CHECKING:
    from pellucid.lab.data.chats import Example
    from pellucid.lab.data.replies import Left
    from pellucid.lab.training.settings import Train
    from pellucid.models.load import LoadedModel

REPORT = "tune.json"
ADAPTER = "adapter"


@dataclass(frozen=True)
class Tuned:
    """``before`` and ``after``: nats a learned token over the held-out conversations (None where there are none);
    ``tokens`` that were learned, over all epochs; ``learning`` of ``parameters`` changed; ``cut`` and ``left_out`` of
    all ``conversations`` were longer than the block; ``prompt`` is of a held-out conversation, and ``reply`` what the
    tuned model says there; ``first``: is this the process that writes and reports."""

    folder: str
    model: str
    lora: int | None
    conversations: int
    held_out: int
    cut: int
    left_out: int
    steps: int
    tokens: int
    seconds: float
    parameters: int
    learning: int
    before: float | None
    after: float | None
    stopped: bool
    prompt: str = ""
    reply: str = ""
    first: bool = True
    notes: tuple[str, ...] = ()


def tune(
    tuning: Tuning,
    out: str | Path,
    *,
    device: str = "auto",
    load: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    watch: Callable[[dict[str, Any]], None] = lambda metrics: None,
    stop: Callable[[], bool] = lambda: False,
) -> Tuned:
    """Tune a model into the folder ``out``, or go on with what an earlier call began there.

    ``load``: more keywords of ``load_model`` (``revision``, ``accept_license``, ...). ``watch`` is given a step's
    numbers, those of ``metrics.jsonl`` and ``of_steps``; ``stop`` is asked between steps. Raises ``InputError`` for
    conversations that cannot be used, ``TemplateError`` where the chat template cannot be followed, ``OptionError`` for
    a folder of other options, ``NumericError`` for a loss that is no number, ``OutputError`` where nothing can be
    written.
    """
    import torch

    from pellucid.lab.data import chats
    from pellucid.lab.data.sources import fingerprint
    from pellucid.lab.training.completion import Completions
    from pellucid.lab.training.loop import Loop
    from pellucid.lab.training.world import join

    folder = Path(out)
    lines = chats.read(tuning.sources)
    chats.split(lines, tuning.held_out, 0)  # are there enough of them?
    hashes = fingerprint(tuning.sources)
    with join(device) as place:
        loaded = _load(tuning, str(place.device), dict(load or {}), progress)
        learned, held, left, settings = _prepare(tuning, loaded, lines, progress)
        run = Run(tuning, settings, hashes)
        if place.first:
            _begin(folder, run)
        place.wait()
        torch.manual_seed(settings.seed)
        network: Any = loaded.network
        adapted: Any = None
        if tuning.lora is not None:
            adapted = lora.attach(
                network, rank=tuning.lora, alpha=tuning.alpha, dropout=tuning.dropout, name=tuning.model
            )
        else:
            network.requires_grad_(True)
        pad = _padding(loaded)
        batches = chats.Chats(learned, rows=settings.rows, pad=pad, seed=settings.seed)
        micro = max(1, settings.rows // settings.accumulate)

        def save(where: Path) -> None:
            if adapted is None:
                _write(network, loaded.tokenizer, where, loop.weights)
            else:
                lora.save(adapted, where)

        def held_out() -> float:
            total, count = 0.0, 0
            for batch in chats.in_order(held, rows=micro, pad=pad):
                nll, _ = loop.learner.of(batch.to(place.device))
                total, count = total + float(nll), count + batch.count
            return total / count

        loop = Loop(
            network,
            batches,
            settings=settings,
            recipe=run.as_dict(),
            out=folder,
            place=place,
            save=save,
            restore=lambda where: read_weights(network, where) if adapted is None else lora.restore(adapted, where),
            evaluate=held_out if held else None,
            learner=Completions(network),
            watch=(lambda metrics: watch({**metrics, "of_steps": settings.steps})) if place.first else lambda m: None,
            stop=stop,
        )
        before = _before(loop, folder) if held else None
        learning = sum(p.numel() for p in network.parameters() if p.requires_grad)
        done = loop.run()
        found = Tuned(
            folder=str(folder),
            model=tuning.model,
            lora=tuning.lora,
            conversations=len(lines),
            held_out=len(held),
            cut=left.cut,
            left_out=left.out,
            steps=done.steps,
            tokens=done.tokens,
            seconds=done.seconds,
            parameters=sum(p.numel() for p in network.parameters()) - (0 if adapted is None else learning),
            learning=learning,
            before=before,
            after=done.loss,
            stopped=done.stopped,
            first=place.first,
            notes=done.notes,
        )
        if not done.stopped and place.first:
            found = _finish(found, loaded, adapted, loop.weights, held, folder)
        place.wait()
        return found


def _load(tuning: Tuning, device: str, more: dict[str, Any], progress: Progress) -> LoadedModel:
    from pellucid.lab.evaluation.likelihood import check_causal
    from pellucid.models.load import load_model
    from pellucid.models.quantization import scheme

    loaded = load_model(tuning.model, device=device, dtype=tuning.dtype, progress=progress, **more)
    check_causal(loaded, "tuning on conversations")
    packed = scheme(loaded.network)
    if packed is not None:
        raise ModelError(
            f"the weights of '{loaded.name}' are packed by {packed} and cannot be tuned and merged: tune the original, "
            "and quantise what comes of it"
        )
    return loaded


def _prepare(
    tuning: Tuning, loaded: LoadedModel, lines: list[Any], progress: Progress
) -> tuple[list[Example], list[Example], Left, Train]:
    """Conversations to learn and held out, what became of long ones, and how it is trained."""
    from pellucid.lab.data import chats, replies

    first = tuning.settings(1, loaded.context)
    examples, left = replies.encode(
        loaded,
        lines,
        length=first.context,
        long=tuning.long,
        raw=tuning.raw,
        last_reply=tuning.last_reply,
        progress=progress,
    )
    # Split before those that do not fit are taken out: which are held out is then no matter of the block.
    learned, held = ([e for e in some if e is not None] for some in chats.split(examples, tuning.held_out, first.seed))
    if not learned or (tuning.held_out and not held):
        raise InputError(
            f"{left.out} of {len(lines)} conversations are longer than the block of {first.context} tokens, and too "
            "few are left: give a longer one (--context), or shorter conversations"
        )
    return learned, held, left, tuning.settings(-(-len(learned) // first.rows), loaded.context)


def _padding(loaded: LoadedModel) -> int:
    """A token for places that nothing looks at."""
    found = loaded.tokenizer.pad_token_id
    return int(loaded.tokenizer.eos_token_id if found is None else found)


def _begin(folder: Path, run: Run) -> None:
    """Claim the folder. Raises ``OutputError`` for one that holds something else, ``InputError`` where conversations
    have changed since the run began."""
    if not (folder / RUN).is_file():
        claim(folder, run)
        return
    kept = json.loads((folder / RUN).read_text(encoding="utf-8"))
    if "tune" not in kept:
        raise OutputError(f"the folder {folder} holds another kind of run: choose another --out")
    if not (folder / "checkpoints").is_dir():  # it never took a step: whatever is asked for now may begin here
        _put(folder / RUN, run.as_dict())
        (folder / REPORT).unlink(missing_ok=True)
        return
    for source, digest in run.hashes.items():
        if kept["data"].get(source, digest) != digest:
            raise InputError(
                f"{source} is not what it was when this run began (its hash differs): bring the file back, or start a "
                "new run with another --out"
            )


def _before(loop: Any, folder: Path) -> float | None:
    """The held-out loss of the model as it came, measured once and kept for when the run goes on."""
    import torch

    from pellucid.lab.training import precision

    path = folder / REPORT
    if path.is_file():
        kept: float | None = json.loads(path.read_text(encoding="utf-8"))["before"]
        return kept
    if loop.step:
        return None
    loop.network.eval()
    with torch.no_grad(), precision.context(loop.kind, loop.place.device):
        found: float = loop.evaluate()
    if loop.place.first:
        _put(path, {"before": found})
    loop.place.wait()
    return found


def _put(path: Path, found: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
        partial.replace(path)
    except OSError as e:
        raise OutputError(f"cannot write {path}: {e.strerror or e}") from None


def _write(network: Any, tokenizer: Any, where: Path, weights: dict[str, Any] | None) -> None:
    from pellucid.models.quiet import quiet_bars

    with quiet_bars():
        network.save_pretrained(where, state_dict=weights)
    tokenizer.save_pretrained(where)


def _finish(
    found: Tuned, loaded: LoadedModel, adapted: Any, weights: dict[str, Any] | None, held: list[Example], folder: Path
) -> Tuned:
    """Adapter, merged model and report into the run's folder; a reply to look at."""
    from pellucid.models.load import LoadedModel as Loaded
    from pellucid.models.load import load_model

    network: Any = loaded.network
    if adapted is not None:
        _save_adapter(adapted, folder)
        network = lora.merged(adapted)
    publish(lambda where: _write(network, loaded.tokenizer, where, weights), folder)
    if weights is not None:  # FSDP spread what is in memory
        made = load_model(str(folder), device=str(loaded.device))
    else:
        made = Loaded.wrap(network, loaded.tokenizer, name=str(folder))
    if held:
        prompt, reply = _answer(made, min(held, key=lambda e: e.prompt))
        found = dataclasses.replace(found, prompt=prompt, reply=reply)
    _put(folder / REPORT, dataclasses.asdict(found))
    return found


def _save_adapter(adapted: Any, folder: Path) -> None:
    partial = folder / f".{ADAPTER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        lora.save(adapted, partial)
        shutil.rmtree(folder / ADAPTER, ignore_errors=True)
        partial.replace(folder / ADAPTER)
    except OSError as e:
        raise OutputError(f"the adapter cannot be written into {folder}: {e.strerror or e}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _answer(loaded: LoadedModel, example: Example, *, tokens: int = 48) -> tuple[str, str]:
    """What a held-out conversation asks last, and what the model says to it."""
    from pellucid.models.generate import generate

    ids = example.ids[: example.prompt].tolist()
    room = tokens if loaded.context is None else min(tokens, loaded.context - len(ids))
    try:
        said = generate(loaded, ids, max_new_tokens=room) if room > 0 else []
    except InputError:  # it ends the reply at once: there is nothing to show
        said = []
    return example.asked, str(loaded.tokenizer.decode(said, skip_special_tokens=True))
