"""What the keys and values kept between turns are worth: the second turn's time to its first text, with and without.

    python benchmarks/chat.py --tokens 1000 --runs 5

Prints one JSON line. Both ways are the same conversation with the same model in the same round, in turns: the chat that
spoke before, and one that is given the same history and has read nothing. The first turn's question is a text of about
``--tokens`` tokens; an answer is one token, so that the time of a turn is that to its first token. Figures are medians
over rounds, the ratio that of ratios within a round.
"""

from __future__ import annotations

import argparse
import json
import statistics
from typing import Any

from work import TEXT

import pellucid
from pellucid.apps.chat.chat import Chat
from pellucid.apps.speaker import Decoding

ASKED = {"second turn after 1,000 tokens, times as fast to its first text": ">= 5"}
QUESTIONS = ("What is this about?", "And in one word?")


def text_of(model: Any, tokens: int) -> str:
    """A text of about so many tokens."""
    tokenizer = model.loaded.tokenizer
    many = tokenizer(" ".join([" ".join(TEXT.split())] * (2 + tokens // 100)), add_special_tokens=False).input_ids
    return str(tokenizer.decode(many[:tokens]))


def main() -> int:
    """Measure, and print one JSON line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tokens", type=int, default=1000)
    p.add_argument("--runs", type=int, default=5)
    o = p.parse_args()
    model = pellucid.load("smollm2-135m-instruct", device="cpu")
    first = f"{text_of(model, o.tokens)}\n\n{QUESTIONS[0]}"
    warm, cold, ratios = [], [], []
    for _ in range(o.runs):
        chat = Chat(model, decoding=Decoding(max_new_tokens=1))
        chat.say(first)
        other = Chat(model, decoding=Decoding(max_new_tokens=1))
        other.restore(chat.turns)
        a, b = chat.say(QUESTIONS[1]), other.say(QUESTIONS[1])
        assert a.text == b.text
        assert a.reused
        assert not b.reused
        warm.append(a)
        cold.append(b)
        ratios.append(b.seconds / a.seconds)
    figures = {
        f"second turn after {o.tokens:,} tokens, times as fast to its first text": statistics.median(ratios),
        "seconds with what was kept": statistics.median(r.seconds for r in warm),
        "seconds without": statistics.median(r.seconds for r in cold),
    }
    print(
        json.dumps(
            {"asked": ASKED, "figures": figures, "ratios": ratios, "prompt": warm[0].prompt, "reused": warm[0].reused}
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
