"""``pellucid serve``: the web page and the HTTP API.

pellucid serve
pellucid serve --model gemma3-270m --allow-model smollm2-135m-instruct --kb kb --port 9000
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import Any

from pellucid.errors import InputError, OptionError
from pellucid.models.catalog import DEFAULT


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = commands.add_parser(
        "serve",
        help="the web page and the HTTP API",
        description="Open a page that explains what a model says, and an API for programs and OpenAI's clients.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument(
        "--model", default=DEFAULT, metavar="NAME", help="the default model: embedded, Hub id, folder, .gguf"
    )
    p.add_argument(
        "--allow-model", action="append", default=[], metavar="NAME", help="another model that may be asked for; repeat"
    )
    p.add_argument("--kb", action="append", default=[], metavar="PATH", help="an index of 'pellucid rag index'; repeat")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    p.add_argument("--dtype", default="auto", help="auto, float32, bfloat16, float16")
    p.add_argument("--accept-license", action="store_true", help="accept the terms of models that have any")
    where = p.add_argument_group("where")
    where.add_argument("--host", default="127.0.0.1", help="the address to listen on; another needs --token")
    where.add_argument("--port", type=int, default=8000)
    where.add_argument("--no-open", action="store_true", help="do not open the browser")
    where.add_argument("--token", metavar="TEXT", help="what every request has to bring; default: $PELLUCID_TOKEN")
    where.add_argument("--insecure", action="store_true", help="listen to others without a token")
    where.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name it is called by; repeat"
    )
    keep = p.add_argument_group("history")
    keep.add_argument("--history", metavar="PATH", help="the file of results; default: in the user's data folder")
    keep.add_argument("--no-history", action="store_true", help="keep results in memory alone")
    keep.add_argument("--keep-mb", type=float, default=500, metavar="MB", help="delete the oldest above this size")
    keep.add_argument("--keep-days", type=float, default=90, metavar="DAYS", help="delete what is older")
    bounds = p.add_argument_group("bounds")
    bounds.add_argument("--max-tokens", type=int, default=8192, metavar="N", help="of one request's texts")
    bounds.add_argument("--max-new-tokens", type=int, default=1024, metavar="N", help="that one request may write")
    bounds.add_argument("--max-seconds", type=float, default=300, metavar="S", help="that one request may take")
    bounds.add_argument(
        "--memory", metavar="SIZE", help="that explanations may add, such as 4GB; default: 60%% of free"
    )
    p.add_argument("--access-log", action="store_true", help="print a line for each request")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve."""
    # torch's threads wait for each other by spinning. Beside a browser, on cores that others use too, that made passes
    # of 0.2 s take 7 s; asleep they never do (docs/decisions.md). It is read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from pellucid.serve.run import run as serve
    from pellucid.serve.settings import Settings

    knowledge: dict[str, Path] = {}
    for text in options.kb:
        path = Path(text)
        if not path.is_dir():
            raise InputError(f"--kb {text}: there is no such folder; make an index with 'pellucid rag index'")
        name = path.resolve().name
        if name in knowledge:
            raise OptionError(f"--kb {text}: another index is called '{name}' already; rename one of the folders")
        knowledge[name] = path
    token = os.environ.get("PELLUCID_TOKEN") if options.token is None else options.token  # no other user sees it there
    if token is not None and not token.strip():
        raise OptionError("the token is empty: expected some characters")
    models = tuple(dict.fromkeys([options.model, *options.allow_model]))
    settings = Settings(
        models=models,
        knowledge=knowledge,
        history=None if options.no_history else _history(options.history),
        host=options.host,
        port=options.port,
        token=token,
        hosts=tuple(options.allow_host),
        device=options.device,
        dtype=options.dtype,
        accept_license=options.accept_license,
        tokens=options.max_tokens,
        new_tokens=options.max_new_tokens,
        seconds=options.max_seconds,
        memory=_memory(options.memory),
        kept_bytes=_bytes(options.keep_mb),
        kept_days=options.keep_days,
    )
    return serve(settings, open_browser=not options.no_open, insecure=options.insecure, access_log=options.access_log)


def _bytes(megabytes: float) -> int:
    if not 0 < megabytes < math.inf:
        raise OptionError(f"--keep-mb should be a number above 0, given {megabytes:g}")
    return max(int(megabytes * 1e6), 1)


def _memory(text: str | None) -> int | None:
    if text is None:
        return None
    import torch

    from pellucid.trace.memory import budget

    return budget(text, torch.device("cpu"))


def _history(given: str | None) -> Path:
    if given is not None:
        return Path(given)
    from platformdirs import user_data_path

    return user_data_path("pellucid", appauthor=False) / "history.db"
