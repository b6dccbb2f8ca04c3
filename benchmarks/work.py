"""One benchmark task in a process of its own: its time beside the unit F, and the memory that it adds.

    python benchmarks/work.py "saliency matrix" --runs 3

F is one float32 forward pass over prompt and answer with the model's default attention and all logits, timed between
the task's runs, so that a machine whose speed drifts moves both. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from peers import PEERS

import pellucid
from pellucid.trace.engine import Run
from pellucid.trace.memory import PeakMemory, budget
from pellucid.trace.methods import method
from pellucid.trace.objective import objective

PROMPT, ANSWER = 200, 16
SLOW = 100.0
TEXT = """The lighthouse keeper wrote in his book every evening, whether or not a ship had passed. On the third of May
he noted the wind, which came from the south, and the price of oil, which the harbour master had raised again
without telling anyone. A fishing boat had asked for shelter at noon. Its crew of five brought a crate of
herring and a letter from the mainland, in which the company explained that the lamp would be replaced by an
electric one before the winter, and that the keeper could choose between a pension and a post in the office at
the port. He read the letter twice, put it under the clock, and trimmed the wick as he had done for thirty one
years. In the night the fog came in. He rang the bell by hand, four strokes a minute, and counted them,
because counting kept him awake. Towards morning he heard an engine close by, then voices, then nothing. When
the fog lifted there was a steamer at anchor off the north rocks, and a man in a white cap stood on its bridge
and waved a lantern at the tower as one waves to a friend who has waited."""


def sequence(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The prompt's and the answer's ids: a plain text cut in two."""
    ids = tokenizer(" ".join(TEXT.split())).input_ids
    assert len(ids) >= PROMPT + ANSWER, f"the text has {len(ids)} tokens"
    return ids[:PROMPT], ids[PROMPT : PROMPT + ANSWER]


def ours(
    model: Any, how: str, goal: str = "logprob", parameters: dict[str, Any] | None = None, **options: Any
) -> Callable[[], Any]:
    """A method of Pellucid over the sequence, with the memory plan that a user gets."""
    prompt, answer = sequence(model.loaded.tokenizer)

    def run() -> Any:
        allowed = budget("auto", model.loaded.device)
        ready = Run(model.loaded, prompt, answer, objective(goal), allowed=allowed, **options)
        return method(how)(ready, **(parameters or {}))

    return run


def sentences(model: Any) -> list[list[int]]:
    """The prompt's tokens by sentence."""
    tokenizer = model.loaded.tokenizer
    out: list[list[int]] = [[]]
    for i, token in enumerate(sequence(tokenizer)[0]):
        out[-1].append(i)
        if tokenizer.decode([token]).strip() == ".":
            out.append([])
    return [s for s in out if s]


def each_token(model: Any) -> list[list[int]]:
    """All prompt tokens but the first, which has nothing before it to predict what follows from."""
    return [[i] for i in range(1, PROMPT)]


#: Methods with the time asked for, in F: (method, most, its parameters, options of the run).
METHODS: dict[str, tuple[str, float, dict[str, Any], Callable[[Any], dict[str, Any]]]] = {
    "ig-20 whole": ("integrated_gradients", 42, {}, lambda m: {}),
    "ig-20 matrix": ("integrated_gradients", 300, {}, lambda m: {"per_token": True}),
    "gim whole": ("gim", 2.6, {}, lambda m: {}),
    "attention": ("attention", 1.0, {}, lambda m: {}),
    "rollout": ("attention_rollout", 1.1, {}, lambda m: {}),
    "attention x gradient": ("attention_x_gradient", 2.6, {}, lambda m: {}),
    "ifr whole": ("ifr", 1.4, {}, lambda m: {}),
    "ifr matrix": ("ifr", 3.0, {}, lambda m: {"per_token": True}),
    "leave-one-out": ("leave_one_out", 75, {}, lambda m: {"per_token": True, "units": each_token(m)}),
    "leave-one-out fast": (
        "leave_one_out",
        25,
        {},
        lambda m: {"per_token": True, "units": each_token(m), "precision": "fast"},
    ),
    "context-cite 64 sentences": ("context_cite", 40, {}, lambda m: {"units": sentences(m)}),
    "guided leave-one-out": ("guided_leave_one_out", 25, {}, lambda m: {"units": each_token(m)}),
}


def method_task(model: Any, name: str) -> Callable[[], Any]:
    """One of ``METHODS``."""
    how, _, parameters, options = METHODS[name]
    return ours(model, how, parameters=parameters, **options(model))


def peer_task(model: Any, name: str) -> Callable[[], Any]:
    """One of ``peers.PEERS``."""
    return PEERS[name].make(model, *sequence(model.loaded.tokenizer))


