"""Hidden states, embeddings and attention as named arrays, and on disk as safetensors; nothing is kept but what was
asked.

found = model.hidden_states("The capital of France is", layers=[0, 15, 30])
found["hidden.15"]                               # [tokens, width]
model.attention(text, layers=[3], heads=[0, 2])["attention.3"]        # [heads, tokens, tokens]
found.save("states.safetensors")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pellucid.errors import OptionError
from pellucid.lens.layers import streams_of
from pellucid.lens.logitlens import check_layers
from pellucid.lens.states import run
from pellucid.lens.steps import check_causal, check_length
from pellucid.lens.store import read, write
from pellucid.models.encode import Encoded, Messages, encode
from pellucid.models.load import LoadedModel
from pellucid.trace.inside import Attention, attending
from pellucid.trace.layers import decoder_layers
from pellucid.trace.logits import wide

Floats = npt.NDArray[np.float32]
FORMAT = "pellucid.arrays/1"


@dataclass(frozen=True, eq=False)
class Arrays(Mapping[str, Floats]):
    """Arrays by name, with the text, its tokens and the model that they are of."""

    arrays: dict[str, Floats]
    text: str
    tokens: tuple[str, ...]
    model: str
    revision: str | None

    def __getitem__(self, name: str) -> Floats:
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def save(self, path: str | Path) -> Path:
        """Write to a ``.safetensors`` file, whole or not at all. Raises ``OutputError``."""
        facts = {"text": self.text, "tokens": list(self.tokens), "model": self.model, "revision": self.revision}
        return write(path, self.arrays, facts, FORMAT)

    @classmethod
    def load(cls, path: str | Path) -> Arrays:
        """Raises ``InputError`` for a file that cannot be read, ``SchemaError`` for another one."""
        arrays, facts = read(path, FORMAT, "a file of arrays")
        return cls(arrays, facts["text"], tuple(facts["tokens"]), facts["model"], facts["revision"])

    def __repr__(self) -> str:
        shapes = ", ".join(f"{k} {list(v.shape)}" for k, v in self.arrays.items())
        return f"Arrays({shapes})"


def _read(loaded: LoadedModel, text: str | Messages, raw: bool) -> Encoded:
    check_causal(loaded)
    encoded = encode(loaded, text, raw=raw)
    check_length(loaded, len(encoded.ids), 0)
    return encoded


def _arrays(loaded: LoadedModel, encoded: Encoded, found: dict[str, Tensor]) -> Arrays:
    return Arrays(
        {k: v.float().cpu().numpy() for k, v in found.items()},
        encoded.rendered,
        tuple(t.text for t in encoded.tokens),
        loaded.name,
        loaded.revision,
    )


def embeddings(loaded: LoadedModel, text: str | Messages, *, raw: bool = True) -> Arrays:
    """``embeddings`` [tokens, width], as the embedding layer puts them out."""
    encoded = _read(loaded, text, raw)
    ids = torch.tensor(encoded.ids, device=loaded.device)
    with torch.no_grad():
        out = loaded.network.get_input_embeddings()(ids)
    return _arrays(loaded, encoded, {"embeddings": wide(out)})


def hidden_states(
    loaded: LoadedModel, text: str | Messages, *, layers: Sequence[int] | None = None, raw: bool = True
) -> Arrays:
    """``hidden.N`` [tokens, width] of the residual stream: 0 goes into the first layer, N comes out of the N-th, before
    the final norm (of the last, transformers' ``hidden_states`` gives it normed). Raises ``OptionError``."""
    encoded = _read(loaded, text, raw)
    chosen = check_layers(layers, len(decoder_layers(loaded.network)))
    found = streams_of(loaded, encoded.ids, layers=chosen)["residual"]
    return _arrays(loaded, encoded, {f"hidden.{n}": wide(h) for n, h in zip(chosen, found, strict=True)})


def attention(
    loaded: LoadedModel,
    text: str | Messages,
    *,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    raw: bool = True,
) -> Arrays:
    """``attention.N`` [heads, tokens, tokens] of the N-th layer, from 1: row i says how much position i takes from each
    position, of the ``heads`` asked for, from 0. Raises ``OptionError``."""
    encoded = _read(loaded, text, raw)
    chosen = check_layers(layers, len(decoder_layers(loaded.network)), first=1)
    config = loaded.network.config.get_text_config()
    count = int(config.num_attention_heads)
    for h in heads or ():
        if not isinstance(h, int) or isinstance(h, bool) or not 0 <= h < count:
            raise OptionError(f"there is no head {h!r}: this model has heads 0 to {count - 1}")
    if heads is not None and not heads:
        raise OptionError(f"heads should name at least one of 0 to {count - 1}, given none")
    found: dict[str, Tensor] = {}

    def look(a: Attention) -> Tensor:
        if a.layer + 1 in chosen:
            weights = a.weights()
            found[f"attention.{a.layer + 1}"] = (weights[0] if heads is None else weights[0, list(heads)]).clone()
            return a.output(weights)
        return a.usual()

    with attending(loaded.network, look):
        run(loaded, encoded.ids)
    return _arrays(loaded, encoded, {k: found[k] for k in sorted(found, key=lambda n: int(n.split(".")[1]))})
