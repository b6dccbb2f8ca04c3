"""Commands of the applications: parse, call the room ``apps``, hand the result to render."""

from __future__ import annotations

from typing import Any

#: One module a command, in the order of ``pellucid --help``.
COMMANDS: tuple[Any, ...] = ()
