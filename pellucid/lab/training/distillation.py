r"""The loss of distillation: what a teacher expects next, as a target beside what comes next (Hinton et al. 2015,
arXiv:1503.02531).

    learner = Distiller(student, teacher, Soft(temperature=1.0, alpha=0.5, top_k=64))
    loss, extra = learner.of(batch)         # a sum over real targets, as in training

At each real target, with p = softmax(teacher's logits / T) and q = softmax(student's logits / T),

    loss = alpha T^2 KL + (1 - alpha) (-ln softmax(student's logits)[target])
    KL = sum_i p_i ln(p_i / q_i)            forward: the student covers all that the teacher expects
    KL = sum_i q_i ln(q_i / p_i)            reverse: it keeps to what the teacher expects most (Gu et al. 2023,
                                            arXiv:2306.08543)

The gradient of KL at temperature T shrinks as 1 / T^2, hence the factor: alpha means the same at every temperature.

**Top-k.** Of the teacher's distribution the k likeliest tokens are kept, and all others as one: their mass p_r = 1 -
sum of the k, against the student's q_r on those same others. Forward,

    KL_k = sum_(i in top k) p_i ln(p_i / q_i) + p_r ln(p_r / q_r)

and reverse likewise. Nothing is renormalised, so the student is not told that the rest cannot happen, only nothing
about how the rest is shared out: KL_k <= KL (merging outcomes never adds divergence), with equality at k = vocabulary.
What is lost is what the teacher says inside the rest; ``rest_mass`` measures how much that is. Kept are k numbers a
target instead of a vocabulary's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pellucid.errors import OptionError, unknown
from pellucid.lab.blocks.experts import routings
from pellucid.lab.data.batches import IGNORE, Batch
from pellucid.lab.training import loss as losses
from pellucid.lab.training.loss import PLAIN_HEADS, Learner, nll_sum

DIRECTIONS = ("forward", "reverse")


@dataclass(frozen=True)
class Soft:
    """``temperature`` of both distributions; ``alpha``: the share of the soft targets (0: none, 1: they alone);
    ``divergence``: forward or reverse; ``top_k``: how many of the teacher's tokens are kept (None: all)."""

    temperature: float = 1.0
    alpha: float = 0.5
    divergence: str = "forward"
    top_k: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise OptionError(f"the temperature should be above 0, given {self.temperature:g}")
        if not 0 <= self.alpha <= 1:
            raise OptionError(f"alpha should be a share from 0 to 1, given {self.alpha:g}")
        if self.divergence not in DIRECTIONS:
            raise unknown("divergence", self.divergence, list(DIRECTIONS))
        if self.top_k is not None and self.top_k < 1:
            raise OptionError(f"top-k should keep at least 1 token, given {self.top_k}")


@dataclass(frozen=True)
class Expected:
    """What the teacher expects: ``logp`` [targets, k] in nats at the temperature, of the tokens ``index`` [targets, k]
    (None: of all, in order), and ``rest`` [targets], ln of the mass of all others (None: there are none)."""

    logp: Tensor
    index: Tensor | None = None
    rest: Tensor | None = None


def _real(logits: Tensor) -> Tensor:
    """In float32 at least."""
    return logits if logits.dtype == torch.float64 else logits.float()


def expected(logits: Tensor, soft: Soft) -> Expected:
    """A teacher's logits [targets, vocabulary] to what is kept of them."""
    z = _real(logits) / soft.temperature
    if soft.top_k is None or soft.top_k >= z.shape[-1]:
        return Expected(z.log_softmax(-1))
    top, index = z.topk(soft.top_k, -1)
    total = z.logsumexp(-1, keepdim=True)
    return Expected(top - total, index, _others(z, index) - total[:, 0])


def _others(z: Tensor, index: Tensor) -> Tensor:
    """logsumexp [targets] over all but ``index`` [targets, k]; exact where one minus a sum would be rounded away."""
    return z.scatter(-1, index, -torch.inf).logsumexp(-1)


def divergence(logits: Tensor, teacher: Expected, soft: Soft) -> Tensor:
    """KL in nats, summed over targets and without T^2, of a student's logits [targets, vocabulary]."""
    z = _real(logits) / soft.temperature
    logq = z.log_softmax(-1)
    logp = teacher.logp
    if teacher.index is not None:
        assert teacher.rest is not None
        rest = _others(z, teacher.index) - z.logsumexp(-1)
        logq = torch.cat([logq.gather(-1, teacher.index), rest[:, None]], -1)  # [targets, k + 1]
        logp = torch.cat([logp, teacher.rest[:, None]], -1)
    if soft.divergence == "reverse":
        logp, logq = logq, logp
    # A mass that is rounded to nothing adds nothing, whatever the other says of it.
    return torch.where(logp > -torch.inf, logp.exp() * (logp - logq), 0.0).sum()


