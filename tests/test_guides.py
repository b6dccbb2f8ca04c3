"""The guides are what their cells print: each is run in a fresh kernel, and compared with what stands in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pellucid.model import Model

GUIDES = Path(__file__).parents[1] / "docs" / "guides"
NAMES = sorted(p.name for p in GUIDES.glob("*.ipynb"))


def test_each_guide_is_there_in_both_languages() -> None:
    wanted = [f"{n}.{lang}.ipynb" for n in ("inside", "learning", "next-word") for lang in ("en", "zh")]
    assert wanted == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_guide_prints_what_it_says(name: str, embedded: Model) -> None:
    """``embedded`` has the model in the cache before the kernel asks for it."""
    pytest.importorskip("nbclient")
    command = [sys.executable, str(GUIDES / "run.py"), "--check", str(GUIDES / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
