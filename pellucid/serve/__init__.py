"""The web page and the HTTP API: the rooms' functions behind requests, one model shared by all who ask.

    pellucid serve                                   # http://127.0.0.1:8000
    create_app(Settings(models=("smollm2-135m-instruct",)))

``settings`` what the server may do; ``turns``, ``twin``, ``lane``, ``desk`` how requests share a model; ``work`` what
each asks of the rooms; ``history`` what is kept; ``api`` and ``openai`` the two ways to ask; ``guard`` who may.
Needs the extra ``serve``.
"""

from __future__ import annotations

from pellucid.serve.settings import Settings as Settings

__all__ = ["Settings"]
