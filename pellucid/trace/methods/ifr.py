"""Information flow routes: how much of what each attention puts into the answer's states came from which token.

    pellucid explain --method ifr "..."
    pellucid explain --method ifr --param hops=2 "..."        # answer -> earlier answer (the thought) -> prompt

At each layer the state of a position is y = x + sum_h,j A_h[t, j] W_h v_hj + ...: the residual stream and one
contribution c a head and source. A contribution weighs w(c) = max(0, |y|_1 - |y - c|_1), and a block's weights are
normalised to add up to 1. What the layer brings in from elsewhere is shared out over the sources j by their weights,
and what stays at the position is what the layers below explain.

``route``: how layers are put together, from the top. ``residual``: what a layer brings in is credited to the tokens at
the positions where it was read, and what stays goes on to the layer below. ``mean``: the mean over layers of the
normalised weights. ``graph``: importance flows down the whole graph, through every position, as in the paper; it weighs
the contributions at all positions, not at the answer's alone, and takes several forward passes' time.

A whole span goes in one pass: its states, residuals and contributions are added up first, and weighed once (the idea
of FlashTrace). The matrix weighs each target's contributions apart; with ``together=false`` the whole answer's scores
are the sum of such rows too, which is slower and, where it was measured, more faithful.

With ``hops`` the answer's tokens hand what they got to their own sources, weighted by it, once a hop:
``details["hops"]`` keeps each hop's scores over prompt and answer, and the total is their sum on the prompt.

One forward pass. Ferrando & Voita 2024, "Information Flow Routes" (arXiv:2403.00824); Pan et al. 2026, FlashTrace
(arXiv:2602.01914).
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.errors import OptionError, unknown
from pellucid.trace.ablate import read_original
from pellucid.trace.anatomy import Block, blocks, norm_scale
from pellucid.trace.inside import Attention, attending
from pellucid.trace.methods import Method
from pellucid.trace.methods.attention import target_rows

if TYPE_CHECKING:
    from pellucid.trace.engine import Run, Scores

ROUTES = ("residual", "mean", "graph")


@dataclass
class Look:
    """What one layer's attention did, at the rows that are asked for.

    ``weights`` [heads, rows, tokens]; ``values`` [heads, tokens, head width], repeated over groups of heads;
    ``matrix`` [width, heads, head width]; ``residual`` and ``state`` [rows, width]: the stream before and after the
    attention was added; ``scale`` [rows, width] of a norm in between, or None.
    """

    weights: Tensor
    values: Tensor
    matrix: Tensor
    residual: Tensor
    state: Tensor
    scale: Tensor | None

    def mapped(self) -> Tensor:
        """Each head's value of each token, as it enters the stream [heads, tokens, width]."""
        return torch.einsum("htd,whd->htw", self.values, self.matrix)


def proximity(contribution: Tensor, state: Tensor) -> Tensor:
    """max(0, |y|_1 - |y - c|_1) over the last axis."""
    return (state.abs().sum(-1) - (state - contribution).abs().sum(-1)).clamp(min=0)


def look_inside(run: Run, rows: slice) -> list[Look]:
    """One forward pass, and a ``Look`` a layer."""
    network: Any = run.loaded.network
    parts = blocks(network)
    found: list[dict[str, Any]] = [{} for _ in parts]

    def attend(a: Attention) -> Tensor:
        groups = a.query.shape[1] // a.value.shape[1]
        here = found[a.layer]
        here["weights"], here["values"] = a.weights(rows)[0], a.value[0].repeat_interleave(groups, 0)
        return a.usual()

    with ExitStack() as stack:
        for k, block in enumerate(parts):
            _watch(stack, block, found[k], rows)
        stack.enter_context(attending(network, attend))
        read_original(run)
    looks = []
    for block, here in zip(parts, found, strict=True):
        values = here["values"].float()
        matrix = block.matrix().float().unflatten(1, (values.shape[0], values.shape[2]))
        residual, added = here["residual"].float(), here["added"].float()
        looks.append(Look(here["weights"].float(), values, matrix, residual, residual + added, here.get("scale")))
    return looks


def _watch(stack: ExitStack, block: Block, here: dict[str, Any], rows: slice) -> None:
    """Hooks that keep the stream before the layer, what the attention adds to it, and the scale of a norm between."""

    def before(module: Any, args: Any, kwargs: Any) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        here["residual"] = hidden[0, rows]

    def after(module: Any, args: Any, out: Any) -> None:
        here["added"] = (out[0] if isinstance(out, tuple) else out)[0, rows]

    def normed(module: Any, args: Any, out: Tensor) -> None:
        here["scale"], here["added"] = norm_scale(module, args[0][0, rows]).float(), out[0, rows]

    stack.callback(block.layer.register_forward_pre_hook(before, with_kwargs=True).remove)
    stack.callback(block.attention.register_forward_hook(after).remove)
    if block.after is not None:
        stack.callback(block.after.register_forward_hook(normed).remove)


def weigh(k: Look, share: Tensor) -> tuple[Tensor, Tensor]:
    """Rows taken together with weights ``share`` [rows]: normalised weights of the sources [tokens], and what stays."""
    state, stays = share @ k.state, share @ k.residual
    weights = k.weights * share[:, None]
    if k.scale is None:
        contribution = weights.sum(1)[..., None] * k.mapped()  # [heads, tokens, width]
    else:
        contribution = torch.einsum("hrt,rw->htw", weights, k.scale) * k.mapped()
    return _normalised(proximity(contribution, state).sum(0), proximity(stays, state))


