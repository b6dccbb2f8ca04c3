"""``pellucid lab classify``: a classifier from an encoder and texts with a class each.

pellucid lab classify encoder/ --data train.tsv --held-out dev.tsv --name 0=negative --name 1=positive --out runs/mood
pellucid explain --model runs/mood "a gorgeous, witty film"
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pellucid.errors import OptionError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    from pellucid.cli.lab.running import add_shown, add_training

    p: argparse.ArgumentParser = commands.add_parser(
        "classify",
        help="train a classification head on an encoder",
        description="Train a model to tell classes of texts apart: the architecture's own classification head, and all "
        "weights under it. Run again with the same options, it goes on where it was stopped. The folder is an "
        "ordinary model: pellucid explain --model DIR ...",
    )
    p.add_argument("model", metavar="MODEL", help="folder or Hub id of an encoder; embedded name or .gguf file")
    p.add_argument(
        "--data",
        required=True,
        metavar="FILE",
        help='text<TAB>label a line, or .jsonl with {"text": ..., "label": ...} a line',
    )
    p.add_argument("--held-out", metavar="FILE", help="the same, to measure on; default: a tenth of --data")
    p.add_argument("--out", required=True, metavar="DIR", help="folder of the run")
    p.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="LABEL=NAME",
        help="what the class of a label is called; may be repeated; default: as the label",
    )
    training = p.add_argument_group("training")
    training.add_argument("--epochs", type=float, metavar="F", help="times each text is read; default: 3")
    defaults = {
        "steps": "from --epochs",
        "rows": "32 texts",
        "context": "128, and longer texts are cut",
        "accumulate": "1",
        "rate": "5e-5",
        "optimiser": "adamw",
        "schedule": "linear, to nothing",
        "warmup": "a tenth",
        "evaluate_every": "four times a run",
        "save_every": "four times a run",
        "keep_last": "2",
    }
    add_training(training, {**defaults, "precision": "auto", "seed": "0", "spread": "ddp", "attention": "auto"})
    add_shown(p)
    p.add_argument("--json", metavar="PATH", help="write the result ('-': to standard output, nothing else there)")
    p.add_argument("--revision", metavar="NAME", help="of a Hub model")
    p.add_argument("--trust-remote-code", action="store_true", help="run code that comes with a Hub model")
    p.add_argument("--accept-license", action="store_true", help="accept an embedded model's terms, once")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, draw the loss as it goes, and say what came of it."""
    from pellucid.cli.lab.running import TRAINING, given, running
    from pellucid.lab.classify import Settings, classify
    from pellucid.lab.data.labelled import read
    from pellucid.render import check_writable

    out = Path(options.out)
    target = None if options.json in (None, "-") else Path(options.json)
    if target is not None:
        check_writable(target)
    settings = Settings(train=given(options, TRAINING), **given(options, ["epochs"]))
    task = read(options.data, options.held_out, names=names_of(options), seed=settings.of(1).seed)
    load = {n: getattr(options, n) for n in ("revision", "trust_remote_code", "accept_license")}
    with running(options, out, {"model": options.model}) as shown:
        done = classify(
            options.model,
            task,
            out,
            settings=settings,
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
    if options.json == "-":
        sys.stdout.write(done.to_json() + "\n")
    elif not options.quiet:
        report(done)
    if target is not None:
        target.write_text(done.to_json() + "\n", encoding="utf-8")
        print(f"wrote {target}", file=sys.stderr)
    return 130 if done.stopped else 0


def names_of(options: argparse.Namespace) -> dict[str, str]:
    """``--name 0=negative`` to {"0": "negative"}. Raises ``OptionError``."""
    found: dict[str, str] = {}
    for given in options.name:
        label, equals, name = given.partition("=")
        if not equals or not label.strip() or not name.strip():
            raise OptionError(f"--name should look like label=name, given {given!r}")
        if label.strip() in found:
            raise OptionError(f"--name names the label '{label.strip()}' twice")
        found[label.strip()] = name.strip()
    return found


def report(done: Any) -> None:
    """The summary on standard output."""
    print(f"{done.texts:,} texts, {done.held_out:,} held out, {len(done.classes)} classes: {_few(done.classes)}")
    if done.cut:
        print(f"{done.cut:,} texts were longer than {done.context} tokens and were cut (--context)")
    print(f"{done.parameters:,} parameters, {done.steps:,} steps in {done.seconds:.0f} s")
    if done.stopped:
        print(f"stopped after step {done.steps:,}; the same command goes on")
        return
    print(f"held out: loss {done.loss:.4f} nats a text")
    for name, found in (("accuracy", done.accuracy), ("macro-F1", done.macro_f1)):
        interval = "" if found.low is None else f" ({found.low:.4f} to {found.high:.4f})"
        print(f"{name} {found.value:.4f}{interval}")
    print(f'the model: pellucid explain --model {done.folder} "..."')


def _few(names: tuple[str, ...], most: int = 8) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
