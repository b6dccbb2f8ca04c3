"""A model's own texts: several samples a prompt, or one greedy answer each to many prompts.

    sample(loaded, ["Once upon a time"], samples=4, max_new_tokens=60, temperature=0.8, seed=0)
    answers(loaded, ["Q: 2 + 2?\\nA:"], max_new_tokens=8)

transformers' ``generate`` does the work. Every setting that a model's files may carry (top-k 50, penalties, beams) is
set here, so that the samples are from the model's own distribution at that temperature. A text ends at the model's
end token, which is not part of it. Each prompt's samples have a random state of their own, so they do not depend on
what else was asked, and torch's is left as it was.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pellucid.errors import ContextError, ModelError, OptionError
from pellucid.models.encode import encode
from pellucid.models.generate import end_tokens
from pellucid.models.load import LoadedModel
from pellucid.models.seq2seq import decoder_start
from pellucid.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

#: How long a sample is, at most, where nothing is asked for and the context holds it.
NEW_TOKENS = 100
#: Of a batch of prompts: rows, and tokens with those that are to come.
BATCH_ROWS, BATCH_TOKENS = 16, 16384


@dataclass(frozen=True)
class Written:
    """A text that a model wrote: its tokens without the one that ended it, and whether there was such a one."""

    text: str
    tokens: int
    ended: bool


@dataclass(frozen=True)
class Samples:
    """What a model wrote after one prompt."""

    prompt: str
    texts: tuple[Written, ...]


def check_writes(loaded: LoadedModel, what: str) -> None:
    """Raise ``ModelError`` for a model that writes no text."""
    if loaded.kind not in ("causal", "seq2seq"):
        raise ModelError(f"{what} needs a model that writes text, and '{loaded.name}' is of the kind '{loaded.kind}'")


def check_sampling(
    *, samples: int, max_new_tokens: int | None, temperature: float, top_k: int, top_p: float, seed: int
) -> None:
    """What is wrong with them whatever the model. Raises ``OptionError``."""
    if samples < 1:
        raise OptionError(f"samples should be 1 or more, given {samples}")
    if max_new_tokens is not None and max_new_tokens < 1:
        raise OptionError(f"max_new_tokens should be 1 or more, given {max_new_tokens}")
    if not 0 <= temperature < float("inf"):
        raise OptionError(f"temperature should be 0 (greedy) or more, given {temperature}")
    if temperature == 0 and samples > 1:
        raise OptionError(f"temperature 0 is greedy, where all samples are the same: ask for 1, given {samples}")
    if top_k < 0:
        raise OptionError(f"top_k should be 0 (all tokens) or more, given {top_k}")
    if not 0 < top_p <= 1:
        raise OptionError(f"top_p should be over 0 and at most 1 (all tokens), given {top_p}")
    if not 0 <= seed < 2**32:
        raise OptionError(f"seed should be from 0 to {2**32 - 1}, given {seed}")


def sample(
    loaded: LoadedModel,
    prompts: Sequence[str],
    *,
    samples: int = 4,
    max_new_tokens: int | None = None,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    chat: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Samples, ...]:
    """``samples`` texts a prompt, each of ``max_new_tokens`` at most (None: ``NEW_TOKENS``, or what the context
    holds); ``temperature`` 0 is greedy; ``top_k`` 0 and ``top_p`` 1 leave the distribution whole; ``chat`` puts
    prompts into the model's template. Raises ``OptionError``, ``ModelError``, ``ContextError``."""
    check_sampling(
        samples=samples, max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
    )
    check_writes(loaded, "to write samples")
    ids, lengths = check_rooms(loaded, prompts, max_new_tokens=max_new_tokens, chat=chat)
    options: dict[str, Any] = {"num_return_sequences": samples, "do_sample": temperature > 0}
    if temperature > 0:
        options |= {"temperature": float(temperature), "top_k": top_k, "top_p": float(top_p)}
    found = []
    for k, (prompt, row, length) in enumerate(zip(prompts, ids, lengths, strict=True)):
        progress("writing samples", k, len(prompts))
        texts = _generate(loaded, [row], {**options, "max_new_tokens": length}, seed=(seed * 1_000_003 + k) % 2**63)
        found.append(Samples(prompt, tuple(texts)))
    progress("writing samples", len(prompts), len(prompts))
    return tuple(found)


def answers(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stage: str = "answering",
    progress: Progress = silent,
) -> list[Written]:
    """One greedy answer to each prompt (token ids), in the order of ``prompts``. Raises ``ModelError``,
    ``ContextError``."""
    check_writes(loaded, "to answer")
    for number, row in enumerate(prompts, 1):
        room(loaded, len(row), max_new_tokens, f"prompt {number}")
    found: list[Written] = [Written("", 0, False)] * len(prompts)
    done = 0
    for batch in _batches(loaded, prompts, max_new_tokens):
        progress(stage, done, len(prompts))
        options = {"max_new_tokens": max_new_tokens, "num_return_sequences": 1, "do_sample": False}
        for k, written in zip(
            batch, _generate(loaded, [list(prompts[k]) for k in batch], options, seed=0), strict=True
        ):
            found[k] = written
        done += len(batch)
    progress(stage, len(prompts), len(prompts))
    return found


