"""What ``serve.py`` lets Locust send: a mix of short, streaming and long requests, by clients that heed Retry-After.

locust -f benchmarks/serve_load.py --headless --host http://127.0.0.1:8765 --users 64 --run-time 60s
"""

from __future__ import annotations

import random
from typing import Any

import gevent
from locust import FastHttpUser, task
from serve_texts import CITIES, NEXT, TEXT


class Client(FastHttpUser):
    """One connection, that asks without a pause."""

    network_timeout = 300.0

    def ask(self, name: str, path: str, body: dict[str, Any]) -> None:
        """Send it. One that finds no room waits as long as it is told, as a client does."""
        with self.client.post(path, json=body, name=name, catch_response=True) as answer:
            if answer.status_code == 429:
                answer.request_meta["name"] = f"{name} 429"
                answer.success()
                gevent.sleep(float(answer.headers.get("Retry-After", "1")) * random.uniform(0.8, 1.2))

    @task(10)
    def next(self) -> None:
        """Short."""
        prompt = f"{TEXT} The capital of {random.choice(CITIES)} is"
        self.ask("next", "/api/v1/next", {**NEXT, "prompt": prompt})

    @task(3)
    def surprisal(self) -> None:
        """Short."""
        self.ask("surprisal", "/api/v1/surprisal", {"text": TEXT, "keep": False})

    @task(2)
    def degree(self) -> None:
        """Short."""
        body = {"query": "What was traded?", "texts": [TEXT], "keep": False}
        self.ask("relevance degree", "/api/v1/relevance", body)

    @task(3)
    def chat(self) -> None:
        """Written."""
        question = {"role": "user", "content": f"What is the capital of {random.choice(CITIES)}?"}
        self.ask("chat", "/v1/chat/completions", {"messages": [question], "max_tokens": 16, "temperature": 0})

    @task(2)
    def explain(self) -> None:
        """Long, and kept."""
        body = {"prompt": f"{TEXT} What is the capital of {random.choice(CITIES)}?", "max_new_tokens": 16}
        self.ask("explain", "/api/v1/explain", body)
