"""GIM (gradient interaction modifications): a gradient that sees through what the model makes up for.

    pellucid explain --method gim "..."

The forward pass is the model's own. The backward pass is changed in three ways, each a parameter:

- ``freeze_norms``: a norm's statistics are constants; it passes gradients as the linear map that it is at this input.
- ``temperature``: the softmax's Jacobian diag(p) - p p^T is taken at p = softmax(scores / temperature). A softer p
  keeps a gradient where one key has taken nearly all the weight: the self-repair of attention, where another key would
  take over, no longer hides that key.
- ``query``, ``key``, ``value``, ``gate``, ``up``: factors on the gradients of things that are multiplied with each
  other, so that a product's credit is shared and not given to each factor in full.

score_j = x_j . g_j with that modified gradient g (``times_input=false``: its norm). One forward and one backward pass.

Edin et al. 2025, "GIM: Improved Interpretability for Large Language Models" (arXiv:2505.17630).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from pellucid.errors import ModelError, OptionError
from pellucid.trace.anatomy import Mlp, apply_norm, mlps, norm_scale, norms
from pellucid.trace.inside import Attention, attending
from pellucid.trace.methods import Method
from pellucid.trace.methods.input_x_gradient import dot
from pellucid.trace.methods.saliency import norm as length
from pellucid.trace.rows import KEPT, Rule, attend

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.trace.engine import Backward, Run, Scores


@contextmanager
def frozen_norms(network: Any) -> Iterator[None]:
    """Norms pass gradients with their statistics held constant; what they put out stays the same."""
    import torch

    def freeze(module: Any, args: Any, out: Tensor) -> Tensor:
        x = args[0]
        same = apply_norm(module, x, norm_scale(module, x.detach())).to(out.dtype)
        if not torch.allclose(
            same.detach(), out.detach(), rtol=1e-3 if out.dtype == torch.float32 else 0.05, atol=1e-3
        ):
            raise ModelError(
                f"freeze_norms does not know the norm {type(module).__name__}: it is neither LayerNorm nor RMSNorm as "
                "written here; use freeze_norms=false"
            )
        return same

    with ExitStack() as hooks:
        for n in norms(network):
            hooks.callback(n.register_forward_hook(freeze).remove)
        yield


@contextmanager
def scaled(parts: list[Mlp], gate: float, up: float) -> Iterator[None]:
    """The gradients of the activations' outputs times ``gate``, those of the other factors times ``up``."""
    import torch

    def times(x: Tensor, factor: float) -> Tensor:
        return x * factor + (x * (1 - factor)).detach()

    def activated(module: Any, args: Any, out: Tensor) -> Tensor:
        return times(out, gate)

    with ExitStack() as hooks:
        for part in parts:

            def multiplied(module: Any, args: Any, out: Tensor, part: Mlp = part) -> Tensor:
                beside, other = part.of(out)
                return times(other, up) if beside is None else torch.cat([beside, times(other, up)], -1)

            if gate != 1:
                hooks.callback(part.activation.register_forward_hook(activated).remove)
            if up != 1:
                hooks.callback(part.factor.register_forward_hook(multiplied).remove)
        yield


def rule(
    run: Run,
    *,
    freeze_norms: bool,
    temperature: float,
    query: float,
    key: float,
    value: float,
    gate: float,
    up: float,
    output_temperature: float = 1.0,
) -> Backward:
    """The changed backward pass. ``output_temperature`` softens the objective too: no part of the paper's method, and
    read by ``layered_gim``."""
    from pellucid.trace.engine import Backward

    for name, given in (("temperature", temperature), ("output_temperature", output_temperature)):
        if not given > 0:
            raise OptionError(f"{name} should be above 0, given {given}")
    softer = Rule(float(temperature), query, key, value)
    instead = "input_x_gradient, ifr or leave_one_out, or GIM with gate=1 and up=1"
    parts = mlps(run.loaded.network, instead) if gate != 1 or up != 1 else []

    def function(a: Attention) -> Tensor:
        if a.softcap is not None:
            raise ModelError(
                "GIM does not know attention with capped scores (Gemma 2): use input_x_gradient, integrated_gradients, "
                "ifr or leave_one_out"
            )
        q, k, v = (t.to(a.value.dtype).contiguous() for t in (a.query, a.key, a.value))
        return attend(q, k, v, a.mask, a.scaling, softer)

    @contextmanager
    def changes(network: Any) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(attending(network, function))
            if freeze_norms:
                stack.enter_context(frozen_norms(network))
            # A gated MLP's product has two factors; a plain one multiplies nothing.
            stack.enter_context(scaled([m for m in parts if m.factor is not None], gate, up))
            yield

    squares = 2 if run.ids.shape[1] <= KEPT else 0
    return Backward(changes, squares, float(output_temperature))


def gim(
    run: Run,
    *,
    freeze_norms: bool,
    temperature: float,
    query: float,
    key: float,
    value: float,
    gate: float,
    up: float,
    times_input: bool,
) -> Scores:
    """Input times the modified gradient, or its norm."""
    backward = rule(
        run,
        freeze_norms=freeze_norms,
        temperature=temperature,
        query=query,
        key=key,
        value=value,
        gate=gate,
        up=up,
    )
    return run.from_gradient(dot if times_input else length, backward=backward)


#: How the backward pass is changed, as in the paper.
RULE: dict[str, Any] = {
    "freeze_norms": True,
    "temperature": 2.0,
    "query": 0.25,
    "key": 0.25,
    "value": 0.5,
    "gate": 0.5,
    "up": 0.5,
}

METHOD = Method(
    name="gim",
    description="input x gradient with norms frozen, a softer softmax and shared products in the backward pass",
    paper="Edin et al. 2025, arXiv:2505.17630",
    formula="x_j . g_j, g the modified gradient",
    cost="1 forward, 1 backward (1 backward a target token for the matrix)",
    signed=True,
    ranks="signed",
    needs="gradient",
    kinds=("causal",),
    function=gim,
    parameters={**RULE, "times_input": True},
)