def edges(k: Look) -> tuple[Tensor, Tensor]:
    """Each row by itself: normalised weights of the sources [rows, tokens], and what stays [rows]."""
    mapped = k.mapped()
    found, stays = [], []
    for r in range(k.state.shape[0]):
        seen = int(k.weights[:, r].any(0).nonzero().max()) + 1  # causal: nothing beyond is read
        m = mapped[:, :seen] if k.scale is None else mapped[:, :seen] * k.scale[r]
        w = proximity(k.weights[:, r, :seen, None] * m, k.state[r]).sum(0)
        w, s = _normalised(w, proximity(k.residual[r], k.state[r]))
        found.append(torch.nn.functional.pad(w, (0, mapped.shape[1] - seen)))
        stays.append(s)
    return torch.stack(found), torch.stack(stays)


def _normalised(weights: Tensor, stays: Tensor) -> tuple[Tensor, Tensor]:
    whole = (weights.sum() + stays).clamp(min=torch.finfo(weights.dtype).tiny)
    return weights / whole, stays / whole


def span(looks: list[Look], share: Tensor, own: Tensor, route: str) -> Tensor:
    """Scores [tokens] of rows taken together with weights ``share`` [rows] that add up to what is shared out.

    ``own`` [rows]: the position of each row, which gets what is left at the bottom.
    """
    out = looks[0].weights.new_zeros(looks[0].weights.shape[2])
    amount = share.sum()
    left = amount
    for k in reversed(looks):
        w, stays = weigh(k, share)
        out += w * (left if route == "residual" else amount / len(looks))
        left = left * stays
    if route == "residual" and float(amount) > 0:
        out.index_add_(0, own, share / amount * left)
    return out


def each(looks: list[Look], own: Tensor, route: str, run: Run) -> Tensor:
    """Scores [rows, tokens] of each row by itself."""
    rows, tokens = looks[0].weights.shape[1:]
    out = looks[0].weights.new_zeros(rows, tokens)
    left = out.new_ones(rows)
    for n, k in enumerate(reversed(looks)):
        run.progress("weighing", n, len(looks))
        w, stays = edges(k)
        out += w * left[:, None] if route == "residual" else w / len(looks)
        left = left * stays
    run.progress("weighing", len(looks), len(looks))
    if route == "residual":
        out[torch.arange(rows), own] += left
    return out


def graph(looks: list[Look], importance: Tensor, run: Run) -> Tensor:
    """``importance`` [rows, tokens] of the positions at the top, carried down through every position to the bottom."""
    for n, k in enumerate(reversed(looks)):
        run.progress("weighing", n, len(looks))
        w, stays = edges(k)
        importance = importance * stays + importance @ w
    run.progress("weighing", len(looks), len(looks))
    return importance


def ifr(run: Run, *, route: str, hops: int, together: bool) -> Scores:
    """Information flow from the answer's states to the tokens."""
    from pellucid.trace.engine import Scores

    if route not in ROUTES:
        raise unknown("route", route, list(ROUTES))
    if not isinstance(hops, int) or isinstance(hops, bool) or hops < 0:
        raise OptionError(f"hops should be a whole number of at least 0, given {hops!r}")
    prompt, tokens = run.prompt_length, run.ids.shape[1]
    answer = target_rows(run)
    looks = look_inside(run, slice(0, tokens) if route == "graph" else answer)
    own = torch.arange(answer.start, answer.stop, device=run.ids.device)
    rows: Tensor | None = None
    if route == "graph":
        top = torch.nn.functional.one_hot(own, tokens).to(looks[0].state.dtype)
        rows = graph(looks, top, run)
    elif run.per_token or not together:
        rows = each(looks, own, route, run)
    share = looks[0].state.new_zeros(run.targets)
    share[run.selected] = 1.0
    kept = []
    for _ in range(hops + 1):
        apart = rows is not None and (route == "graph" or not together)
        found = share @ rows if apart and rows is not None else span(looks, share, own, route)
        kept.append(found)
        share = found[prompt:].clone()  # what the answer's own tokens got, they hand on
    total = kept[0].clone()
    for hop in kept[1:]:
        total[:prompt] += hop[:prompt]
    matrix = None
    if run.per_token and rows is not None:
        matrix = torch.full_like(rows, torch.nan)
        matrix[run.selected] = rows[run.selected]
    details = {"hops": [[round(float(x), 6) for x in hop] for hop in kept]} if hops else {}
    return Scores(total, matrix, details=details)


METHOD = Method(
    name="ifr",
    description="information flow routes: each attention's contributions, by how much of the state they make up",
    paper="Ferrando & Voita 2024, arXiv:2403.00824; Pan et al. 2026, arXiv:2602.01914",
    formula="sum_l stays_l w(A_h[t, j] W_h v_hj), w(c) = max(0, |y|_1 - |y - c|_1)",
    cost="1 forward (the matrix weighs each target apart)",
    signed=False,
    needs="attention",
    kinds=("causal",),
    function=ifr,
    parameters={"route": "residual", "hops": 0, "together": True},
)
