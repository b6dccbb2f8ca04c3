"""Speed of highlights: one text, eight, the degrees of 32 short ones, many queries of one text; beside the plain way.

    python benchmarks/relevance.py --runs 3

F is one float32 forward pass over the same prompt and query with all logits. The plain way is what one writes first:
the whole vocabulary's logits at every position, weights that ask for gradients, gradient checkpointing on. Everything
is timed in turn, round after round, and prints one JSON line: medians of ratios within a round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from work import TEXT

import pellucid
from pellucid.relevance.prompts import wording
from pellucid.relevance.question import Asked, ask
from pellucid.trace.segments import sentences

QUERY = "What did the company in the letter want to replace?"
TOKENS = 500
#: What is asked for: (figure, least or most).
ASKED = {
    "degree and scores, in F": "<= 2.2",
    "times as fast as the plain way": ">= 2",
    "eight texts of 500 tokens, throughput": ">= 1.3",
    "eight texts of a few sentences, throughput": ">= 1.3",
    "degrees of 32 short texts, throughput": ">= 3",
    "degrees in bfloat16, times": ">= 2",
    "eight queries of one text, throughput": "",
}


def texts(model: Any) -> tuple[str, list[str], list[str], list[str]]:
    """One text of 500 tokens, eight such, eight of some sentences, 32 of one."""
    tokenizer = model.loaded.tokenizer
    plain = " ".join(TEXT.split())
    lines = [plain[a:b] for a, b in sentences(plain)]

    def of(begin: int, count: int) -> str:
        ids = tokenizer(" ".join(lines[(begin + i) % len(lines)] for i in range(4 * len(lines)))).input_ids
        return str(tokenizer.decode(ids[:count]))

    short = [f"{lines[i % len(lines)]} {'Again. ' * (i // len(lines))}" for i in range(32)]
    return of(0, TOKENS), [of(i, TOKENS) for i in range(8)], [of(i, 80) for i in range(8)], short


def plain_way(model: Any, asked: Asked) -> Callable[[], Any]:
    """Degree and scores as one would first write them."""
    network = model.loaded.network
    # transformers 5.24 renames the switch.
    kind = "activation" if hasattr(network, "activation_checkpointing_enable") else "gradient"
    enable, disable = (getattr(network, f"{kind}_checkpointing_{what}") for what in ("enable", "disable"))
    ids = torch.tensor([asked.prompt + asked.answer])
    count = len(asked.answer)
    bare = ask(model.loaded, QUERY, "\n", mode="likelihood", wording=wording("likelihood", "en"))
    without = torch.tensor([bare.prompt + bare.answer])

    def query(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        found = torch.log_softmax(logits[:, -count - 1 : -1].float(), -1)
        return found.gather(-1, ids[:, -count:, None]).sum()

    def run() -> Any:
        wanted = [p.requires_grad for p in network.parameters()]
        try:
            network.requires_grad_(True).train()
            enable()
            x = network.get_input_embeddings()(ids).detach().requires_grad_(True)
            value = query(network(inputs_embeds=x, use_cache=False).logits, ids)
            value.backward()
            assert x.grad is not None
            with torch.no_grad():
                beside = query(network(without, use_cache=False).logits, without)
            return float(value.detach() - beside), x.grad.norm(dim=-1)
        finally:
            disable()
            network.zero_grad(set_to_none=True)
            network.eval()
            for p, w in zip(network.parameters(), wanted, strict=True):
                p.requires_grad_(w)

    return run


def seconds(function: Callable[[], Any]) -> float:
    """Of one run."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main() -> int:
    """Measure, and print one JSON line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--runs", type=int, default=3)
    o = p.parse_args()
    model = pellucid.load("smollm2-135m-instruct", device="cpu")
    long, eight, few, short = texts(model)
    asked = ask(model.loaded, QUERY, long, mode="likelihood", wording=wording("likelihood", "en"))
    ids = torch.tensor([asked.prompt + asked.answer])
    queries = [f"{QUERY} {word}" for word in ("Why", "When", "Where", "Who", "How", "Which", "Whose", "Whom")]

    def unit() -> Any:
        with torch.no_grad():
            return model.loaded.network(ids, use_cache=False).logits

    tasks: dict[str, Callable[[], Any]] = {
        "f": unit,
        "one": lambda: model.relevance(QUERY, long),
        "plain": plain_way(model, asked),
        "eight": lambda: model.relevance(QUERY, eight),
        "eight calls": lambda: [model.relevance(QUERY, t) for t in eight],
        "few": lambda: model.relevance(QUERY, few),
        "few calls": lambda: [model.relevance(QUERY, t) for t in few],
        "short": lambda: model.relevance_degree([QUERY], short),
        "short calls": lambda: [model.relevance_degree([QUERY], [t]) for t in short],
        "degrees": lambda: model.relevance_degree([QUERY], eight[:2]),
        "degrees fast": lambda: model.relevance_degree([QUERY], eight[:2], precision="fast"),
        "queries": lambda: model.relevance_degree(queries, [long]),
        "queries calls": lambda: [model.relevance_degree([q], [long]) for q in queries],
    }
    for task in tasks.values():
        task()
    rounds = [{name: seconds(task) for name, task in tasks.items()} for _ in range(o.runs)]

    def ratio(a: str, b: str) -> float:
        return statistics.median(r[a] / r[b] for r in rounds)

    found = {
        "degree and scores, in F": ratio("one", "f"),
        "times as fast as the plain way": ratio("plain", "one"),
        "eight texts of 500 tokens, throughput": ratio("eight calls", "eight"),
        "eight texts of a few sentences, throughput": ratio("few calls", "few"),
        "degrees of 32 short texts, throughput": ratio("short calls", "short"),
        "degrees in bfloat16, times": ratio("degrees", "degrees fast"),
        "eight queries of one text, throughput": ratio("queries calls", "queries"),
    }
    print(json.dumps({"figures": found, "rounds": rounds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
