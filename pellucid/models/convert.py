"""GGUF to safetensors, once: transformers reads GGUF in 10 to 60 seconds, and what is written here in under one.

    model = pellucid.load("path/to/model.gguf")     # slow the first time, quick from then on

Weights are stored as the float32 numbers that transformers dequantised, so that a converted model and a freshly read
one give the same results to the last bit; half precision would halve the file and change every score a little.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pellucid.errors import DamagedFileError
from pellucid.models.quiet import quiet_bars
from pellucid.progress import Progress, silent

_HEADER = struct.Struct("<4sIQQ")  # magic, version, tensor count, metadata count


def check_gguf(path: Path) -> None:
    """Raise ``DamagedFileError`` unless ``path`` is a GGUF file whose tensors all lie within it.

    Only the header and the tensor directory are read, so a truncated file is known before any slow work.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as f:
            head = f.read(_HEADER.size)
    except OSError as e:
        raise DamagedFileError(f"cannot read {path}: {e.strerror or e}") from None
    if len(head) < _HEADER.size or head[:4] != b"GGUF":
        given = f"it begins with {head[:4]!r}" if head else "it is empty"
        raise DamagedFileError(f"{path} is not a GGUF file: {given}, expected b'GGUF'")
    _, version, _, _ = _HEADER.unpack(head)
    if version not in (2, 3):
        raise DamagedFileError(f"{path} is GGUF version {version}: versions 2 and 3 can be read")
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        end = max((int(t.data_offset) + int(t.n_bytes) for t in reader.tensors), default=0)
    except (ValueError, IndexError, KeyError, OverflowError, TypeError, OSError, MemoryError) as e:
        # The reader maps the file and follows offsets in it; past the end, numpy raises one of these.
        raise DamagedFileError(f"{path} is cut short or damaged ({size} bytes): {e}") from None
    if end > size:
        raise DamagedFileError(f"{path} is cut short: its tensors need {end} bytes and it has {size}; fetch it again")
    if not reader.tensors:
        raise DamagedFileError(f"{path} holds no tensors: it is a GGUF file of a vocabulary only")


def convert(gguf: Path, folder: Path, name: str, progress: Progress = silent) -> None:
    """Write the model and tokenizer of ``gguf`` into ``folder`` in the Hub's layout (safetensors, tokenizer.json)."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    stage = f"converting {name} (once)"
    progress(stage, 0, 3)
    options: dict[str, Any] = {"gguf_file": gguf.name}
    try:
        with _gguf_version():
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **options)
        progress(stage, 1, 3)
        # The bar that transformers draws here is tqdm's own, with no switch but the stream that it writes to.
        with _gguf_version(), quiet_bars(), contextlib.redirect_stderr(io.StringIO()):
            model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **options)
    except (ValueError, KeyError, NotImplementedError, OSError, RuntimeError) as e:
        raise DamagedFileError(f"transformers cannot read {gguf}: {_first_line(e)}") from None
    progress(stage, 2, 3)
    # transformers marks the model as quantised though its weights are plain now; a saved mark would bring it back.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    setattr(model, "hf_quantizer", None)  # noqa: B010  # a plain attribute, though torch types every one as a Module
    try:
        with quiet_bars():
            tokenizer.save_pretrained(folder)
            model.save_pretrained(folder)
    except SafetensorError as e:  # a full disk, in safetensors' own words
        raise OSError(_first_line(e)) from None
    progress(stage, 3, 3)


@contextlib.contextmanager
def _gguf_version() -> Iterator[None]:
    """Let transformers find the gguf package's version on Python 3.10.

    It looks it up by a table of top-level modules, which 3.10's ``importlib.metadata`` leaves gguf out of, takes the
    version to be "N/A", and fails on it. Within, the table has that one line more.
    """
    from transformers.utils import import_utils

    table = getattr(import_utils, "PACKAGE_DISTRIBUTION_MAPPING", None)
    if table is None or "gguf" in table:
        yield
        return
    caches = [getattr(import_utils, name, None) for name in ("_is_package_available", "is_gguf_available")]

    def forget() -> None:
        for cached in caches:
            if cached is not None and hasattr(cached, "cache_clear"):
                cached.cache_clear()

    table["gguf"] = ["gguf"]
    forget()
    try:
        yield
    finally:
        table.pop("gguf", None)
        forget()


def _first_line(e: BaseException) -> str:
    return (str(e).strip().splitlines() or [type(e).__name__])[0]
