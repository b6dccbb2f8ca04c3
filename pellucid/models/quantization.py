"""Quantised models: how to ask for one, how to know one, and what to say where its kernels fail.

    pellucid explain --quantization int8 "..."

``int8`` stores weights in eight bits and computes in the model's own dtype (torchao): it runs on any device, and passes
gradients. ``8bit`` (LLM.int8: activations are rounded too) and ``4bit`` (NF4) are bitsandbytes'. Anything else comes as
a transformers quantisation config.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pellucid.errors import MissingExtraError, ModelError, unknown

#: name: the package, and the extra of that name, that it needs
QUANTIZATIONS = {"int8": "torchao", "8bit": "bitsandbytes", "4bit": "bitsandbytes"}


def config(quantization: object) -> object | None:
    """A transformers quantisation config for a name; a config, or None, as it is.

    Raises ``OptionError`` for an unknown name, ``MissingExtraError`` where its package is not installed.
    """
    if quantization is None or not isinstance(quantization, str):
        return quantization
    if quantization not in QUANTIZATIONS:
        raise unknown("quantization", quantization, list(QUANTIZATIONS))
    package = QUANTIZATIONS[quantization]
    try:
        __import__(package)
    except ImportError:
        raise MissingExtraError(
            f"quantization='{quantization}' needs {package}: pip install 'pellucid[{package}]'"
        ) from None
    from transformers import BitsAndBytesConfig, TorchAoConfig

    if package == "torchao":
        from torchao.quantization import Int8WeightOnlyConfig

        return TorchAoConfig(Int8WeightOnlyConfig())
    return BitsAndBytesConfig(load_in_8bit=quantization == "8bit", load_in_4bit=quantization == "4bit")


def scheme(network: Any) -> str | None:
    """What quantised this network (``torchao``, ``bitsandbytes``, ``gptq``, ...); None where nothing did."""
    for p in network.parameters():
        package = type(p).__module__.partition(".")[0]
        if package in QUANTIZATIONS.values():
            return package
    method = getattr(network, "quantization_method", None)
    return None if method is None else str(getattr(method, "value", method))


@contextmanager
def kernels(network: Any, what: str) -> Iterator[None]:
    """Failures of a quantised network's kernels in here become a ``ModelError`` that says what works instead."""
    import torch

    try:
        with quiet_casts():
            yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, NotImplementedError) as e:
        name = scheme(network)
        if name is None:
            raise
        other = "" if name == "torchao" else "with quantization='int8', or "
        raise ModelError(
            f"{what} fails in the kernels of {name}, which quantised this model ({first_line(e)}): load it {other}"
            "without quantization"
        ) from e


def first_line(e: BaseException) -> str:
    """What an error says, without the lists that kernels append."""
    return (str(e).strip().splitlines() or [type(e).__name__])[0][:200]


@contextmanager
def quiet_casts() -> Iterator[None]:
    """Keep bitsandbytes, where something has imported it, from saying at every matrix product in here that its 8-bit
    kernel casts to float16."""
    log = logging.getLogger("bitsandbytes.autograd._functions")
    if "bitsandbytes" not in sys.modules or _not_a_cast in log.filters:
        yield
        return
    log.addFilter(_not_a_cast)
    try:
        yield
    finally:
        log.removeFilter(_not_a_cast)


def _not_a_cast(record: logging.LogRecord) -> bool:
    return "inputs will be cast from" not in str(record.msg)
