"""Keep transformers' own progress bars off while Pellucid shows its own; put back what was there.

with quiet_bars():
    AutoModelForCausalLM.from_pretrained(folder)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_bars() -> Iterator[None]:
    """transformers' and the Hub's bars off within, restored after, whatever happens."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    bars, hub = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()
        # transformers' switch moves the Hub's too, so the Hub's own state goes back last.
        if hub:
            enable_progress_bars()
        else:
            disable_progress_bars()