TASKS: dict[str, Callable[[Any], Callable[[], Any]]] = {
    "saliency": lambda m: ours(m, "saliency"),
    "input x gradient": lambda m: ours(m, "input_x_gradient"),
    "saliency matrix": lambda m: ours(m, "saliency", per_token=True),
    "saliency matrix fast": lambda m: ours(m, "saliency", per_token=True, precision="fast"),
    **{name: (lambda m, name=name: method_task(m, name)) for name in METHODS},
    **{name: (lambda m, name=name: peer_task(m, name)) for name in PEERS},
}


def agreement(model: Any) -> dict[str, float]:
    """Our matrix against inseq's (gradients of the target's logit, L2 norm), and fast against full precision."""
    from scipy.stats import spearmanr

    peer = peer_task(model, "inseq saliency")().sequence_attributions[0]
    theirs = peer.target_attributions.norm(dim=-1).T  # [targets, tokens]
    found = ours(model, "saliency", "logit", per_token=True)().matrix
    worst = 0.0
    for i in range(ANSWER):
        a, b = found[i, : PROMPT + i], theirs[i, : PROMPT + i]
        worst = max(worst, float(((a - b).abs() / b.abs()).max()))
    full = ours(model, "saliency", per_token=True)().matrix
    fast = ours(model, "saliency", per_token=True, precision="fast")().matrix
    ranks = [spearmanr(full[i, : PROMPT + i], fast[i, : PROMPT + i]).statistic for i in range(ANSWER)]
    out = {"relative_error": worst, "rank_correlation": float(min(ranks))}
    falls = [method_task(model, n)().total[1:PROMPT] for n in ("leave-one-out", "leave-one-out fast")]
    out["leave_one_out_fast"] = float(spearmanr(*falls).statistic)
    return out


def measure(task: Callable[[], Any], unit: Callable[[], Any], device: torch.device, runs: int) -> dict[str, Any]:
    """Added memory of the second run (the first imports and warms up); then ``runs`` times F, task, F, in seconds.

    A task of more than ``SLOW`` seconds runs once, and what warming up adds to its figures is nothing beside them.
    """

    def timed(function: Callable[[], Any]) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    unit()
    before = timed(unit)
    with PeakMemory(device) as peak:
        spent = timed(task)
    if spent > SLOW:
        return {"seconds": [spent], "f": [(before + timed(unit)) / 2], "added_bytes": peak.bytes}
    with PeakMemory(device) as peak:
        task()
    pairs = []
    for _ in range(runs):
        before, spent, after = timed(unit), timed(task), timed(unit)
        pairs.append((spent, (before + after) / 2))
    return {"seconds": [s for s, _ in pairs], "f": [f for _, f in pairs], "added_bytes": peak.bytes}


def gpu(runs: int) -> dict[str, Any]:
    """The same on CUDA in bfloat16, on random weights of Qwen3-0.6B's shape: nothing to download."""
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    from pellucid.models.load import LoadedModel

    config = Qwen3Config(
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151936,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    with torch.device("cuda"):
        network = Qwen3ForCausalLM(config).to(torch.bfloat16)
    nobody: Any = PreTrainedTokenizerFast.__new__(PreTrainedTokenizerFast)  # ids only: no text is read here
    loaded = LoadedModel.wrap(network, nobody, name="qwen3-0.6b-shape")
    out: dict[str, Any] = {"device": torch.cuda.get_device_name()}
    for prompt, answer in ((200, 16), (2000, 64)):
        ids = torch.randint(0, 150000, (prompt + answer,)).tolist()
        batch = torch.tensor([ids], device="cuda")

        def unit(batch: torch.Tensor = batch) -> Any:
            with torch.no_grad():
                return network(batch, use_cache=False).logits

        for per_token in (False, True):

            def task(ids: list[int] = ids, prompt: int = prompt, per_token: bool = per_token) -> Any:
                allowed = budget("auto", loaded.device)
                run = Run(
                    loaded, ids[:prompt], ids[prompt:], objective("logprob"), per_token=per_token, allowed=allowed
                )
                return method("saliency")(run)

            name = f"{prompt}+{answer} {'matrix' if per_token else 'whole'}"
            out[name] = measure(task, unit, loaded.device, runs)
    return out


def main() -> int:
    """Run one task by name."""
    p = argparse.ArgumentParser()
    p.add_argument("task", choices=[*TASKS, "agreement", "gpu"])
    p.add_argument("--runs", type=int, default=5)
    o = p.parse_args()
    if o.task == "gpu":
        print(json.dumps(gpu(o.runs) if torch.cuda.is_available() else {"skipped": "no CUDA device here"}))
        return 0
    model = pellucid.load("smollm2-135m-instruct", device="cpu")
    if o.task == "agreement":
        print(json.dumps(agreement(model)))
        return 0
    ids = torch.tensor([[i for part in sequence(model.loaded.tokenizer) for i in part]])

    def unit() -> Any:
        with torch.no_grad():
            return model.loaded.network(ids, use_cache=False).logits

    print(json.dumps(measure(TASKS[o.task](model), unit, torch.device("cpu"), o.runs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
