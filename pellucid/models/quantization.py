"""Quantised models: how to ask for one, how to know one, and what to say where its kernels fail.

    pellucid explain --quantization int8 "..."

``int8`` stores weights in eight bits and computes in the model's own dtype (torchao): it runs on any device, and passes
gradients. ``8bit`` (LLM.int8: activations are rounded too) and ``4bit`` (NF4) are bitsandbytes'. Anything else comes as
a transformers quantisation config. A folder that ``pellucid lab quantise`` made needs none: it says itself what it is.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pellucid.errors import MissingExtraError, ModelError, unknown

#: The first release whose packed weights this project saves, loads and lays out for a device.
TORCHAO = "0.18"
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
        with quiet_imports():
            __import__(package)
    except ImportError:
        raise MissingExtraError(
            f"quantization='{quantization}' needs {package}: pip install 'pellucid[{package}]'"
        ) from None
    from transformers import BitsAndBytesConfig, TorchAoConfig

    if package == "torchao":
        from torchao.quantization import Int8WeightOnlyConfig

        return TorchAoConfig(Int8WeightOnlyConfig(set_inductor_config=False))
    return BitsAndBytesConfig(load_in_8bit=quantization == "8bit", load_in_4bit=quantization == "4bit")


def packer(parameter: Any) -> str | None:
    """Which package packed this parameter; None where it is a plain one."""
    for kind in type(parameter).__mro__:
        package = kind.__module__.partition(".")[0]
        if package in QUANTIZATIONS.values():
            return package
    return None


def packed_bytes(tensor: Any) -> int:
    """Bytes that a tensor takes, a packed one as it is packed: what it says itself counts its values at full width."""
    if hasattr(tensor, "__tensor_flatten__"):
        return sum(packed_bytes(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])
    return int(tensor.nbytes)


def scheme(network: Any) -> str | None:
    """What quantised this network (``torchao``, ``bitsandbytes``, ``gptq``, ...); None where nothing did."""
    for p in network.parameters():
        package = packer(p)
        if package is not None:
            return package
    method = getattr(network, "quantization_method", None)
    return None if method is None else str(getattr(method, "value", method))


def has_torchao() -> bool:
    """Is a torchao here whose packed weights can be saved and laid out anew?"""
    from packaging.version import Version

    try:
        return Version(version("torchao")) >= Version(TORCHAO)
    except PackageNotFoundError:
        return False


def torchao(what: str) -> None:
    """Raise ``MissingExtraError`` where torchao, which ``what`` needs, is not there or too old."""
    if has_torchao():
        try:
            with quiet_imports():
                __import__("torchao.quantization")
        except ImportError as e:
            raise MissingExtraError(
                f"{what} needs torchao, which cannot be imported ({first_line(e)}): pip install -U 'pellucid[torchao]'"
            ) from None
        return
    try:
        there = f"{TORCHAO} or newer, and {version('torchao')} is here: pip install -U 'torchao>={TORCHAO}'"
    except PackageNotFoundError:
        there = "which is not installed: pip install 'pellucid[torchao]'"
    raise MissingExtraError(f"{what} needs torchao{',' if there.startswith('which') else ''} {there}")


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Keep torchao from saying, when it is imported in here, which of its compiled parts are for other machines."""
    logs = [logging.getLogger(name) for name in ("torchao", "torchao.kernel.intmm", "torch.utils._pytree")]
    before = [log.disabled for log in logs]
    for log in logs:
        log.disabled = True
    try:
        yield
    finally:
        for log, was in zip(logs, before, strict=True):
            log.disabled = was


def import_modelling() -> None:
    """Import what transformers builds networks with, which brings torchao in where it is installed: quietly."""
    with quiet_imports():
        import transformers.modeling_utils  # noqa: F401


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
