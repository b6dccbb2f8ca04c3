"""The training loop: batches in, weights out, and a run that can be stopped at any moment.

    fit(network, blocks, settings=Train(), recipe={}, out=Path("runs/mine"), world=world, ...)

Everything that a step depends on is a function of the weights, the optimisers' state, the seed and the step's number:
which batch it reads, its rate, the random numbers of its dropout. So a run that goes on from a checkpoint does what it
would have done, bit for bit on a CPU, and there is no random state to keep.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pellucid.errors import NumericError, OptionError
from pellucid.lab.data.batches import Batches
from pellucid.lab.training import optimisers, precision, schedule, speed, world
from pellucid.lab.training.checkpoints import TRAINING, Checkpoints
from pellucid.lab.training.layers import run_again
from pellucid.lab.training.loss import Learner
from pellucid.lab.training.settings import Train

METRICS = "metrics.jsonl"
#: What is told after a step: plain numbers, as in a line of ``metrics.jsonl``.
Watch = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Fitted:
    """What a run came to. ``loss`` in nats a target over the last evaluation (None where nothing is held out);
    ``seconds`` in all, over every stretch of a run that was stopped."""

    steps: int
    loss: float | None
    seconds: float
    tokens: int
    stopped: bool
    notes: tuple[str, ...] = ()


class Loop:
    """One run. ``save(folder)`` (which takes ``weights`` where FSDP spread the network's) and ``restore(folder)`` write
    and read the weights; ``evaluate()`` gives the held-out loss in nats a target; ``learner`` is the module whose
    forward pass gives (nll, extra), ``Learner`` where None."""

    def __init__(
        self,
        network: Any,
        batches: Batches,
        *,
        settings: Train,
        recipe: dict[str, Any],
        out: Path,
        place: world.World,
        save: Callable[[Path], None],
        restore: Callable[[Path], None],
        evaluate: Callable[[], float] | None = None,
        learner: Any = None,
        watch: Watch = lambda metrics: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        share = settings.accumulate * place.size
        if batches.rows % share:
            raise OptionError(
                f"{batches.rows} rows do not divide into {settings.accumulate} micro-batches on {place.size} processes"
            )
        self.network, self.batches, self.settings, self.out, self.place = network, batches, settings, out, place
        self.save, self.restore, self.evaluate, self.watch, self.stop = save, restore, evaluate, watch, stop
        self.checkpoints = Checkpoints(out, recipe)
        self.spread = place.size > 1 and settings.spread == "fsdp"
        if self.spread and settings.optimiser == "muon":
            raise OptionError("muon needs whole matrices, and fsdp spreads them: choose adamw, or spread = ddp")
        self.kind = precision.choose(settings.precision, place.device)
        network.to(place.device)
        if settings.attention == "flex_attention" and place.device.type != "cuda":
            raise OptionError(
                f"flex_attention has no backward pass on {place.device.type}, it needs CUDA: sdpa gives the same there"
            )
        if settings.attention != "auto":
            network.set_attn_implementation(settings.attention)
        if settings.checkpointing:
            run_again(network)
        self.learner = Learner(network) if learner is None else learner
        self.found = self.checkpoints.newest()
        if self.found is not None and self.found.step:
            self.restore(self.found.folder)
        module: Any = torch.compile(self.learner) if settings.compile else self.learner
        self.runner = world.spread(module, place, settings.spread)
        self.optimisers = optimisers.optimisers(
            network,
            settings.optimiser,
            rate=settings.rate,
            betas=settings.betas,
            decay=settings.decay,
            adam_rate=settings.adam_rate,
        )
        self.scaler = precision.scaler(self.kind, place.device)
        self.peak = speed.peak(place.device, self.kind)
        self.step, self.seconds, self.tokens = 0, 0.0, 0
        self.weights: dict[str, torch.Tensor] | None = None  # at the last checkpoint, where FSDP spread them
        self.loss: float | None = None
        if self.found is not None and self.found.step:
            self._resume()

    def run(self) -> Fitted:
        """Train to the end, or until ``stop()`` says so between two steps; a checkpoint is written either way.

        Raises ``NumericError`` for a loss that is no number, ``OutputError`` where a checkpoint cannot be written.
        """
        s, started, stopped = self.settings, time.perf_counter(), False
        before, saved = self.seconds, self.step
        self.network.train()
        with _Metrics(self.out / METRICS, self.step, enabled=self.place.first) as metrics:
            while self.step < s.steps:
                line = self._one()
                self.seconds = before + time.perf_counter() - started
                line |= self._pace(started, before)
                due = self.step % s.evaluate_every == 0 or self.step == s.steps
                if self.evaluate is not None and due:
                    self.loss = self._evaluated()
                    line["held_out"] = self.loss
                metrics.write(line)
                self.watch(line)
                stopped = self.place.total(float(self.stop())) > 0  # one process is told before another
                if self.step % s.save_every == 0 or self.step == s.steps or stopped:
                    self._checkpoint(self.loss if due else None)
                    saved = self.step
                if stopped:
                    break
        assert saved == self.step
        if self.spread and self.weights is None:  # it was done before
            self.weights = world.gathered(self.network)
        notes = () if self.found is None else self.found.passed
        return Fitted(self.step, self.loss, self.seconds, self.tokens, stopped and self.step < s.steps, notes)

    def _one(self) -> dict[str, Any]:
        """One optimiser step; what it measured."""
        s, place = self.settings, self.place
        torch.manual_seed((s.seed * 1_000_003 + self.step) * 4096 + place.rank)
        batch = self.batches.batch(self.step)
        mine, count = batch.part(place.rank, place.size), batch.count
        share = schedule.at(self.step, s.steps, warmup=s.warmup, shape=s.schedule, least=s.least)
        optimisers.set_rate(self.optimisers, share)
        total = torch.zeros((), device=place.device)
        for micro in range(s.accumulate):
            some = mine.part(micro, s.accumulate).to(place.device)
            with world.quiet(self.runner, micro == s.accumulate - 1):
                with precision.context(self.kind, place.device):
                    nll, extra = self.runner(some.inputs, some.targets, some.positions, some.mask)
                # Processes are averaged: what each adds is its part of the sum, times how many they are.
                loss = nll * (place.size / count) + extra / s.accumulate
                self.scaler.scale(loss).backward()
            total += nll.detach()
        for optimiser in self.optimisers:
            self.scaler.unscale_(optimiser)
        learning = [p for p in self.network.parameters() if p.requires_grad]
        norm = float(world.whole(torch.nn.utils.clip_grad_norm_(learning, s.clip or math.inf)))
        mean = place.total(float(total)) / count
        if not math.isfinite(mean) or (not math.isfinite(norm) and not self.scaler.is_enabled()):
            raise NumericError(self._not_finite(mean, norm))
        for optimiser in self.optimisers:
            self.scaler.step(optimiser)
        self.scaler.update()
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += count
        return {"step": self.step, "loss": mean, "rate": share * s.rate, "norm": norm, "tokens": self.tokens}

    def _not_finite(self, loss: float, norm: float) -> str:
        last = next(iter(reversed(self.checkpoints.steps())), None)
        where = f"the last good checkpoint is {last.folder}" if last else "no checkpoint was written before it"
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's length is {norm}"
        return f"{what} at step {self.step + 1}: {where}; start again with a lower rate than {self.settings.rate:g}"

    def _pace(self, started: float, before: float) -> dict[str, Any]:
        """Tokens a second over this stretch, the share of peak that they are, and how much time is left."""
        taken = self.seconds - before
        if not hasattr(self, "_first"):
            self._first = (self.step, self.tokens, taken)
            return {"seconds": self.seconds}
        steps, tokens, at = self.step - self._first[0], self.tokens - self._first[1], taken - self._first[2]
        rate = tokens / at if at else 0.0
        found = {
            "seconds": self.seconds,
            "tokens_per_second": rate,
            "left": (self.settings.steps - self.step) * at / steps,
        }
        if self.peak is not None and hasattr(self.batches, "length"):
            work = rate * speed.flops(self.network, self.batches.length)
            found["of_peak"] = work / (self.peak[0] * self.place.size)
        return found

    def _evaluated(self) -> float:
        assert self.evaluate is not None
        self.network.eval()
        try:
            with torch.no_grad(), precision.context(self.kind, self.place.device):
                return self.evaluate()
        finally:
            self.network.train()

    def _checkpoint(self, loss: float | None) -> None:
        training, self.weights = self._training(), world.gathered(self.network) if self.spread else None
        if self.place.first:

            def write(folder: Path) -> None:
                self.save(folder)
                torch.save(training, folder / TRAINING)

            more = {"loss": loss, "seconds": self.seconds, "tokens": self.tokens}
            self.checkpoints.save(self.step, write, more, keep_last=self.settings.keep_last)
        self.place.wait()

    def _training(self) -> dict[str, Any]:
        states = [world.optimiser_state(optimiser) for optimiser in self.optimisers]
        return {"optimisers": states, "scaler": self.scaler.state_dict()}

    def _resume(self) -> None:
        assert self.found is not None
        kept = torch.load(self.found.folder / TRAINING, map_location=self.place.device, weights_only=True)
        for optimiser, state in zip(self.optimisers, kept["optimisers"], strict=True):
            world.set_optimiser_state(optimiser, state)
        self.scaler.load_state_dict(kept["scaler"])
        self.step = self.found.step
        self.seconds, self.tokens = self.found.state["seconds"], self.found.state["tokens"]
        self.loss = self.found.state["loss"]


class _Metrics:
    """``metrics.jsonl``: a line a step; those of steps that will be done again are taken out."""

    def __init__(self, path: Path, step: int, *, enabled: bool) -> None:
        self.path, self.step, self.enabled = path, step, enabled

    def __enter__(self) -> _Metrics:
        if self.enabled:
            kept = []
            if self.path.is_file():
                for line in self.path.read_text(encoding="utf-8").splitlines():
                    try:
                        if json.loads(line)["step"] <= self.step:
                            kept.append(line + "\n")
                    except ValueError:
                        break  # torn by a kill
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("".join(kept), encoding="utf-8")
            self.file = self.path.open("a", encoding="utf-8", buffering=1)
        return self

    def write(self, line: dict[str, Any]) -> None:
        """One line."""
        if self.enabled:
            self.file.write(json.dumps(line) + "\n")

    def __exit__(self, *_: object) -> None:
        if self.enabled:
            self.file.close()
