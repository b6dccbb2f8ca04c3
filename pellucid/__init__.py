"""Pellucid: which part of the input made the language model say that.

::

    import pellucid
    model = pellucid.load("smollm2-135m-instruct")
    model.explain("What is the capital of France?").show()

The public surface, and nothing else. Names that need torch are imported when they are first used, so that
``pellucid --help`` and ``import pellucid`` stay quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pellucid.errors import ContextError as ContextError
from pellucid.errors import DamagedFileError as DamagedFileError
from pellucid.errors import Error as Error
from pellucid.errors import InputError as InputError
from pellucid.errors import LicenceError as LicenceError
from pellucid.errors import MissingExtraError as MissingExtraError
from pellucid.errors import ModelError as ModelError
from pellucid.errors import NumericError as NumericError
from pellucid.errors import OfflineError as OfflineError
from pellucid.errors import OptionError as OptionError
from pellucid.errors import OutputError as OutputError
from pellucid.errors import SchemaError as SchemaError
from pellucid.errors import TemplateError as TemplateError
from pellucid.errors import UnknownModelError as UnknownModelError
from pellucid.version import __version__ as __version__

if TYPE_CHECKING:
    from pellucid.model import Model as Model
    from pellucid.model import load as load
    from pellucid.relevance.result import Relevance as Relevance
    from pellucid.trace.combine import agreement as agreement
    from pellucid.trace.combine import combine as combine
    from pellucid.trace.compare import Comparison as Comparison
    from pellucid.trace.interactions import Interactions as Interactions
    from pellucid.trace.result import Trace as Trace

_LAZY = {
    "Comparison": "pellucid.trace.compare",
    "Interactions": "pellucid.trace.interactions",
    "Model": "pellucid.model",
    "Relevance": "pellucid.relevance.result",
    "Trace": "pellucid.trace.result",
    "agreement": "pellucid.trace.combine",
    "combine": "pellucid.trace.combine",
    "load": "pellucid.model",
}

__all__ = [
    "Comparison",
    "ContextError",
    "DamagedFileError",
    "Error",
    "InputError",
    "Interactions",
    "LicenceError",
    "MissingExtraError",
    "Model",
    "ModelError",
    "NumericError",
    "OfflineError",
    "OptionError",
    "OutputError",
    "Relevance",
    "SchemaError",
    "TemplateError",
    "Trace",
    "UnknownModelError",
    "__version__",
    "agreement",
    "combine",
    "load",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'pellucid' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
