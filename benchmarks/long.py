"""Long inputs: the memory of a 4,000-token prompt, and leave-one-out of sentences by hierarchy.

    python benchmarks/long.py memory                                    # each method in a process of its own
    python benchmarks/long.py hierarchy --data xquad-en.json --cases 10 # against full leave-one-out of sentences
    python benchmarks/long.py hierarchy --data xquad-en.json --full full.json --parameters '{"keep": 2}' '{"keep": 4}'

``memory`` explains a prompt of 3,990 tokens with an answer of 300 and prints the largest resident set of each process:
model, libraries and all. ``hierarchy`` puts 40 paragraphs of a SQuAD-style file into one context, asks a question of
one of them, and compares the best three sentences and the time. Full leave-one-out takes minutes a case: ``--full``
keeps what it found, so that other parameters can be compared with it on the same machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from work import TEXT

import pellucid
from pellucid.bench.squad import read
from pellucid.trace.engine import Run
from pellucid.trace.memory import budget
from pellucid.trace.methods import method
from pellucid.trace.objective import objective

PROMPT, ANSWER = 3990, 300
#: Parameters do not change what is in memory at one time: two steps stand for twenty.
MEMORY: dict[str, dict[str, Any]] = {
    "saliency": {},
    "integrated_gradients": {"steps": 2},
    "gim": {},
    "ifr": {},
    "hierarchical_leave_one_out": {"keep": 2},
}
ALLOWED = "4GB"


def memory_task(name: str) -> dict[str, Any]:
    """Explain the long prompt in this process."""
    model = pellucid.load(device="cpu").loaded
    tokenizer: Any = model.tokenizer
    text = " ".join(TEXT.split())
    ids = tokenizer(" ".join([text] * 25)).input_ids[: PROMPT + ANSWER]
    assert len(ids) == PROMPT + ANSWER
    ends = [i for i, t in enumerate(ids[:PROMPT]) if tokenizer.decode([t]).strip() == "."]
    units = [list(range(a + 1, b + 1)) for a, b in zip([-1, *ends], ends, strict=False)]
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    run = Run(
        model,
        ids[:PROMPT],
        ids[PROMPT:],
        objective("logprob"),
        allowed=budget(ALLOWED, model.device),
        units=units if method(name).needs == "forward" else None,
    )
    began = time.perf_counter()
    scores = method(name)(run, **MEMORY[name])
    assert bool(scores.total[1:PROMPT].isfinite().any())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"method": name, "seconds": time.perf_counter() - began, "peak": peak, "loaded": base}


def memory() -> None:
    """The table, a process a method."""
    print(f"{PROMPT} prompt and {ANSWER} answer tokens, SmolLM2-135M in float32 on the CPU, memory='{ALLOWED}'\n")
    print("| method | largest resident set | of that before the method | seconds |\n|---|---|---|---|", flush=True)
    for name in MEMORY:
        command = [sys.executable, __file__, "memory-of", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
        r = json.loads(done.stdout.splitlines()[-1])
        print(f"| {name} | {r['peak'] / 1e9:.2f} GB | {r['loaded'] / 1e9:.2f} GB | {r['seconds']:.0f} |", flush=True)


def hierarchy(data: Path, cases: int, skip: int, tries: list[dict[str, Any]], kept: Path | None) -> None:
    """Times and best sentences of ``cases`` questions, each in a context of 40 paragraphs, by each try."""
    model = pellucid.load(device="cpu")
    examples = read(data)
    known: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept and kept.exists() else {}
    options: dict[str, Any] = {"unit": "sentence", "max_new_tokens": 12, "trust": False}
    found: list[list[tuple[int, bool, float]]] = [[] for _ in tries]
    for case in range(cases):
        chosen = [examples[(skip + case + 7 * k) % len(examples)] for k in range(40)]
        asked = chosen[(11 * case) % 40]
        context = "\n\n".join(_cut(e.context, asked.context == e.context) for e in chosen)
        prompt = f"{context}\n\n{asked.question}"
        if str(case) not in known:
            first = model.explain(prompt, method="saliency", **options)
            full = model.explain(prompt, first.answer.text, method="leave_one_out", **options)
            known[str(case)] = {
                "prompt": prompt,
                "answer": first.answer.text,
                "tokens": len(full.sources),
                "seconds": full.cost.seconds,
                "scores": [u.score for u in full.units],
            }
            if kept:
                kept.write_text(json.dumps(known), encoding="utf-8")
        full_ = known[str(case)]
        if full_["prompt"] != prompt:
            raise SystemExit(f"{kept} holds another case {case + 1}: give the same --data and --skip")
        best = _best(full_["scores"])
        print(f"case {case + 1}: {full_['tokens']} tokens, {len(full_['scores'])} sentences, {full_['seconds']:.0f} s")
        for parameters, so_far in zip(tries, found, strict=True):
            trace = model.explain(prompt, full_["answer"], method="hierarchical_leave_one_out", **options, **parameters)
            own = _best([u.score for u in trace.units])
            ratio = trace.cost.seconds / full_["seconds"]
            so_far.append((len(set(own) & set(best)), own[0] == best[0], ratio))
            print(
                f"  {json.dumps(parameters)}: {so_far[-1][0]} of 3 the same, best {'' if so_far[-1][1] else 'not '}"
                f"the same, {trace.cost.seconds:.1f} s ({ratio:.3f})",
                flush=True,
            )
    for parameters, got in zip(tries, found, strict=True):
        print(
            f"{json.dumps(parameters)}: the same three in {sum(n == 3 for n, _, _ in got)} of {cases}, "
            f"{statistics.mean(n for n, _, _ in got) / 3:.2f} of the three on average, the best in "
            f"{sum(b for _, b, _ in got)}; {statistics.median(r for _, _, r in got):.3f} of the time"
        )


def _best(scores: list[float]) -> list[int]:
    """The three sentences with the largest scores, best first."""
    return sorted(range(len(scores)), key=lambda u: -scores[u])[:3]


def _cut(text: str, whole: bool, length: int = 420) -> str:
    """The beginning of a paragraph, to the end of a sentence; 40 whole ones would be 7,000 tokens."""
    if whole or len(text) <= length:
        return text
    end = text.rfind(". ", 0, length)
    return text[: end + 1] if end > 0 else text[:length]


def main() -> int:
    """Parse and run."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = p.add_subparsers(dest="what", required=True)
    kinds.add_parser("memory")
    kinds.add_parser("memory-of").add_argument("method", choices=list(MEMORY))
    h = kinds.add_parser("hierarchy")
    h.add_argument("--data", type=Path, required=True)
    h.add_argument("--cases", type=int, default=10)
    h.add_argument("--skip", type=int, default=24)
    h.add_argument("--parameters", type=json.loads, nargs="+", default=[{"guide": "ifr", "keep": 4}], help="as JSON")
    h.add_argument("--full", type=Path, help="keep full leave-one-out's results in this file, and take them from it")
    o = p.parse_args()
    torch.manual_seed(0)
    if o.what == "memory":
        memory()
    elif o.what == "memory-of":
        print(json.dumps(memory_task(o.method)))
    else:
        hierarchy(o.data, o.cases, o.skip, o.parameters, o.full)
    return 0


if __name__ == "__main__":
    sys.exit(main())
