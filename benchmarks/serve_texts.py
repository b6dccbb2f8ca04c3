"""Texts of the load that ``serve.py`` and ``serve_load.py`` send."""

from __future__ import annotations

from typing import Any

CITIES = ["France", "Norway", "Japan", "Peru", "Kenya", "Canada", "Italy", "Chile"]
TEXT = (
    "The harbour was closed in the winter of 1911, when the ice stood a metre high at the quay and the boats of the "
    "northern fleet lay in the fjord. In spring the fishermen came back, and with them the trade in salt and cod."
)
NEXT: dict[str, Any] = {"prompt": f"{TEXT} The capital of France is", "raw": True, "steps": 1, "keep": False}
