"""What a network weighs, how likely it finds a text, and how fast it is; two of them beside each other.

    rows, text = rows_of(original, documents, 512, 8192)
    before, after = compare(original, quantised, rows)

Both read the same windows in turn, and write in turn, so that what else the machine does falls on both. Speeds are
medians over windows and tokens.
"""

from __future__ import annotations

import hashlib
import math
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pellucid.errors import InputError
from pellucid.lab.evaluation.inputs import Document
from pellucid.lab.evaluation.likelihood import Scored, lead, nats, tokens
from pellucid.lab.evaluation.perplexity import sizes, windows
from pellucid.lab.quantisation.report import Measured, Text
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent

WINDOW = 512
#: Written: so many tokens after so long a prompt, so many times.
PROMPT, TOKENS, ROUNDS = 64, 24, 3
#: Characters that are read of a document for each token that is wanted of all.
_CHARACTERS = 16


def rows_of(
    loaded: LoadedModel, documents: Sequence[Document], window: int | None, most: int
) -> tuple[list[Scored], Text]:
    """The first ``most`` tokens of the documents, as windows that follow each other without overlap; and what a report
    says of them.

    Raises ``InputError`` where there is nothing to score, ``OptionError`` for a window that the model does not read.
    """
    before = lead(loaded)
    asked = min(WINDOW, loaded.context or WINDOW) if window is None else window
    size, step = sizes(loaded, asked, max(1, asked - max(len(before) - 1, 0)), len(before))
    rows: list[Scored] = []
    names: list[str] = []
    digest, left = hashlib.sha256(), most
    for document in documents:
        if left == 0:
            break
        text = document.text[: most * _CHARACTERS]
        ids = tokens(loaded, text, before).ids
        for begin, first, end in windows(len(ids), size, step, len(before)):
            end = min(end, first + left)
            if first < end:
                rows.append(Scored((*before, *ids[begin:end]), end - first))
                left -= end - first
        names.append(document.name)
        digest.update(text.encode("utf-8", "surrogatepass"))
    if not rows:
        raise InputError("there is nothing to measure on: the text is one token at most; give more")
    return rows, Text(tuple(names), digest.hexdigest(), most - left, size)


def compare(
    original: LoadedModel,
    quantised: LoadedModel,
    rows: Sequence[Scored],
    *,
    progress: Progress = silent,
) -> tuple[Measured, Measured]:
    """Both, measured on ``rows``; disk sizes are those of the original's files, and None for what has none yet.

    Raises ``NumericError`` where one of them gives a token no finite probability.
    """
    both = (original, quantised)
    summed: list[list[float]] = [[], []]
    speeds: list[list[float]] = [[], []]
    full = max(len(r.ids) for r in rows)
    for loaded in both:  # the first pass of all makes things ready
        nats(loaded, rows[:1])
    for done, row in enumerate(rows):
        progress("measuring perplexity", done, len(rows))
        for k in (0, 1) if done % 2 == 0 else (1, 0):
            began = time.perf_counter()
            values = nats(both[k], [row])[0]
            took = time.perf_counter() - began
            summed[k].append(math.fsum(values))
            if len(row.ids) == full:
                speeds[k].append((full - 1) / took)
    progress("measuring perplexity", len(rows), len(rows))
    written = _written(both, rows[0].ids, progress)
    scored = sum(r.count for r in rows)
    found = []
    for k, loaded in enumerate(both):
        total = math.fsum(summed[k])
        found.append(
            Measured(
                dtype=str(loaded.dtype).removeprefix("torch."),
                memory=memory(loaded.network),
                disk=disk(loaded) if loaded is original else None,
                nats=total,
                perplexity=math.exp(min(total / scored, 700.0)),
                reading=statistics.median(speeds[k]),
                writing=written[k],
            )
        )
    return found[0], found[1]


def _written(both: tuple[LoadedModel, LoadedModel], ids: tuple[int, ...], progress: Progress) -> list[float]:
    """Tokens a second of each network when it writes, greedily, behind the same prompt."""
    gaps: list[list[float]] = [[], []]
    for turn in range(ROUNDS):
        progress("timing generation", turn, ROUNDS)
        for k in (0, 1) if turn % 2 == 0 else (1, 0):
            gaps[k] += _gaps(both[k], ids)
    progress("timing generation", ROUNDS, ROUNDS)
    return [1 / statistics.median(g) for g in gaps]


def _gaps(loaded: LoadedModel, ids: tuple[int, ...]) -> list[float]:
    """Seconds between one written token and the next."""
    import torch
    from transformers import GenerationConfig
    from transformers.generation.streamers import BaseStreamer

    times: list[float] = []

    class Clock(BaseStreamer):
        """Notes when each token is there; the first call brings the prompt."""

        def put(self, value: Any) -> None:
            times.append(time.perf_counter())

        def end(self) -> None:
            pass

    most = loaded.context or PROMPT + TOKENS
    prompt = list(ids[: max(1, min(PROMPT, most - TOKENS))])
    inputs = torch.tensor([prompt], device=loaded.device)  # [1, prompt]
    network: Any = loaded.network
    saved = network.generation_config
    count = max(2, min(TOKENS, most - len(prompt)))
    network.generation_config = GenerationConfig(
        max_new_tokens=count, min_new_tokens=count, do_sample=False, use_cache=True, pad_token_id=0
    )
    try:
        with torch.no_grad():
            network.generate(inputs, attention_mask=torch.ones_like(inputs), streamer=Clock())
    finally:
        network.generation_config = saved
    return [b - a for a, b in pairwise(times[1:])]  # without the prompt's


def memory(network: Any) -> int:
    """Bytes of all parameters and buffers, what is shared once, packed ones as they are packed."""
    seen: dict[tuple[str, int], int] = {}

    def add(tensor: Any) -> None:
        if hasattr(tensor, "__tensor_flatten__"):
            for name in tensor.__tensor_flatten__()[0]:
                add(getattr(tensor, name))
            return
        storage = tensor.untyped_storage()
        seen[(str(tensor.device), storage.data_ptr())] = storage.nbytes()

    for tensor in (*network.parameters(), *network.buffers()):
        add(tensor.data)
    return sum(seen.values())


def disk(loaded: LoadedModel) -> int | None:
    """Bytes of the files that a model's weights came from; None where they came from none."""
    name = str(getattr(loaded.network, "name_or_path", "") or "")
    folder = Path(name)
    if loaded.source == "hub":
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(name, "config.json", revision=loaded.revision)
        if not isinstance(found, str):
            return None
        folder = Path(found).parent
    return None if not name or loaded.source == "memory" else files(folder)


def files(folder: Path) -> int | None:
    """Bytes of the weights in a model's folder; None where there are none."""
    for pattern in ("*.safetensors", "*.bin"):
        sizes = [p.stat().st_size for p in folder.glob(pattern) if p.is_file()]
        if sizes:
            return sum(sizes)
    return None
