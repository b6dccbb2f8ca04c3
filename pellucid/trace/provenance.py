"""Which model and which releases a result comes from.

python -c "from pellucid.trace.provenance import versions; print(versions())"
"""

from __future__ import annotations

import platform

from pellucid.models.load import LoadedModel
from pellucid.trace.result import ModelInfo


def model_info(loaded: LoadedModel) -> ModelInfo:
    """What a result says of its model."""
    return ModelInfo(
        loaded.name,
        loaded.source,
        loaded.revision,
        str(loaded.dtype).removeprefix("torch."),
        str(loaded.device),
        loaded.parameters,
    )


def versions(*others: str) -> dict[str, str]:
    """Releases of Python, torch, transformers and of other installed distributions."""
    from importlib.metadata import version

    import torch
    import transformers

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        **{name: version(name) for name in others},
    }
