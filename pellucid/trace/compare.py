"""Several methods on one answer, side by side, and how far they agree.

    c = model.compare("What is the capital of France?", methods=["saliency", "input_x_gradient"])
    c.show(); c.agreement.spearman; c.save("compare.html")

The prompt is encoded and answered once; each method then explains the same tokens of the same answer. As JSON a
comparison is ``pellucid.comparison/1``: its ``traces`` (each a whole ``pellucid.trace/1``) and their ``agreement``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import InputError, OptionError, SchemaError
from pellucid.progress import Progress, silent
from pellucid.trace.combine import Agreement, agreement, combine
from pellucid.trace.result import Trace

if TYPE_CHECKING:
    from pellucid.models.encode import Messages
    from pellucid.models.load import LoadedModel
from pellucid.models.seq2seq import speaking

SCHEMA = "pellucid.comparison/1"
DEFAULT_METHODS = ("saliency", "input_x_gradient")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Explanations of one answer by several methods, in the order asked for, and their pairwise agreement."""

    traces: tuple[Trace, ...]
    agreement: Agreement

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, in order."""
        return tuple(t.method.name for t in self.traces)

    def __getitem__(self, method: str) -> Trace:
        for trace in self.traces:
            if trace.method.name == method:
                return trace
        raise KeyError(f"{method!r}: this comparison holds {', '.join(self.methods)}")

    def combine(self, how: str = "mean", normalize: str = "sum_abs") -> Trace:
        """All traces as one: see ``pellucid.trace.combine.combine``."""
        return combine(self.traces, how, normalize)

    def to_dict(self) -> dict[str, Any]:
        """Plain data in schema ``pellucid.comparison/1``; undefined correlations are None."""

        def numbers(matrix: Any) -> list[list[float | None]]:
            return [[float(x) if math.isfinite(x) else None for x in row] for row in matrix]

        a = self.agreement
        return {
            "schema": SCHEMA,
            "traces": [t.to_dict() for t in self.traces],
            "agreement": {
                "methods": list(a.methods),
                "spearman": numbers(a.spearman),
                "overlap": numbers(a.overlap),
                "top_k": a.top_k,
                "entries": a.entries,
            },
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """A JSON text (strict: no NaN), characters as they are."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=indent)

    @classmethod
    def from_dict(cls, data: object) -> Comparison:
        """From plain data; the agreement is measured again, so that it fits the traces. Raises ``SchemaError``."""
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise SchemaError(f'not a comparison: expected an object with "schema": "{SCHEMA}"')
        traces, about = data.get("traces"), data.get("agreement")
        if not isinstance(traces, list) or not traces or not isinstance(about, dict):
            raise SchemaError("not a whole comparison: expected 'traces' and 'agreement'")
        top_k = about.get("top_k")
        if not isinstance(top_k, int) or top_k < 1:
            raise SchemaError("not a whole comparison: 'agreement' lacks 'top_k', a number of entries")
        read = tuple(Trace.from_dict(t) for t in traces)
        return cls(read, agreement(read, top_k=top_k))

    @classmethod
    def load(cls, path: str | Path) -> Comparison:
        """From a JSON file. Raises ``SchemaError``, or ``InputError`` where the file cannot be read."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as e:
            raise InputError(f"cannot read {path}: {e.strerror or e}") from None
        except UnicodeDecodeError as e:
            raise SchemaError(f"{path} is not a comparison: byte {e.start} is not UTF-8") from None
        try:
            data = json.loads(text)
        except json.JSONDecodeError as e:
            raise SchemaError(f"{path} is not a comparison, or was cut short: {e.msg} at line {e.lineno}") from None
        return cls.from_dict(data)

    def show(self, *, full: bool = False) -> None:
        """Print the methods side by side in the terminal; ``full`` leaves nothing of a long prompt out."""
        from pellucid.render.comparison import show

        show(self, full=full)

    def save(self, path: str | Path) -> Path:
        """Write to ``path``: ``.json``, ``.html`` or ``.png`` by its ending, a panel a method. Whole or not at all."""
        from pellucid.render import save_comparison

        return save_comparison(self, Path(path))

    def _repr_html_(self) -> str:
        from pellucid.render.comparehtml import notebook

        return notebook(self)

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.methods)} -> {self.traces[0].answer.text[:60]!r})"


def check_methods(methods: Sequence[str], parameters: Mapping[str, Mapping[str, Any]], top_k: int = 10) -> None:
    """Raise ``OptionError`` for methods and parameters that cannot be compared, before any work."""
    from pellucid.trace.methods import method

    if isinstance(methods, str) or not methods:
        raise OptionError(f"methods should be a list of names, one or more, given {methods!r}")
    if top_k < 1:
        raise OptionError(f"top_k should be at least 1, given {top_k}")
    for i, name in enumerate(methods):
        method(name)
        if name in methods[:i]:
            raise OptionError(f"method '{name}' is named twice: each is compared once")
    for name, own in parameters.items():
        if name not in methods:
            raise OptionError(f"parameters for '{name}', which is not among the methods {', '.join(methods)}")
        for p in own:
            method(name).check(p)


def compare(
    loaded: LoadedModel,
    prompt: str | Messages | Sequence[str] | Mapping[str, str],
    methods: Sequence[str] = DEFAULT_METHODS,
    target: str | Sequence[str] | None = None,
    *,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    top_k: int = 10,
    merge: str | None = None,
    per_token: bool = False,
    trust: bool = True,
    seed: int = 0,
    precision: str = "full",
    source_language: str | None = None,
    target_language: str | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Comparison:
    """Explain one answer by each of ``methods``, and compare.

    Passes that methods have in common (plain gradients; the original's pass of what-if methods) run once, and stand in
    the cost of the first of them.

    ``parameters`` are by method: ``{"name": {...}}``. ``top_k`` is how many of the largest the overlap looks at.
    Further ``options`` are those of ``pellucid.trace.explain.explain``. Raises what ``explain`` raises.
    """
    import inspect

    from pellucid.trace.explain import explain_prepared
    from pellucid.trace.methods import method
    from pellucid.trace.prepare import prepare

    known = list(inspect.signature(prepare).parameters)[3:]
    for name in options:
        if name not in known:
            raise OptionError(f"compare has no option '{name}': parameters of a method go into parameters")
    own = parameters or {}
    check_methods(methods, own, top_k)
    loaded = speaking(loaded, source_language, target_language)
    ready = prepare(
        loaded,
        prompt,
        target,
        merge=merge,
        per_token=per_token,
        seed=seed,
        precision=precision,
        progress=progress,
        **options,
    )
    traces = []
    shared: dict[Any, Any] = {}
    for name in methods:

        def report(stage: str, done: float, total: float | None, name: str = name) -> None:
            progress(f"{name}: {stage}", done, total)

        traces.append(
            explain_prepared(
                loaded,
                ready,
                method(name),
                merge=merge,
                per_token=per_token,
                trust=trust,
                seed=seed,
                precision=precision,
                parameters=dict(own.get(name, {})),
                shared=shared,
                progress=report,
            )
        )
    return Comparison(tuple(traces), agreement(traces, top_k=top_k))
