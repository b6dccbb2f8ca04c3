"""Requests that schemathesis makes from the OpenAPI document: whatever they hold, no answer is a fault of the server's,
and each is as the document says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from asking import listening, tiny_model
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from pellucid.serve.app import create_app
from pellucid.serve.settings import Settings

#: What a request costs is not what is tried here.
BOUNDS = Settings(models=("tiny",), tokens=64, new_tokens=8, seconds=20)
app = create_app(BOUNDS, tiny_model)
schema = schemathesis.openapi.from_dict(app.openapi())
ROUTES = {(m.upper(), p) for p, item in app.openapi()["paths"].items() for m in item}
seen: set[tuple[str, str]] = set()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with listening(BOUNDS) as found:
        yield found


@schema.parametrize()
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
def test_every_endpoint_is_as_the_document_says(case: Any, address: str) -> None:
    seen.add((case.method.upper(), case.path))
    response = case.call(base_url=address, timeout=60)
    case.validate_response(response, checks=[not_a_server_error, status_code_conformance, response_schema_conformance])


def test_every_endpoint_was_tried() -> None:
    assert seen >= ROUTES
    assert len(ROUTES) > 25
