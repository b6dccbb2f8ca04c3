"""Which ``Run`` reads which kind of model: one line each.

run = run_class(loaded)(loaded, prompt_ids, target_ids, objective("logprob"))
"""

from __future__ import annotations

import importlib

from pellucid.models.load import LoadedModel
from pellucid.trace.engine import Run

#: kind of model: (module, class)
RUNS = {
    "causal": ("pellucid.trace.engine", "Run"),
    "seq2seq": ("pellucid.trace.seq2seq", "Seq2SeqRun"),
    "classifier": ("pellucid.trace.classify", "ClassifierRun"),
    "span": ("pellucid.trace.extract", "SpanRun"),
}


def run_class(loaded: LoadedModel) -> type[Run]:
    """The class of runs for this kind of model."""
    module, name = RUNS[loaded.kind]
    found: type[Run] = getattr(importlib.import_module(module), name)
    return found
