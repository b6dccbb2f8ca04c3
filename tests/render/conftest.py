"""A real browser for the pages: what a tab logs, asks for or pops up must be nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import started

from pellucid.render.html import page
from pellucid.trace.result import Trace

Open = Callable[..., Any]


# Of a module, not of the session: other tests start a browser of their own, and only one can be driven at a time.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from started()


@pytest.fixture
def view(browser: Any, tmp_path: Path) -> Iterator[Open]:
    contexts: list[Any] = []
    log: list[str] = []  # must stay empty: errors, console messages, dialogs, requests of anything but the file

    def show(trace: Trace | str, **options: Any) -> Any:
        file = tmp_path / f"{len(contexts)}.html"
        file.write_text(trace if isinstance(trace, str) else page(trace), encoding="utf-8")
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, "locale": "en-US", **options})
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda m: log.append(f"console: {m.text}"))
        tab.on("pageerror", lambda e: log.append(f"error: {e}"))
        tab.on("dialog", lambda d: (log.append(f"dialog: {d.message}"), d.dismiss()))
        tab.on("request", lambda r: None if r.url == file.as_uri() else log.append(f"request: {r.url[:80]}"))
        tab.goto(file.as_uri())
        return tab

    yield show
    for context in contexts:
        context.close()
    assert log == []
