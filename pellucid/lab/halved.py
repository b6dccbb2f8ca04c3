"""A student of half the depth, made of its teacher: every second layer, and everything around the layers.

    student = halved(network)         # 30 layers to 15: those of 0, 2, 4, ...

That is how DistilBERT begins (Sanh et al. 2019, arXiv:1910.01108). Any causal network of transformers will do whose
layers stand in one list.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from pellucid.errors import ModelError


def halved(network: Any) -> Any:
    """A new network with copies of every second layer's weights, and of all others, in the same dtype.

    Raises ``ModelError`` for one with a single layer, packed weights, or layers that are not a list.
    """
    from pellucid.lab.training.layers import layers
    from pellucid.models.quantization import scheme

    packed = scheme(network)
    if packed is not None:
        raise ModelError(f"the teacher's weights are packed by {packed}: its layers cannot start a student")
    places = {id(m): name for name, m in network.named_modules()}
    names = [places[id(m)] for m in layers(network)]
    stem = names[0].rpartition(".")[0] if names else ""
    count = len(names)
    if names != [f"{stem}.{i}" for i in range(count)]:
        raise ModelError(
            f"the layers of this {network.config.model_type} are not one list, so that every second cannot be taken: "
            "describe the student in a TOML file"
        )
    if count < 2:
        raise ModelError("the teacher has a single layer: half of that is none")
    kept = range(0, count - count % 2, 2)
    config = copy.deepcopy(network.config)
    for name, value in config.to_dict().items():
        if isinstance(value, list) and len(value) == count:  # one value a layer
            setattr(config, name, [value[i] for i in kept])
    config.num_hidden_layers = len(kept)
    student = type(network)(config)
    student.to(dtype=network.dtype, device=network.device)
    new = {i: k for k, i in enumerate(kept)}
    layer = re.compile(re.escape(stem) + r"\.(\d+)\.")
    weights = {}
    for name, weight in network.state_dict().items():
        found = layer.match(name)
        if found is None:
            weights[name] = weight
        elif int(found[1]) in new:
            weights[f"{stem}.{new[int(found[1])]}.{name[found.end() :]}"] = weight
    student.load_state_dict(weights)
    return student
