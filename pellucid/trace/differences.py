"""Input and baseline side by side: scores by methods that pass differences back, as DeepLIFT does.

    from_differences(run, start, changes, places)      # Scores (x - start) . m

Both run as one batch in one forward pass, so that rules inside the network can read both, and the whole graph of both
is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.trace.engine import Scores
from pellucid.trace.logits import target_logits, wide

if TYPE_CHECKING:
    from pellucid.trace.engine import Run


def from_differences(
    run: Run,
    start: Tensor,
    changes: Callable[[Any], AbstractContextManager[Any]],
    places: Sequence[tuple[float, float]],
) -> Scores:
    """Scores (x - start) . m, for methods that pass differences back: the input and ``start`` [tokens, width] run
    as one batch inside ``changes``, in which gradients at row 0 are multipliers m.

    The objective's own multipliers at the logits are its gradient averaged over ``places`` (place, weight) between
    both runs' logits. The whole graph of both is kept. Raises ``OptionError`` where it does not fit.
    """
    network: Any = run.loaded.network
    run.check_gradient()
    run.keep_whole_graph(2)
    plain = run.embeddings.to(run.loaded.dtype)
    x = torch.stack([plain, start.to(plain.dtype)]).requires_grad_(True)
    way = run.embeddings - start
    cap = getattr(network.config.get_text_config(), "final_logit_softcapping", None)
    heads: list[Tensor] = []
    hook = network.get_output_embeddings().register_forward_hook(lambda m, a, out: heads.append(out))
    try:
        with changes(network):
            run.progress("forward", 0, 1)
            logits = target_logits(network, run.targets, inputs_embeds=x)  # [2, targets, vocabulary]
            run.progress("forward", 1, 1)
    finally:
        hook.remove()
    run.forwards += 2
    run.logits = logits[0].detach()
    # A cap on the logits (Gemma) is a part of the objective: differences are passed back from below it.
    below = logits if cap is None else wide(heads[0])

    def capped(z: Tensor) -> Tensor:
        return z if cap is None else torch.tanh(z / cap) * cap

    real, other = below[0].detach(), below[1].detach()
    mean = torch.zeros_like(other)  # row i belongs to target i alone
    for a, w in places:
        z = (other + a * (real - other)).requires_grad_(True)
        mean += w * torch.autograd.grad(run.values_of(capped(z)).sum(), z)[0]
    rows: list[int | None] = [None, *(run.selected if run.per_token else [])]
    total, matrix = torch.zeros_like(way[:, 0]), None
    if run.per_token:
        matrix = torch.full((run.targets, way.shape[0]), torch.nan, dtype=way.dtype, device=way.device)
    for k, target in enumerate(rows):
        run.progress("backward", k, len(rows))
        cotangent = torch.zeros_like(below)
        some = slice(None) if target is None else slice(target, target + 1)
        cotangent[0, some] = mean[some]
        (m,) = torch.autograd.grad(below, x, cotangent, retain_graph=k + 1 < len(rows))
        run.backwards += 2
        score = (wide(m[0]) * way).sum(-1)
        if target is None:
            total = score
        elif matrix is not None:
            matrix[target] = score
    run.progress("backward", len(rows), len(rows))
    difference = float((run.values_of(capped(real)) - run.values_of(capped(other))).double().sum())
    gap = float(total.double().sum()) - difference
    return Scores(total, matrix, details={"difference": difference, "completeness_gap": gap})
