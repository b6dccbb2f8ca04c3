"""Speed and memory side by side with the peers: one command, one table.

    make bench                                   # or: python benchmarks/speed.py --runs 5 --out bench.json

Each task runs in a process of its own (``benchmarks/work.py``), other libraries' too (``benchmarks/peers.py``), on the
same machine in the same hour; what is compared are ratios to F, one float32 forward pass over prompt and answer, timed
between the runs. With ``--out`` each figure is kept as it comes, and a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers import PEERS
from relevance import ASKED
from work import METHODS

INSEQ_IG = "inseq integrated gradients, 20 steps"
WORK = Path(__file__).with_name("work.py")
METHOD_RUNS = 2
PEER_RUNS = 1  # each takes minutes, and they are compared by factors


def work(task: str, runs: int) -> dict[str, Any]:
    """The JSON line of one task."""
    print(f"  {task} ...", file=sys.stderr, flush=True)
    command = [sys.executable, str(WORK), task, "--runs", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{task} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


class Kept:
    """Figures by task, each in the file (if there is one) before the next is measured; a file that is not marked as
    finished is gone on with."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.results = path, dict[str, Any]()
        if path is not None and path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            self.results = {} if before.pop("finished", False) else before

    def of(self, name: str, make: Callable[[], Any]) -> None:
        """Measure, unless it was."""
        if name not in self.results:
            self.results[name] = make()
            self.write()

    def write(self, *, finished: bool = False) -> None:
        """The file, whole or not at all."""
        if self.path is not None:
            part = self.path.with_name(f"{self.path.name}.part")
            part.write_text(json.dumps({**self.results, "finished": finished}, indent=1), encoding="utf-8")
            part.replace(self.path)


