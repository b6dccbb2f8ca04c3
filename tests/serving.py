"""``pellucid serve`` in a process of its own, for the tests that need the real thing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Site:
    """A running server: where it is, and its process."""

    address: str
    process: subprocess.Popen[bytes]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """JSON of the API, past the page."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(f"{self.address}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def busy(self, seconds: float) -> float:
        """Processor seconds that the server takes in each of the next ``seconds``."""

        def taken() -> float:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        before = taken()
        time.sleep(seconds)
        return (taken() - before) / seconds


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Site]:
    """``pellucid serve`` on a free port."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "pellucid", "serve", "--no-open", "--port", str(port), *options]
    log = folder / "serve.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            address, until = f"http://127.0.0.1:{port}", time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"{address}/healthz", timeout=5).close()
                    break
                except (urllib.error.URLError, ConnectionError):
                    if process.poll() is not None or time.monotonic() > until:
                        pytest.fail(f"pellucid serve did not start: {log.read_text(errors='replace')[-2000:]}")
                    time.sleep(0.1)
            yield Site(address, process)
        finally:
            process.terminate()
            process.wait(20)
