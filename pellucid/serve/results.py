"""Results by the kind that requests name: to plain data and back, and to files.

    data = plain(trace)                       # pellucid.trace/1
    data, media = exported("trace", data, "html", "en")

``exported`` goes by the writers of ``render``, so that a file from the page is what ``save`` writes.
"""

from __future__ import annotations

import importlib
from typing import Any

from pellucid.errors import OptionError, SchemaError

#: Kind -> where its class is.
KINDS = {
    "trace": "pellucid.trace.result:Trace",
    "comparison": "pellucid.trace.compare:Comparison",
    "relevance": "pellucid.relevance.result:Relevance",
    "next": "pellucid.lens.results:NextTokens",
    "decodings": "pellucid.lens.results:Decodings",
    "surprisal": "pellucid.lens.results:Surprisal",
    "logit_lens": "pellucid.lens.results:LogitLens",
    "anatomy": "pellucid.lens.results:Anatomy",
    "flow": "pellucid.lens.flow:Flow",
    "classification": "pellucid.apps.classification:Classification",
    "why": "pellucid.apps.chat.results:Why",
    "passages": "pellucid.apps.rag.passages:Passages",
    "cited": "pellucid.apps.rag.cited:Cited",
}
#: Those that have a view and files of their own; every other is drawn by the lens's blocks.
OWN = ("trace", "comparison", "relevance")
MEDIA = {
    "json": "application/json",
    "html": "text/html; charset=utf-8",
    "png": "image/png",
    "md": "text/markdown; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
}


def plain(result: Any) -> Any:
    """As data for JSON."""
    return result if isinstance(result, dict) else result.to_dict()


def restored(kind: str, data: Any) -> Any:
    """The result that ``data`` was made of. Raises ``SchemaError``."""
    if kind not in KINDS:
        raise SchemaError(f"a result of the kind '{kind}' is not known: expected one of {', '.join(KINDS)}")
    module, _, name = KINDS[kind].partition(":")
    return getattr(importlib.import_module(module), name).from_dict(data)


def exported(kind: str, data: Any, form: str, lang: str | None) -> tuple[bytes, str]:
    """A file's bytes and media type. Raises ``OptionError`` for a form that this kind is not written in."""
    from pellucid import render

    own: dict[str, dict[str, Any]] = {
        "trace": render.WRITERS,
        "comparison": render.COMPARISON_WRITERS,
        "relevance": render.RELEVANCE_WRITERS,
    }
    writers = own.get(kind, render.LENS_WRITERS)
    make = writers.get(f".{form}")
    if make is None:
        raise OptionError(
            f"a result of the kind '{kind}' is not written as '{form}': expected one of "
            f"{', '.join(w.removeprefix('.') for w in writers)}"
        )
    result = restored(kind, data)
    return (make(result) if kind in OWN else make(result, lang)), MEDIA[form]


def fragment(kind: str, data: Any, lang: str | None) -> str:
    """The view's markup, to stand in a page. Raises ``OptionError`` for a kind with a component of its own."""
    if kind in OWN:
        raise OptionError(f"a result of the kind '{kind}' has no fragment: the page draws it, or export it as html")
    from pellucid.render.lenshtml import fragment

    return fragment(restored(kind, data), lang=lang)
