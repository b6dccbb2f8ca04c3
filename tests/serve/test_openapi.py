"""Requests that schemathesis makes from the OpenAPI document: whatever they hold, no answer is a fault of the server's,
and each is as the document says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from asking import listening, tiny_model
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from pellucid.serve.app import create_app
from pellucid.serve.settings import Settings

#: What a request costs is not what is tried here.
BOUNDS = Settings(models=("tiny",), tokens=64, new_tokens=8, seconds=20)
app = create_app(BOUNDS, tiny_model)
schema = schemathesis.openapi.from_dict(app.openapi())
OPERATIONS = {f"{o.method.upper()} {o.path}": o for o in (found.ok() for found in schema.get_all_operations())}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with listening(BOUNDS) as found:
        yield found


# Parametrised here and not by schemathesis: processes that share the tests would pass over its own.
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_endpoint_is_as_the_document_says(name: str, address: str) -> None:
    tried = 0

    @settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(case=OPERATIONS[name].as_strategy())
    def answered(case: Any) -> None:
        nonlocal tried
        tried += 1
        response = case.call(base_url=address, timeout=60)
        checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
        case.validate_response(response, checks=checks)

    answered()
    assert tried


def test_the_document_has_every_route() -> None:
    routes = {f"{m.upper()} {path}" for path, item in app.openapi()["paths"].items() for m in item}
    assert routes == set(OPERATIONS)
    assert len(routes) > 25