class Distiller(Learner):
    """``student`` and the loss above. In evaluation mode the loss is the hard one alone, so that held-out losses
    compare with those of any run.

    ``teacher`` is no part of this module: it is neither trained, saved, moved nor spread over processes. Where one
    vocabulary is padded to more numbers than the other, the soft targets are over those that both have.
    """

    def __init__(self, student: Any, teacher: Any, soft: Soft) -> None:
        super().__init__(student)
        self._teacher = (teacher.eval(),)  # inside a tuple, torch does not take it for a part
        self.soft = soft
        self.shared = min(_vocabulary(student), _vocabulary(teacher))
        self.whole = soft.top_k is None or soft.top_k >= self.shared

    def forward(
        self, inputs: Tensor, targets: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(loss, extra): the loss summed over real targets, and the experts' weighted losses; all [rows, length]."""
        if not self.network.training or self.soft.alpha == 0:
            return super().forward(inputs, targets, positions, mask)
        given = _given(inputs, positions, mask)
        asked = targets != IGNORE
        kept = self._kept(given, asked)
        states, head = _states(self.network, given)

        def mixed(some: Tensor, wanted: Tensor, *teacher: Tensor) -> Tensor:
            logits = head(some)
            kl = divergence(logits[:, : self.shared], self._expected(*teacher), self.soft)
            weighted: Tensor = self.soft.alpha * self.soft.temperature**2 * kl
            return weighted + (1 - self.soft.alpha) * nll_sum(logits, wanted)

        total = _in_stretches(mixed, self.shared, states[asked], targets[asked], *kept)
        extra = total.new_zeros(())
        c = self.network.config
        for r in routings(self.network):
            extra = extra + c.router_aux_loss_coef * r.balance + c.router_z_loss_coef * r.z
        return total, extra

    def rest_mass(self, batch: Batch) -> float:
        """The teacher's mass at the temperature, a mean over real targets, outside its k likeliest tokens."""
        if self.whole:
            return 0.0
        kept = self._kept(_given(batch.inputs, batch.positions, batch.mask), batch.targets != IGNORE)
        return float(kept[2].exp().mean())

    def _kept(self, given: dict[str, Any], asked: Tensor) -> list[Tensor]:
        """What is held of the teacher for the way back: k tokens a target; or the states [targets, width] from which
        its whole distribution is made anew where it is wanted, a stretch at a time."""
        with torch.inference_mode():
            states, head = _states(self._teacher[0], given)
            states = states[asked]
            if self.whole:
                kept = [states]
            else:
                size = max(1, losses.LOGITS // self.shared)
                parts = [expected(head(s)[:, : self.shared], self.soft) for s in states.split(size)]
                kept = [torch.cat(t) for t in zip(*[(e.logp, e.index, e.rest) for e in parts], strict=True)]
        return [t.clone() for t in kept]  # what was made in inference mode cannot be read on the way back

    def _expected(self, *kept: Tensor) -> Expected:
        if not self.whole:
            return Expected(*kept)
        with torch.no_grad():
            logits = kept[0] if _bare(self._teacher[0]) else self._teacher[0].get_output_embeddings()(kept[0])
            return expected(logits[:, : self.shared], self.soft)


def _vocabulary(network: Any) -> int:
    return int(network.get_output_embeddings().weight.shape[0])


def _given(inputs: Tensor, positions: Tensor | None, mask: Tensor | None) -> dict[str, Any]:
    return {"input_ids": inputs, "position_ids": positions, "attention_mask": mask, "use_cache": False}


def _bare(network: Any) -> bool:
    """Does this family do more to its logits than the head does (Gemma 2's cap)?"""
    return network.config.model_type not in PLAIN_HEADS


def _states(network: Any, given: dict[str, Any]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """What the head reads [rows, length, width], and the head; or logits, and nothing more to do."""
    if _bare(network):
        return network(**given).logits, lambda logits: logits
    return network.base_model(**given).last_hidden_state, network.get_output_embeddings()


def _in_stretches(function: Callable[..., Tensor], vocabulary: int, *given: Tensor) -> Tensor:
    """The sum of ``function`` over stretches of targets, so few that logits never exist all at once."""
    size = max(1, losses.LOGITS // vocabulary)
    if len(given[0]) <= size:
        return function(*given)
    total = torch.zeros((), device=given[0].device)
    for some in zip(*[g.split(size) for g in given], strict=True):
        total = total + checkpoint(function, *some, use_reentrant=False)
    return total
