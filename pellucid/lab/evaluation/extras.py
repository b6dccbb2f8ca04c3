"""Packages that only some measures need: imported where they are used, and named with their extra where they are
missing.

    needed("sacrebleu.metrics", "BLEU", "lab").BLEU()
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from pellucid.errors import MissingExtraError


def needed(module: str, what: str, extra: str) -> Any:
    """The module, imported. Raises ``MissingExtraError`` where its package is not installed."""
    check_installed(module, what, extra)
    return importlib.import_module(module)


def check_installed(module: str, what: str, extra: str) -> None:
    """Raise ``MissingExtraError`` where the module's package is not installed; nothing is imported."""
    package = module.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(
            f"{what} needs the package {package}, which is not installed: pip install 'pellucid[{extra}]'"
        )
