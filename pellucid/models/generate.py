"""The model's own answer to an encoded prompt.

    generate(loaded, encoded.ids, max_new_tokens=32)

Greedy unless a temperature is given; transformers' ``generate`` does the work, with every sampling default that a
model's files may carry (top-k 50, penalties, beams) switched off, so that the answer is the model's own distribution.
An encoder-decoder begins with what its decoder is always fed first (``models/seq2seq.py``).
"""

from __future__ import annotations

from typing import Any

from pellucid.errors import InputError, OptionError
from pellucid.models.load import LoadedModel
from pellucid.models.seq2seq import decoder_start
from pellucid.progress import Progress, silent


def end_tokens(loaded: LoadedModel) -> set[int]:
    """Ids that end an answer: of the generation settings, and the tokenizer's end of sequence."""
    given = getattr(loaded.network.generation_config, "eos_token_id", None)
    ids = set(given if isinstance(given, list) else [] if given is None else [given])
    if loaded.tokenizer.eos_token_id is not None:
        ids.add(loaded.tokenizer.eos_token_id)
    return ids


def generate(
    loaded: LoadedModel,
    ids: list[int],
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    progress: Progress = silent,
) -> list[int]:
    """Token ids of the answer, without the token that ended it.

    ``temperature`` 0 is greedy; above it, samples from the whole distribution with ``seed``, in a random state of
    its own that leaves torch's as it was. Raises ``InputError`` where the model answers with nothing.
    """
    import torch
    from transformers import GenerationConfig
    from transformers.generation.streamers import BaseStreamer

    if max_new_tokens < 1:
        raise OptionError(f"max_new_tokens should be at least 1, given {max_new_tokens}")
    if not temperature >= 0:
        raise OptionError(f"temperature should be 0 (greedy) or more, given {temperature}")
    ends = sorted(end_tokens(loaded))
    pad = loaded.tokenizer.pad_token_id
    options: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "do_sample": temperature > 0,
        "use_cache": True,
    }
    options |= {
        "eos_token_id": ends or None,
        "pad_token_id": pad if pad is not None else (ends[0] if ends else 0),
    }
    if temperature > 0:
        options |= {"temperature": float(temperature), "top_k": 0, "top_p": 1.0}

    class Count(BaseStreamer):
        """Reports each new token; the first call brings the prompt."""

        seen = -1

        def put(self, value: Any) -> None:
            self.seen += 1
            progress("generating", self.seen, max_new_tokens)

        def end(self) -> None:
            progress("generating", max_new_tokens, max_new_tokens)

    network: Any = loaded.network
    inputs = torch.tensor([ids], device=loaded.device)  # [1, prompt]
    begin, feed = len(ids), {}  # what stands before the answer in what comes back
    if loaded.kind == "seq2seq":
        start = decoder_start(loaded)
        begin, feed = len(start), {"decoder_input_ids": torch.tensor([start], device=loaded.device)}
        options["decoder_start_token_id"] = start[0]
        # Not a matter of taste: these (Marian's padding) are no tokens of a text.
        options["bad_words_ids"] = getattr(network.generation_config, "bad_words_ids", None)
    saved = network.generation_config
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        # generate() fills gaps of a given configuration from the model's own, so the model's steps aside meanwhile.
        network.generation_config = GenerationConfig(**options)
        try:
            out = network.generate(inputs, attention_mask=torch.ones_like(inputs), streamer=Count(), **feed)
        finally:
            network.generation_config = saved
    answer = out[0, begin:].tolist()
    while answer and answer[-1] in ends:
        answer.pop()
    if not answer:
        raise InputError(
            "the model's answer is empty (it ended at once): give the answer to explain as target, or another prompt"
        )
    return [int(i) for i in answer]
