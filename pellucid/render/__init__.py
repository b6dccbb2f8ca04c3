"""The room that draws: one ``Trace`` to terminal, HTML, notebook, PNG, or a file of JSON.

    trace.show(); trace.save("why.html"); trace.save("why.png"); trace.save("why.json")

It reads results only: it needs no model and no torch, and it never computes an attribution. No other room
draws. ``units`` joins tokens into what is drawn as one piece, ``colors`` is the scale, ``visible`` makes text
safe, ``fold`` chooses what to show of a long prompt, ``words`` holds every sentence in English and Chinese;
``terminal``, ``html`` and ``png`` draw with them.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pellucid.errors import OutputError

if TYPE_CHECKING:
    from pellucid.bench.board import Board
    from pellucid.bench.relevanceboard import RelevanceBoard
    from pellucid.lens.plain import Result as LensResult
    from pellucid.relevance.result import Relevance
    from pellucid.trace.compare import Comparison
    from pellucid.trace.interactions import Interactions
    from pellucid.trace.result import Trace

Result = TypeVar("Result")
Writer = TypeVar("Writer")


def _json(trace: Trace | Comparison | Interactions | Relevance) -> bytes:
    # A lone surrogate, which UTF-8 cannot hold, becomes \udXXX: JSON's own way to write it.
    return (trace.to_json() + "\n").encode("utf-8", "backslashreplace")


def _html(trace: Trace) -> bytes:
    from pellucid.render.html import page

    return page(trace).encode("utf-8", "xmlcharrefreplace")


def _png(trace: Trace) -> bytes:
    from io import BytesIO

    from pellucid.render.png import save_png

    buffer = BytesIO()
    save_png(trace, buffer)
    return buffer.getvalue()


def _comparison_html(comparison: Comparison) -> bytes:
    from pellucid.render.comparehtml import page

    return page(comparison).encode("utf-8", "xmlcharrefreplace")


def _comparison_png(comparison: Comparison) -> bytes:
    from io import BytesIO

    from pellucid.render.comparepng import save_png

    buffer = BytesIO()
    save_png(comparison, buffer)
    return buffer.getvalue()


def _interactions_html(found: Interactions) -> bytes:
    from pellucid.render.interactionshtml import page

    return page(found).encode()


def _interactions_png(found: Interactions) -> bytes:
    from io import BytesIO

    from pellucid.render.interactionspng import save_png

    buffer = BytesIO()
    save_png(found, buffer)
    return buffer.getvalue()


def _relevance_html(found: Relevance) -> bytes:
    from pellucid.render.relevancehtml import page

    return page(found).encode()


def _relevance_png(found: Relevance) -> bytes:
    from io import BytesIO

    from pellucid.render.relevancepng import save_png

    buffer = BytesIO()
    save_png(found, buffer)
    return buffer.getvalue()


def _lens_json(result: LensResult, lang: str | None) -> bytes:
    return (result.to_json() + "\n").encode("utf-8", "backslashreplace")


def _lens_csv(result: LensResult, lang: str | None) -> bytes:
    import csv
    from io import StringIO

    rows = result.rows()
    names: dict[str, None] = {n: None for row in rows for n in row}
    out = StringIO()
    table = csv.DictWriter(out, list(names), lineterminator="\r\n")
    table.writeheader()
    table.writerows(rows)
    # With a mark at its beginning, by which spreadsheets know UTF-8.
    return ("\ufeff" + out.getvalue()).encode("utf-8", "backslashreplace")


def _lens_html(result: LensResult, lang: str | None) -> bytes:
    from pellucid.render.lenshtml import page

    return page(result, lang=lang).encode("utf-8", "xmlcharrefreplace")


def _lens_markdown(result: LensResult, lang: str | None) -> bytes:
    from pellucid.render.lensmarkdown import page

    return page(result, lang=lang).encode("utf-8", "xmlcharrefreplace")


def _lens_png(result: LensResult, lang: str | None) -> bytes:
    from io import BytesIO

    from pellucid.render.lenspng import save_png

    buffer = BytesIO()
    save_png(result, buffer, lang=lang)
    return buffer.getvalue()


#: Ending to the function that makes the file's bytes. Imports wait until a file of that kind is asked for.
WRITERS: dict[str, Callable[[Trace], bytes]] = {".json": _json, ".html": _html, ".png": _png}
#: The same for several traces side by side.
COMPARISON_WRITERS: dict[str, Callable[[Comparison], bytes]] = {
    ".json": _json,
    ".html": _comparison_html,
    ".png": _comparison_png,
}

#: The same for interactions between units.
INTERACTIONS_WRITERS: dict[str, Callable[[Interactions], bytes]] = {
    ".json": _json,
    ".html": _interactions_html,
    ".png": _interactions_png,
}

#: The same for what a query found in a text.
RELEVANCE_WRITERS: dict[str, Callable[[Relevance], bytes]] = {
    ".json": _json,
    ".html": _relevance_html,
    ".png": _relevance_png,
}


#: The same for what the lens shows, in a language.
LENS_WRITERS: dict[str, Callable[[LensResult, str | None], bytes]] = {
    ".json": _lens_json,
    ".csv": _lens_csv,
    ".html": _lens_html,
    ".md": _lens_markdown,
    ".png": _lens_png,
}


def writer(path: Path, writers: dict[str, Writer]) -> Writer:
    """What writes a file of this ending. Raises ``OutputError`` that names the endings there are."""
    found = writers.get(path.suffix.lower())
    if found is None:
        given = f"'{path.suffix}'" if path.suffix else "no ending"
        raise OutputError(f"cannot write {path}: expected a file that ends in {', '.join(writers)}, got {given}")
    return found


def check_writable(path: Path) -> None:
    """Raise ``OutputError`` where ``path`` cannot be written: before the work, rather than after it."""
    folder = Path(os.path.realpath(path)).parent
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; give the name of a file")
    if not folder.exists():
        raise OutputError(f"cannot write {path}: there is no folder {folder}; make it first")
    if not folder.is_dir():
        raise OutputError(f"cannot write {path}: {folder} is not a folder")
    if path.exists() and not os.access(path, os.W_OK):
        raise OutputError(f"cannot write {path}: the file is there and may not be changed")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: no permission to write in the folder {folder}")


def save(trace: Trace, path: Path) -> Path:
    """Write ``trace`` to ``path`` in the format that its ending names, and return the path. Whole or not at all."""
    return _write(trace, path, writer(path, WRITERS))


def save_comparison(comparison: Comparison, path: Path) -> Path:
    """Write several traces side by side to ``path``, as ``save`` writes one."""
    return _write(comparison, path, writer(path, COMPARISON_WRITERS))


def save_board(board: Board, folder: Path) -> list[Path]:
    """Write a leaderboard to ``leaderboard.md``, ``.json`` and ``.png`` in ``folder``, each whole or not at all."""
    import json
    from io import BytesIO

    from pellucid.render.board import markdown
    from pellucid.render.boardpng import save_png

    def picture(b: Board) -> bytes:
        buffer = BytesIO()
        save_png(b, buffer)
        return buffer.getvalue()

    makers: dict[str, Callable[[Board], bytes]] = {
        ".md": lambda b: markdown(b).encode(),
        ".json": lambda b: (json.dumps(b.to_dict(), ensure_ascii=False, indent=1) + "\n").encode(),
        ".png": picture,
    }
    return [_write(board, folder / f"leaderboard{ending}", make) for ending, make in makers.items()]


def save_relevance_board(board: RelevanceBoard, folder: Path) -> list[Path]:
    """Write the table of ``bench relevance`` to ``relevance.md`` and ``relevance.json`` in ``folder``."""
    import json

    from pellucid.render.relevanceboard import markdown

    makers: dict[str, Callable[[RelevanceBoard], bytes]] = {
        ".md": lambda b: markdown(b).encode(),
        ".json": lambda b: (json.dumps(b.to_dict(), ensure_ascii=False, indent=1) + "\n").encode(),
    }
    return [_write(board, folder / f"relevance{ending}", make) for ending, make in makers.items()]


def save_interactions(found: Interactions, path: Path) -> Path:
    """Write interactions between units to ``path``, as ``save`` writes a trace."""
    return _write(found, path, writer(path, INTERACTIONS_WRITERS))


def save_relevance(found: Relevance, path: Path) -> Path:
    """Write what a query found in a text to ``path``, as ``save`` writes a trace."""
    return _write(found, path, writer(path, RELEVANCE_WRITERS))


def save_lens(result: LensResult, path: Path, *, lang: str | None = None) -> Path:
    """Write what the lens shows to ``path``, as ``save`` writes a trace; ``lang`` is en or zh, the locale's where
    None."""
    make = writer(path, LENS_WRITERS)
    return _write(result, path, lambda r: make(r, lang))


def show_lens(result: LensResult, *, lang: str | None = None) -> None:
    """Print what the lens shows."""
    from pellucid.render.lensterminal import show

    show(result, lang=lang)


def lens_notebook(result: LensResult) -> str:
    """What the lens shows, as the output of a notebook cell."""
    from pellucid.render.lenshtml import notebook

    return notebook(result)


def _write(result: Result, path: Path, make: Callable[[Result], bytes]) -> Path:
    """Write what ``make`` makes of ``result`` to ``path``, and return the path.

    Whole or not at all: the bytes go to a temporary file beside it, which then takes its place in one step.
    Whatever goes wrong on the way, Ctrl-C included, the file that was there stays as it was and nothing else
    is left.
    """
    check_writable(path)
    data = make(result)
    target = Path(os.path.realpath(path))  # through a link, so that the link stays one
    scratch = target.with_name(f".pellucid-{secrets.token_hex(8)}.tmp")  # short: the name may be of full length
    try:
        # "x" creates with the user's own umask, which tempfile would not.
        with scratch.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            scratch.chmod(stat.S_IMODE(target.stat().st_mode))
        scratch.replace(target)
    except OSError as e:
        raise OutputError(f"cannot write {path}: {e.strerror or e}") from None
    finally:
        with suppress(OSError):  # after a success it is not there any more
            scratch.unlink()
    return path