def highlights(runs: int) -> dict[str, Any]:
    """What ``benchmarks/relevance.py`` prints."""
    print("  relevance ...", file=sys.stderr, flush=True)
    command = [sys.executable, str(WORK.with_name("relevance.py")), "--runs", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def in_f(r: dict[str, Any]) -> float:
    """Median over runs of time / F."""
    return statistics.median(s / f for s, f in zip(r["seconds"], r["f"], strict=True))


def whole_process(runs: int) -> dict[str, Any]:
    """Wall seconds of commands as a user runs them, medians; and the parts that ``--timings`` prints."""
    pellucid = [sys.executable, "-m", "pellucid"]

    def wall(command: list[str]) -> tuple[float, str]:
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return time.perf_counter() - began, done.stderr

    out: dict[str, Any] = {}
    out["help"] = statistics.median(wall([*pellucid, "--help"])[0] for _ in range(runs))
    bare = [sys.executable, "-c", "import torch, transformers"]
    heavy = "import torch, transformers, pellucid; pellucid.load; import pellucid.trace.explain"
    # The parts of transformers that any model needs are imported by the load itself, with or without Pellucid.
    parts = "; from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, GenerationConfig"
    with_us = [sys.executable, "-c", heavy]
    alone = [wall([*bare[:2], bare[2] + parts])[0] for _ in range(runs)]
    out["import_beyond"] = statistics.median(
        a - b for a, b in zip([wall([*with_us[:2], with_us[2] + parts])[0] for _ in range(runs)], alone, strict=True)
    )
    out["import_pellucid"] = statistics.median(wall([sys.executable, "-c", "import pellucid"])[0] for _ in range(runs))
    with tempfile.TemporaryDirectory() as folder:
        html = str(Path(folder) / "t.html")
        text = "Name three rivers of Europe, and say in a few words where each of them ends."
        command = [*pellucid, "explain", "--timings", "--max-new-tokens", "16", "--html", html, text]
        times, notes = zip(*(wall(command) for _ in range(runs)), strict=True)
    out["explain"] = statistics.median(times)
    out["explain_parts"] = notes[-1].strip().splitlines()[-1]
    return out


def main() -> int:
    """Measure everything and print the table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--no-peers", action="store_true", help="leave the other libraries out")
    p.add_argument("--out", type=Path, help="also write every figure as JSON")
    o = p.parse_args()
    names = ["saliency", "input x gradient", "saliency matrix", "saliency matrix fast"]
    peers = [] if o.no_peers else list(PEERS)
    methods = list(METHODS)
    kept = Kept(o.out)
    most = dict.fromkeys(methods, METHOD_RUNS) | dict.fromkeys(names, o.runs) | dict.fromkeys(peers, PEER_RUNS)
    for name, runs in most.items():
        kept.of(name, lambda name=name, runs=runs: work(name, min(runs, o.runs)))
    kept.of("whole_process", lambda: whole_process(3))
    if peers:
        kept.of("agreement", lambda: work("agreement", 1))
    kept.of("relevance", lambda: highlights(o.runs))
    kept.of("gpu", lambda: work("gpu", o.runs))
    results = kept.results
    f = statistics.median(x for n in names for x in results[n]["f"])
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores; SmolLM2-135M, float32, 200 prompt")
    print(f"tokens, 16 answer tokens; F = {f:.3f} s\n")
    print("| task | time in F | seconds | added memory | as fast as the peer beside it |")
    print("|---|---|---|---|---|")
    beside = {PEERS[n].beside: n for n in reversed(peers)}  # the first of those that stand beside one task
    for n in [*names, *methods, *peers]:
        r = results[n]
        times = f"{in_f(results[beside[n]]) / in_f(r):.1f} times ({beside[n]})" if n in beside else ""
        median = statistics.median(r["seconds"])
        print(f"| {n} | {in_f(r):.2f} | {median:.2f} | {r['added_bytes'] / 1e6:.0f} MB | {times} |")
    whole, matrix, fast = (in_f(results[n]) for n in ("saliency", "saliency matrix", "saliency matrix fast"))
    rows = [("whole answer, in F", "<= 2.2", f"{whole:.2f}"), ("matrix, in F", "<= 13.5", f"{matrix:.2f}")]
    rows.append(("matrix, fast, in F", "<= 8", f"{fast:.2f}"))
    rows += [(f"{n}, in F", f"<= {METHODS[n][1]:g}", f"{in_f(results[n]):.2f}") for n in methods]
    if peers:
        inseq, captum = in_f(results["inseq saliency"]), in_f(results["captum gradient x activation"])
        memory = results["saliency matrix"]["added_bytes"] / results["inseq saliency"]["added_bytes"]
        rows += [
            ("whole answer, times as fast as inseq's saliency", ">= 8", f"{inseq / whole:.1f}"),
            ("whole answer, times as fast as captum's gradient x activation", ">= 8", f"{captum / whole:.1f}"),
            ("matrix, times as fast as inseq's", ">= 1.8", f"{inseq / matrix:.2f}"),
            ("matrix memory, of inseq's added memory", "<= 0.5", f"{memory:.2f}"),
            (
                "IG-20 whole answer, of the added memory of inseq's",
                "<= 0.25",
                f"{results['ig-20 whole']['added_bytes'] / results[INSEQ_IG]['added_bytes']:.3f}",
            ),
            ("largest relative error against inseq", "<= 1e-4", f"{results['agreement']['relative_error']:.1e}"),
            (
                "leave-one-out, fast against full, rank correlation",
                ">= 0.99",
                f"{results['agreement']['leave_one_out_fast']:.3f}",
            ),
            ("fast, smallest rank correlation of a row", ">= 0.995", f"{results['agreement']['rank_correlation']:.4f}"),
        ]
    e = results["whole_process"]
    rows += [(f"relevance: {n}", asked, f"{results['relevance']['figures'][n]:.2f}") for n, asked in ASKED.items()]
    rows += [
        ("pellucid --help, seconds", "< 0.5", f"{e['help']:.2f}"),
        ("import beyond torch and transformers, seconds", "< 0.3", f"{e['import_beyond']:.2f}"),
        ("pellucid explain with HTML, seconds", "", f"{e['explain']:.2f}"),
    ]
    print("\n| figure | asked | measured |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(f"\npellucid explain: {e['explain_parts']}")
    gpu = results["gpu"]
    if "skipped" in gpu:
        print(f"GPU: skipped, {gpu['skipped']}")
    else:
        print(f"\nGPU ({gpu['device']}), Qwen3-0.6B shape with random weights, bfloat16:\n")
        print("| task | time in F | milliseconds | added memory |\n|---|---|---|---|")
        for name, r in gpu.items():
            if name != "device":
                ms = 1000 * statistics.median(r["seconds"])
                print(f"| {name} | {in_f(r):.2f} | {ms:.0f} | {r['added_bytes'] / 1e6:.0f} MB |")
    kept.write(finished=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
