"""What ``pellucid explain`` and ``pellucid compare`` have in common: their options, and how these are read.

pellucid explain --unit sentence --objective contrast --instead-of " London" --target " Paris" --raw "The capital is"
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from pellucid.errors import InputError, OptionError
from pellucid.models.catalog import DEFAULT


def add_prompt(p: argparse.ArgumentParser, *, named_spans: bool = True) -> None:
    """Prompt, answer, and what of it is explained."""
    p.add_argument("prompt", nargs="?", help="the prompt; or use --file, --messages")
    what = p.add_argument_group("what is explained")
    what.add_argument(
        "--file",
        metavar="PATH",
        help="read the prompt from a UTF-8 file ('-': standard input); one line break at its end is not part of it",
    )
    what.add_argument("--messages", metavar="PATH", help="read a chat from a JSON file: a list of {role, content}")
    what.add_argument("--pair", metavar="TEXT", help="the second text, for a classifier that reads two")
    what.add_argument(
        "--context",
        metavar="PATH",
        help="the prompt is a question about this UTF-8 file ('-': standard input), for a model that answers with a "
        "part of it",
    )
    what.add_argument("--window", type=int, metavar="N", help="with --context: tokens that are read at once, at most")
    what.add_argument("--stride", type=int, metavar="N", help="with --context: tokens that two windows share")
    what.add_argument("--system", metavar="TEXT", help="a system message to go before the prompt")
    what.add_argument("--target", metavar="TEXT", help="the answer to explain, instead of the model's own")
    what.add_argument(
        "--span",
        metavar="TEXT",
        help="the part of the answer to explain; or A:B in characters with --span-chars",
    )
    what.add_argument("--span-chars", metavar="A:B", help="the part of the answer to explain, as a range of characters")
    if named_spans:
        what.add_argument(
            "--named-span",
            action="append",
            default=[],
            metavar="NAME=TEXT",
            help="another part of the answer, explained by itself beside the rest; may be repeated",
        )
    what.add_argument("--raw", action="store_true", help="no chat template")
    what.add_argument(
        "--parse-special", action="store_true", help="with --raw: read control tokens in the prompt as such"
    )
    what.add_argument("--source-language", metavar="CODE", help="of a translation model that reads several")
    what.add_argument("--target-language", metavar="CODE", help="of a translation model that writes several")
    what.add_argument(
        "--max-new-tokens", type=int, default=64, metavar="N", help="length of the model's answer, at most"
    )
    what.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy")


def add_how(group: Any) -> None:
    """Objective, units, matrix, trust, precision: all but the method."""
    add_goal(group, unit="token")
    group.add_argument("--merge", metavar="NAME", help="a unit's score from its tokens': sum, mean or max_abs")
    group.add_argument("--per-token", action="store_true", help="also the matrix: every answer token by every token")
    group.add_argument("--no-trust", action="store_true", help="do not measure whether the explanation holds")


def add_goal(group: Any, *, unit: str) -> None:
    """Objective, units (``unit`` by default), precision, memory, seed."""
    group.add_argument("--objective", default="logprob", metavar="NAME", help="see 'pellucid methods'")
    group.add_argument(
        "--instead-of",
        metavar="TEXT",
        help="for the objective contrast: what might stand in place of the span or answer",
    )
    group.add_argument(
        "--without",
        metavar="TEXT",
        help="for the objectives kl and pcxmi: the part of the prompt to do without, or chars:START-END",
    )
    group.add_argument("--reduce", default="sum", metavar="NAME", help="sum or mean of the explained answer tokens")
    group.add_argument(
        "--unit",
        default=unit,
        metavar="KIND",
        help="what gets a score: token, word, sentence, paragraph, message, document, regex:PATTERN, "
        "or parts of your own, in characters: chars:0-120,120-300 (in a chat with the message's number: chars:1:0-120)",
    )
    group.add_argument(
        "--precision",
        default="full",
        metavar="NAME",
        help="full, or fast (bfloat16 where the hardware has it)",
    )
    group.add_argument("--memory", default="auto", metavar="SIZE", help="what may be added: auto, or text like 2GB")
    group.add_argument("--seed", type=int, default=0, metavar="N")


def add_model(p: argparse.ArgumentParser) -> None:
    """Which model, and where it runs."""
    model = p.add_argument_group("model")
    model.add_argument("--model", default=DEFAULT, metavar="NAME", help="embedded name, Hub id, folder or .gguf file")
    model.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps")
    model.add_argument("--dtype", default="auto", metavar="NAME", help="auto, float32, bfloat16, float16")
    model.add_argument("--revision", metavar="NAME", help="of a Hub model")
    model.add_argument("--device-map", metavar="MAP", help="as in transformers, e.g. auto")
    model.add_argument("--quantization", metavar="KIND", help="int8, 8bit or 4bit")
    model.add_argument("--trust-remote-code", action="store_true", help="run code that comes with a Hub model")
    model.add_argument("--accept-license", action="store_true", help="accept an embedded model's terms, once")


def add_output(p: argparse.ArgumentParser) -> None:
    """Files and the terminal view."""
    out = p.add_argument_group("output")
    out.add_argument(
        "--json", metavar="PATH", help="write the result ('-': to standard output, and nothing else there)"
    )
    out.add_argument("--html", metavar="PATH", help="write the interactive page")
    out.add_argument("--png", metavar="PATH", help="write the picture")
    out.add_argument("--full", action="store_true", help="leave nothing of a long prompt out")
    out.add_argument("--lang", choices=("en", "zh"), help="language of the terminal view; default from the locale")
    out.add_argument("--quiet", action="store_true", help="no terminal view, no progress")
    out.add_argument("--timings", action="store_true", help="print how long each step took, on standard error")


def outputs(options: argparse.Namespace) -> list[Path]:
    """The files to write, all of them writable. Raises ``OptionError``, ``OutputError``."""
    from pellucid.render import check_writable

    found = [(Path(p), f".{kind}") for kind in ("json", "html", "png") if (p := getattr(options, kind)) and p != "-"]
    if "-" in (options.html, options.png):
        raise OptionError("only --json can go to standard output ('-'): give --html and --png a file name")
    for path, ending in found:
        if path.suffix.lower() != ending:
            raise OptionError(
                f"--{ending[1:]} writes a {ending} file, given {path}: name it {path.with_suffix(ending)}"
            )
        check_writable(path)
    return [path for path, _ in found]


def load_options(options: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``pellucid.load``, but for progress."""
    names = ("device", "dtype", "revision", "device_map", "quantization", "trust_remote_code", "accept_license")
    return {name: getattr(options, name) for name in names}


