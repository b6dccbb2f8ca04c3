"""Train a classification head, and the encoder under it, on texts with a class each: ``pellucid lab classify``.

    from pellucid.lab.classify import Settings, classify
    from pellucid.lab.data.labelled import read
    done = classify("encoder/", read("train.tsv", "dev.tsv"), "runs/sst2", settings=Settings(epochs=2))
    done.accuracy                           # Estimate(value=0.87, low=0.85, high=0.89, units=872)

The head is the architecture's own in transformers (``...ForSequenceClassification``: for BERT its pooler, dropout, one
matrix; Devlin et al. 2019, arXiv:1810.04805), the loss cross-entropy over the classes, all weights learn. The folder is
an ordinary model afterwards, which ``pellucid explain`` explains as a classifier. Called again with the same options,
it goes on where it was stopped.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import InputError, OptionError, OutputError, unknown
from pellucid.lab.evaluation.bootstrap import Estimate
from pellucid.lab.folder import RUN, claim, publish, read_weights
from pellucid.progress import Progress, silent

if TYPE_CHECKING:
    from pellucid.lab.data.labelled import Task
    from pellucid.lab.training.settings import Train

REPORT = "classify.json"
WARMUP = 0.1  # of the steps
EVALUATIONS = 4  # and checkpoints, over a run
DEFAULTS: dict[str, Any] = {
    "rows": 32,
    "context": 128,
    "rate": 5e-5,
    "betas": (0.9, 0.999),
    "decay": 0.01,
    "schedule": "linear",
    "least": 0.0,
}


@dataclass(frozen=True)
class Settings:
    """``epochs`` over the texts; ``train``: fields of ``lab.training.settings.Train``, over ``DEFAULTS``: a step reads
    ``rows`` texts, of each at most ``context`` tokens. Raises ``OptionError``."""

    epochs: float = 3.0
    train: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.epochs < math.inf:
            raise OptionError(f"epochs should be above 0, given {self.epochs:g}")
        self.of(1)  # what is wrong with ``train`` is said before a model is loaded

    def of(self, texts: int) -> Train:
        """How it is trained on so many texts. Raises ``OptionError``."""
        from pellucid.lab.training.settings import Train

        fields = [f.name for f in dataclasses.fields(Train)]
        for name in self.train:
            if name not in fields:
                raise unknown("option of training", name, fields)
        per_epoch = texts // max(1, int(self.train.get("rows", DEFAULTS["rows"])))
        steps = int(self.train.get("steps", max(1, round(self.epochs * per_epoch))))
        every = max(1, -(-steps // EVALUATIONS))
        usual = {**DEFAULTS, "warmup": round(WARMUP * steps), "evaluate_every": every, "save_every": every}
        made = Train(**{**usual, **self.train, "steps": steps})
        if made.spread == "fsdp":
            raise OptionError("fsdp spreads models that do not fit one device, and encoders do: choose spread = ddp")
        return made


@dataclass(frozen=True)
class Run:
    """What is compared when a run goes on, and written beside it."""

    model: str
    task: Task
    settings: Train

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        t = self.task
        kind = {"model": self.model, "labels": list(t.labels), "classes": list(t.classes), "share": t.share}
        train = {**dataclasses.asdict(self.settings), "betas": list(self.settings.betas)}
        return {"data": t.hashes, "classify": kind, "train": train}


@dataclass(frozen=True)
class Classified:
    """What came of it. ``loss`` (nats a text), ``accuracy`` and ``macro_f1`` are of the ``held_out`` texts, with
    bootstrap intervals, and None where the run was stopped; ``cut`` texts were longer than ``context`` tokens;
    ``first``: is this the process that writes and reports."""

    folder: str
    model: str
    classes: tuple[str, ...]
    texts: int
    held_out: int
    context: int
    cut: int
    steps: int
    seconds: float
    parameters: int
    loss: float | None = None
    accuracy: Estimate | None = None
    macro_f1: Estimate | None = None
    stopped: bool = False
    first: bool = True
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The same as JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1)


def classify(
    model: str,
    task: Task,
    out: str | Path,
    *,
    settings: Settings | None = None,
    device: str = "auto",
    load: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    watch: Callable[[dict[str, Any]], None] = lambda metrics: None,
    stop: Callable[[], bool] = lambda: False,
) -> Classified:
    """Train ``model`` (a folder, a Hub id, an embedded name, a .gguf file) on ``task`` in the folder ``out``, or go on
    with what an earlier call began there.

    ``load``: ``revision``, ``trust_remote_code``, ``accept_license``. ``watch`` is given a step's numbers, those of
    ``metrics.jsonl`` (but for tokens, which a run on texts does not count) and ``of_steps``; ``stop`` is asked between
    steps. Raises ``ModelError`` for a model that cannot have such a head, ``InputError`` for data that cannot be used
    or changed since the run began, ``OptionError`` for a folder of another run's options, ``NumericError`` for a loss
    that is no number, ``OutputError`` where nothing can be written, ``MissingExtraError``.
    """
    import torch

    from pellucid.lab import heads
    from pellucid.lab.data.labelled import Texts
    from pellucid.lab.evaluation.classification import accuracy, macro_f1
    from pellucid.lab.evaluation.extras import check_installed
    from pellucid.lab.training.loop import Loop
    from pellucid.lab.training.world import join
    from pellucid.models.quiet import quiet_bars

    check_installed("sklearn", "macro-F1", "lab")
    folder, train = Path(out), (settings or Settings()).of(len(task.train))
    with join(device) as place:
        torch.manual_seed(train.seed)
        loaded = heads.with_head(model, task.classes, progress=progress, **(load or {}))
        network: Any = loaded.network
        pad = int(network.config.pad_token_id)
        ids, cut = heads.encoded(loaded, task.train, train.context, progress)
        rest, _ = heads.encoded(loaded, task.held_out, train.context, progress)
        numbers, right = [task.number(e) for e in task.train], [task.number(e) for e in task.held_out]
        texts = Texts(ids, numbers, rows=train.rows, pad=pad, seed=train.seed)
        run = Run(model, task, train)
        if place.first:
            _begin(folder, run)
        place.wait()
        network.requires_grad_(True)

        def held_out() -> tuple[float, list[int]]:
            logits = heads.read_all(network, rest, pad)
            return float(torch.nn.functional.cross_entropy(logits, torch.tensor(right))), logits.argmax(-1).tolist()

        def save(where: Path) -> None:
            with quiet_bars():
                network.save_pretrained(where)
            loaded.tokenizer.save_pretrained(where)

        def tell(metrics: dict[str, Any]) -> None:
            watch({n: v for n, v in metrics.items() if "tokens" not in n} | {"of_steps": train.steps})

        done = Loop(
            network,
            texts,
            settings=train,
            recipe=run.as_dict(),
            out=folder,
            place=place,
            save=save,
            restore=lambda where: read_weights(network, where),
            evaluate=lambda: held_out()[0],
            learner=heads.learner(network),
            watch=tell if place.first else lambda metrics: None,
            stop=stop,
        ).run()
        found = Classified(
            folder=str(folder),
            model=model,
            classes=task.classes,
            texts=len(ids),
            held_out=len(rest),
            context=train.context,
            cut=cut,
            steps=done.steps,
            seconds=done.seconds,
            parameters=int(network.num_parameters()),
            stopped=done.stopped,
            first=place.first,
            notes=done.notes,
        )
        if not done.stopped and place.first:
            network.eval()
            loss, said = held_out()
            names = [n for k, n in enumerate(task.classes) if k in right or k in said]
            a, b = ([task.classes[k] for k in some] for some in (right, said))
            found = dataclasses.replace(
                found,
                loss=loss,
                accuracy=accuracy(a, b, names, train.seed),
                macro_f1=macro_f1(a, b, names, train.seed),
            )
            publish(save, folder)
            _put(folder / REPORT, found.to_json())
        place.wait()
        return found


def _begin(folder: Path, run: Run) -> None:
    """Claim the folder. Raises ``OutputError`` for one that holds something else, ``InputError`` where a file has
    changed since the run began."""
    if not (folder / RUN).is_file():
        claim(folder, run)
        return
    try:
        kept = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise OutputError(f"{folder / RUN} cannot be read ({e}): choose another --out") from None
    if "classify" not in kept:
        raise OutputError(f"the folder {folder} holds another kind of run: choose another --out")
    if not (folder / "checkpoints").is_dir():  # it never took a step: whatever is asked for now may begin here
        _put(folder / RUN, json.dumps(run.as_dict(), indent=1))
        return
    for path, digest in run.task.hashes.items():
        if kept["data"].get(path, digest) != digest:
            raise InputError(
                f"{path} is not what it was when this run began (its hash differs): bring the file back, or start a "
                "new run with another --out"
            )


def _put(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as e:
        raise OutputError(f"cannot write {path}: {e.strerror or e}") from None
