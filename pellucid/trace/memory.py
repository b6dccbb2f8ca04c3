"""Memory: how much there is, how much a pass will take, and the plan that keeps one within the other.

    trace = model.explain("...", per_token=True, memory="2GB")

The plan is made before anything is computed. Sizes come from the model's configuration by a count of the floats that
autograd keeps (measured with saved-tensor hooks on Llama, Qwen3, Gemma 3, GPT-2 and GPT-NeoX: at most 7 widths and 4
MLP widths a token and layer, and with plain attention one float a query, key and head). What was really used is
measured while it runs (``PeakMemory``) and stands in the trace.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pellucid.errors import OptionError

if TYPE_CHECKING:
    import torch

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SHARE = 0.6  # of free memory for us under "auto": the rest is for others and for what a count does not see
_LONGEST_BATCHED = 1024  # above, plain attention's squares cost more than batching wins
_SAMPLE_SECONDS = 0.005
# Names of the MLP's width: encoder-decoders' and DistilBERT's.
_FEED_FORWARD = ("encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "hidden_dim")


def free_memory(device: torch.device) -> int:
    """Free bytes where the model runs: the GPU's, or the machine's within its container's limit."""
    import psutil
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    free = int(psutil.virtual_memory().available)
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    return free if limit is None or used is None else max(min(free, limit - used), 0)


def _cgroup(name: str) -> int | None:
    try:
        text = (Path("/sys/fs/cgroup") / name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def budget(memory: str | int, device: torch.device) -> int:
    """Bytes that an explanation may add: ``auto`` is 60 % of what is free; else bytes, or text like ``2GB``."""
    if memory == "auto":
        return int(_SHARE * free_memory(device))
    if isinstance(memory, int) and not isinstance(memory, bool) and memory > 0:
        return memory
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?i?b?)\s*", str(memory).lower())
    if match and match[2] in _UNITS and float(match[1]) > 0:
        return int(float(match[1]) * _UNITS[match[2]])
    raise OptionError(f"memory {memory!r} is not understood: expected 'auto', a number of bytes, or text like '2GB'")


@dataclass(frozen=True)
class Shape:
    """What of a model's shape decides its memory: widths in floats, ``size`` bytes a float, and ``squares``, how many
    floats a query, key and head each layer's own attention keeps (none by a fused kernel)."""

    layers: int
    width: int
    mlp: int
    heads: int
    vocabulary: int
    size: int
    squares: int = 0

    @classmethod
    def of(cls, network: Any) -> Shape:
        """Read from a configuration, whatever names its family uses (GPT-2's ``n_inner`` may be None: 4 widths)."""
        c = network.config.get_text_config()
        width = int(c.hidden_size)
        mlp = getattr(c, "intermediate_size", None) or getattr(c, "n_inner", None)
        mlp = mlp or max((int(getattr(c, n, None) or 0) for n in _FEED_FORWARD), default=0) or 4 * width
        experts = getattr(c, "num_experts_per_tok", None) or 1
        size = network.dtype.itemsize
        return cls(
            int(c.num_hidden_layers),
            width,
            int(mlp) * int(experts),
            int(c.num_attention_heads),
            int(getattr(c, "decoder_vocab_size", None) or c.vocab_size),
            size,
            _squares(c) if network.config._attn_implementation == "eager" else 0,
        )


def _squares(config: Any) -> int:
    """Floats a query, key and head that plain attention keeps: its probabilities, the tangent where scores are capped
    (Gemma 2 has no other attention), and two more terms of scores in DeBERTa; none where it reads by windows."""
    if getattr(config, "attention_window", None):
        return 0
    if getattr(config, "relative_attention", False):
        return 3
    return 1 + (getattr(config, "attn_logit_softcapping", None) is not None)


@dataclass(frozen=True)
class Plan:
    """How to run.

    ``layers``: keep layer inputs and run each layer again (``trace/layers.py``), or else keep the whole graph.
    ``chunk`` rows are pulled back together, ``group`` rows go through the layers between two recomputations.
    ``batched``: attention that pulls back many rows at once instead of the model's own. ``bytes``: expected.
    """

    layers: bool
    chunk: int
    group: int
    batched: bool
    bytes: int


def plan(shape: Shape, *, tokens: int, targets: int, rows: int, allowed: int, device: str, squares: int = 0) -> Plan:
    """The quickest way to ``rows`` backward passes over ``tokens`` that fits in ``allowed`` bytes.

    ``squares``: floats [heads, tokens, tokens] that each layer's graph keeps beside the usual.

    1. One row: the whole graph, where it fits.
    2. By layer. With several rows over a moderate length, as many together as fit; else one at a time through the
       model's own attention.

    Raises ``OptionError`` where even that does not fit.
    """
    square = shape.heads * tokens * tokens * shape.size
    linear = tokens * (7 * shape.width + 4 * shape.mlp) * shape.size
    layer = linear + (squares + shape.squares) * square  # the graph of one
    head = 4 * targets * shape.vocabulary * max(shape.size, 4)
    row = tokens * (6 * shape.width + 6 * shape.mlp) * shape.size  # what one row holds inside a layer
    cotangent = tokens * shape.width * shape.size
    if rows == 1 and shape.layers * layer + head + row <= allowed:
        return Plan(False, 1, 1, False, shape.layers * layer + head + row)
    kept = shape.layers * tokens * shape.width * shape.size + layer + head
    if rows > 1 and tokens <= _LONGEST_BATCHED:
        each = row + (1 + shape.squares) * square
        chunk = min(rows, 6 if device == "cpu" else 32, (allowed - kept - square - rows * cotangent) // each)
        if chunk > 1:
            used = kept + square + rows * cotangent + int(chunk) * each
            return Plan(True, int(chunk), rows, True, used)
    group = min(rows, (allowed - kept - row) // cotangent)
    if group >= 1:
        return Plan(True, 1, int(group), False, kept + row + int(group) * cotangent)
    raise OptionError(
        f"{tokens} tokens need about {(kept + row + cotangent) / 1e9:.1f} GB even one layer at a time, and "
        f"{allowed / 1e9:.1f} GB are allowed: shorten the prompt or the answer, free memory, or give more with memory="
    )


def whole_graph(shape: Shape, *, tokens: int, targets: int) -> int:
    """Bytes of one forward pass's graph, by ``plan``'s count."""
    return plan(shape, tokens=tokens, targets=targets, rows=1, allowed=1 << 62, device="cpu").bytes


class PeakMemory:
    """Memory added while it is open: ``with PeakMemory(device) as peak: ...`` then ``peak.bytes``.

    CUDA's allocator knows its peak. Elsewhere a thread reads the resident set every 5 ms, after the C library was
    asked to return what it keeps of freed memory (glibc; elsewhere memory kept from earlier work is not seen again).
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> PeakMemory:
        import psutil
        import torch

        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._start = torch.cuda.memory_allocated(self.device)
            return self
        _return_freed()
        self._process = psutil.Process()
        self._start = self._most = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch, name="pellucid-memory", daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            self._most = max(self._most, self._process.memory_info().rss)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import torch

        if self._thread is None:
            self.bytes = max(torch.cuda.max_memory_allocated(self.device) - self._start, 0)
            return
        self._stop.set()
        self._thread.join()
        self.bytes = max(self._most, self._process.memory_info().rss) - self._start


def _return_freed() -> None:
    """Give freed memory back to the system where the C library is glibc, so that its use shows again."""
    import ctypes
    import sys

    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
