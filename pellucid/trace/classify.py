"""Sequence classifiers: one number a class, from an encoder or a decoder (``...ForSequenceClassification``).

    model = pellucid.load("distilbert-base-uncased-finetuned-sst-2-english")
    model.explain("A joy to watch.")                            # the class that it chose
    model.explain("A joy to watch.", "NEGATIVE", objective="log_odds")
    model.explain(("A man sleeps.", "Nobody is awake."), target=["entailment", "neutral"], per_token=True)

A target is a class, its logits [classes] are the same for every target. ``logprob`` is of the softmax over classes; of
a multi-label model, and of one with a single output, each class is judged by a sigmoid of its own: log p = log
sigmoid(z_t). To every objective that looks like a choice between the class and its absence, [z_t, 0] (``own``); only
functions of the user's own get the logits as they are. A regression has no probabilities: it is explained by ``logit``.

What is taken away is taken out, and what follows moves up; the token types stay with their tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pellucid.errors import InputError, OptionError
from pellucid.models.heads import encode_head, find_label, labels, problem
from pellucid.models.load import LoadedModel
from pellucid.trace.heads import HOLE, Answered, HeadRun
from pellucid.trace.objective import OBJECTIVES, RECIPES, Function, Objective, logit
from pellucid.trace.result import Span

_FAR = -1e4  # a logit of what cannot be chosen: its probability is exactly 0, and 0 times its log no NaN


def own(logits: Tensor, ids: Tensor, *, absence: bool) -> Tensor:
    """``logits`` [..., targets, classes] as a choice of each target's own class, number t, or of its ``absence``,
    number classes + t with a logit of 0 [..., targets, 2 classes]."""
    classes = logits.shape[-1]
    at = ids.to(logits.device).expand(logits.shape[:-1])[..., None]
    out = logits.new_full((*logits.shape[:-1], 2 * classes), _FAR).scatter(-1, at, logits.gather(-1, at))
    return out.scatter(-1, at + classes, torch.zeros_like(at, dtype=logits.dtype)) if absence else out


class ClassifierRun(HeadRun):
    """One text, or pair of texts, and some of a classifier's classes."""

    @property
    def choices(self) -> int:
        """The classes."""
        return len(labels(self.loaded))

    def rows(self, out: Any) -> Tensor:
        """The classes' logits, for every target the same."""
        logits: Tensor = out.logits[:, None].expand(-1, self.targets, -1)
        return logits

    def readable(self, logits: Tensor) -> Tensor:
        """Logits whose softmax is what the model thinks of each target."""
        how = problem(self.loaded)
        return logits if how == "softmax" else own(logits, self.answer, absence=how == "sigmoid")

    def choice(self, number: int) -> str:
        """A class's name; of the numbers above the classes, its absence."""
        names = labels(self.loaded)
        return names[number] if number < len(names) else f"not {names[number - len(names)]}"

    def measured(self, logits: Tensor, function: Function | None = None) -> Tensor:
        """The objective, or ``function``, of each selected target [selected]."""
        raw = function is None and self.objective.raw
        return super().measured(logits if raw else self.readable(logits), function)

    def logits_after(self, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
        """The logits [targets, classes] of each prompt without its holes."""
        config: Any = self.loaded.network.config
        pad = getattr(config.get_text_config(), "pad_token_id", None)
        kept = [[i for i, t in enumerate(p) if t != HOLE] for p in prompts]
        longest = max(map(len, kept))
        if pad is None and len(prompts) > 1:  # a decoder's head could not tell where a shorter row ends
            return [self.logits_after([p])[0] for p in prompts]
        fill = 0 if pad is None else int(pad)

        def filled(rows: list[list[int]], value: int) -> Tensor:
            return torch.tensor([[*r, *[value] * (longest - len(r))] for r in rows], device=self.ids.device)

        ids = filled([[p[i] for i in k] for p, k in zip(prompts, kept, strict=True)], fill)
        mask = filled([[1] * len(k) for k in kept], 0)
        types = None if self.types is None else filled([[self.types[i] for i in k] for k in kept], 0)
        return list(self._run(ids, mask, types))


def answer(
    loaded: LoadedModel,
    prompt: Any,
    target: str | Sequence[str] | None = None,
    *,
    raw: bool = False,
    parse_special: bool = False,
    precision: str = "full",
) -> Answered:
    """The prompt's tokens, and the classes to explain: those named, or the one that the model chooses (every one that
    is likelier than not, for several labels; all outputs of a regression). Raises ``InputError``, ``ContextError``."""
    names = labels(loaded)
    if target is not None:
        given = [target] if isinstance(target, str) else list(target)
        if not given or given == [""]:
            raise InputError(
                "the target is empty: expected a class, several in a list, or none to explain the model's choice"
            )
        numbers = [find_label(loaded, t) for t in given]
        twice = next((names[n] for k, n in enumerate(numbers) if n in numbers[:k]), None)
        if twice is not None:
            raise InputError(f"the class '{twice}' is named twice: each is explained once")
    encoded = encode_head(loaded, prompt, raw=raw, parse_special=parse_special)
    if target is None:
        run = ClassifierRun(loaded, encoded.ids, [0], OBJECTIVES["logit"], precision=precision)
        z, how = run.logits_after([encoded.ids])[0][0], problem(loaded)
        numbers = list(range(len(names))) if how == "value" else [int(z.argmax())]
        if how == "sigmoid" and bool((z > 0).any()):
            numbers = (z > 0).nonzero()[:, 0].tolist()
    text, spans = "", []
    for n in numbers:
        text += ", " if text else ""
        spans.append((len(text), len(text) + len(names[n])))
        text += names[n]
    return Answered(encoded, numbers, text, spans, target is None, {"classes": [names[n] for n in numbers]})


def check_objective(loaded: LoadedModel, objective: object) -> None:
    """Raise ``OptionError`` for an objective that a regression does not have."""
    if problem(loaded) == "value" and isinstance(objective, str) and objective != "logit":
        raise OptionError(
            f"'{loaded.name}' gives numbers and no probabilities (a regression), and the objective is '{objective}': "
            "use objective='logit', which is the number itself, or a function of your own"
        )


def contrast(
    loaded: LoadedModel, answer: Sequence[int], text: str, instead_of: str, span: Span | None
) -> tuple[Objective, dict[str, Any]]:
    """log p(t) - log p(other) of each explained class t against another one. Raises ``InputError``."""
    names, against = labels(loaded), find_label(loaded, instead_of)
    chosen = range(len(answer)) if span is None else span.targets
    if any(answer[i] == against for i in chosen):
        raise InputError(f"nothing to contrast: '{instead_of}' is the class that is explained; name another one")
    sigmoid = problem(loaded) == "sigmoid"

    def function(logits: Tensor, ids: Tensor) -> Tensor:
        there = torch.full_like(ids, against).expand(logits.shape[:-1])
        mine, other = logit(logits, ids.expand(logits.shape[:-1])), logit(logits, there)
        return logsigmoid(mine) - logsigmoid(other) if sigmoid else mine - other

    recipe = RECIPES["contrast"]
    details = {
        "instead_of": instead_of,
        "answer": text,
        "other": instead_of,
        "pairs": [{"target": i, "text": names[n], "other": instead_of, "id": against} for i, n in enumerate(answer)],
        "plain_logprob": [],
        "left_out": [],
    }
    return Objective(recipe.name, recipe.formula, recipe.unit, function, raw=True), details
