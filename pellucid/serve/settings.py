"""What a server may do: its models, folders and bounds. Plain data; nothing is opened here.

Settings(models=("smollm2-135m-instruct",), knowledge={"kb": Path("kb")}, token="...")
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from pellucid.errors import OptionError
from pellucid.models.catalog import DEFAULT

_BOUNDS = (
    "quick",
    "writing",
    "long",
    "batch",
    "patience",
    "tokens",
    "new_tokens",
    "seconds",
    "body",
    "upload",
    "kept_bytes",
    "kept_days",
)
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Settings:
    """The first of ``models`` is the default; no other may be asked for. ``knowledge``: indexes (``pellucid rag
    index``) by name. ``history``: the file that results are kept in, None: in memory, and gone with the server.

    - ``token``: what a request must bring where it is set; ``hosts``: names by which the server may be called, beside
      its own address (a name that is not among them is refused: DNS rebinding).
    - ``quick``, ``writing``, ``long``: how many requests may wait in each lane; ``batch``: how many quick ones run
      together.
    - ``patience``: a short request that would wait longer than so many times what it takes is told to come again.
    - ``warm``: a model that was loaded explains two words first, so that the first request is no slower than others.
    - ``tokens``: of one request's texts, prompt and answer together; ``new_tokens``: that one may write;
      ``seconds``: that one may take; ``body`` and ``upload``: bytes of one.
    - ``memory``: bytes that explanations may add, None: 60 % of what is free at the start.
    - ``kept_bytes``, ``kept_days``: how much the history holds, and for how long.
    """

    models: tuple[str, ...] = (DEFAULT,)
    knowledge: dict[str, Path] = field(default_factory=dict)
    history: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    hosts: tuple[str, ...] = ()
    device: str = "auto"
    dtype: str = "auto"
    accept_license: bool = False
    quick: int = 12
    writing: int = 8
    long: int = 8
    batch: int = 4
    patience: float = 2.5
    warm: bool = True
    tokens: int = 8192
    new_tokens: int = 1024
    seconds: float = 300.0
    body: int = 2_000_000
    upload: int = 20_000_000
    memory: int | None = None
    kept_bytes: int = 500_000_000
    kept_days: float = 90.0

    def __post_init__(self) -> None:
        if not self.models:
            raise OptionError("no model is given: expected at least one to serve")
        for name in _BOUNDS:
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} should be above 0, given {getattr(self, name)!r}")
        if not 1 <= self.port <= 65535:
            raise OptionError(f"port should be from 1 to 65535, given {self.port}")
        if self.token is not None and not re.fullmatch(r"[!-~]+", self.token):
            raise OptionError(
                "the token should be letters, digits and marks of ASCII, without blanks: it is sent as a header"
            )

    @property
    def public(self) -> bool:
        """Can others than this machine reach it?"""
        return self.host not in LOOPBACK
