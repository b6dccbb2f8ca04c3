"""Do gradients pass through a quantised model? Asked before any is used.

    check_gradient(network)

Some kernels (rounded activations, 4-bit products on a CPU) have no derivative, and give zeros where autograd asks for
one: the residual stream alone would carry gradients, and every score would be quietly wrong.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch

from pellucid.errors import ModelError
from pellucid.models.quantization import first_line, scheme


def check_gradient(network: Any) -> None:
    """Raise ``ModelError`` where a quantised network passes no gradient from one token to the next.

    Two tokens run; the first can reach the second one's logits through attention's maps alone. They run once without
    a graph before, because bitsandbytes repacks 4-bit weights then. A network that is not quantised is not asked.
    """
    name = scheme(network)
    if name is None:
        return
    embed = network.get_input_embeddings()
    ids = torch.arange(1, 3, device=embed.weight.device)[None]
    x = embed(ids).detach()
    said = "its gradients are zero"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own word of a missing derivative: ours follows
        with torch.no_grad():
            network(inputs_embeds=x, use_cache=False)
        x.requires_grad_(True)
        try:
            logits = network(inputs_embeds=x, use_cache=False).logits[0, -1]
            (gradient,) = torch.autograd.grad(logits.float().square().sum(), x)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError) as e:
            said = first_line(e)
        else:
            if bool(gradient[0, 0].any()):
                return
    raise ModelError(
        f"this method needs gradients, and the kernels of {name}, which quantised this model, pass none ({said}): use "
        "leave_one_out, kernel_shap, context_cite, attention or ifr, or load the model that it was made from, plain or "
        "with quantization='int8'"
    )
