"""A real browser for the tests that look at pages: Debian's chromium, or the one that ``PELLUCID_CHROMIUM`` names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def started() -> Iterator[Any]:
    """A browser, until the caller is done; the test is skipped where none can be started, except on CI."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("PELLUCID_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with playwright.sync_playwright() as tool:
        try:
            browser = tool.chromium.launch(executable_path=path, args=FLAGS)
        except playwright.Error as e:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"no browser can be started: {str(e).splitlines()[0]}")
        yield browser
        browser.close()
