"""Arrays and what is known of them in one safetensors file: written whole or not at all, read back by its format's
name.

write(path, {"maps": maps}, {"name": "smollm2"}, "pellucid.tunedlens/1")
arrays, facts = read(path, "pellucid.tunedlens/1", "a tuned lens")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pellucid.errors import InputError, OutputError, SchemaError


def write(path: str | Path, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any], name: str) -> Path:
    """Raises ``OutputError`` for another ending than ``.safetensors``, and where the file cannot be written."""
    from safetensors.numpy import save

    target = Path(path)
    if target.suffix != ".safetensors":
        raise OutputError(f"arrays are written to a file that ends in .safetensors, given '{path}'")
    about = {"format": name, "facts": json.dumps(dict(facts), ensure_ascii=False)}
    data = save({k: np.ascontiguousarray(v) for k, v in arrays.items()}, metadata=about)
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(data)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as e:
        raise OutputError(f"cannot write {path}: {e.strerror or e}") from None
    return target


def read(path: str | Path, name: str, what: str) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """(arrays, facts) of a file of that format. Raises ``InputError`` where there is none, ``SchemaError`` for
    another."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise InputError(f"cannot read {what} from {path}: there is no such file")
    try:
        with safe_open(str(path), "numpy") as file:
            about = file.metadata() or {}
            if about.get("format") != name:
                raise SchemaError(f"{path} is not {what}: expected the format {name}")
            facts: dict[str, Any] = json.loads(about["facts"])
            return {n: file.get_tensor(n) for n in file.keys()}, facts  # noqa: SIM118  # it is no mapping
    except (SafetensorError, KeyError, ValueError) as e:
        raise SchemaError(f"{path} is not {what}, or was cut short: {e}") from None
