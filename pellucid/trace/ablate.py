"""What-if runs: take units of the prompt away, or replace them, and see what becomes of every target.

    change = effects(run, [[True, False, True], ...])      # [ablations, selected targets], the objective's value
    whole = original(run)                                  # [selected targets]

An ablation says which of ``run.units`` stay; tokens in no unit always stay. All share what they can: equal ablations
run once; the original prompt and answer run once and leave their keys and values behind; ablations are sorted by the
first token that they change, run in batches of neighbours, and each batch starts there, on the keys and values of what
stands before. Rows of one batch may differ in length: they are filled up at the end, where the causal mask hides it.

Every target's number comes out of the same pass (teacher forcing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pellucid.errors import InputError, OptionError, unknown
from pellucid.trace.inside import precision
from pellucid.trace.logits import cache_name, continued_logits, wide
from pellucid.trace.memory import Shape

if TYPE_CHECKING:
    from pellucid.trace.engine import Run, Scores

Kept = npt.NDArray[np.bool_] | Sequence[Sequence[bool]]
#: ``(logits [targets, vocabulary], ids [targets]) -> [targets]``, as an objective's function.
Measure = Callable[[Tensor, Tensor], Tensor]
#: What may stand in for a unit; or a token's number.
REPLACEMENTS = ("remove", "pad", "neutral", "sample")
_TOKENS = {"cpu": 768, "cuda": 16384, "mps": 4096}  # in a batch; on two cores more is no faster (docs/decisions.md)


class _Original:
    """The original sequence's pass: the targets' logits, and each layer's keys and values (or None)."""

    def __init__(self, run: Run) -> None:
        network: Any = run.loaded.network
        self.cache: list[tuple[Tensor, Tensor]] | None = None
        if not run.shares_prefix:
            self.logits = run.logits_after([run.ids[0, : run.prompt_length].tolist()])[0]
            run.logits = self.logits
            return
        positions = torch.arange(run.prompt_length - 1, run.ids.shape[1] - 1, device=run.ids.device)
        run.progress("forward", 0, 1)
        with torch.no_grad(), precision(network, run.precision) as run.precision:
            out = network(input_ids=run.ids, use_cache=True, logits_to_keep=positions)
            self.logits = wide(out.logits[0])
            run.logits = self.logits  # [targets, vocabulary]
        run.forwards += 1
        run.progress("forward", 1, 1)
        layers: list[Any] = list(getattr(getattr(out, cache_name(network)), "layers", None) or [])
        plain = bool(layers) and all(getattr(k, "keys", None) is not None and k.keys.ndim == 4 for k in layers)
        whole = plain and all(k.keys.shape[2] == run.ids.shape[1] for k in layers)
        if plain and not whole:  # layers with a sliding window keep its end only: ask for everything
            layers = list(self._all(run))
        self.cache = [(k.keys, k.values) for k in layers] if plain else None

    @staticmethod
    def _all(run: Run) -> Any:
        from transformers import DynamicCache

        network: Any = run.loaded.network
        cache = DynamicCache()  # without a configuration every layer keeps all
        with torch.no_grad(), precision(network, run.precision):
            network(input_ids=run.ids, use_cache=True, logits_to_keep=1, **{cache_name(network): cache})
        run.forwards += 1
        return cache.layers

    def prefix(self, length: int, copies: int) -> Any:
        """A cache of the first ``length`` tokens for a batch; ours is not touched."""
        from transformers import DynamicCache

        if not length or self.cache is None:
            return None
        cache = DynamicCache()
        for k, (keys, values) in enumerate(self.cache):
            cache.update(
                keys[:, :, :length].expand(copies, -1, -1, -1), values[:, :, :length].expand(copies, -1, -1, -1), k
            )
        return cache


def read_original(run: Run) -> None:
    """Run the original with what is open on the network now, and keep its pass: a method that looks inside leaves the
    keys and values for what-if runs that follow it."""
    run.shared["original"] = _Original(run)


def _original(run: Run) -> _Original:
    if "original" not in run.shared:
        read_original(run)
    found: _Original = run.shared["original"]
    run.logits = found.logits
    return found


