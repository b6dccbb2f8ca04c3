"""A model and its three lanes; and all the models that may be asked for.

    desks = Desks(settings); desks.start()
    desks.named(None).put(job)                  # the default model
    desks.named("gemma3-270m")                  # loaded when it is first asked for

A request may come before the model is there: it waits in its lane.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.errors import OptionError, UnknownModelError
from pellucid.serve.jobs import Job
from pellucid.serve.lane import Lane, Voice
from pellucid.serve.pace import Pace
from pellucid.serve.settings import Settings
from pellucid.serve.turns import Turns

if TYPE_CHECKING:
    import torch

    from pellucid.models.load import LoadedModel

log = logging.getLogger("pellucid.serve")
#: Lane -> how long it computes before it gives way, in typical short passes (``pace``): a short request is done in one
#: turn, as a rule, and waits for no more than one turn of each of the others.
LANES = {"quick": 8.0, "writing": 0.6, "long": 1.0}
Load = Callable[[str], "LoadedModel"]
Memory = Callable[["torch.device"], int]


def shown_name(name: str) -> str:
    """A model as requests and results name it: of a folder or file its last part alone, so that no path gets out."""
    return Path(name).name if Path(name).exists() else name


class NotLoaded(Exception):
    """The model that is asked cannot be loaded."""


class Desk:
    """One model. ``state``: cold, loading, ready or failed; ``why`` it failed."""

    def __init__(self, source: str, settings: Settings, turns: Turns, load: Load, memory: Memory) -> None:
        self.source, self.name = source, shown_name(source)
        self.state, self.why = "cold", ""
        self.loaded: LoadedModel | None = None
        self._load, self._memory, self.turns, self._warm = load, memory, turns, settings.warm
        self._starting = threading.Lock()
        self.lanes = {
            lane: Lane(
                f"{self.name}/{lane}",
                turns,
                room=getattr(settings, lane),
                batch=settings.batch if lane == "quick" else 1,
                patience=settings.patience,
            )
            for lane in LANES
        }
        for lane in self.lanes.values():
            lane.forward = self._onward

    def start(self) -> None:
        """Load it, in a thread; what was started or is there already stays so."""
        with self._starting:
            if self.state in ("loading", "ready"):
                return
            self.state = "loading"
        threading.Thread(target=self._run, name=f"pellucid-load-{self.name}", daemon=True).start()

    def _run(self) -> None:
        try:
            loaded = self._load(self.source)
            memory = self._memory(loaded.device)
            with self.turns.mine(self.name):
                pace = Pace.measured(loaded)
            self.lanes["quick"].pace = pace
            warm = self._warm and loaded.kind == "causal"
            for name, lane in self.lanes.items():
                lane.quantum = LANES[name] * pace.typical
                lane.open(loaded, memory, warmed if warm and name == "long" else None)
        except Exception as e:
            log.exception("the model '%s' could not be loaded", self.name)
            self.state, self.why = "failed", str(e)
            for lane in self.lanes.values():
                lane.fail(NotLoaded(f"the model '{self.name}' could not be loaded: {e}"))
        else:
            self.loaded, self.state = loaded, "ready"

    def put(self, job: Job) -> int:
        """Into the lane of its first step: how many wait before it. Raises ``Full``, ``NotLoaded``."""
        if self.state == "failed":
            raise NotLoaded(f"the model '{self.name}' could not be loaded: {self.why}")
        self.start()
        return self.lanes[job.steps[0].lane].put(job)

    def _onward(self, job: Job) -> None:
        self.lanes[job.steps[0].lane].put(job, admitted=True)


def warmed(voice: Voice) -> None:
    """A first explanation, of two words."""
    from pellucid.trace.explain import explain

    explain(voice.loaded, "The answer is", " no", raw=True, per_token=True, memory=voice.memory)


class Desks:
    """The models of a server; all share one device, one computing at a time."""

    def __init__(self, settings: Settings, load: Load | None = None) -> None:
        self.settings = settings
        self.turns = Turns()
        self._all: int | None = settings.memory
        names = [shown_name(m) for m in settings.models]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice is not None:
            raise OptionError(
                f"two models are called '{twice}', and requests could not tell them apart: rename a folder"
            )
        self.desks = {
            name: Desk(m, settings, self.turns, load or self._load, self._memory)
            for name, m in zip(names, settings.models, strict=True)
        }
        self.default = next(iter(self.desks))

    def _load(self, source: str) -> LoadedModel:
        from pellucid.models.load import load_model

        s = self.settings
        return load_model(source, device=s.device, dtype=s.dtype, accept_license=s.accept_license)

    def _memory(self, device: torch.device) -> int:
        """Bytes for the explanations of one model: an equal share, because each may be at one at a time."""
        if self._all is None:
            from pellucid.trace.memory import budget

            self._all = budget("auto", device)
        return self._all // len(self.settings.models)

    def start(self) -> None:
        """Load the default model."""
        self.desks[self.default].start()

    def named(self, name: str | None) -> Desk:
        """The desk of a model. Raises ``UnknownModelError`` for one that is not served."""
        desk = self.desks.get(self.default if name is None else name)
        if desk is None:
            raise UnknownModelError(
                f"there is no model '{name}' here: expected one of {', '.join(self.desks)}; others are allowed when "
                "the server is started (--allow-model)"
            )
        return desk

    def close(self, seconds: float = 1.0) -> None:
        """End what runs, and wait for the threads so long at most."""
        lanes = [lane for desk in self.desks.values() for lane in desk.lanes.values()]
        for lane in lanes:
            lane.close()
        for lane in lanes:
            lane.join(seconds / len(lanes) if seconds else 0)
