"""Hidden states as they pass, read by hooks: the last ones as the head is given them, or each layer's.

    last_states(loaded, final, ids)                      # [tokens, width], normed with layers_of(loaded) as seen:
    network(...)         # seen.residual, seen.attention, seen.mlp: [layers] of [tokens, width]

Nothing is kept but what was asked for, and the network does not run its head on more than it must.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from pellucid.lens.final import Final
from pellucid.lens.steps import finite
from pellucid.models.load import LoadedModel
from pellucid.trace.inside import precision as running


def last_states(loaded: LoadedModel, final: Final, ids: Sequence[int], *, precision: str = "full") -> Tensor:
    """What the final norm puts out at every position [tokens, width]: what the head would be given."""
    kept: list[Tensor] = []
    hook = final.norm.register_forward_hook(lambda module, given, out: kept.append(out))
    try:
        run(loaded, ids, precision=precision)
    finally:
        hook.remove()
    return kept[-1][0]


def run(loaded: LoadedModel, ids: Sequence[int], *, precision: str = "full") -> Tensor:
    """One pass over ``ids`` without gradients, the head on the last position alone: logits [vocabulary]."""
    network: Any = loaded.network
    rows = torch.tensor([list(ids)], device=loaded.device)
    with torch.no_grad(), running(network, precision):
        out: Tensor = network(input_ids=rows, use_cache=False, logits_to_keep=1).logits[0, -1]
    return finite(out, loaded)


@contextmanager
def outputs(modules: Sequence[Any]) -> Iterator[list[Tensor | None]]:
    """The output [tokens, width] of each of ``modules`` in the pass that runs while it is open."""
    found: list[Tensor | None] = [None] * len(modules)

    def keep(k: int) -> Any:
        def hook(module: Any, given: Any, out: Any) -> None:
            found[k] = (out[0] if isinstance(out, tuple) else out)[0]

        return hook

    with ExitStack() as hooks:
        for k, module in enumerate(modules):
            hooks.callback(module.register_forward_hook(keep(k)).remove)
        yield found