def original(run: Run, *, measure: Measure | None = None) -> Tensor:
    """The objective (or another ``measure``) of each selected target with nothing taken away [selected], in float64 on
    the CPU."""
    return run.measured(_original(run).logits, measure).double().cpu()


def effects(
    run: Run,
    kept: Kept,
    *,
    replace: str | int | Sequence[int] = "remove",
    measure: Measure | None = None,
    stage: str = "ablations",
) -> Tensor:
    """The objective of each selected target under each ablation [ablations, selected], in float64 on the CPU.

    - ``kept`` [ablations, units]: which of ``run.units`` stay.
    - ``replace``: ``remove`` takes the tokens out, and what follows moves up; ``pad``, ``neutral`` (the token of a
      single blank), ``sample`` (tokens drawn from the model's own predictions at that place, with ``run.seed``), a
      token's number, or a token for each place of the prompt put something in their place.
    - ``measure``: another number of each target than the run's objective.

    NaN or infinite values stay in their row; the rest stands. Raises ``InputError`` for an ablation that leaves
    nothing of the prompt, ``OptionError`` for an unknown replacement.
    """
    masks = np.asarray(kept, dtype=bool)
    if masks.ndim != 2 or masks.shape[1] != len(run.units):
        raise ValueError(f"kept: expected [ablations, {len(run.units)} units], got {masks.shape}")
    base = _original(run)
    prompt, answer = run.ids[0, : run.prompt_length].tolist(), run.answer.tolist()
    other = replacements(run, replace) if isinstance(replace, str | int) else list(replace)
    rows: dict[tuple[int, ...], int] = {}
    firsts: list[int] = []
    where = []
    for number, mask in enumerate(masks):
        gone = {i for unit, stays in zip(run.units, mask, strict=True) if not stays for i in unit}
        if other is None:
            row = run.without(prompt, gone)
        else:
            row = tuple(other[i] if i in gone else t for i, t in enumerate(prompt))
        if other is None and len(gone) == len(prompt):
            raise InputError(
                f"ablation {number + 1} of {len(masks)} leaves nothing of the prompt, and a model needs a token to "
                "start from: use smaller units, keep a part of the prompt out of them, or replace='pad'"
            )
        if row not in rows:
            rows[row] = len(rows)
            firsts.append(min(gone, default=len(prompt)))
        where.append(rows[row])
    found = torch.empty(len(rows), len(run.selected), dtype=torch.float64)
    _run(run, base, list(rows), firsts, answer, found, measure, stage)
    return found[where]


def _run(
    run: Run,
    base: _Original,
    prompts: list[tuple[int, ...]],
    firsts: list[int],
    answer: list[int],
    found: Tensor,
    measure: Measure | None,
    stage: str,
) -> None:
    """Fill ``found`` [prompts, selected]. The position that predicts the answer's first token always runs."""
    starts = [min(f, len(p) - 1) if base.cache is not None else 0 for f, p in zip(firsts, prompts, strict=True)]
    order = sorted(range(len(prompts)), key=lambda i: (starts[i], len(prompts[i])))
    done = 0
    while done < len(order):
        run.progress(stage, done, len(order))
        start = starts[order[done]]
        size = batch_size(run, len(prompts[order[done]]) + len(answer) - start)
        batch = order[done : done + size]
        found[batch] = _values(run, base, [prompts[i] for i in batch], start, answer, measure)
        done += len(batch)
    run.progress(stage, len(order), len(order))


