"""What turns the last hidden state into logits: the final norm, the head, and what a family does behind it.

    final = Final.of(loaded)
    final.logits(states)                # states [..., width] that were normed, to logits [..., vocabulary]
    final.logits(final.norm(states))    # of any layer's residual stream: the logit lens

Found by running one token and looking, not by a table of names: the head is the output embedding, the norm is what gave
the head its input. That the two, put together, are the network's own logits is checked each time.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import ModelError
from pellucid.lens.steps import finite
from pellucid.models.load import LoadedModel
from pellucid.trace.logits import wide


@dataclass(frozen=True, eq=False)
class Final:
    """``norm`` and ``head`` are modules of the network; ``scale`` and ``cap`` what its family does to the head's
    output: multiply by a number, and cap at ``cap`` by a tanh."""

    norm: Any
    head: Any
    scale: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, loaded: LoadedModel) -> Final:
        """Raises ``ModelError`` for a model whose logits are made in another way."""
        network: Any = loaded.network
        head = network.get_output_embeddings() if loaded.kind == "causal" else None
        if head is None:
            raise ModelError(f"this needs a causal language model, and '{loaded.name}' is of the kind '{loaded.kind}'")
        given: list[Tensor] = []
        came: list[tuple[Any, Tensor]] = []
        with ExitStack() as hooks:
            hooks.callback(head.register_forward_pre_hook(lambda m, args: given.append(args[0])).remove)
            for norm in (m for m in network.modules() if "norm" in type(m).__name__.lower()):
                hooks.callback(norm.register_forward_hook(lambda m, args, out: came.append((m, out))).remove)
            with torch.no_grad():
                start = torch.tensor([[0, 1]], device=loaded.device)
                own = finite(wide(network(input_ids=start, use_cache=False).logits), loaded)
        # The head may be given a part of it, or a view.
        made = next(
            (m for m, out in reversed(came) if out.shape[-1] == given[0].shape[-1] and _same(out, given[0])), None
        )
        if made is None:
            raise ModelError(
                f"'{loaded.name}' has no norm right before its language model head: nothing to read layers by"
            )
        text = network.config.get_text_config()
        cap = getattr(text, "final_logit_softcapping", None)
        found = cls(made, head, _scale(text), None if cap is None else float(cap))
        with torch.no_grad():
            mine = found.logits(given[0])
        if not torch.allclose(mine, own.to(mine.dtype), rtol=1e-3, atol=1e-3 * float(own.abs().max())):
            raise ModelError(
                f"the logits of '{loaded.name}' are not its head's output (a {type(network).__name__} does something "
                "with it that is not known): next_tokens and explain work all the same"
            )
        return found

    def logits(self, states: Tensor) -> Tensor:
        """Logits [..., vocabulary] in float32 or wider of normed ``states`` [..., width]."""
        out = wide(self.head(states))
        if self.scale != 1.0:
            out = out * self.scale
        return out if self.cap is None else torch.tanh(out / self.cap) * self.cap


def _same(a: Tensor, b: Tensor) -> bool:
    return bool(torch.equal(a[:, -b.shape[1] :], b))


def _scale(config: Any) -> float:
    """Cohere multiplies the logits by ``logit_scale``, Granite divides them by ``logits_scaling``."""
    if getattr(config, "logit_scale", None) is not None:
        return float(config.logit_scale)
    if getattr(config, "logits_scaling", None) is not None:
        return 1.0 / float(config.logits_scaling)
    return 1.0
