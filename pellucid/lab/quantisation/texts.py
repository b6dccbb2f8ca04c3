"""The text that is measured on where none is given: the Python standard library's own source, on every machine.

[d.name for d in standard_library()]
"""

from __future__ import annotations

import importlib
import inspect

from pellucid.errors import InputError
from pellucid.lab.evaluation.inputs import Document

#: Modules of much prose and ordinary code; pure Python in every release.
MODULES = ("heapq", "statistics", "textwrap", "argparse")
CHARACTERS = 10_000


def standard_library() -> list[Document]:
    """The beginning of each module's source. Raises ``InputError`` where the library comes without its source."""
    found = []
    for name in MODULES:
        try:
            source = inspect.getsource(importlib.import_module(name))
        except OSError:
            raise InputError(
                f"the source of Python's module {name} is not on this machine: give a text to measure on (--data)"
            ) from None
        found.append(Document(f"Python's {name}", source[:CHARACTERS]))
    return found