def batch_size(run: Run, length: int) -> int:
    """How many rows of ``length`` tokens run together, by speed and by memory."""
    shape = Shape.of(run.loaded.network)
    each = length * (8 * shape.width + 4 * shape.mlp) * shape.size + 4 * run.targets * shape.vocabulary * 4
    quick = _TOKENS.get(run.ids.device.type, 4096) // max(length, 1)
    return int(max(1, min(quick, run.allowed // max(each, 1))))


def _values(
    run: Run,
    base: _Original,
    prompts: list[tuple[int, ...]],
    start: int,
    answer: list[int],
    measure: Measure | None,
) -> Tensor:
    """The objective of the selected targets [prompts, selected], for prompts that agree with the original up to
    ``start``."""
    if run.shares_prefix:
        network = run.loaded.network
        before = base.prefix(start, len(prompts))
        with precision(network, run.precision):
            found = continued_logits(network, prompts, answer, start=start, before=before)
        run.forwards += len(prompts)
    else:
        found = run.logits_after(prompts)
    return torch.stack([run.measured(logits, measure) for logits in found]).double().cpu()


def replacements(run: Run, replace: str | int) -> list[int] | None:
    """What stands at each prompt position when its token is taken away [prompt tokens]; None: nothing does."""
    if replace == "remove":
        return None
    tokenizer: Any = run.loaded.tokenizer
    embed: Any = run.loaded.network.get_input_embeddings()
    size, prompt = int(embed.num_embeddings), run.prompt_length
    if isinstance(replace, int) and not isinstance(replace, bool):
        if not 0 <= replace < size:
            raise OptionError(f"the token {replace} is not in the vocabulary of {size}: expected a smaller number")
        return [replace] * prompt
    if replace == "pad":
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        if pad is None:
            raise OptionError(f"'{run.loaded.name}' has no padding token: use replace='neutral' or 'remove'")
        return [int(pad)] * prompt
    if replace == "neutral":
        blank = tokenizer(" ", add_special_tokens=False)["input_ids"]
        if not blank:  # sentencepiece drops blanks at the ends of a text; this is its own mark for one
            blank = [i for i in [tokenizer.convert_tokens_to_ids("▁")] if i not in (None, tokenizer.unk_token_id)]
        if not blank:
            raise OptionError(f"'{run.loaded.name}' has no token for a blank: use replace='pad' or 'remove'")
        return [int(blank[0])] * prompt
    if replace == "sample" and run.loaded.kind != "causal":
        raise OptionError(
            f"replace='sample' draws what a causal model predicts at each place of its prompt, and '{run.loaded.name}' "
            f"is of the kind '{run.loaded.kind}': use replace='remove', 'pad' or 'neutral'"
        )
    if replace == "sample":
        return sampled(run, torch.Generator().manual_seed(run.seed))
    raise unknown("replacement", replace, [*REPLACEMENTS, "a token's number"])


def sampled(run: Run, random: torch.Generator) -> list[int]:
    """For each prompt position a token drawn from what the model predicted there; the first keeps its own."""
    logits = predictions(run)
    drawn = torch.multinomial(torch.softmax(logits, -1), 1, generator=random)[:, 0]
    return [int(run.ids[0, 0]), *drawn.tolist()]


def predictions(run: Run) -> Tensor:
    """Logits for the prompt's tokens from the second on [prompt tokens - 1, vocabulary], on the CPU."""
    network: Any = run.loaded.network
    with torch.no_grad(), precision(network, run.precision):
        out = network(input_ids=run.ids[:, : run.prompt_length], use_cache=False)
    run.forwards += 1
    return wide(out.logits[0, :-1]).cpu()


def token_scores(run: Run, units: Tensor, details: dict[str, Any] | None = None) -> Scores:
    """Scores from numbers for each unit and selected target [selected, units]: each token gets an equal share of its
    unit's, so that sums are kept; tokens in no unit were not measured and get 0."""
    from pellucid.trace.engine import Scores

    tokens = run.ids.shape[1]
    spread = torch.zeros(len(run.units), tokens, dtype=units.dtype)
    measured = torch.zeros(tokens, dtype=torch.bool)
    for u, unit in enumerate(run.units):
        spread[u, unit] = 1 / len(unit)
        measured[unit] = True
    # A unit whose number is NaN keeps it to itself: 0 times NaN would spread it.
    lost = ~units.isfinite()
    shared = units.masked_fill(lost, 0) @ spread  # [selected, tokens]
    for s, u in lost.nonzero().tolist():
        shared[s, run.units[u]] = torch.nan
    total = shared.sum(0)
    matrix = None
    if run.per_token:
        matrix = torch.full((run.targets, tokens), torch.nan, dtype=shared.dtype)
        matrix[run.selected] = shared
        matrix[:, run.prompt_length :] = torch.nan
    whole = {"original": float(original(run).sum())}
    if bool(lost.any()):
        whole["not_finite"] = sorted({u for _, u in lost.nonzero().tolist()})  # type: ignore[assignment]
    return Scores(total, matrix, measured, {**whole, **(details or {})})
