"""Where a token stands: rotary, learned, sinusoidal, ALiBi, and T5's relative bias.

    from pellucid.lab.blocks.positions import alibi_slopes
    alibi_slopes(12)

Rotary and absolute positions follow ``position_ids`` [rows, tokens], so that padding and packed documents can restart
them. The two biases know distances alone: they are added to attention's scores, a head at a time.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class Rotary:
    """RoPE (Su et al. 2021, arXiv:2104.09864): pairs of numbers turn by an angle that grows with the position.

    theta_i = base^(-2i / width) for the pair i; its scalings (linear, Llama 3's, YaRN) are transformers' own. The two
    numbers of a pair lie half a head apart, as in Llama. Frequencies are made when they are first asked for, not kept
    as a buffer: nothing of them is in a checkpoint.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self._kept: dict[torch.device, tuple[Tensor, float]] = {}

    def frequencies(self, device: torch.device) -> tuple[Tensor, float]:
        """Angles a position [head width / 2], and what cosine and sine are multiplied by."""
        if device not in self._kept:
            self._kept[device] = self._make(device)
        return self._kept[device]

    def _make(self, device: torch.device) -> tuple[Tensor, float]:
        rope = self.config.rope_parameters
        if rope["rope_type"] == "default":
            steps = torch.arange(0, self.config.head_dim, 2, dtype=torch.float32, device=device)
            return rope["rope_theta"] ** (-steps / self.config.head_dim), 1.0
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        found, scale = ROPE_INIT_FUNCTIONS[rope["rope_type"]](self.config, device)
        return found, float(scale)

    def __call__(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosine and sine [rows, 1, tokens, head width] at ``positions`` [rows, tokens]."""
        frequencies, scale = self.frequencies(positions.device)
        angles = positions[:, None, :, None].to(frequencies.dtype) * frequencies  # [rows, 1, tokens, head width / 2]
        both = torch.cat((angles, angles), -1)
        return (both.cos() * scale).to(dtype), (both.sin() * scale).to(dtype)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn ``x`` [rows, heads, tokens, head width] by the angles whose ``cosine`` and ``sine`` are given."""
    a, b = x.chunk(2, -1)
    return x * cosine + torch.cat((-b, a), -1) * sine


def sinusoids(positions: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Vaswani et al. 2017 (arXiv:1706.03762) [rows, tokens, width]: sin(p / 10000^(2i/width)) at 2i, cos at 2i + 1."""
    steps = torch.arange(0, width, 2, dtype=torch.float32, device=positions.device)
    angles = positions[..., None].float() * torch.exp(steps * (-math.log(10000.0) / width))
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(-2)[..., :width].to(dtype)


def alibi_slopes(heads: int) -> list[float]:
    """ALiBi's slope of each head (Press et al. 2021, arXiv:2108.12409).

    2^(-8 i / heads) for i = 1..heads where that is a power of two; else those of the power of two below, and between
    them every other slope of the next one.
    """
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    if power == heads:
        return slopes
    between = [2 ** (-8 * (i + 1) / (2 * power)) for i in range(0, 2 * power, 2)]
    return slopes + between[: heads - power]


def distances(queries: int, keys: int, device: torch.device) -> Tensor:
    """How far back each key lies [queries, keys]; the last query stands at the last key. Negative: ahead."""
    last = torch.arange(keys - queries, keys, device=device)
    return last[:, None] - torch.arange(keys, device=device)


class Alibi:
    """-slope * distance on each head's scores; nothing is learned."""

    def __init__(self, config: Any) -> None:
        self.heads = config.num_attention_heads

    def __call__(self, queries: int, keys: int, device: torch.device) -> Tensor:
        """The bias [1, heads, queries, keys]."""
        slopes = torch.tensor(alibi_slopes(self.heads), device=device)
        return -slopes[None, :, None, None] * distances(queries, keys, device).clamp(min=0)


class RelativeBias(nn.Module):
    """T5's bias (Raffel et al. 2020, arXiv:1910.10683): a learned number a head and bucket of distances.

    Half of the buckets are one distance each; the other half grow by a constant factor up to ``relative_distance``, and
    all that lies further shares the last. One table for all layers, as in T5.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.buckets, self.furthest = config.relative_buckets, config.relative_distance
        self.table = nn.Embedding(config.relative_buckets, config.num_attention_heads)

    def bucket(self, distance: Tensor) -> Tensor:
        """The bucket of each distance; those ahead count as 0 (the mask hides them)."""
        d = distance.clamp(min=0)
        exact = self.buckets // 2
        ratio = (d.clamp(min=1).float() / exact).log() / math.log(self.furthest / exact)
        far = (exact + (ratio * (self.buckets - exact)).long()).clamp(max=self.buckets - 1)
        return torch.where(d < exact, d, far)

    def forward(self, queries: int, keys: int, device: torch.device) -> Tensor:
        """The bias [1, heads, queries, keys]."""
        bias: Tensor = self.table(self.bucket(distances(queries, keys, device)))  # [queries, keys, heads]
        return bias.permute(2, 0, 1)[None]
