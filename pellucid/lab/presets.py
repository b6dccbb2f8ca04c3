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

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "char-tiny": _TINY,
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
