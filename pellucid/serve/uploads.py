"""A file that somebody sent, read in a process of its own: it may be made to take all time and memory there is.

    text = await Uploads().read("report.pdf", data)
    python -m pellucid.serve.uploads report.pdf < report.pdf      # that process

It has ``SECONDS`` and ``MEMORY``, and no more than its standard input and output. ``AT_ONCE`` run at a time.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from pellucid.errors import Error, InputError
from pellucid.serve.jobs import Full

SECONDS = 20
MEMORY = 1_500_000_000  # bytes of address space, where the system can limit it
AT_ONCE = 2


class Uploads:
    """Those of one server."""

    def __init__(self) -> None:
        self._running = 0

    async def read(self, name: str, data: bytes) -> str:
        """The text of a file, by the readers of ``apps/rag/documents``. Raises ``InputError``, and ``Full`` where
        ``AT_ONCE`` are being read."""
        if self._running >= AT_ONCE:
            raise Full(2)
        self._running += 1
        try:
            return await read(name, data)
        finally:
            self._running -= 1


async def read(name: str, data: bytes) -> str:
    """The text of one file, whatever else is being read."""
    if not name.isprintable():
        raise InputError(f"a file's name should have no control characters, given {name!r}")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        name,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(data), SECONDS)
    except asyncio.TimeoutError:
        raise InputError(f"'{name}' could not be read within {SECONDS} seconds: give a smaller file") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        found = json.loads(out)
    except ValueError:
        raise InputError(f"'{name}' could not be read: it takes more memory than a file may, or is broken") from None
    if "error" in found:
        raise InputError(found["error"])
    return str(found["text"])


def main(name: str) -> None:
    """In that process: text or error as JSON on standard output."""
    limit()
    from pellucid.apps.rag.documents import READERS

    path, data = Path(name), sys.stdin.buffer.read()
    reader = READERS.get(path.suffix.lower())
    try:
        if reader is None:
            raise InputError(f"'{name}' is of a kind that cannot be read: expected one of {', '.join(READERS)}")
        found = {"text": reader(path, data).text}
    except Error as e:
        found = {"error": str(e)}
    sys.stdout.buffer.write(json.dumps(found).encode())


def limit() -> None:
    """Bound this process's time and memory, where the system can."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; the time is bounded from outside
        return
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


if __name__ == "__main__":
    main(sys.argv[1])
