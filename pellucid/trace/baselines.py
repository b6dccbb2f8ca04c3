"""Baselines: the input that stands for "nothing", from which path methods walk to the real one.

    pellucid explain --method integrated_gradients --param baseline=mean "..."

``zero``: zeros. ``mean``: the mean of the vocabulary's embeddings. ``pad``: the padding token at every place. Anything
else is one token of the vocabulary, as text or as its number.

``walk`` says which tokens go there: ``all``, prompt and answer, template and user's, or ``units``, those alone that
what-if methods would take away (the user's); the others stay as they are, and get no score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.errors import OptionError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.trace.engine import Run

NAMED = ("zero", "mean", "pad")
WALKS = ("all", "units")
_ROWS = 8192  # of the vocabulary at a time


def baseline(run: Run, name: str | int, walk: str = "all") -> Tensor:
    """Embeddings [tokens, width] of the baseline, in float32 or wider. Raises ``OptionError``."""
    if walk not in WALKS:
        raise unknown("walk", walk, list(WALKS))
    plain = run.embeddings
    start = _everywhere(run, name, plain)
    if walk == "all":
        return start
    some = plain.clone()
    for unit in run.units:
        some[unit] = start[unit]
    return some


def _everywhere(run: Run, name: str | int, plain: Tensor) -> Tensor:
    import torch

    if name == "zero":
        return torch.zeros_like(plain)
    return torch.cat([_row(run, table, name, plain).expand_as(plain[some]) for some, table in run.tables])


def _row(run: Run, table: Any, name: str | int, plain: Tensor) -> Tensor:
    """One embedding [1, width] of ``table``."""
    import torch

    device = table.weight.device
    if name == "mean":
        total = torch.zeros_like(plain[0])
        for ids in torch.arange(table.num_embeddings, device=device).split(_ROWS):
            total += table(ids).detach().to(plain).sum(0)
        mean: Tensor = (total / table.num_embeddings)[None]
        return mean
    one = torch.tensor([_token(run, name, table.num_embeddings)], device=device)
    row: Tensor = table(one).detach()
    return row.to(plain)


def _token(run: Run, name: str | int, size: int) -> int:
    tokenizer: Any = run.loaded.tokenizer
    expected = f"expected {', '.join(NAMED)}, or one token of the vocabulary as text or number"
    if name == "pad":
        pad = tokenizer.pad_token_id
        if pad is None:
            raise OptionError(f"'{run.loaded.name}' has no padding token: use another baseline ({expected})")
        return int(pad)
    if isinstance(name, int) and not isinstance(name, bool):
        if not 0 <= name < size:
            raise OptionError(f"the baseline token {name} is not in the vocabulary of {size}: {expected}")
        return name
    if not isinstance(name, str):
        raise OptionError(f"the baseline {name!r} is no token: {expected}")
    found = tokenizer.convert_tokens_to_ids(name)
    if found is not None and found != tokenizer.unk_token_id:
        return int(found)
    ids = tokenizer(name, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise OptionError(f"the baseline {name!r} is {len(ids)} tokens of '{run.loaded.name}': {expected}")
    return int(ids[0])