def goal_options(options: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``Model.explain`` and ``Model.compare`` that can be checked before a model is loaded."""
    return {
        "objective": options.objective,
        "instead_of": options.instead_of,
        "without": without_of(options),
        "reduce": options.reduce,
        "spans": named_spans(options),
        "unit": unit_of(options),
        "merge": options.merge,
    }


def explain_options(options: argparse.Namespace) -> dict[str, Any]:
    """The other keywords of ``Model.explain`` and ``Model.compare``, but for the method, its own, and progress."""
    names = ["per_token", "raw", "parse_special", "source_language", "target_language", "window", "stride"]
    names += ["max_new_tokens", "temperature", "seed", "precision", "memory"]
    return {"span": span_of(options), "trust": not options.no_trust, **{n: getattr(options, n) for n in names}}


CHARACTERS = "chars:"


def characters(text: str, option: str) -> list[Any]:
    """The parts in ``chars:0-120,1:0-40``: (start, end) or (message, start, end). Raises ``OptionError``."""
    found = []
    for part in text.removeprefix(CHARACTERS).split(","):
        place = re.fullmatch(r"\s*(?:(\d+):)?(\d+)-(\d+)\s*", part)
        if place is None:
            raise OptionError(
                f"{option} chars: should be ranges of characters such as chars:0-120,120-300 (in a chat chars:1:0-120, "
                f"messages counted from 0), given {part.strip()!r}"
            )
        found.append(tuple(int(x) for x in place.groups() if x is not None))
    return found


def unit_of(options: argparse.Namespace) -> Any:
    """``--unit``: a name, a pattern, or parts in characters."""
    given = options.unit
    return characters(given, "--unit") if given.startswith(CHARACTERS) else given


def without_of(options: argparse.Namespace) -> Any:
    """``--without``: a text, or its place."""
    given = options.without
    if given is None or not given.startswith(CHARACTERS):
        return given
    found = characters(given, "--without")
    if len(found) > 1:
        raise OptionError(f"--without takes one part of the prompt, given {len(found)}: {given}")
    return found[0]


def prompt_of(options: argparse.Namespace) -> Any:
    """The prompt: a text, messages, two texts, or question and context. Raises ``InputError``."""
    given = [name for name in ("prompt", "file", "messages") if getattr(options, name) is not None]
    if len(given) != 1:
        said = "none was given" if not given else f"{' and '.join(given)} were given"
        raise InputError(f"expected one prompt, as an argument, with --file or with --messages; {said}")
    second = [f"--{name}" for name in ("pair", "context") if getattr(options, name) is not None]
    if len(second) > 1 or (second and (options.messages is not None or options.system is not None)):
        rest = second[1] if len(second) > 1 else "--messages and --system"
        raise InputError(f"{second[0]} makes a pair with the prompt: leave {rest} out")
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
    text = options.prompt if options.file is None else _file(options.file)
    if options.pair is not None:
        return (text, options.pair)
    if options.context is not None:
        if options.context == "-" and options.file == "-":
            raise InputError("--file and --context cannot both be standard input ('-')")
        return {"question": text, "context": _file(options.context)}
    if options.system is not None:
        if not text.strip():
            raise InputError("the prompt is empty: expected some text")
        return [{"role": "system", "content": options.system}, {"role": "user", "content": text}]
    return text


def _file(path: str) -> str:
    """The text of a file, without the one line break at its end."""
    text = read_text(path)
    for ending in ("\r\n", "\n"):
        if text.endswith(ending):
            return text[: -len(ending)]
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


def span_of(options: argparse.Namespace) -> str | tuple[int, int] | None:
    """The part of the answer that was asked for. Raises ``OptionError``."""
    if options.span_chars is None:
        span: str | None = options.span
        return span
    if options.span is not None:
        raise OptionError("--span and --span-chars exclude each other")
    a, colon, b = options.span_chars.partition(":")
    if not (colon and a.isdecimal() and b.isdecimal()):
        raise OptionError(f"--span-chars should be two numbers like 4:10, given {options.span_chars!r}")
    return int(a), int(b)


def named_spans(options: argparse.Namespace) -> dict[str, str] | None:
    """``--named-span city=Paris`` to {"city": "Paris"}; None where there are none. Raises ``OptionError``."""
    found: dict[str, str] = {}
    for given in options.named_span:
        name, equals, text = given.partition("=")
        if not equals or not name or not text:
            raise OptionError(f"--named-span should look like name=text, given {given!r}")
        if name in found:
            raise OptionError(f"--named-span '{name}' is given twice: each name stands for one part of the answer")
        found[name] = text
    return found or None


def parameter(text: str) -> tuple[str, Any]:
    """``steps=20`` to ("steps", 20): numbers, true, false and null as in JSON, anything else as text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise OptionError(f"--param should look like name=value, given {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
