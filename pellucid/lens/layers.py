"""Each layer's contribution at chosen positions: the residual stream after it, and what attention and MLP put into it.

    streams = streams_of(loaded, ids, kinds=("residual", "attention", "mlp"), positions=[3, 4])
    streams["residual"]                    # [layers + 1, positions, width]: before the first layer, after each

Attention's and MLP's outputs are what is added to the stream, so behind the norm that some families put after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import ModelError
from pellucid.lens.states import run
from pellucid.models.load import LoadedModel
from pellucid.trace.anatomy import blocks
from pellucid.trace.layers import decoder_layers

KINDS = ("residual", "attention", "mlp")
_MLPS = ("mlp", "block_sparse_moe", "feed_forward")


def places(loaded: LoadedModel, kind: str) -> list[Any]:
    """The module of each layer whose output is that of ``kind``. Raises ``ModelError`` for a family that is not
    known."""
    network = loaded.network
    if kind == "residual":
        return decoder_layers(network)
    if kind == "attention":
        return [b.after if b.after is not None else b.attention for b in blocks(network)]
    found = []
    for layer in decoder_layers(network):
        mlp = next((m for n in _MLPS if (m := getattr(layer, n, None)) is not None), None)
        if mlp is None:
            raise ModelError(
                f"the MLP of a {type(network).__name__}'s layers is not found: known are layers with {', '.join(_MLPS)}"
            )
        found.append(getattr(layer, "post_feedforward_layernorm", None) or mlp)
    return found


def streams_of(
    loaded: LoadedModel,
    ids: Sequence[int],
    *,
    kinds: Sequence[str] = ("residual",),
    layers: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
    precision: str = "full",
) -> dict[str, Tensor]:
    """By kind, [layers, positions, width] from one pass over ``ids``: of ``layers`` alone, in the order given (all
    where it is None). For the residual stream layer 0 is what goes into the first layer, and layer n what comes out of
    the n-th; for attention and MLP layer n is the n-th layer's, from 1, and there is no layer 0.
    """
    at = torch.tensor(list(range(len(ids)) if positions is None else positions), device=loaded.device)
    found: dict[str, dict[int, Tensor]] = {k: {} for k in kinds}

    def keep(kind: str, layer: int, out: Any) -> None:
        first = out[0] if isinstance(out, tuple) else out
        # Experts' outputs come flat in some releases.
        found[kind][layer] = first.reshape(-1, first.shape[-1])[at].clone()

    def wanted(layer: int) -> bool:
        return layers is None or layer in layers

    with ExitStack() as hooks:
        for kind in kinds:
            for n, module in enumerate(places(loaded, kind), 1):
                if wanted(n):
                    hooks.callback(
                        module.register_forward_hook(lambda m, given, out, kind=kind, n=n: keep(kind, n, out)).remove
                    )
        if "residual" in kinds and wanted(0):
            first = decoder_layers(loaded.network)[0]
            hooks.callback(
                first.register_forward_pre_hook(
                    lambda m, args, kwargs: keep("residual", 0, args[0] if args else kwargs["hidden_states"]),
                    with_kwargs=True,
                ).remove
            )
        run(loaded, ids, precision=precision)
    count = len(decoder_layers(loaded.network))
    return {
        kind: torch.stack(
            [by[n] for n in (range(0 if kind == "residual" else 1, count + 1) if layers is None else layers) if n in by]
        )
        for kind, by in found.items()
    }
