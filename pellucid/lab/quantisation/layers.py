"""Which weights of a network are packed, and why the others are not.

    converted, kept, plain = pack(network, KINDS["int8"], None)

The input embedding, with the head where it is tied to it, and the head are 8-bit rows; linear layers are packed as the
kind says; vectors (norms, biases), tables of positions and what is no linear layer stay.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pellucid.errors import ModelError
from pellucid.lab.quantisation.kinds import Kind, pack_rows
from pellucid.lab.quantisation.report import Converted, Kept
from pellucid.progress import Progress, silent

ROWS = "int8 rows"


@dataclass(frozen=True, eq=False)
class Weight:
    """A parameter with the modules that share it: (path, module, name in it), the first in the network's order."""

    parameter: Any
    owners: tuple[tuple[str, Any, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Its full names."""
        return tuple(f"{path}.{name}" if path else name for path, _, name in self.owners)


def weights(network: Any) -> Iterator[Weight]:
    """Every parameter once, in the network's order."""
    found: dict[int, tuple[Any, list[tuple[str, Any, str]]]] = {}
    for path, module in network.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                found.setdefault(id(parameter), (parameter, []))[1].append((path, module, name))
    for parameter, owners in found.values():
        yield Weight(parameter, tuple(owners))


def sharing(network: Any) -> Any:
    """A copy of ``network`` whose modules are its own and whose tensors are the original's, until one is replaced."""
    tensors = [*network.parameters(), *network.buffers()]
    return copy.deepcopy(network, {id(t): t for t in tensors})


def pack(
    network: Any,
    kind: Kind,
    group: int | None,
    *,
    embedding: bool = True,
    conv1d: frozenset[str] = frozenset(),
    progress: Progress = silent,
) -> tuple[list[Converted], list[Kept], dict[str, Any]]:
    """Pack what can be packed, in place; ``conv1d`` are the paths of linear layers that were none before.

    Returns the packed weights, the others, and the plain forms by name that a file needs. Raises ``ModelError`` where
    no linear layer was packed.
    """
    every = list(weights(network))
    why = {id(w): _why_not(network, w, kind, group, embedding) for w in every}
    if not any(why[id(w)] is None and not _is_table(network, w) for w in every):
        raise _nothing(network, every, kind, group)
    converted, kept, plain = [], [], {}
    for done, weight in enumerate(every):
        progress("packing weights", done, len(every))
        path, module, name = weight.owners[0]
        shape, count = tuple(weight.parameter.shape), weight.parameter.numel()
        reason = why[id(weight)]
        if reason is not None:
            kept.append(Kept(weight.names[0], shape, count, reason))
            continue
        table = _is_table(network, weight)
        if table:
            pack_rows(module)
        else:
            form = kind.pack(module, group)
            if form is not None:
                plain[weight.names[0]] = form
        for _, other, other_name in weight.owners[1:]:
            other._parameters[other_name] = module._parameters[name]
        was = "Conv1D" if path in conv1d else type(module).__name__
        converted.append(Converted(weight.names, was, shape, count, ROWS if table else kind.stored(group)))
    progress("packing weights", len(every), len(every))
    return converted, kept, plain


def _is_table(network: Any, weight: Weight) -> bool:
    """Is this the input embedding or the head?"""
    ends = (network.get_input_embeddings(), network.get_output_embeddings())
    return any(module is end for _, module, _ in weight.owners for end in ends if end is not None)


def _why_not(network: Any, weight: Weight, kind: Kind, group: int | None, embedding: bool) -> str | None:
    """Why a weight stays as it is; None where it is packed."""
    import torch

    _, module, name = weight.owners[0]
    shape = weight.parameter.shape
    if len(shape) < 2:
        return "a vector (a norm or a bias)"
    if len(shape) > 2:
        return f"a block of {len(shape)} dimensions (experts, convolutions), which is no linear layer"
    if name != "weight" or not all(isinstance(m, torch.nn.Linear | torch.nn.Embedding) for _, m, _ in weight.owners):
        return f"part of a {type(module).__name__}, which is no linear layer"
    if _is_table(network, weight):
        return None if embedding else "the token table or the head, left as asked"
    if isinstance(module, torch.nn.Embedding):
        return "an embedding of something else than tokens"
    if isinstance(module, torch.nn.modules.linear.NonDynamicallyQuantizableLinear):
        return "a linear layer that torch's own attention reads directly"
    if group is not None and shape[1] % group:
        return f"its width of {shape[1]} is no multiple of the group of {group}"
    if shape[0] % kind.outputs:
        return f"its {shape[0]} outputs are no multiple of {kind.outputs}, which {kind.name}'s kernel takes at a time"
    return None


def _nothing(network: Any, every: list[Weight], kind: Kind, group: int | None) -> ModelError:
    """No linear layer can be packed: which there are, and which groups would do."""
    import torch

    name = type(network).__name__
    linear = [w for w in every if isinstance(w.owners[0][1], torch.nn.Linear) and not _is_table(network, w)]
    linear = [w for w in linear if w.parameter.ndim == 2]
    if not linear:
        return ModelError(f"this {name} has no linear layer but its head, so {kind.name} would change nothing")
    widths = sorted({int(w.parameter.shape[1]) for w in linear})
    fitting = [w for w in linear if w.parameter.shape[0] % kind.outputs == 0]
    if not fitting or group is None:
        outputs = ", ".join(map(str, sorted({int(w.parameter.shape[0]) for w in linear})))
        return ModelError(
            f"{kind.name} can pack no linear layer of this {name}: their outputs ({outputs}) are no multiple of "
            f"{kind.outputs}, which its kernel takes at a time; use int8"
        )
    common = [g for g in kind.groups or (16, 32, 64, 128, 256) if any(w % g == 0 for w in widths)]
    instead = f"; sizes that do: {', '.join(map(str, common))}" if common else "; use int8, whose scales are by row"
    return ModelError(
        f"a group_size of {group} divides the width of no linear layer of this {name} "
        f"({', '.join(map(str, widths))}){instead}"
    )
