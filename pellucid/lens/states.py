"""One pass without gradients, and the last hidden states of it as the head is given them.

    last_states(loaded, final, ids)                      # [tokens, width], normed
    run(loaded, ids)                                     # logits [vocabulary] at the end

The network does not run its head on more than it must; ``lens.layers`` reads every layer's states by such a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
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