def check_rooms(
    loaded: LoadedModel, prompts: Sequence[str], *, max_new_tokens: int | None, chat: bool
) -> tuple[list[list[int]], list[int]]:
    """Each prompt's ids, and how many new tokens to ask for after it. Raises ``ContextError``."""
    ids = [list(encode(loaded, p, raw=not chat).ids) for p in prompts]
    return ids, [room(loaded, len(row), max_new_tokens, f"prompt {k}") for k, row in enumerate(ids, 1)]


def room(loaded: LoadedModel, prompt: int, wanted: int | None, name: str) -> int:
    """How many new tokens to ask for after ``prompt`` tokens. Raises ``ContextError`` where they do not fit."""
    if loaded.kind != "causal" or loaded.context is None:
        return NEW_TOKENS if wanted is None else wanted
    left = loaded.context - prompt
    if left < (1 if wanted is None else wanted):
        more = "a new one" if wanted is None else f"{wanted} new ones"
        raise ContextError(
            f"{name} has {prompt} tokens, which with {more} do not fit the {loaded.context} that '{loaded.name}' "
            "reads: shorten it, or ask for fewer new tokens"
        )
    return min(NEW_TOKENS, left) if wanted is None else wanted


def _batches(loaded: LoadedModel, prompts: Sequence[Sequence[int]], new: int) -> Iterator[list[int]]:
    """Numbers of prompts that are answered together, the longest first. Prompts of different length need positions
    that begin behind what fills them up: where the network takes none, only those of one length go together."""
    pads = loaded.kind == "seq2seq" or "position_ids" in inspect.signature(loaded.network.forward).parameters
    order = sorted(range(len(prompts)), key=lambda k: -len(prompts[k]))
    batch: list[int] = []
    for k in order:
        if batch:
            longest = len(prompts[batch[0]])
            full = len(batch) >= BATCH_ROWS or (len(batch) + 1) * (longest + new) > BATCH_TOKENS
            if full or (not pads and len(prompts[k]) != longest):
                yield batch
                batch = []
        batch.append(k)
    if batch:
        yield batch


def _generate(
    loaded: LoadedModel, rows: Sequence[Sequence[int]], options: dict[str, Any], *, seed: int
) -> list[Written]:
    """``generate`` on a batch: [rows * num_return_sequences] texts."""
    import torch
    from transformers import GenerationConfig

    ends = sorted(end_tokens(loaded))
    pad = loaded.tokenizer.pad_token_id
    fill = pad if pad is not None else (ends[0] if ends else 0)
    most = max(map(len, rows))
    ids = torch.full((len(rows), most), fill, dtype=torch.long)  # [rows, length]
    mask = torch.zeros_like(ids)
    for k, row in enumerate(rows):
        # A causal model goes on at the right edge; an encoder reads from the left one.
        place = slice(0, len(row)) if loaded.kind == "seq2seq" else slice(most - len(row), most)
        ids[k, place], mask[k, place] = torch.tensor(list(row)), 1
    network: Any = loaded.network
    settings: dict[str, Any] = {
        **options,
        "num_beams": 1,
        "repetition_penalty": 1.0,
        "use_cache": True,
        "eos_token_id": ends or None,
        "pad_token_id": fill,
    }
    feed: dict[str, Tensor] = {}
    begin = most
    if loaded.kind == "seq2seq":
        start = decoder_start(loaded)
        begin = len(start)
        feed["decoder_input_ids"] = torch.tensor([start] * len(rows), device=loaded.device)
        settings["decoder_start_token_id"] = start[0]
        # Not a matter of taste: these (Marian's padding) are no tokens of a text.
        settings["bad_words_ids"] = getattr(network.generation_config, "bad_words_ids", None)
    saved = network.generation_config
    devices = [loaded.device] if loaded.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        # generate() fills gaps of a given configuration from the model's own, so the model's steps aside meanwhile.
        network.generation_config = GenerationConfig(**settings)
        try:
            out = network.generate(ids.to(loaded.device), attention_mask=mask.to(loaded.device), **feed)
        finally:
            network.generation_config = saved
    return [_written(loaded, row[begin:], set(ends)) for row in out.tolist()]


def _written(loaded: LoadedModel, ids: list[int], ends: set[int]) -> Written:
    """The text up to the first token that ends it."""
    length = next((k for k, i in enumerate(ids) if i in ends), len(ids))
    text = loaded.tokenizer.decode(ids[:length], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Written(str(text), length, length < len(ids))
