"""Answers that a span head finds in a context, read in overlapping windows.

    extract(loaded, [("Who came?", "Ann came at noon.")])          # ["Ann"]

Each window is the question and a part of the context in the tokenizer's frame; the answer is the span of at most
``LONGEST`` tokens with the largest start logit + end logit, over all windows (Devlin et al. 2019, arXiv:1810.04805).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pellucid.errors import ContextError, ModelError, OptionError
from pellucid.models.heads import longest
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent

#: Tokens of a window and those that two share, where nothing is asked for and the model reads so many; of an answer.
WINDOW, STRIDE, LONGEST = 384, 128, 30


def extract(
    loaded: LoadedModel,
    pairs: Sequence[tuple[str, str]],
    *,
    window: int | None = None,
    stride: int | None = None,
    stage: str = "answering",
    progress: Progress = silent,
) -> list[str]:
    """The answer to each (question, context). ``window``: tokens read at once; ``stride``: those that two windows
    share.

    Raises ``ModelError`` for a tokenizer that gives no offsets, ``OptionError`` for a window over what the model
    reads, ``ContextError`` for a question that leaves the context no room.
    """
    import torch

    tokenizer: Any = loaded.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"the tokenizer of '{loaded.name}' gives no offsets: a model with a tokenizer.json is needed")
    most = longest(loaded)
    size = min(WINDOW, most or WINDOW) if window is None else window
    if size < 1 or (most is not None and size > most):
        raise OptionError(f"window should be from 1 to {most}, what '{loaded.name}' reads, given {window}")
    network: Any = loaded.network
    found = []
    for k, (question, context) in enumerate(pairs):
        progress(stage, k, len(pairs))
        asked = len(tokenizer(question, split_special_tokens=True)["input_ids"]) + tokenizer.num_special_tokens_to_add(
            True
        )
        shared = min(STRIDE, max(0, size - asked - 1)) if stride is None else stride
        if asked >= size or shared >= size - asked:
            raise ContextError(
                f"question {k + 1} has about {asked} tokens, which leave the context less than the {shared} that two "
                f"windows of {size} share: set a larger window, or a smaller stride"
            )
        read = tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=size,
            stride=shared,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            split_special_tokens=True,
        )
        best, span = float("-inf"), (0, 0)
        for row in range(len(read["input_ids"])):
            inputs = {
                name: torch.tensor([read[name][row]], device=loaded.device)
                for name in tokenizer.model_input_names
                if name in read
            }
            with torch.no_grad():
                out = network(**inputs)
            owners = read.sequence_ids(row)
            first = owners.index(1)
            last = len(owners) - owners[::-1].index(1)
            start, end = out.start_logits[0, first:last].cpu().double(), out.end_logits[0, first:last].cpu().double()
            scores = start[:, None] + end[None, :]  # [starts, ends]
            allowed = torch.ones_like(scores, dtype=torch.bool).triu().tril(LONGEST - 1)
            scores = scores.masked_fill(~allowed, float("-inf"))
            at = int(scores.argmax())
            if float(scores.max()) > best:
                a, b = divmod(at, scores.shape[1])
                offsets = read["offset_mapping"][row]
                best, span = float(scores.max()), (int(offsets[first + a][0]), int(offsets[first + b][1]))
        found.append(context[span[0] : span[1]].strip())
    progress(stage, len(pairs), len(pairs))
    return found
