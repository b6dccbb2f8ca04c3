"""Where the parts of a decoder layer are: norms, the gate and its product, the attention's output matrix.

    from pellucid.trace.anatomy import blocks, gates, norms
    [b.out for b in blocks(network)]

One table a part, by the names that transformers' families use; what is not in a table is refused with the list of
what is. Nothing here changes a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pellucid.errors import ModelError
from pellucid.trace.layers import decoder_layers

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: A layer's attention and the linear map at its end.
ATTENTIONS = ("self_attn", "attn", "attention")
OUTS = ("o_proj", "c_proj", "dense", "out_proj")
#: Gated MLPs: (activation, the other factor, the map that takes their product).
GATED = (("act_fn", "up_proj", "down_proj"),)
#: The same where one map gives both factors side by side, the activation's first (Phi-3).
FUSED = (("activation_fn", "gate_up_proj", "down_proj"),)
#: Plain MLPs: (the map before the activation, activation, the map after it).
PLAIN = (
    ("c_fc", "act", "c_proj"),
    ("dense_h_to_4h", "act", "dense_4h_to_h"),
    ("fc1", "activation_fn", "fc2"),
)
#: Norms whose weight w enters as 1 + w.
_ONE_PLUS = ("GemmaRMSNorm", "Gemma2RMSNorm", "Gemma3RMSNorm")


@dataclass(frozen=True)
class Block:
    """A layer's attention: ``out`` is the linear map at its end, ``after`` the norm that its output passes before it
    is added to the residual stream (Gemma 2 and 3, OLMo 2, GLM 4; None elsewhere)."""

    layer: Any
    attention: Any
    out: Any
    after: Any

    def matrix(self) -> Tensor:
        """The output map as [width, heads * head width]; of a quantised one, the weights that it stands for."""
        import torch

        weight: Tensor = self.out.weight
        if type(weight) in (torch.nn.Parameter, torch.Tensor) and weight.is_floating_point() and weight.ndim == 2:
            return weight.T if type(self.out).__name__ == "Conv1D" else weight
        if type(weight).__module__.startswith("torchao"):
            return weight.dequantize()
        # Packed in a way of its own: what comes out for each unit vector.
        dtype = next(p.dtype for p in self.layer.parameters() if p.is_floating_point())
        one = torch.eye(self.out.in_features, dtype=dtype, device=weight.device)
        with torch.no_grad():
            columns: Tensor = self.out(one) - self.out(torch.zeros_like(one[:1]))
        return columns.T


@dataclass(frozen=True)
class Mlp:
    """An MLP's activation module, and ``factor`` and ``product`` of a gated one (None for a plain one).

    ``fused``: the factor is the second half of what the map ``factor`` gives.
    """

    activation: Any
    factor: Any
    product: Any
    fused: bool = False

    def of(self, out: Tensor) -> tuple[Tensor | None, Tensor]:
        """What the map ``factor`` gave: (the activation's share or None, the other factor)."""
        if not self.fused:
            return None, out
        first, second = out.chunk(2, -1)
        return first, second


def _child(module: Any, names: tuple[str, ...]) -> Any:
    return next((c for n in names if (c := getattr(module, n, None)) is not None), None)


def _unknown(network: Any, part: str, known: str, instead: str) -> ModelError:
    return ModelError(
        f"this method needs the {part} of each layer, and does not know where a {type(network).__name__} has it: "
        f"known are layers with {known}; use {instead} (see 'pellucid methods')"
    )


def blocks(network: Any) -> list[Block]:
    """The attention of each layer, from the first. Raises ``ModelError`` for a family that is not in the table."""
    found = []
    for layer in decoder_layers(network):
        attention = _child(layer, ATTENTIONS)
        out = _child(attention, OUTS)
        if out is None or not (hasattr(out, "in_features") or getattr(out.weight, "ndim", 0) == 2):
            raise _unknown(
                network,
                "attention's output matrix",
                f"one of {', '.join(OUTS)} inside {', '.join(ATTENTIONS)}",
                "attention, saliency or leave_one_out",
            )
        # Llama's post_attention_layernorm comes after the addition, and has no norm behind the MLP beside it.
        after = getattr(layer, "post_self_attn_layernorm", None)
        if after is None and hasattr(layer, "post_feedforward_layernorm"):
            after = getattr(layer, "post_attention_layernorm", None)
        found.append(Block(layer, attention, out, after))
    if not found:
        raise _unknown(network, "attention", ", ".join(ATTENTIONS), "saliency or leave_one_out")
    return found


def mlps(network: Any, instead: str = "input_x_gradient, integrated_gradients, ifr or leave_one_out") -> list[Mlp]:
    """The MLP of each layer. Raises ``ModelError`` for a family that is not in the tables (mixtures of experts);
    ``instead`` is what its sentence says to use."""
    found = []
    for layer in decoder_layers(network):
        mlp = getattr(layer, "mlp", layer)
        for act, factor, product in (*GATED, *FUSED):
            if all(hasattr(mlp, n) for n in (act, factor, product)):
                fused = (act, factor, product) in FUSED
                found.append(Mlp(getattr(mlp, act), getattr(mlp, factor), getattr(mlp, product), fused))
                break
        else:
            names = next((t for t in PLAIN if all(hasattr(mlp, n) for n in t)), None)
            if names is None:
                known = "; ".join(", ".join(t) for t in (*GATED, *FUSED, *PLAIN)) + " inside mlp"
                raise _unknown(network, "MLP's parts", known, instead)
            found.append(Mlp(getattr(mlp, names[1]), None, None))
    return found


def norms(network: Any) -> list[Any]:
    """Every LayerNorm and RMSNorm in the network."""
    import torch

    return [m for m in network.modules() if isinstance(m, torch.nn.LayerNorm) or type(m).__name__.endswith("RMSNorm")]


def norm_scale(norm: Any, x: Tensor) -> Tensor:
    """What a norm multiplies its (for LayerNorm: centred) input by, with its statistics taken at ``x``.

    [..., width], in float32 or wider: w / sqrt(mean x^2 + eps), with the variance in place of the mean square for
    LayerNorm.
    """
    import torch

    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    eps = norm_epsilon(norm)
    if isinstance(norm, torch.nn.LayerNorm):
        scale = torch.rsqrt(wide.var(-1, keepdim=True, unbiased=False) + eps)
    else:
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    result: Tensor = scale * norm_weight(norm, wide.dtype)
    return result


def norm_epsilon(norm: Any) -> float:
    """What a norm adds to its mean square."""
    return float(next(e for n in ("variance_epsilon", "eps") if (e := getattr(norm, n, None)) is not None))


def norm_weight(norm: Any, dtype: torch.dtype) -> Tensor | float:
    """The factor w of a norm [width], whatever way its family writes it; 1 where it has none."""
    weight = getattr(norm, "weight", None)
    if weight is None:
        return 1.0
    w: Tensor = weight.to(dtype)
    return 1 + w if type(norm).__name__ in _ONE_PLUS else w


def apply_norm(norm: Any, x: Tensor, scale: Tensor) -> Tensor:
    """The norm's output from ``x`` and a given ``scale``: linear in ``x`` (LayerNorm: plus its bias)."""
    import torch

    if not isinstance(norm, torch.nn.LayerNorm):
        return x * scale
    out = (x - x.mean(-1, keepdim=True)) * scale
    return out if norm.bias is None else out + norm.bias
