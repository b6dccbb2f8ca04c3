"""The real server, and a browser at its page: what a tab logs or asks others for must be nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import started
from serving import Site, serving

from pellucid.apps.rag.indexing import index

Visit = Callable[..., Any]


#: What the served index ``kb`` is made of: a document that is longer than a window, and one beside the point.
NOTICE = "boats keep clear of the reef at low water, and the bell is rung in fog."
LIGHTHOUSE = (
    "# The lighthouse of Eddystone\n\n"
    + "\n\n".join(f"Notice {k}: {NOTICE}" for k in range(40))
    + "\n\n## The third tower\n\nJohn Smeaton built the third tower in 1759. He used hydraulic lime, which sets under "
    "water. The tower is 18 metres high.\n\n## Keepers\n\nThe light was made automatic in 1982.\n"
)
TEA = "# Tea\n\nGreen tea is brewed with water at 80 degrees. Black tea wants water that boils.\n"


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index ``kb``."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "lighthouse.md").write_text(LIGHTHOUSE, encoding="utf-8")
    (folder / "tea.md").write_text(TEA, encoding="utf-8")
    index([folder / "lighthouse.md", folder / "tea.md"], folder / "kb")
    return folder


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, documents: Path) -> Iterator[Site]:
    """The embedded model and an index, served; the history in a folder of the test's."""
    folder = tmp_path_factory.mktemp("serve")
    with serving(folder, "--history", str(folder / "history.sqlite"), "--kb", str(documents / "kb")) as found:
        yield found


# Of a module: only one browser can be driven at a time, and other modules start their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from started()


@pytest.fixture
def visit(browser: Any, site: Site) -> Iterator[Visit]:
    """``visit("/#history", locale="zh-CN")``: a tab at the server's page."""
    contexts: list[Any] = []
    log: list[str] = []  # must stay empty: errors, console messages, dialogs, requests of anything but the server

    def show(path: str = "/", *, address: str = site.address, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, "locale": "en-US", **options})
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda m: log.append(f"console: {m.text}"))
        tab.on("pageerror", lambda e: log.append(f"error: {e}"))
        tab.on("dialog", lambda d: (log.append(f"dialog: {d.message}"), d.dismiss()))
        own = (f"{address}/", "data:", f"blob:{address}/")
        tab.on("request", lambda r: None if r.url.startswith(own) else log.append(f"request: {r.url[:80]}"))
        tab.goto(f"{address}{path}")
        tab.wait_for_function("() => performance.getEntriesByName('pellucid-ready').length > 0")
        return tab

    yield show
    for context in contexts:
        context.close()
    assert log == []
