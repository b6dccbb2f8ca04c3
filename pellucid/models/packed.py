"""Networks that torchao quantised, as transformers saves and loads them.

    as_saved(network, TorchAoConfig(...))   # now network.save_pretrained(folder) writes its packed weights
    adapt(config, weights, "auto", folder)  # before auto.from_pretrained(folder, **weights)
    ready(network)                          # after either: the layouts in which this device computes

A folder is transformers' own for torchao: safetensors with torchao's plain layouts, ``quantization_config`` in
config.json. Three things transformers 5.24 does not do for it are done here: GPT-2's ``Conv1D``, which torchao passes
over, is a linear map in such a folder (``conv1d_as_linear``); 4-bit weights get their device's layout after they are
read; and buffers beside a packed embedding (Gemma's scale) get their values, which transformers leaves unset.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pellucid.errors import ModelError, OptionError
from pellucid.models import int4, int8
from pellucid.models.quantization import has_torchao, packer, quiet_imports, torchao

#: Under which transformers finds the class below; files never have it.
METHOD = "pellucid-torchao"
TORCHAO = "torchao"
#: What is true in a configuration whose ``Conv1D`` layers are linear maps in the files.
CONV1D = "conv1d_as_linear"


def quantised_by(config: Any) -> str | None:
    """What quantised the weights of a model on disk, by its configuration (``torchao``, ``gptq``, ...), or None."""
    given = getattr(config, "quantization_config", None)
    if given is None:
        return None
    method = given.get("quant_method") if isinstance(given, dict) else getattr(given, "quant_method", None)
    return "something unnamed" if method is None else str(getattr(method, "value", method))


def adapt(config: Any, weights: dict[str, Any], dtype: str, name: str) -> None:
    """Put into ``weights`` (keywords of ``from_pretrained``) what a model needs that torchao quantised: the class
    below loads it, and 4-bit weights compute in bfloat16. ``dtype`` is what the user asked for.

    Raises ``OptionError`` for another dtype, or where a quantised model is to be quantised; ``MissingExtraError``.
    """
    package = quantised_by(config)
    if package is None:
        return
    if "quantization_config" in weights:
        raise OptionError(f"'{name}' is quantised already, by {package}: leave quantization out")
    if package != TORCHAO:
        return
    torchao(f"'{name}', whose weights it packed,")
    kinds()
    if _four_bit(config):
        if dtype not in ("auto", "bfloat16"):
            raise OptionError(
                f"the int4 weights of '{name}' compute in bfloat16, given dtype '{dtype}': leave it at 'auto'"
            )
        weights["dtype"] = "bfloat16"
    config.quantization_config["quant_method"] = METHOD
    weights["config"] = config


def _four_bit(config: Any) -> bool:
    kind = config.quantization_config.get("quant_type", {}).get("default", {})
    return isinstance(kind, dict) and kind.get("_type") == "Int4WeightOnlyConfig"


def as_linear(network: Any) -> list[str]:
    """Make each ``Conv1D`` (weights [width, outputs]) the ``nn.Linear`` that computes the same; their paths."""
    import torch
    from transformers.pytorch_utils import Conv1D

    found = [(path, m) for path, m in network.named_modules() if isinstance(m, Conv1D)]
    for path, module in found:
        width, outputs = module.weight.shape
        # On "meta" first: whoever asks has the weights, or is about to load them.
        linear = torch.nn.Linear(width, outputs, device="meta", dtype=module.weight.dtype)
        if module.weight.device.type != "meta":
            linear.weight = torch.nn.Parameter(module.weight.detach().T.contiguous(), requires_grad=False)
            linear.bias = torch.nn.Parameter(module.bias.detach(), requires_grad=False)
        linear.train(module.training)
        parent, _, child = path.rpartition(".")
        setattr(network.get_submodule(parent), child, linear)
    return [path for path, _ in found]


def as_saved(network: Any, config: Any, plain: dict[str, Any] | None = None) -> None:
    """Tell transformers that torchao quantised ``network`` as ``config`` (a ``TorchAoConfig``) says.

    ``plain``: 4-bit weights by name in the layout of files; what ``int4.laid_out`` made of them cannot be undone.
    """
    from transformers.utils.quantization_config import QuantizationMethod

    quantizer = kinds()(config, pre_quantized=True)
    quantizer.plain = plain or {}
    network.config.quantization_config = config
    network.hf_quantizer = quantizer
    network.is_quantized = True
    network.quantization_method = QuantizationMethod.TORCHAO
    read = getattr(network, "_weight_conversions", None)
    if read:  # what unpacked the files while they were read has no way back in transformers, and needs none here
        network._weight_conversions = [c for c in read if not any(map(_unpacks, getattr(c, "operations", ())))]


def _unpacks(operation: Any) -> bool:
    return hasattr(operation, "hf_quantizer")


def ready(network: Any) -> None:
    """Give packed weights the layouts in which their device computes. Raises ``OptionError``, ``ModelError``."""
    import torch

    if quantised_by(network.config) not in (TORCHAO, METHOD) or not has_torchao():
        return  # an older torchao computes its own way
    from torchao.quantization import Int4Tensor

    as_saved(network, network.config.quantization_config)
    network.config.quantization_config.quant_method = network.quantization_method
    for module in network.modules():
        packed = [(n, p) for n, p in module._parameters.items() if packer(p) == TORCHAO]
        for name, weight in packed:
            weight._is_hf_initialized = True  # transformers' word for: leave it alone
            if isinstance(weight, Int4Tensor):
                layout = int4.laid_out(weight, weight.device)
                module._parameters[name] = torch.nn.Parameter(layout, requires_grad=False)
        if packed and module._non_persistent_buffers_set:
            network._init_weights(module)
    int8.in_rows(network)


def check_packed(network: Any, name: str) -> None:
    """Raise ``ModelError`` where torchao was asked to quantise ``network`` and found nothing to: it says nothing."""
    if any(map(packer, network.parameters())):
        return
    raise ModelError(
        f"quantization='int8' changes no weight of '{name}' (torchao knows no linear layer of a "
        f"{type(network).__name__}): make a folder of it with 'pellucid lab quantise', or leave quantization out"
    )


@cache
def kinds() -> Any:
    """transformers' quantizer for torchao with what this module adds, made and registered when first needed."""
    with quiet_imports():
        from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
        from transformers import TorchAoConfig
        from transformers.quantizers.auto import register_quantization_config, register_quantizer
        from transformers.quantizers.quantizer_torchao import TorchAoHfQuantizer

    @register_quantization_config(METHOD)
    class Config(TorchAoConfig):
        """As it is read."""

        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            setattr(self, CONV1D, bool(options.get(CONV1D)))
            self.quant_method = METHOD  # type: ignore[assignment]  # transformers' own are an enumeration

    @register_quantizer(METHOD)
    class Quantizer(TorchAoHfQuantizer):
        """Loads and saves."""

        plain: dict[str, Any]

        def _process_model_before_weight_loading(self, model: Any, checkpoint_files: Any = None, **options: Any) -> Any:
            if getattr(self.quantization_config, CONV1D, False):
                as_linear(model)
            return super()._process_model_before_weight_loading(model, checkpoint_files, **options)

        def get_state_dict_and_metadata(self, model: Any) -> Any:
            tied = model.all_tied_weights_keys
            found = {n: self._as_file(n, w) for n, w in model.state_dict().items() if n not in tied}
            return flatten_tensor_state_dict(found)

        def _as_file(self, name: str, weight: Any) -> Any:
            if isinstance(weight, int4.kinds()):
                if name not in self.plain:
                    raise ModelError(
                        "int4 weights that were loaded are laid out for this device and cannot be saved again: copy "
                        "the folder that they came from"
                    )
                return self.plain[name]
            return int8.plain(weight) if isinstance(weight, int8.kind()) else weight

    return Quantizer
