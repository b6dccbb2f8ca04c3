"""The applications' results as blocks: one module a kind of result, one line here.

    blocks = app_view(result)(result, "en")

Each module has ``view(result, lang) -> list[Element]`` and its own words in English and Chinese; what they share stands
in ``shared``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid.lens.plain import Result
    from pellucid.render.blocks import Element

#: The result's ``SCHEMA`` -> module of this room that draws it.
MODULES = {
    "pellucid.classification/1": "classification",
    "pellucid.answered/1": "answered",
    "pellucid.generation/1": "generation",
    "pellucid.translation/1": "translation",
    "pellucid.report/1": "report",
    "pellucid.written/1": "written",
    "pellucid.code/1": "code",
    "pellucid.reply/1": "reply",
    "pellucid.why/1": "why",
    "pellucid.passages/1": "passages",
    "pellucid.cited/1": "cited",
    "pellucid.verified/1": "verified",
    "pellucid.contradictions/1": "contradictions",
    "pellucid.rag-board/1": "ragboard",
}


def app_view(result: Result) -> Callable[[Any, str], list[Element]]:
    """What puts this kind of result into blocks."""
    module = importlib.import_module(f"pellucid.render.appviews.{MODULES[result.SCHEMA]}")
    found: Callable[[Any, str], list[Element]] = module.view
    return found
