"""Run the server: address, browser, an orderly end.

run(Settings(port=8000), open_browser=True)

It says where it is, names the next free port where its own is taken, and ends within two seconds of Ctrl-C or SIGTERM:
requests that run are told to end, what is being written is finished.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import socket
import sys
import threading
import webbrowser
from types import FrameType
from typing import NoReturn
from urllib.parse import quote

from pellucid.errors import MissingExtraError, OptionError
from pellucid.serve.settings import Settings

GRACE = 1  # seconds that open answers get at the end


def check(settings: Settings, *, insecure: bool = False) -> None:
    """Raise ``OptionError`` for an address that others can reach and no token, or a port that is taken."""
    if settings.public and settings.token is None and not insecure:
        raise OptionError(
            f"--host {settings.host} lets others reach this server: give --token (such as "
            f"{secrets.token_urlsafe(16)}), or --insecure where whoever can reach it may use it"
        )
    if not free(settings.host, settings.port):
        other = next(
            (p for p in range(settings.port + 1, min(settings.port + 100, 65536)) if free(settings.host, p)), None
        )
        hint = f"; port {other} is free (--port {other})" if other else ""
        raise OptionError(f"port {settings.port} on {settings.host} is taken{hint}")


def free(host: str, port: int) -> bool:
    """Can a server listen there? Raises ``OptionError`` for a host that is none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, OverflowError) as e:
        raise OptionError(f"--host {host} is no address of this machine: {e}") from None
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(address)
        except OSError as e:
            if isinstance(e, PermissionError) or e.errno == errno.EADDRNOTAVAIL:
                raise OptionError(f"cannot listen on {host} port {port}: {e.strerror}") from None
            return False
    return True


def address(settings: Settings) -> str:
    """Where the page is."""
    host = settings.host if settings.host not in ("0.0.0.0", "::") else "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/"


def run(settings: Settings, *, open_browser: bool = True, insecure: bool = False, access_log: bool = False) -> int:
    """Serve until it is told to end: the exit code."""
    check(settings, insecure=insecure)
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn
    except ImportError as e:
        raise MissingExtraError(
            f"serve needs {e.name}, which is not installed: pip install 'pellucid[serve]'"
        ) from None
    from pellucid.serve.app import create_app

    app = create_app(settings)
    aside = app.state.pellucid.history.set_aside
    if aside is not None:
        print(f"the history was damaged: it was set aside as {aside}, and an empty one begun", file=sys.stderr)
    where = address(settings)
    page = where if settings.token is None else f"{where}#token={quote(settings.token, safe='')}"

    class Server(uvicorn.Server):
        """Ends what runs as soon as it is told to end, and ends by itself: uvicorn's own would wait for long answers,
        and then raise the signal once more."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            self.force_exit, self.should_exit = self.should_exit, True
            app.state.pellucid.running.close()

    server = Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_level="warning",
            access_log=access_log,
            timeout_graceful_shutdown=GRACE,
            server_header=False,
            date_header=True,
            proxy_headers=False,
        )
    )

    def ready() -> None:
        print(f"Pellucid is at {page} (Ctrl-C ends it)", file=sys.stderr, flush=True)
        if open_browser:
            webbrowser.open(page)

    watch = threading.Thread(target=_when_started, args=(server, ready), daemon=True)
    watch.start()
    server.run()
    if server.started:
        leave()
    return 1


def leave() -> NoReturn:
    """End the process, now that all is written and closed: to take the interpreter and torch apart takes seconds."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _when_started(server: object, ready: object) -> None:
    import time

    while not getattr(server, "started", False):
        if getattr(server, "should_exit", False):
            return
        time.sleep(0.02)
    ready()  # type: ignore[operator]
