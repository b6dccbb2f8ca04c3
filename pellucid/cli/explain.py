"""``pellucid explain``: which tokens of a prompt made the model answer as it does.

pellucid explain "What is the capital of France?"
pellucid explain --raw --target " Paris" --html t.html --png t.png "The capital of France is"
pellucid explain --file prompt.txt --json -
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from pellucid.errors import InputError, OptionError
from pellucid.models.catalog import DEFAULT


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p: argparse.ArgumentParser = commands.add_parser(
        "explain",
        help="show which tokens of a prompt made the model answer as it does",
        description="Show which tokens of a prompt made the model answer as it does. Without --target the model "
        "answers first. With a chat model, the prompt becomes a user message unless --raw.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("prompt", nargs="?", help="the prompt; or use --file, --messages")
    what = p.add_argument_group("what is explained")
    what.add_argument(
        "--file",
        metavar="PATH",
        help="read the prompt from a UTF-8 file ('-': standard input); one line break at its end is not part of it",
    )
    what.add_argument("--messages", metavar="PATH", help="read a chat from a JSON file: a list of {role, content}")
    what.add_argument("--system", metavar="TEXT", help="a system message to go before the prompt")
    what.add_argument("--target", metavar="TEXT", help="the answer to explain, instead of the model's own")
    what.add_argument(
        "--span",
        metavar="TEXT",
        help="the part of the answer to explain; or A:B in characters with --span-chars",
    )
    what.add_argument("--span-chars", metavar="A:B", help="the part of the answer to explain, as a range of characters")
    what.add_argument("--raw", action="store_true", help="no chat template")
    what.add_argument(
        "--parse-special", action="store_true", help="with --raw: read control tokens in the prompt as such"
    )
    what.add_argument(
        "--max-new-tokens", type=int, default=64, metavar="N", help="length of the model's answer, at most"
    )
    what.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy")
    how = p.add_argument_group("how")
    how.add_argument("--method", default="saliency", metavar="NAME", help="see 'pellucid methods'")
    how.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the method; may be repeated",
    )
    how.add_argument("--objective", default="logprob", metavar="NAME", help="logprob, logit or prob")
    how.add_argument("--per-token", action="store_true", help="also the matrix: every answer token by every token")
    how.add_argument("--no-trust", action="store_true", help="do not measure whether the explanation holds")
    how.add_argument(
        "--precision",
        default="full",
        metavar="NAME",
        help="full, or fast (bfloat16 where the hardware has it)",
    )
    how.add_argument("--memory", default="auto", metavar="SIZE", help="what may be added: auto, or text like 2GB")
    how.add_argument("--seed", type=int, default=0, metavar="N")
    model = p.add_argument_group("model")
    model.add_argument("--model", default=DEFAULT, metavar="NAME", help="embedded name, Hub id, folder or .gguf file")
    model.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps")
    model.add_argument("--dtype", default="auto", metavar="NAME", help="auto, float32, bfloat16, float16")
    model.add_argument("--revision", metavar="NAME", help="of a Hub model")
    model.add_argument("--device-map", metavar="MAP", help="as in transformers, e.g. auto")
    model.add_argument("--quantization", metavar="KIND", help="8bit or 4bit")
    model.add_argument("--trust-remote-code", action="store_true", help="run code that comes with a Hub model")
    model.add_argument("--accept-license", action="store_true", help="accept an embedded model's terms, once")
    out = p.add_argument_group("output")
    out.add_argument("--json", metavar="PATH", help="write the trace ('-': to standard output, and nothing else there)")
    out.add_argument("--html", metavar="PATH", help="write the interactive page")
    out.add_argument("--png", metavar="PATH", help="write the picture")
    out.add_argument("--full", action="store_true", help="leave nothing of a long prompt out")
    out.add_argument("--lang", choices=("en", "zh"), help="language of the terminal view; default from the locale")
    out.add_argument("--quiet", action="store_true", help="no terminal view, no progress")
    out.add_argument("--timings", action="store_true", help="print how long each step took, on standard error")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it. Everything that can be known to be wrong is, before a model is loaded."""
    steps = _Steps()
    prompt = _prompt(options)
    span = _span(options)
    parameters = dict(_parameter(p) for p in options.param)
    from pellucid.render import check_writable

    outputs = [(Path(p), f".{kind}") for kind in ("json", "html", "png") if (p := getattr(options, kind)) and p != "-"]
    if "-" in (options.html, options.png):
        raise OptionError("only --json can go to standard output ('-'): give --html and --png a file name")
    for path, ending in outputs:
        if path.suffix.lower() != ending:
            raise OptionError(
                f"--{ending[1:]} writes a {ending} file, given {path}: name it {path.with_suffix(ending)}"
            )
        check_writable(path)
    from pellucid.trace.methods import method
    from pellucid.trace.objective import objective

    chosen = method(options.method)
    for name in parameters:
        chosen.check(name)
    objective(options.objective)

    from pellucid import progress as bars
    from pellucid.model import load

    with bars.terminal(enabled=None if not options.quiet else False) as shown:
        progress = bars.silent if options.quiet else shown
        steps.begin("import")
        import pellucid.models.load
        import pellucid.trace.explain  # noqa: F401  # torch and transformers, timed on their own

        steps.begin("load")
        model = load(
            options.model,
            device=options.device,
            dtype=options.dtype,
            revision=options.revision,
            device_map=options.device_map,
            quantization=options.quantization,
            trust_remote_code=options.trust_remote_code,
            accept_license=options.accept_license,
            progress=progress,
        )
        steps.begin("explain")
        trace = model.explain(
            prompt,
            options.target,
            method=options.method,
            objective=options.objective,
            span=span,
            per_token=options.per_token,
            raw=options.raw,
            parse_special=options.parse_special,
            trust=not options.no_trust,
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            seed=options.seed,
            precision=options.precision,
            memory=options.memory,
            progress=progress,
            **parameters,
        )
    steps.begin("show")
    if options.json == "-":
        sys.stdout.write(trace.to_json() + "\n")
    elif not options.quiet:
        from pellucid.render.terminal import show

        show(trace, full=options.full, lang=options.lang)
    steps.begin("write")
    for path, _ in outputs:
        print(f"wrote {trace.save(path)}", file=sys.stderr)
    if options.timings:
        steps.end(trace.cost.generate_seconds)
    return 0


