"""A network's decoder layers, and running them again on the way back.

for layer in layers(network): ...
run_again(network)          # gradient checkpointing
"""

from __future__ import annotations

from typing import Any


def layers(network: Any) -> list[Any]:
    """The network's decoder layers: transformers marks them by their class."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [m for m in network.modules() if isinstance(m, GradientCheckpointingLayer)]


def run_again(network: Any) -> None:
    """Keep layers' inputs alone, and run each layer again on the way back (gradient checkpointing)."""
    enable = getattr(network, "activation_checkpointing_enable", None)
    if enable is not None:
        enable({"use_reentrant": False})
    else:  # its name before transformers 5.2x
        network.gradient_checkpointing_enable({"use_reentrant": False})
