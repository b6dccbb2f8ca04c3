"""The tuned lens: an affine map a layer, trained so that the layer says what the model will say.

    pellucid lens tune --file essay.txt                     # minutes; kept by the model's name and revision
    model.logit_lens(prompt, tuned=model.tune_lens(text))

Belrose et al. 2023, "Eliciting Latent Predictions from Transformers with the Tuned Lens": for layer l the map h -> h +
W_l h + b_l is trained to make KL(p_model || softmax(head(norm(h + W_l h + b_l)))) small. It begins at the map that
ridge regression gives from the layer's state to the last layer's (closed form), and Adam goes on from there. A tenth
of the text is kept out, to say what the maps are worth: ``kl`` and, for the plain logit lens on the same positions,
``kl_plain``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import InputError, ModelError, OptionError
from pellucid.lens.final import Final
from pellucid.lens.layers import streams_of
from pellucid.lens.steps import check_causal
from pellucid.lens.store import read, write
from pellucid.models.encode import encode
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent
from pellucid.trace.layers import decoder_layers
from pellucid.trace.logits import wide

FORMAT = "pellucid.tunedlens/1"
LEAST = 64  # positions of text to train on
_RIDGE = 0.1  # of the mean variance
_RATE = 1e-3
_ROWS = 64


@dataclass(frozen=True, eq=False)
class TunedLens:
    """``maps`` [layers, width, width] and ``shifts`` [layers, width] of the layers 0 to the last but one; ``name``,
    ``revision`` and ``width`` of the model that they are for; ``kl`` and ``kl_plain`` [layers] in nats a position, on
    ``held_out`` positions that were not trained on, of ``positions`` in all."""

    maps: Tensor
    shifts: Tensor
    name: str
    revision: str | None
    kl: tuple[float, ...]
    kl_plain: tuple[float, ...]
    positions: int
    held_out: int

    def __call__(self, layer: int, states: Tensor) -> Tensor:
        """``states`` [positions, width] of that layer, mapped."""
        w, b = (t[layer].to(states.device, states.dtype) for t in (self.maps, self.shifts))
        return states + states @ w.T + b

    def check(self, loaded: LoadedModel) -> None:
        """Raise ``ModelError`` where it is another model's."""
        mine, its = (self.name, self.revision), (loaded.name, loaded.revision)
        count = len(decoder_layers(loaded.network))
        table: Any = loaded.network.get_input_embeddings()
        width = int(table.weight.shape[-1])
        if mine != its or self.maps.shape != (count, width, width):
            said = " ".join(f"'{n}'" if r is None else f"'{n}' (revision {r})" for n, r in (mine,))
            raise ModelError(
                f"this tuned lens is of {said}, and the model is '{loaded.name}'"
                + (f" (revision {loaded.revision})" if loaded.revision else "")
                + ": tune one for it with 'pellucid lens tune'"
            )

    def save(self, path: str | Path) -> Path:
        """Write to a ``.safetensors`` file, whole or not at all. Raises ``OutputError``."""
        facts = {n: getattr(self, n) for n in ("name", "revision", "kl", "kl_plain", "positions", "held_out")}
        return write(path, {"maps": self.maps.numpy(), "shifts": self.shifts.numpy()}, facts, FORMAT)

    @classmethod
    def load(cls, path: str | Path) -> TunedLens:
        """Raises ``InputError`` for a file that cannot be read, ``SchemaError`` for one that is no tuned lens."""
        if not Path(path).is_file():
            raise InputError(f"there is no tuned lens at {path}: make one with 'pellucid lens tune'")
        arrays, facts = read(path, FORMAT, "a tuned lens")
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
        return cls(torch.from_numpy(arrays["maps"]), torch.from_numpy(arrays["shifts"]), **given)


def place_of(loaded: LoadedModel) -> Path:
    """Where the lens of this model is kept: by name and revision."""
    from pellucid.models.cache import root

    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", loaded.name).strip("-")
    mark = hashlib.sha256(f"{loaded.name}\0{loaded.revision}".encode()).hexdigest()[:8]
    return root() / "tuned" / f"{safe}-{mark}.safetensors"


