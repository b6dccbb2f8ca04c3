"""``pellucid lab tune``: supervised fine-tuning on conversations.

pellucid lab tune smollm2-135m-instruct --data chats.jsonl --lora 16 --out runs/mine
pellucid lab tune runs/base --data pairs.jsonl --epochs 2 --out runs/tuned
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Put the command on the parser."""
    from pellucid.cli.lab.running import add_shown, add_training

    p: argparse.ArgumentParser = commands.add_parser(
        "tune",
        help="fine-tune a model on conversations",
        description="Supervised fine-tuning: the assistant's replies are learned, everything else is read. Run again "
        "with the same options, it goes on where it was stopped. The folder is an ordinary model: "
        "pellucid explain --model DIR ...",
    )
    p.add_argument("model", metavar="MODEL", help="embedded name, Hub id, folder or .gguf file")
    p.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="FILE",
        help='.jsonl with {"messages": [{"role": ..., "content": ...}]} or {"prompt": ..., "completion": ...} a line; '
        "may be repeated",
    )
    p.add_argument("--out", required=True, metavar="DIR", help="folder of the run")
    p.add_argument("--held-out", type=float, metavar="F", help="share of the conversations never learned; default: 0.1")
    p.add_argument("--long", metavar="HOW", help="conversations longer than the block: cut (default) or drop them")
    p.add_argument("--last-reply", action="store_true", help="learn the last reply of each conversation alone")
    p.add_argument("--raw", action="store_true", help="prompts and completions without the chat template")
    adapters = p.add_argument_group("LoRA (extra: lab)")
    adapters.add_argument("--lora", type=int, metavar="RANK", help="learn adapters of this rank, not all weights")
    adapters.add_argument("--lora-alpha", type=float, metavar="F", help="what they are scaled by; default: 2 x rank")
    adapters.add_argument("--lora-dropout", type=float, default=0.0, metavar="F", help="of what they read; default: 0")
    training = p.add_argument_group("training")
    training.add_argument("--epochs", type=float, metavar="F", help="times each conversation is read; default: 3")
    defaults = {
        "steps": "from --epochs",
        "rows": "16 conversations",
        "context": "1,024, or what the model reads",
        "accumulate": "4 where the rows divide",
        "rate": "2e-4 with --lora, 2e-5 without",
        "optimiser": "adamw",
        "schedule": "cosine",
        "warmup": "a twentieth",
        "evaluate_every": "an epoch",
        "save_every": "an epoch, at most 100",
        "keep_last": "1",
    }
    add_training(training, {**defaults, "precision": "auto", "seed": "0", "spread": "ddp", "attention": "auto"})
    training.add_argument("--dtype", metavar="NAME", help="of the weights: float32 (default), bfloat16, float16")
    add_shown(p)
    p.add_argument("--revision", metavar="NAME", help="of a Hub model")
    p.add_argument("--trust-remote-code", action="store_true", help="run code that comes with a Hub model")
    p.add_argument("--accept-license", action="store_true", help="accept an embedded model's terms, once")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Tune, draw the loss as it goes, and say what came of it."""
    from pellucid.cli.lab.running import TRAINING, given, running
    from pellucid.lab.training.tuning import Tuning
    from pellucid.lab.tune import tune

    out = Path(options.out)
    tuning = Tuning(
        options.model,
        tuple(options.data),
        lora=options.lora,
        alpha=options.lora_alpha,
        dropout=options.lora_dropout,
        last_reply=options.last_reply,
        raw=options.raw,
        train=given(options, TRAINING),
        **given(options, ["epochs", "held_out", "long", "dtype"]),
    )
    load = {n: getattr(options, n) for n in ("revision", "trust_remote_code", "accept_license")}
    with running(options, out, {"model": options.model}) as shown:
        done = tune(
            tuning,
            out,
            device=options.device,
            load=load,
            progress=shown.progress,
            watch=shown.watch,
            stop=shown.stop,
        )
    if not done.first:
        return 0
    shown.draw()
    for note in done.notes:
        print(note, file=sys.stderr)
    if not options.quiet:
        report(done)
    return 130 if done.stopped else 0


def report(done: Any) -> None:
    """The summary on standard output."""
    print(f"{done.conversations:,} conversations, {done.held_out:,} of them held out", end="")
    print(f"; longer than the block: {done.cut:,} cut, {done.left_out:,} left out")
    print(f"{done.learning:,} of {done.parameters:,} parameters" if done.lora is None else _adapters(done), end="")
    print(f", {done.steps:,} steps, {done.tokens:,} tokens of replies learned in {done.seconds:.0f} s")
    if done.after is not None:
        was = "" if done.before is None else f"{done.before:.4f} before, "
        when = "when last looked at" if done.stopped else "after"
        print(f"held-out loss: {was}{done.after:.4f} {when} (nats a token of replies)")
    if done.stopped:
        print(f"stopped after step {done.steps:,}; the same command goes on")
        return
    if done.prompt:
        print(f"\n{done.prompt.strip()}\n> {done.reply.strip()}\n")
    print(f'the model: pellucid explain --model {done.folder} "..."')
    if done.lora is not None:
        print(f"its adapter: {Path(done.folder) / 'adapter'}")


def _adapters(done: Any) -> str:
    return f"{done.learning:,} parameters of adapters (rank {done.lora}) beside {done.parameters:,}"
