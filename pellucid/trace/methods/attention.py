"""Attention: where the model looked when it gave each token of the answer.

    pellucid explain --method attention "..."
    pellucid explain --method attention --param layers=[-1] --param heads=[0,3] "..."

score of target i and token j = mean over the chosen layers and heads of A[p, j], the weight that the position p which
predicts target i gives to j. Never negative; a target's scores add up to 1. The whole answer's are the sums. One
forward pass, no backward pass. A description of the model's inside, not of effects: Jain & Wallace 2019
(arXiv:1902.10186) say why the two differ, and the trust line says by how much here.

In an encoder-decoder the source's scores are cross attention, and those of the answer so far the decoder's own
attention; each adds up to 1 for a target, less what the decoder's start tokens get. Layers are the decoder's.

Bahdanau et al. 2015 (arXiv:1409.0473); Vaswani et al. 2017 (arXiv:1706.03762).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pellucid.errors import OptionError
from pellucid.trace.inside import Attention, attending
from pellucid.trace.methods import Method

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pellucid.trace.engine import Run, Scores


def chosen(which: str | int | Sequence[int], count: int, what: str) -> list[int]:
    """Numbers of layers or heads: ``all``, one, or a list; negative ones count from the end. Raises ``OptionError``."""
    if which == "all":
        return list(range(count))
    numbers = [which] if isinstance(which, int) else which
    if isinstance(numbers, str) or not numbers or not all(isinstance(n, int) and -count <= n < count for n in numbers):
        raise OptionError(
            f"{what} should be 'all', a number from 0 to {count - 1} (or -1 and so on), or a list of them, "
            f"given {which!r}"
        )
    return sorted({n % count for n in numbers})


def target_rows(run: Run) -> slice:
    """The positions that predict the answer's tokens."""
    return slice(run.prompt_length - 1, run.prompt_length - 1 + run.targets)


def from_rows(run: Run, rows: Tensor, details: dict[str, Any] | None = None) -> Scores:
    """Scores from a row of numbers for each target [targets, tokens]: the answer's are the selected targets' sums."""
    import torch

    from pellucid.trace.engine import Scores

    total = rows[run.selected].sum(0)
    matrix = None
    if run.per_token:
        matrix = torch.full_like(rows, torch.nan)
        matrix[run.selected] = rows[run.selected]
    return Scores(total, matrix, details=details or {})


def shape(run: Run) -> tuple[int, int]:
    """(layers, heads)."""
    config = run.loaded.network.config.get_text_config()
    return int(config.num_hidden_layers), int(config.num_attention_heads)


def attention(run: Run, *, layers: str | int | Sequence[int], heads: str | int | Sequence[int]) -> Scores:
    """Mean attention weight over layers and heads."""
    import torch

    if run.loaded.kind == "seq2seq":
        return _of_decoder(run, layers, heads)
    depth, width = shape(run)
    which, of = chosen(layers, depth, "layers"), chosen(heads, width, "heads")
    rows = torch.zeros(run.targets, run.ids.shape[1], device=run.ids.device)
    positions = target_rows(run)

    def look(a: Attention) -> torch.Tensor:
        if a.layer in which:
            rows.add_(a.weights(positions)[0, of].sum(0).to(rows.dtype))
        return a.usual()

    with attending(run.loaded.network, look):
        run.values()
    return from_rows(run, rows / (len(which) * len(of)))


def _of_decoder(run: Any, layers: str | int | Sequence[int], heads: str | int | Sequence[int]) -> Scores:
    """Cross attention for the source, the decoder's own for the answer; ``run`` is a ``Seq2SeqRun``."""
    import torch

    parts = []
    for weights in run.attentions():  # [layers, heads, targets, tokens]
        which, of = chosen(layers, weights.shape[0], "layers"), chosen(heads, weights.shape[1], "heads")
        parts.append(weights[which][:, of].mean((0, 1)))
    return from_rows(run, torch.cat(parts, 1))


METHOD = Method(
    name="attention",
    description="attention weights from the answer's positions, mean over layers and heads",
    paper="Bahdanau et al. 2015, arXiv:1409.0473; Jain & Wallace 2019, arXiv:1902.10186",
    formula="mean_l,h A_lh[p, j]",
    cost="1 forward",
    signed=False,
    needs="attention",
    kinds=("causal", "seq2seq"),
    function=attention,
    parameters={"layers": "all", "heads": "all"},
)
