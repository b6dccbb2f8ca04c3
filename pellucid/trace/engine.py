"""The engine: one forward pass over prompt and answer, and as many backward passes as are asked for.

    run = Run(loaded, prompt_ids, target_ids, objective("logprob"))
    scores = method("saliency")(run)

The answer is known, so one forward pass with it in place (teacher forcing) serves all of its tokens: the causal mask
makes each target's gradient with respect to later tokens exactly zero. The head is applied to the target positions
only. A whole answer is one backward pass over the kept graph; the matrix goes layer by layer, all rows together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import ModelError, OptionError
from pellucid.models.load import LoadedModel
from pellucid.models.vocabulary import shown
from pellucid.progress import Progress, silent
from pellucid.trace import rows as row_attention
from pellucid.trace.inside import attention, plain_experts, precision
from pellucid.trace.kernels import check_gradient
from pellucid.trace.layers import LayerInput, NoTapeError, Seen, Tape, decoder_layers, layer_inputs
from pellucid.trace.logits import continued_logits, target_logits, wide
from pellucid.trace.memory import Plan, Shape, plan, whole_graph
from pellucid.trace.objective import Function, Objective

#: ``(gradient [rows, tokens, width], embeddings [tokens, width]) -> [rows, tokens]``
FromGradient = Callable[[Tensor, Tensor], Tensor]
#: ``(depth, targets, gradient [rows, tokens, width], states [tokens, width])`` of the stream before each decoder layer.
Watch = Callable[[int, list[int], Tensor, Tensor], None]


_KEPT_GRADIENTS = 64_000_000  # bytes of plain gradients that are left for the next run


@dataclass(frozen=True)
class Scores:
    """What a method gives: ``total`` [tokens], and ``matrix`` [targets, tokens] where it was asked for.

    ``tokens`` are prompt and answer; rows of targets that were not selected are NaN. ``measured`` [tokens] says which
    tokens the method gives a score at all (None: all): the others are NaN, and that is no error. ``details`` is plain
    data that the trace carries on (a completeness gap, standard errors, ...).
    """

    total: Tensor
    matrix: Tensor | None
    measured: Tensor | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Backward:
    """Another backward rule for the same forward pass, as GIM has one.

    ``changes`` opens a context on the network, open whenever the network or one of its layers runs; ``squares`` counts
    the floats [heads, tokens, tokens] that it makes each layer keep. The objective's own gradient is taken at the
    logits divided by ``temperature``.
    """

    changes: Callable[[Any], AbstractContextManager[Any]]
    squares: int = 0
    temperature: float = 1.0


class Run:
    """One prompt and one answer inside one model.

    - ``selected``: the targets that are explained (indices), all by default.
    - ``per_token``: is the matrix wanted?
    - ``allowed``: bytes that may be added.
    - ``units``: groups of prompt tokens (indices) that what-if methods take away together, one a token by default.
    - ``levels``: coarser groups of prompt tokens, coarsest first (documents, paragraphs), for methods that refine.
    - ``seed``: of whatever a method draws.
    - ``shared``: runs over the same prompt and answer that are given one dictionary leave in it what the next can use:
      plain gradients, and the original's pass of what-if runs.

    After a method has run, ``logits`` [targets, vocabulary] are there for statistics, ``forwards`` and ``backwards``
    count the sequences that passed, and ``plan`` and ``precision`` say how.

    This class is a causal model's. Other kinds (``trace/runs.py``) put their own reading in place of ``_embed``,
    ``_logits`` and ``logits_after``.
    """

    #: Do what-if runs continue on the keys and values of an unchanged prefix (``ablate``), or read each prompt whole?
    shares_prefix = True

    def __init__(
        self,
        loaded: LoadedModel,
        prompt: Sequence[int],
        answer: Sequence[int],
        objective: Objective,
        *,
        selected: Sequence[int] | None = None,
        per_token: bool = False,
        precision: str = "full",
        allowed: int = 1 << 62,
        units: Sequence[Sequence[int]] | None = None,
        levels: Sequence[Sequence[Sequence[int]]] = (),
        seed: int = 0,
        shared: dict[Any, Any] | None = None,
        progress: Progress = silent,
    ) -> None:
        self.loaded = loaded
        self.allowed, self.seed = allowed, seed
        self.levels = levels
        self.units = [[i] for i in range(len(prompt))] if units is None else [list(u) for u in units]
        self.prompt_length, self.targets = len(prompt), len(answer)
        self.ids = torch.tensor([[*prompt, *answer]], device=loaded.device)  # [1, tokens]
        self.answer = self.ids[0, len(prompt) :]  # [targets]; what each target is, in the logits' last dimension
        self.objective = objective
        self.selected = list(range(self.targets)) if selected is None else list(selected)
        self.per_token = per_token
        self.precision = precision
        self.progress = progress
        self.forwards = self.backwards = 0
        self.logits: Tensor | None = None
        self.shared: dict[Any, Any] = {} if shared is None else shared
        self.plan: Plan = self._planned(0)
        self._gradients_pass = False  # known? (quantised kernels may have none)

    def _planned(self, squares: int) -> Plan:
        return plan(
            Shape.of(self.loaded.network),
            tokens=self.ids.shape[1],
            targets=self.targets,
            rows=len(self.selected) if self.per_token else 1,
            allowed=self.allowed,
            device=self.loaded.device.type,
            squares=squares,
        )

    @property
    def embeddings(self) -> Tensor:
        """Input embeddings of prompt and answer [tokens, width], in float32 or wider."""
        return wide(self._embed())

    @property
    def tables(self) -> list[tuple[slice, Any]]:
        """Which embedding layer reads which of the run's tokens."""
        network: Any = self.loaded.network
        return [(slice(None), network.get_input_embeddings())]

    def _embed(self) -> Tensor:
        rows = [table(self.ids[:, some])[0].detach() for some, table in self.tables]
        return torch.cat([r.to(rows[0].device) for r in rows])

    def logits_after(self, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
        """For each prompt in place of the real one, the targets' logits [targets, vocabulary]: one batch."""
        with precision(self.loaded.network, self.precision) as self.precision:
            found = continued_logits(self.loaded.network, prompts, self.answer.tolist())
        self.forwards += len(prompts)
        return found

    def without(self, prompt: Sequence[int], gone: set[int]) -> tuple[int, ...]:
        """A prompt when the tokens at the places ``gone`` are taken away, as ``logits_after`` reads it."""
        return tuple(t for i, t in enumerate(prompt) if i not in gone)

    def readable(self, logits: Tensor) -> Tensor:
        """Logits whose softmax is what the model thinks of each target, from those that it puts out."""
        return logits

    def choice(self, number: int) -> str:
        """What a number in the logits' last dimension stands for, as text."""
        return shown(self.loaded.tokenizer, number)

    def measured(self, logits: Tensor, function: Function | None = None) -> Tensor:
        """The objective, or ``function``, of each selected target [selected]."""
        return (function or self.objective.function)(logits, self.answer)[self.selected]

    def values(self, x: Tensor | None = None) -> Tensor:
        """The objective of each selected target [selected] at the embeddings ``x`` [tokens, width], or at the real
        input; one forward pass, no gradient."""
        network: Any = self.loaded.network
        with torch.no_grad(), precision(network, self.precision) as self.precision:
            given = self._embed() if x is None else x.to(self.loaded.dtype)
            return self.values_of(self._logits(given[None], keep=x is None))

    def from_gradient(self, function: FromGradient, *, backward: Backward | None = None) -> Scores:
        """Scores from gradients at the input embeddings: one forward pass, one backward pass a row.

        With the matrix, the whole answer's gradient is the sum of the rows' gradients, and costs no pass of its own.
        """
        plain = self.embeddings
        if backward is not None:
            return self._from(self._gradients(self._embed(), backward, keep=True), function, plain)
        key = ("gradients", tuple(self.selected), self.per_token)
        if key in self.shared:
            found, self.logits, self.plan, self.precision = self.shared[key]
            return self._from(iter(found), function, plain)
        rows = len(self.selected) if self.per_token else 1
        found = [] if rows * plain.nbytes <= _KEPT_GRADIENTS else None

        def kept() -> Iterator[tuple[list[int], Tensor]]:
            for targets, some in self._gradients(self._embed(), None, keep=True):
                if found is not None:
                    found.append((targets, some.clone()))
                yield targets, some

        scores = self._from(kept(), function, plain)
        if found is not None:
            self.shared[key] = found, self.logits, self.plan, self.precision
        return scores

    def from_states(self, function: FromGradient, *, backward: Backward | None = None, skip: float = 0.0) -> Scores:
        """Scores that add up over depth: ``function(gradient, states)`` of the stream before every decoder layer but
        the lower ``skip`` share of them, for the price of ``from_gradient``. Raises ``ModelError`` for a network
        without decoder layers."""
        plain = self.embeddings
        states: dict[int, Tensor] = {}
        whole: dict[int, Tensor] = {}  # the whole answer's gradients [tokens, width]: the sums of the rows'
        total = torch.zeros_like(plain[:, 0])
        matrix = torch.full((self.targets, plain.shape[0]), torch.nan, dtype=plain.dtype, device=plain.device)
        matrix[self.selected] = 0

        first = int(skip * len(decoder_layers(self.loaded.network)))

        def watch(depth: int, rows: list[int], gradient: Tensor, hidden: Tensor) -> None:
            if depth < first:
                return
            gradient, states[depth] = wide(gradient), wide(hidden)
            if self.per_token:
                matrix[rows] += function(gradient, states[depth]).to(matrix.device)
            before = whole.get(depth)
            whole[depth] = gradient.sum(0) if before is None else before + gradient.sum(0)

        for _ in self._gradients(self._embed(), backward, keep=True, watch=watch):
            pass
        if not whole:
            raise ModelError(f"'{self.loaded.name}' has no decoder layers to look between: use gim or saliency")
        for depth, gradient in whole.items():
            total += function(gradient[None], states[depth])[0].to(total.device)
        return Scores(total, matrix if self.per_token else None)

    def from_points(self, points: Iterable[tuple[float, Tensor]], function: FromGradient, *, count: int) -> Scores:
        """Weighted sum over ``points`` (weight, embeddings [tokens, width]) of ``function(gradient there, point)``.

        ``count`` is how many points come, for progress. The points are embeddings that the model never saw, so the
        logits of the real input are not known afterwards: ``values()`` gives them.
        """
        whole: Scores | None = None
        report = self.progress
        try:
            for k, (weight, x) in enumerate(points):

                def inner(stage: str, done: float, total: float | None, k: int = k) -> None:
                    part = done / total if total and stage == "backward" else 0.0
                    report("points", k + part, count)

                self.progress = inner
                found = self._from(self._gradients(x.to(self.loaded.dtype), None, keep=False), function, x)
                matrix = None if found.matrix is None else found.matrix * weight
                if whole is not None:
                    matrix = None if matrix is None or whole.matrix is None else whole.matrix + matrix
                    whole = Scores(whole.total + weight * found.total, matrix)
                else:
                    whole = Scores(weight * found.total, matrix)
        finally:
            self.progress = report
        report("points", count, count)
        assert whole is not None
        return whole

    def backwards_of_graph(self, changes: Callable[[Any], AbstractContextManager[Any]]) -> Iterator[int | None]:
        """For methods that read gradients inside the network by hooks: one forward pass inside ``changes``, then a
        backward pass before each target that is yielded: None, for the whole answer, and with ``per_token`` each
        selected target.

        The whole graph is kept. Raises ``OptionError`` where it does not fit.
        """
        network: Any = self.loaded.network
        self.check_gradient()
        self.keep_whole_graph(1)
        x = self._embed()[None].requires_grad_(True)
        with changes(network), precision(network, self.precision) as self.precision:
            values = self.values_of(self._logits(x, keep=True))
        targets: list[int | None] = [None, *(self.selected if self.per_token else [])]
        for k, target in enumerate(targets):
            self.progress("backward", k, len(targets))
            one = values.sum() if target is None else values[self.selected.index(target)]
            torch.autograd.grad(one, x, retain_graph=k + 1 < len(targets))
            self.backwards += 1
            yield target
        self.progress("backward", len(targets), len(targets))

    def check_gradient(self) -> None:
        """Raise ``ModelError`` where the network's kernels pass no gradients; asked once."""
        if not self._gradients_pass:
            check_gradient(self.loaded.network)
            self._gradients_pass = True

    def keep_whole_graph(self, sequences: int) -> None:
        """Plan for the whole graph, whatever its size. Raises ``OptionError`` where it does not fit."""
        tokens = self.ids.shape[1]
        need = sequences * whole_graph(Shape.of(self.loaded.network), tokens=tokens, targets=self.targets)
        if need > self.allowed:
            raise OptionError(
                f"this method keeps the whole graph of {tokens} tokens, about {need / 1e9:.1f} GB, and "
                f"{self.allowed / 1e9:.1f} GB are allowed: shorten the prompt, give more with memory=, or use a method "
                "that goes by layer (saliency, gim, ifr)"
            )
        self.plan = Plan(False, 1, 1, False, need)

    def _from(self, gradients: Iterator[tuple[list[int], Tensor]], function: FromGradient, x: Tensor) -> Scores:
        total = torch.zeros_like(x)
        matrix = torch.full((self.targets, x.shape[0]), torch.nan, dtype=x.dtype, device=x.device)
        for rows, some in gradients:
            if self.per_token:
                matrix[rows] = function(some, x)
            total += some.sum(0)
        return Scores(function(total[None], x)[0], matrix if self.per_token else None)

    def _gradients(
        self, given: Tensor, backward: Backward | None, *, keep: bool, watch: Watch | None = None
    ) -> Iterator[tuple[list[int], Tensor]]:
        """(targets, gradients [rows, tokens, width]): a row a target with ``per_token``, else one row for their sum.
        ``watch`` is called for the stream before each decoder layer on the way."""
        network: Any = self.loaded.network
        self.check_gradient()
        x = given[None].detach().requires_grad_(True)
        implementation: str | None = None
        changes: Callable[[Any], AbstractContextManager[Any]] = nullcontext
        temperature = 1.0
        if backward is not None:
            changes, self.plan = backward.changes, self._planned(backward.squares)
            temperature = backward.temperature
        elif self.plan.batched:
            implementation = row_attention.NAME if row_attention.usable(network) else "eager"
            row_attention.register()

        @contextmanager
        def running() -> Iterator[None]:
            """How the network runs, the first time and by layer again."""
            with changes(network), precision(network, self.precision) as self.precision:
                yield

        with attention(network, implementation), plain_experts(network) if self.plan.batched else nullcontext():
            if self.plan.layers:
                try:
                    with running():
                        tape = Tape.record(network, x, self.targets + 1, lambda: self._logits(x, keep=keep))
                except NoTapeError:
                    pass  # not a plain stack of layers: keep the whole graph
                else:
                    yield from self._by_layer(tape, running, temperature, watch)
                    return
            stream: list[LayerInput] = []
            with running():
                if watch is None:
                    logits = self._logits(x, keep=keep)
                else:
                    stream, logits = layer_inputs(network, lambda: self._logits(x, keep=keep))
            yield from self._by_graph(self._softened(logits, temperature), x, [k.hidden for k in stream], watch)

    def _logits(self, x: Tensor, *, keep: bool) -> Tensor:
        self.progress("forward", 0, 1)
        logits = target_logits(self.loaded.network, self.targets, inputs_embeds=x)[0]  # [targets, vocabulary]
        self.forwards += 1
        if keep:
            self.logits = logits.detach()
        self.progress("forward", 1, 1)
        return logits

    def values_of(self, logits: Tensor) -> Tensor:
        """The objective of each selected target [selected]."""
        return self.measured(logits)

    def _softened(self, logits: Tensor, temperature: float) -> Tensor:
        """The objective f as T f(z / T): its slope at z is f's own at z / T."""
        return self.values_of(logits / temperature) * temperature if temperature != 1 else self.values_of(logits)

    def _by_graph(
        self, values: Tensor, x: Tensor, stream: list[Tensor], watch: Watch | None
    ) -> Iterator[tuple[list[int], Tensor]]:
        """Through the whole graph, a backward pass a row."""
        if not self.per_token:
            values = values.sum()[None]
        for k in range(len(values)):
            self.progress("backward", k, len(values))
            gradient, *others = torch.autograd.grad(values[k], [x, *stream], retain_graph=k + 1 < len(values))
            self.backwards += 1
            rows = [self.selected[k]]
            if watch is not None:
                for depth, (other, hidden) in enumerate(zip(others, stream, strict=True)):
                    watch(depth, rows, other, hidden[0].detach())
            yield rows, wide(gradient)
        self.progress("backward", len(values), len(values))

    def _by_layer(
        self,
        tape: Tape,
        again: Callable[[], AbstractContextManager[Any]],
        temperature: float,
        watch: Watch | None,
    ) -> Iterator[tuple[list[int], Tensor]]:
        """Layer by layer from the top, as many rows together as the plan says."""
        values = self._softened(tape.logits, temperature)
        (gradient,) = torch.autograd.grad(values.sum(), tape.states, retain_graph=True)  # [1, positions, width]
        del tape.logits, values  # the vocabulary is done with; it is most of the memory by now
        # A head that runs on all positions has the targets' at the end but one.
        shift = gradient.shape[1] - self.targets - (1 if gradient.shape[1] > self.targets else 0)
        if not self.per_token:
            start = torch.autograd.grad(tape.states, tape.top, gradient, retain_graph=True)[0][None]
            told = None if watch is None else _told(watch, self.selected[:1])
            done = tape.backward(start, 1, again, lambda d, t: self.progress("backward", d, t), told)
            self.backwards += 1
            yield self.selected, wide(done[:, 0])
            return
        groups = range(0, len(self.selected), self.plan.group)
        for g, first in enumerate(groups):
            rows = self.selected[first : first + self.plan.group]
            start = tape.start(gradient, [shift + i for i in rows])

            def step(d: int, t: int, g: int = g) -> None:
                self.progress("backward", g * t + d, len(groups) * t)

            told = None if watch is None else _told(watch, rows)
            done = tape.backward(start, self.plan.chunk, again, step, told)
            self.backwards += len(rows)
            yield rows, wide(done[:, 0])


def _told(watch: Watch, rows: list[int]) -> Seen:
    """``watch`` for the rows that go through the tape together."""

    def seen(depth: int, first: int, gradient: Tensor, hidden: Tensor) -> None:
        watch(depth, rows[first : first + gradient.shape[0]], gradient[:, 0], hidden[0])

    return seen
