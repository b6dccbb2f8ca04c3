"""How fast a run is, as a share of what the machine could do.

    speed.flops(network, length=64)         # floating-point operations a token

6 N + 12 L W T operations a token for forward and backward (Chowdhery et al. 2022, arXiv:2204.02311, appendix B): N
weights outside the embeddings (a tied head counts, once), L layers of width W, T tokens of context; recomputation does
not count. The peak is the vendor's dense figure for a GPU, and measured for a CPU: a product of two large float32
matrices.
"""

from __future__ import annotations

import time
from typing import Any

FORMULA = "6 N + 12 layers x width x context, per token"
#: Dense operations a second (bf16 or fp16, fp32 without TF32), from the vendors' data sheets.
PEAKS = {
    "H200": (989e12, 67e12),
    "H100": (989e12, 67e12),
    "A100": (312e12, 19.5e12),
    "L40S": (362e12, 91.6e12),
    "L4": (121e12, 30.3e12),
    "A10": (125e12, 31.2e12),
    "T4": (65e12, 8.1e12),
    "4090": (165e12, 82.6e12),
    "3090": (71e12, 35.6e12),
}


def flops(network: Any, length: int) -> float:
    """Operations a token of a training step on ``length`` tokens of context."""
    c = network.config
    inputs = network.get_input_embeddings().weight
    head = network.get_output_embeddings().weight
    weights = sum(p.numel() for n, p in network.named_parameters() if "embed_positions" not in n)
    if head is not inputs:
        weights -= inputs.numel()
    if getattr(c, "num_experts", 0):  # a token visits a few of them
        experts = sum(p.numel() for n, p in network.named_parameters() if n.endswith((".mlp.up", ".mlp.down")))
        weights -= experts * (1 - c.num_experts_per_tok / c.num_experts)
    heads = c.num_attention_heads * (getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads)
    return float(6 * weights + 12 * c.num_hidden_layers * heads * length)


def peak(device: Any, precision: str) -> tuple[float, str] | None:
    """Operations a second, and where the figure is from; None for a device that is not in the table."""
    import torch

    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for known, (half, full) in PEAKS.items():
            if known in name:
                return (full if precision == "fp32" else half), f"{name}'s data sheet"
        return None
    if device.type != "cpu":
        return None
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        a @ b
        best = max(best, 2 * 1024**3 / (time.perf_counter() - start))
    return best, f"measured: 1024 x 1024 products on {torch.get_num_threads()} threads"
