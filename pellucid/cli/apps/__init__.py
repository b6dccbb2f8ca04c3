"""Commands of the applications: parse, call the room ``apps``, hand the result to render."""

from __future__ import annotations

from typing import Any

from pellucid.cli.apps import ask, chat, classify, code, generate, rag, report, translate, write

#: One module a command, in the order of ``pellucid --help``.
COMMANDS: tuple[Any, ...] = (ask, generate, chat, classify, translate, write, code, report, rag)
