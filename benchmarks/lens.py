"""Speed and memory of the lens: next tokens with a cache, surprisal beside a plain pass, the flow of a trace.

    python benchmarks/lens.py --runs 3

Prints one JSON line: what was asked, what was measured, medians of ratios within a round. The plain ways are
transformers' own: the model called on the whole text each step; one pass over a text with the head at every position.
Memory is the largest resident set of this process while the logit lens reads a text of 4,000 tokens (`--memory`).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from work import TEXT

import pellucid
from pellucid.lens.flow import flow

#: What is asked for.
ASKED = {
    "next tokens, 50 steps after 200 tokens, times as fast as whole passes": ">= 8",
    "surprisal of 2,000 tokens, in passes with the head": "<= 1.1",
    "flow of an explained answer, ms": "< 50",
    "logit lens of 4,000 tokens, GB": "< 4",
}


def text_of(model: Any, tokens: int) -> str:
    """A text of about so many tokens."""
    tokenizer = model.loaded.tokenizer
    plain = " ".join(TEXT.split())
    many = tokenizer(" ".join([plain] * (2 + tokens // 100)), add_special_tokens=False).input_ids
    return str(tokenizer.decode(many[:tokens]))


def seconds(function: Callable[[], Any]) -> float:
    """Of one run."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main() -> int:
    """Measure, and print one JSON line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--memory", action="store_true", help="the memory of a long logit lens, and nothing else")
    o = p.parse_args()
    model = pellucid.load("smollm2-135m-instruct", device="cpu")
    network: Any = model.loaded.network
    if o.memory:
        found = model.logit_lens(text_of(model, 4000), raw=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform != "darwin" else 1e9)
        figures = {"logit lens of 4,000 tokens, GB": peak}
        print(json.dumps({"figures": figures, "positions": len(found.columns), "seconds": found.seconds}))
        return 0
    prompt, essay = text_of(model, 200), text_of(model, 2000)
    ids = model.loaded.tokenizer(prompt, add_special_tokens=False).input_ids
    long = torch.tensor([model.loaded.tokenizer(essay, add_special_tokens=False).input_ids])
    trace = model.explain("What is the capital of France?", max_new_tokens=32, per_token=True, trust=False)

    def whole() -> list[int]:
        said = list(ids)
        with torch.no_grad():
            for _ in range(50):
                said.append(
                    int(network(torch.tensor([said]), use_cache=False, logits_to_keep=1).logits[0, -1].argmax())
                )
        return said[len(ids) :]

    def plain() -> Any:
        with torch.no_grad():
            return network(long, use_cache=False).logits

    def steps() -> list[int]:
        return [s.chosen.id for s in model.next_tokens(prompt, raw=True, steps=50).steps]

    mine, theirs = steps(), whole()
    assert mine == theirs[: len(mine)], "the cached steps differ from whole passes"
    tasks: dict[str, Callable[[], Any]] = {
        "steps": steps,
        "whole": whole,
        "plain": plain,
        "surprisal": lambda: model.surprisal(essay),
        "flow": lambda: flow(trace),
    }
    for task in tasks.values():
        task()
    rounds = [{name: seconds(task) for name, task in tasks.items()} for _ in range(o.runs)]
    names = list(ASKED)
    found = {
        names[0]: statistics.median(r["whole"] / 50 / (r["steps"] / len(mine)) for r in rounds),
        names[1]: statistics.median(r["surprisal"] / r["plain"] for r in rounds),
        names[2]: 1000 * statistics.median(r["flow"] for r in rounds),
    }
    print(json.dumps({"figures": found, "rounds": rounds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
