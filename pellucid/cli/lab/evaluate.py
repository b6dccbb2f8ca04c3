"""``pellucid lab eval``: how likely held-out text is, how good a model's own text is, what it can do.

pellucid lab eval runs/mine --data held-out.txt
pellucid lab eval gemma3-270m --data held-out.txt --generate prompts.txt --references refs.txt --json eval.json
pellucid lab eval smollm2-135m-instruct --tasks tasks.toml --png eval.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pellucid.cli.arguments import add_model, load_options, outputs
from pellucid.errors import OptionError
from pellucid.models.catalog import DEFAULT


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p: argparse.ArgumentParser = commands.add_parser(
        "eval",
        help="perplexity, quality of generated text, tasks",
        description="Measure a model: perplexity and bits per byte of held-out text, the quality of its own text, "
        "BLEU, chrF and ROUGE against references, and tasks; each with a bootstrap interval.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("named", nargs="?", metavar="MODEL", help="what to evaluate; the same as --model")
    text = p.add_argument_group("held-out text")
    text.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="PATH",
        help='UTF-8 text, .jsonl with {"text": ...} a line, or a folder of such; may be repeated',
    )
    text.add_argument("--window", type=int, metavar="N", help="tokens read at once; default: the context, at most 2048")
    text.add_argument("--stride", type=int, metavar="N", help="tokens from window to window; default: half of it")
    write = p.add_argument_group("the model's own text")
    write.add_argument(
        "--generate", metavar="PATH", help='a prompt a line (\\n: line break), or .jsonl with {"prompt": ...}'
    )
    write.add_argument("--samples", type=int, default=4, metavar="N", help="texts a prompt")
    write.add_argument(
        "--max-new-tokens", type=int, metavar="N", help="length of a text; default: 100, or what the context holds"
    )
    write.add_argument("--temperature", type=float, default=0.8, metavar="T", help="0 is greedy, with --samples 1")
    write.add_argument("--top-k", type=int, default=0, metavar="K", help="sample from the K likeliest; 0: from all")
    write.add_argument("--top-p", type=float, default=1.0, metavar="P", help="sample from the likeliest of mass P")
    write.add_argument("--chat", action="store_true", help="prompts are messages in the model's chat template")
    against = p.add_argument_group("references")
    against.add_argument(
        "--references",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH",
        help="what a person wrote, one a prompt in each file",
    )
    against.add_argument(
        "--metrics",
        default="bleu,chrf,rouge1,rouge2,rougeL",
        metavar="A,B",
        help="of these, and mauve, bertscore (extras)",
    )
    against.add_argument("--language", default="auto", metavar="NAME", help="how words are split: auto, en, zh")
    against.add_argument("--encoder", metavar="NAME", help="folder or Hub id of the encoder of bertscore")
    p.add_argument("--tasks", metavar="PATH", help="a TOML file of tasks, see docs/evaluation.md")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of sampling and of the bootstrap")
    add_model(p)
    out = p.add_argument_group("output")
    out.add_argument("--json", metavar="PATH", help="write the result ('-': to standard output, nothing else there)")
    out.add_argument("--png", metavar="PATH", help="write the picture")
    out.add_argument("--quiet", action="store_true", help="no table, no progress")
    p.set_defaults(run=run, html=None)


def run(options: argparse.Namespace) -> int:
    """Evaluate, and write. What can be known to be wrong is, before a model is loaded."""
    from pellucid.lab.evaluation import inputs
    from pellucid.lab.evaluation.evaluate import Plan, evaluate
    from pellucid.lab.evaluation.tasks import read_tasks

    if options.named is not None and options.model not in (DEFAULT, options.named):
        raise OptionError(f"two models are named, '{options.named}' and '{options.model}': evaluate one at a time")
    name = options.model if options.named is None else options.named
    paths = outputs(options)
    prompts = [] if options.generate is None else inputs.prompts(Path(options.generate))
    if options.references and not prompts:
        raise OptionError("references need prompts, whose answers are compared with them: give --generate too")
    plan = Plan(
        documents=[d for path in options.data for d in inputs.documents(Path(path))],
        prompts=prompts,
        references=[inputs.references(Path(path), len(prompts)) for path in options.references],
        tasks=() if options.tasks is None else read_tasks(Path(options.tasks)),
        metrics=[m.strip() for m in options.metrics.split(",") if m.strip()],
        window=options.window,
        stride=options.stride,
        samples=options.samples,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        chat=options.chat,
        language=options.language,
        encoder=options.encoder,
        seed=options.seed,
    )
    from pellucid import progress as bars
    from pellucid.models.load import load_model
    from pellucid.render import evaluation as drawn

    with bars.terminal(enabled=None if not options.quiet else False) as shown:
        progress = bars.silent if options.quiet else shown
        loaded = load_model(name, **load_options(options), progress=progress)
        found = evaluate(loaded, plan=plan, progress=progress)
    if options.json == "-":
        sys.stdout.write(found.to_json() + "\n")
    elif not options.quiet:
        drawn.show(found)
    for path in paths:
        print(f"wrote {drawn.save(found, path)}", file=sys.stderr)
    return 0