class _Steps:
    """Wall time of each step, in order."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, float]] = [("arguments", time.perf_counter())]

    def begin(self, name: str) -> None:
        self.marks.append((name, time.perf_counter()))

    def end(self, generating: float) -> None:
        self.begin("")
        spent = {a: u - t for (a, t), (_, u) in zip(self.marks, self.marks[1:], strict=False)}
        spent["explain"] -= generating
        names = {"explain": f"generate {generating:.2f} s, explain and trust"}
        parts = [f"{names.get(name, name)} {seconds:.2f} s" for name, seconds in spent.items()]
        whole = self.marks[-1][1] - self.marks[0][1]
        print(f"{', '.join(parts)}: {whole:.2f} s in all", file=sys.stderr)


def _prompt(options: argparse.Namespace) -> Any:
    given = [name for name in ("prompt", "file", "messages") if getattr(options, name) is not None]
    if len(given) != 1:
        said = "none was given" if not given else f"{' and '.join(given)} were given"
        raise InputError(f"expected one prompt, as an argument, with --file or with --messages; {said}")
    if options.messages is not None:
        text = read_text(options.messages)
        try:
            messages = json.loads(text)
        except json.JSONDecodeError as e:
            raise InputError(f"{options.messages} is not JSON: {e.msg} at line {e.lineno}") from None
        if not isinstance(messages, list):
            raise InputError(f"{options.messages} should hold a list of messages, and holds {type(messages).__name__}")
        if options.system is not None:
            messages = [{"role": "system", "content": options.system}, *messages]
        return messages
    if options.file is not None:
        text = read_text(options.file)
        for ending in ("\r\n", "\n"):
            if text.endswith(ending):
                text = text[: -len(ending)]
                break
    else:
        text = options.prompt
    if options.system is not None:
        if not text.strip():
            raise InputError("the prompt is empty: expected some text")
        return [{"role": "system", "content": options.system}, {"role": "user", "content": text}]
    return text


def read_text(path: str) -> str:
    """A UTF-8 text from a file, or standard input for ``-``; line breaks as they are. Raises ``InputError``."""
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise InputError(
            f"{path} is not UTF-8: byte 0x{data[e.start]:02x} at {e.start} cannot be read; convert it, e.g. with iconv"
        ) from None


def _span(options: argparse.Namespace) -> str | tuple[int, int] | None:
    if options.span_chars is None:
        span: str | None = options.span
        return span
    if options.span is not None:
        raise OptionError("--span and --span-chars exclude each other")
    a, colon, b = options.span_chars.partition(":")
    if not (colon and a.isdecimal() and b.isdecimal()):
        raise OptionError(f"--span-chars should be two numbers like 4:10, given {options.span_chars!r}")
    return int(a), int(b)


def _parameter(text: str) -> tuple[str, Any]:
    """``steps=20`` to ("steps", 20): numbers, true, false and null as in JSON, anything else as text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise OptionError(f"--param should look like name=value, given {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
