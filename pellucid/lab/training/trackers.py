"""Where else a run's numbers go: TensorBoard, Weights & Biases, Trackio, each by its own package.

    with tracking(["tensorboard"], Path("runs/mine"), recipe) as track: track({"step": 1, "loss": 4.2})

One function a tracker: it opens a run and gives (log, close).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pellucid.errors import MissingExtraError, unknown

Log = Callable[[dict[str, Any]], None]


def _tensorboard(run: Path, recipe: dict[str, Any]) -> tuple[Log, Callable[[], None]]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(run / "tensorboard"))

    def log(metrics: dict[str, Any]) -> None:
        for name, value in metrics.items():
            if name != "step":
                writer.add_scalar(name, value, metrics["step"])

    return log, writer.close


def _wandb(run: Path, recipe: dict[str, Any]) -> tuple[Log, Callable[[], None]]:
    import wandb

    made = wandb.init(project="pellucid", name=run.name, dir=str(run), config=recipe)
    return (lambda metrics: made.log(metrics, step=metrics["step"])), made.finish


def _trackio(run: Path, recipe: dict[str, Any]) -> tuple[Log, Callable[[], None]]:
    import trackio

    trackio.init(project="pellucid", name=run.name, config=recipe)
    return trackio.log, trackio.finish


TRACKERS = {"tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio}


@contextmanager
def tracking(names: Sequence[str], run: Path, recipe: dict[str, Any]) -> Iterator[Log]:
    """A callback that tells every named tracker, each opened when there is something to tell.

    Raises ``OptionError``, ``MissingExtraError``.
    """
    for name in names:
        if name not in TRACKERS:
            raise unknown("tracker", name, list(TRACKERS))
        if importlib.util.find_spec(name) is None:
            extra = "lab" if name == "tensorboard" else name
            raise MissingExtraError(f"--track {name} needs {name}: pip install 'pellucid[{extra}]'")
    logs: list[Log] = []
    with ExitStack() as open_:

        def tell(metrics: dict[str, Any]) -> None:
            if not logs:
                for name in names:
                    log, close = TRACKERS[name](run, recipe)
                    open_.callback(close)
                    logs.append(log)
            for log in logs:
                log(metrics)

        yield tell
