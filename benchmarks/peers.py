"""The same work by other libraries, each by its own call with its defaults: what ``make bench`` puts beside ours.

    python benchmarks/work.py "captum feature ablation" --runs 1

Prompt and answer are the benchmark's own: their texts are cut at token borders, so that a peer that tokenises them
again gets the same tokens. Two peers do not do quite the same work, and it says so where they stand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Task = Callable[[], Any]
Maker = Callable[[Any, list[int], list[int]], Task]  # a Model, the prompt's ids, the answer's ids


@dataclass(frozen=True)
class Peer:
    """A peer's task, and the one of ours (in ``work.py``) that it stands ``beside``."""

    make: Maker
    beside: str


def _inseq(how: str, **options: Any) -> Maker:
    """inseq scores each token of the answer: its result is a matrix."""

    def make(model: Any, prompt: list[int], answer: list[int]) -> Task:
        import inseq

        tokenizer = model.loaded.tokenizer
        texts = tokenizer.decode(prompt), tokenizer.decode(prompt + answer)
        assert [tokenizer(t).input_ids for t in texts] == [prompt, prompt + answer]
        if how == "attention":
            model.loaded.network.set_attn_implementation("eager")  # the fused kernels return no probabilities
        peer = inseq.load_model(model.loaded.network, how, tokenizer=tokenizer)
        quiet = {"show_progress": False, "pretty_progress": False}
        if how != "attention":
            quiet["attributed_fn"] = "logit"
        return lambda: peer.attribute(*texts, **quiet, **options)

    return make


def _captum_gradient(model: Any, prompt: list[int], answer: list[int]) -> Task:
    """captum's gradient x activation at the embedding layer, through its LLM wrapper."""
    from captum.attr import LayerGradientXActivation, LLMGradientAttribution, TextTokenInput

    tokenizer, network = model.loaded.tokenizer, model.loaded.network
    network.device  # noqa: B018  # captum asks the network for it
    wrapped = LLMGradientAttribution(LayerGradientXActivation(network, network.get_input_embeddings()), tokenizer)
    return lambda: wrapped.attribute(TextTokenInput(tokenizer.decode(prompt), tokenizer), target=torch.tensor(answer))


def _captum_ablation(model: Any, prompt: list[int], answer: list[int]) -> Task:
    """captum's leave-one-out: each prompt token replaced by the pad token, all targets read from one pass."""
    from captum.attr import FeatureAblation, LLMAttribution, TextTokenInput

    tokenizer, network = model.loaded.tokenizer, model.loaded.network
    wrapped = LLMAttribution(FeatureAblation(network), tokenizer)

    def run() -> Any:
        text = TextTokenInput(tokenizer.decode(prompt), tokenizer, baselines=tokenizer.pad_token_id or 0)
        return wrapped.attribute(text, target=torch.tensor(answer))

    return run


def _gim(model: Any, prompt: list[int], answer: list[int]) -> Task:
    """gim explains one next token a call: the whole answer is one call a token.

    Its own softmax does not take the ``dtype`` that transformers' plain attention passes, so it runs with the fused
    attention: norms frozen and gradients scaled, the softmax as it is.
    """
    import gim

    ids = torch.tensor([prompt + answer])
    network, tokenizer = model.loaded.network, model.loaded.tokenizer

    def run() -> Any:
        out = torch.zeros(len(prompt))
        for k, token in enumerate(answer):
            before = ids[:, : len(prompt) + k]
            out += gim.explain(network, before, target_token_id=token, tokenizer=tokenizer)[: len(prompt)]
        return out

    return run


def _flashtrace(method: str) -> Maker:
    def make(model: Any, prompt: list[int], answer: list[int]) -> Task:
        from flashtrace import FlashTrace

        tokenizer, network = model.loaded.tokenizer, model.loaded.network
        network.set_attn_implementation("eager")  # it asks for the probabilities
        tracer = FlashTrace(network, tokenizer, use_chat_template=False)
        texts = tokenizer.decode(prompt), tokenizer.decode(answer)
        span = (0, len(answer) - 1)
        return lambda: tracer.trace(prompt=texts[0], target=texts[1], output_span=span, method=method)

    return make


def _context_cite(model: Any, prompt: list[int], answer: list[int]) -> Task:
    """ContextCite with 64 ablations of the prompt's sentences. It chooses its own answer (as long as ours) to a prompt
    in the chat format: some 25 tokens more than the others read, and about one F for the answer."""
    import logging

    from context_cite import ContextCiter
    from context_cite.context_partitioner import BaseContextPartitioner

    tokenizer = model.loaded.tokenizer
    text = tokenizer.decode(prompt)
    parts = [s + "." for s in text.split(".") if s.strip()]

    class Sentences(BaseContextPartitioner):  # its own needs a download
        num_sources = len(parts)

        def split_context(self) -> None: ...

        def get_source(self, index: int) -> str:
            return parts[index]

        def get_context(self, mask: Any = None) -> str:
            return "".join(p for k, p in enumerate(parts) if mask is None or mask[k])

    def run() -> Any:
        generate = {"max_new_tokens": len(answer), "do_sample": False}
        cite = ContextCiter(
            model.loaded.network,
            tokenizer,
            text,
            "What did he hear?",
            generate_kwargs=generate,
            partitioner=Sentences(text),
        )
        cite.logger.setLevel(logging.ERROR)
        return cite.get_attributions(verbose=False)

    return run


PEERS: dict[str, Peer] = {
    "inseq saliency": Peer(_inseq("saliency"), "saliency matrix"),
    "inseq input x gradient": Peer(_inseq("input_x_gradient"), "saliency matrix"),
    "captum gradient x activation": Peer(_captum_gradient, "input x gradient"),
    "inseq integrated gradients, 20 steps": Peer(_inseq("integrated_gradients", n_steps=20), "ig-20 matrix"),
    "inseq attention": Peer(_inseq("attention"), "attention"),
    "gim-explain, token by token": Peer(_gim, "gim whole"),
    "flashtrace ifr-span": Peer(_flashtrace("ifr-span"), "ifr whole"),
    "flashtrace ifr-matrix": Peer(_flashtrace("ifr-matrix"), "ifr matrix"),
    "captum feature ablation": Peer(_captum_ablation, "leave-one-out"),
    "context-cite, 64 ablations": Peer(_context_cite, "context-cite 64 sentences"),
}
