"""Recipes by name: ``pellucid lab train --preset char-tiny``.

One entry a preset, with the tables of a TOML recipe, each as far as it differs from the defaults.
"""

from __future__ import annotations

from typing import Any

#: nanoGPT's published recipe for a CPU (its README: 4 layers, 4 heads, width 128, 64 characters, 12 rows, 2,000 steps).
_TINY: dict[str, dict[str, Any]] = {
    "data": {"tokenizer": "characters"},
    "model": {
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "positions": "learned",
        "norm": "layernorm",
        "norm_eps": 1e-5,
        "feed_forward": "gelu",
    },
    "train": {
        "steps": 2000,
        "rows": 12,
        "context": 64,
        "rate": 1e-3,
        "warmup": 100,
        "betas": [0.9, 0.99],
        "schedule": "cosine",
        "least": 0.1,
        "evaluate_every": 500,
        "save_every": 500,
    },
}

#: The same task with what was learnt since: rotary positions, RMSNorm, QK-norm, layers that start as the identity,
#: Muon on matrices at twenty times the rate, and a straight way down to nothing at the end. docs/decisions.md has the
#: recipes that were tried.
_FAST: dict[str, dict[str, Any]] = {
    "data": _TINY["data"],
    "model": {
        **_TINY["model"],
        "positions": "rope",
        "norm": "rmsnorm",
        "norm_eps": 1e-6,
        "qk_norm": True,
        "zero_init": True,
    },
    "train": {
        **_TINY["train"],
        "steps": 320,
        "optimiser": "muon",
        "rate": 0.015,
        "adam_rate": 0.005,
        "betas": [0.9, 0.95],
        "warmup": 20,
        "schedule": "wsd",
        "least": 0.0,
        "evaluate_every": 320,
        "save_every": 320,
    },
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "char-tiny": _TINY,
    "char-fast": _FAST,
    "stdlib-tiny": {
        "data": {"sources": ["stdlib"], "tokenizer": "bytepairs", "vocab_size": 2048},
        "model": {
            "hidden_size": 192,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "max_position_embeddings": 256,
            "qk_norm": True,
        },
        "train": {
            "steps": 600,
            "rows": 16,
            "context": 128,
            "optimiser": "muon",
            "rate": 0.02,
            "adam_rate": 0.004,
            "warmup": 20,
            "schedule": "wsd",
            "least": 0.0,
            "evaluate_every": 200,
            "evaluate_tokens": 50_000,
            "save_every": 200,
        },
    },
}
