"""Label words of a language model on labelled texts: accuracy as they come, and calibrated.

    python benchmarks/classify.py --data sst2-dev.tsv --name 1=positive --name 0=negative --texts 100

A line of the file is ``text<TAB>label``; ``--name`` gives labels words, and the order
in which the instruction lists them. The texts are the first ``--texts`` of the file
in an order drawn by ``--seed``. Both accuracies are of the same passes, so that their difference is paired. Prints one
JSON line: accuracies, their difference, 95 % bootstrap intervals over texts, how often each label was chosen, seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import sys
import time
from collections import Counter

import torch

import pellucid
from pellucid.apps.labelwords import LabelWords
from pellucid.apps.speaker import speaker
from pellucid.lab.data.labelled import read
from pellucid.lab.evaluation.bootstrap import of_mean


def main() -> int:
    """Classify, count, print."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True, metavar="TSV")
    p.add_argument("--name", action="append", default=[], metavar="LABEL=WORD")
    p.add_argument("--model", default="smollm2-135m-instruct")
    p.add_argument("--instruction", metavar="TEXT", help="with {text} and {labels}")
    p.add_argument("--texts", type=int, default=100)
    p.add_argument("--seed", type=int, default=0)
    o = p.parse_args()
    names = dict(n.split("=", 1) for n in o.name)
    task = read(o.data, o.data, names=names)
    examples = list(task.train)
    random.Random(o.seed).shuffle(examples)
    examples = examples[: o.texts]
    words = [names.get(label, label) for label in dict.fromkeys([*names, *task.labels])]
    choice = LabelWords(speaker(pellucid.load(o.model)), words, instruction=o.instruction)
    began = time.perf_counter()
    right: dict[str, list[float]] = {"calibrated": [], "uncalibrated": []}
    chosen: dict[str, Counter[str]] = {name: Counter() for name in right}
    for k, example in enumerate(examples):
        scores = choice.weigh(example.text)
        best = {
            "calibrated": max(scores, key=lambda s: s.prob).label,
            "uncalibrated": max(scores, key=lambda s: s.plain_prob).label,
        }
        for name, label in best.items():
            right[name].append(float(label == task.classes[task.number(example)]))
            chosen[name][label] += 1
        print(f"\r{k + 1}/{len(examples)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    paired = [a - b for a, b in zip(right["calibrated"], right["uncalibrated"], strict=True)]
    measured = {
        "model": o.model,
        "texts": len(examples),
        "words": words,
        "labels": Counter(task.classes[task.number(e)] for e in examples),
        **{name: dataclasses.asdict(of_mean(values)) for name, values in right.items()},
        "difference": dataclasses.asdict(of_mean(paired)),
        "chosen": chosen,
        "threads": torch.get_num_threads(),
        "seconds": time.perf_counter() - began,
    }
    print(json.dumps(measured, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
