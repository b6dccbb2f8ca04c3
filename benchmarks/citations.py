"""What citations cost, in forward passes: an answer of 40 tokens over five passages of 150.

    python benchmarks/citations.py --runs 3

F is one forward pass over the prompt and the answer, timed between two citations; both are medians of the same run. The
passages are of this project's own documentation, the answer is the embedded model's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

import pellucid
from pellucid.apps.rag.citations import cite, measure
from pellucid.apps.rag.prompt import passages_prompt
from pellucid.apps.speaker import Decoding, speaker
from pellucid.models.encode import encode, encode_target
from pellucid.models.pieces import read

PASSAGES, TOKENS, ANSWER = 5, 150, 40
PAGES = ("lab.md", "tuning.md", "evaluation.md", "distillation.md", "classification.md")


def passages(tokenizer: object) -> list[str]:
    """The first 150 tokens after the title of five pages."""
    folder = Path(__file__).parent.parent / "docs"
    found = []
    for page in PAGES:
        text = (folder / page).read_text(encoding="utf-8").split("\n", 1)[1].strip()
        spans = read(tokenizer, text)[1]
        found.append(text[: spans[TOKENS - 1][1]])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    model = pellucid.load(options.model)
    me, loaded = speaker(model), model.loaded
    texts = passages(loaded.tokenizer)
    question = "How is a model trained, tuned, measured and made smaller?"
    asked = passages_prompt(question, texts)
    answer = me.write(asked.messages, Decoding(max_new_tokens=ANSWER)).text
    encoded = encode(loaded, asked.messages)
    target = encode_target(loaded, encoded, answer)
    ids = torch.tensor([encoded.ids + target])
    ratios, whole = [], []
    for _ in range(options.runs):
        with torch.no_grad():
            began = time.perf_counter()
            loaded.network(ids)
            f = time.perf_counter() - began
        began = time.perf_counter()
        evidence = measure(me, question, texts, answer, asked)
        sentences, _ = cite(me, texts, answer, asked, evidence)
        took = time.perf_counter() - began
        with torch.no_grad():
            began = time.perf_counter()
            loaded.network(ids)
            f = (f + time.perf_counter() - began) / 2
        ratios.append(took / f)
        whole.append(took)
    cited = sum(len(s.citations) for s in sentences)
    print(f"{len(encoded.ids)} + {len(target)} tokens, {len(sentences)} sentences, {cited} citations")
    print(
        f"citations: {statistics.median(ratios):.1f} F (of {', '.join(f'{r:.1f}' for r in ratios)}); at most 25 asked"
    )
    print(f"seconds: {statistics.median(whole):.1f}")


if __name__ == "__main__":
    main()
