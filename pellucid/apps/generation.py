"""Write an answer, or take one, and explain each of its tokens: what of the prompt each came from.

    pellucid generate "Write a line about the sea." --strategy top_p:0.9
    g = model.generate("What is the capital of France?"); g.answer, g.trace.scores, g.mean

The trace holds the whole matrix a [answer tokens, prompt tokens and earlier answer tokens]. ``mean`` puts it in one
number a prompt token j, over the T answer tokens and the prompt tokens U that the user wrote:

    mean_j = 1/T sum_i |a_ij| / sum_{k in U} |a_ik|

so each answer token has the same say, however large its scores are, and the numbers add up to 1. An answer token whose
scores on U are all 0 has no say. Gradient and attention methods give exact rows; sizes are what is compared, so signs
do not matter.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.apps.speaker import Decoding, Messages, OnText, Speaker, check_text, speaker
from pellucid.errors import InputError, OptionError
from pellucid.lens.plain import Result
from pellucid.progress import Progress, silent
from pellucid.trace.result import ModelInfo, Trace

if TYPE_CHECKING:
    from pellucid.model import Model
    from pellucid.models.load import LoadedModel

#: The fastest method that was measured best for this kind of model, by ``trace/auto.py``.
AUTO = "auto"


@dataclass(frozen=True)
class Generation(Result):
    """An answer, token by token, and what of the prompt it came from.

    - ``messages``: the prompt; ``answer``; ``generated`` (False: it was given); ``strategy``, ``seed`` and ``end``
      (``stop``, ``length``; "" where it was given): how it was written.
    - ``logprob``: mean natural log-probability of the answer's tokens, nats, by the model itself.
    - ``trace``: with the matrix ``scores``, and in ``targets`` each answer token's probability, rank and entropy.
    - ``mean`` [prompt tokens]: mean attribution over the answer's tokens; NaN for tokens that the user did not write.
    - ``seconds``: all of it.
    """

    SCHEMA: ClassVar[str] = "pellucid.generation/1"

    messages: tuple[dict[str, str], ...]
    answer: str
    generated: bool
    strategy: str
    seed: int
    end: str
    logprob: float
    mean: tuple[float, ...]
    trace: Trace
    model: ModelInfo
    seconds: float

    def rows(self) -> list[dict[str, Any]]:
        """One row an answer token: its statistics, and the prompt token with the largest score."""
        out = []
        for i, t in enumerate(self.trace.targets):
            best = self.largest(i)
            out.append(
                {
                    "token": t.text,
                    "prob": t.prob,
                    "logprob": t.logprob,
                    "rank": t.rank,
                    "entropy": t.entropy,
                    "from": None if best is None else self.trace.sources[best].text,
                    "from_start": None if best is None else self.trace.sources[best].start,
                    "from_message": None if best is None else self.trace.sources[best].message,
                }
            )
        return out

    def largest(self, target: int) -> int | None:
        """The prompt token, of those that the user wrote, with the largest score for an answer token, by size."""
        row = self.trace.scores
        assert row is not None
        sizes = [(abs(float(row[target, j])), -j) for j in self.trace.content if math.isfinite(row[target, j])]
        return -max(sizes)[1] if sizes else None


def mean_attribution(trace: Trace) -> tuple[float, ...]:
    """See this module's formula; [prompt tokens], NaN outside what the user wrote. Raises ``InputError`` for a trace
    without a matrix."""
    import numpy as np

    if trace.scores is None:
        raise InputError("the trace has no matrix: explain with per_token=True")
    mine = list(trace.content)
    size = np.nan_to_num(np.abs(trace.scores[:, mine].astype(np.float64)))  # [targets, user's tokens]
    whole = size.sum(1, keepdims=True)
    size = size[whole[:, 0] > 0] / whole[whole[:, 0] > 0]
    out = np.full(len(trace.sources), np.nan)
    out[mine] = size.mean(0) if len(size) else 0.0
    return tuple(float(x) for x in out)


def generate(
    model: Model | LoadedModel | Speaker,
    prompt: str | Messages,
    answer: str | None = None,
    *,
    method: str = AUTO,
    parameters: Mapping[str, Any] | None = None,
    strategy: str = "greedy",
    max_new_tokens: int = 64,
    stop: tuple[str, ...] = (),
    seed: int = 0,
    trust: bool = True,
    on_text: OnText | None = None,
    progress: Progress = silent,
) -> Generation:
    """The model's answer to ``prompt`` (a text, or messages), or the one that is given, with each token explained.

    - ``method``: one that gives a matrix (all do); ``auto`` takes the fast one that ``trace/auto.py`` names for this
      kind of model. ``parameters`` are the method's own.
    - ``strategy``, ``max_new_tokens``, ``stop``, ``seed``: how it is written (see ``Decoding``); ``on_text`` is called
      with each new stretch of text, and progress is then not reported while it is written.

    Raises ``OptionError``; ``InputError`` where the model writes nothing; what ``explain`` raises.
    """
    from pellucid.lens.strategies import parse
    from pellucid.trace.methods import method as known

    began = time.perf_counter()
    messages = check_prompt(prompt)
    if method != AUTO:
        for name in parameters or {}:
            known(method).check(name)
        known(method)
    elif parameters:
        raise OptionError("method='auto' chooses the method and its parameters: name a method to give your own")
    parse(strategy)
    loaded: Any = getattr(model, "loaded", model)
    if getattr(loaded, "kind", "causal") in ("classifier", "span"):
        raise OptionError(
            f"'{loaded.name}' is a model of the kind '{loaded.kind}', and writes nothing: use a model that writes"
        )
    me = speaker(model)
    end = ""
    if answer is None:
        said = me.write(
            messages,
            Decoding(strategy, max_new_tokens, seed, tuple(stop)),
            on_text=on_text,
            progress=progress if on_text is None else silent,
        )
        text, end = said.text, said.end
        if not text.strip():
            raise InputError(
                f"'{me.name}' wrote nothing: ask otherwise, use another strategy or stop text, or give an answer"
            )
    else:
        text = check_text(answer, "the answer")
    options: dict[str, Any] = {"budget": "fast"} if method == AUTO else {"parameters": dict(parameters or {})}
    trace = me.explain(
        messages, text, method=method, per_token=True, trust=trust, seed=seed, progress=progress, **options
    )
    return Generation(
        messages=messages,
        answer=text,
        generated=answer is None,
        strategy=strategy if answer is None else "",
        seed=seed,
        end=end,
        logprob=sum(t.logprob for t in trace.targets) / len(trace.targets),
        mean=mean_attribution(trace),
        trace=trace,
        model=me.info,
        seconds=time.perf_counter() - began,
    )


def check_prompt(prompt: str | Messages) -> tuple[dict[str, str], ...]:
    """The prompt as messages. Raises ``OptionError`` for an empty one, or what is none."""
    if isinstance(prompt, str):
        return ({"role": "user", "content": check_text(prompt, "the prompt")},)
    given: Any = list(prompt) if isinstance(prompt, list | tuple) else []
    if not given or not all(isinstance(m, Mapping) and {"role", "content"} <= set(m) for m in given):
        raise OptionError(
            f"the prompt should be a text, or a list of messages {{'role': ..., 'content': ...}}, given {prompt!r:.60}"
        )
    for m in given:
        check_text(m["content"], f"the {m['role']} message")
    return tuple({"role": str(m["role"]), "content": str(m["content"])} for m in given)