def tune(
    loaded: LoadedModel,
    texts: Sequence[str],
    *,
    steps: int = 60,
    window: int = 256,
    seed: int = 0,
    progress: Progress = silent,
) -> TunedLens:
    """Train the maps on ``texts``, read in stretches of ``window`` tokens; ``steps`` steps of Adam after the
    regression.

    Raises ``InputError`` for too little text, ``OptionError``, ``ModelError``.
    """
    check_causal(loaded)
    if not isinstance(steps, int) or steps < 0:
        raise OptionError(f"steps should be 0 (the regression alone) or more, given {steps!r}")
    if not isinstance(window, int) or window < 8:
        raise OptionError(f"window should be at least 8 tokens, given {window!r}")
    final = Final.of(loaded)
    states = _states(loaded, texts, window, progress)  # [layers + 1, positions, width], float32
    count, positions = states.shape[0] - 1, states.shape[1]
    if positions < LEAST:
        raise InputError(f"the text is {positions} tokens, and a lens is tuned on at least {LEAST}: give more text")
    order = torch.randperm(positions, generator=torch.Generator().manual_seed(seed)).to(states.device)
    held, train = order[: max(positions // 10, 8)], order[max(positions // 10, 8) :]
    fits = [_regression(states[n, train], states[-1, train]) for n in range(count)]
    maps = torch.stack([w for w, _ in fits])
    shifts = torch.stack([b for _, b in fits])
    plain = _divergences(final, states, held, None, None)
    best = _divergences(final, states, held, maps, shifts)
    kept = maps.clone(), shifts.clone()
    generator = torch.Generator().manual_seed(seed)
    parameters = [maps.requires_grad_(True), shifts.requires_grad_(True)]
    adam = torch.optim.Adam(parameters, lr=_RATE)
    for step in range(steps):
        rows = train[torch.randint(len(train), (min(_ROWS, len(train)),), generator=generator).to(train.device)]
        with torch.no_grad():
            goal = torch.log_softmax(final.logits(final.norm(states[-1, rows].to(loaded.dtype))), -1)
        for n in range(count):
            mapped = states[n, rows] + states[n, rows] @ maps[n].T + shifts[n]
            with torch.enable_grad():
                logits = final.logits(final.norm(mapped.to(loaded.dtype)))
                loss = _kl(goal, logits).mean()
                loss.backward()
        adam.step()
        adam.zero_grad()
        progress("tuning", step + 1, steps)
    after = _divergences(final, states, held, maps.detach(), shifts.detach())
    # A layer that training made worse on what was kept out keeps its regression.
    for n in range(count):
        if after[n] < best[n]:
            kept[0][n], kept[1][n], best[n] = maps[n].detach(), shifts[n].detach(), after[n]
    return TunedLens(
        kept[0].cpu(), kept[1].cpu(), loaded.name, loaded.revision, tuple(best), tuple(plain), positions, len(held)
    )


def _states(loaded: LoadedModel, texts: Sequence[str], window: int, progress: Progress) -> Tensor:
    """Every layer's states over all texts [layers + 1, positions, width], in float32 or wider."""
    stretches: list[list[int]] = []
    for text in texts:
        ids = encode(loaded, text, raw=True).ids
        size = min(window, loaded.context or window)
        stretches += [ids[a : a + size] for a in range(0, len(ids), size)]
    found = []
    for k, ids in enumerate(stretches):
        progress("reading", k, len(stretches))
        if len(ids) > 1:
            # The first position is unlike all others (attention sinks), and would lead the regression.
            found.append(wide(streams_of(loaded, ids)["residual"][:, 1:]))
    progress("reading", len(stretches), len(stretches))
    if not found:
        raise InputError("the text is one token or none: give more text to tune a lens on")
    return torch.cat(found, 1)


def _regression(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(W, b) that make x + x W^T + b nearest to y [positions, width] in the mean square, W held small (ridge)."""
    centre, goal = x.mean(0), (y - x).mean(0)
    # On the CPU, in float64, which MPS does not have.
    a, d = (x - centre).cpu().double(), (y - x - goal).cpu().double()
    gram = a.T @ a
    gram.diagonal().add_(_RIDGE * float(gram.diagonal().mean()))
    w = torch.linalg.solve(gram, a.T @ d).T.to(x.device, x.dtype)
    return w, goal - centre @ w.T


def _kl(goal: Tensor, logits: Tensor) -> Tensor:
    """KL(p_model || p) [rows] in nats, ``goal`` the model's log-probabilities."""
    return (goal.exp() * (goal - torch.log_softmax(logits, -1))).sum(-1)


def _divergences(final: Final, states: Tensor, rows: Tensor, maps: Tensor | None, shifts: Tensor | None) -> list[float]:
    """Mean KL of each layer but the last over ``rows``, in nats."""
    count = states.shape[0] - 1
    total = torch.zeros(count, dtype=torch.float64)
    dtype = next(final.head.parameters()).dtype
    with torch.no_grad():
        for first in range(0, len(rows), _ROWS):
            some = rows[first : first + _ROWS]
            goal = torch.log_softmax(final.logits(final.norm(states[-1, some].to(dtype))), -1)
            for n in range(count):
                x = states[n, some]
                if maps is not None and shifts is not None:
                    x = x + x @ maps[n].T + shifts[n]
                total[n] += float(_kl(goal, final.logits(final.norm(x.to(dtype)))).cpu().double().sum())
    return [float(v) / len(rows) for v in total]
