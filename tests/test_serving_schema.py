"""Whatever the OpenAPI schema allows or forbids, made up by schemathesis: never a fault of the server's."""

import contextlib

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def operations(server, monkeypatch):
    monkeypatch.setattr(server.synthesis.processor, "max_duration_seconds", 1.0)  # keeps valid requests short
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    return [result.ok() for result in schema.get_all_operations()]


def statuses_of(operation, mode, count: int) -> set[int]:
    statuses = set()

    @settings(max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=HealthCheck)
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case):
        statuses.add(case.call_and_validate(checks=CHECKS).status_code)

    with contextlib.suppress(Unsatisfiable):  # where nothing can be wrong
        send()
    return statuses


def try_all(operations, count: int) -> dict[str, set[int]]:
    """Sends `count` requests that fit and as many that do not to each operation; the statuses of the answers."""
    modes = schemathesis.GenerationMode
    return {one.label: set().union(*(statuses_of(one, mode, count) for mode in modes)) for one in operations}


def check(seen: dict[str, set[int]]) -> None:
    assert len(seen) == 11
    assert {200, 400} <= seen["POST /v1/audio/speech"] and 400 in seen["POST /v1/audio/voices"]


def test_fuzzed_requests_do_not_fail(operations):
    check(try_all(operations, 15))


@pytest.mark.slow
def test_many_fuzzed_requests_do_not_fail(operations):
    check(try_all(operations, 400))
