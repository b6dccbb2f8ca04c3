"""A model that has learnt nothing, for as long as a context is open: does a method notice?

    with randomised(loaded.network, seed=0):
        ...

Every weight tensor is drawn anew from a normal distribution with the tensor's own mean and standard deviation, and put
back on the way out, whatever happens. Scores that stay what they were show the input, not the model: Adebayo et al.
2018, "Sanity Checks for Saliency Maps" (arXiv:1810.03292).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pellucid.errors import ModelError


@contextmanager
def randomised(network: Any, *, seed: int = 0) -> Iterator[None]:
    """The network with random weights. Needs the weights' bytes once more. Raises ``ModelError`` for quantised ones."""
    parameters = list(network.parameters())
    if not all(p.is_floating_point() for p in parameters):
        raise ModelError("the weights are quantised and cannot be randomised: load the model without quantisation")
    saved = [p.detach().clone() for p in parameters]
    generators: dict[torch.device, torch.Generator] = {}
    try:
        with torch.no_grad():
            for p in parameters:
                generator = generators.setdefault(p.device, torch.Generator(p.device).manual_seed(seed))
                std = float(p.float().std()) if p.numel() > 1 else 0.0
                p.normal_(float(p.float().mean()), std, generator=generator)
        yield
    finally:
        with torch.no_grad():
            for p, before in zip(parameters, saved, strict=True):
                p.copy_(before)
