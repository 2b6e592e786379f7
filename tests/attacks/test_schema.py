"""Whatever the OpenAPI document allows, and what it does not: no 500, and answers as documented."""

import contextlib
import unittest
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from attacks.people import People
from dormouse_control.app import public_app
from dormouse_control.identity.models import Role
from fixtures.operations import Operation, documented

OPERATIONS = documented()
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
every = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda found: found.id)


@pytest.fixture(scope="module")
def schema(everybody: People) -> Any:
    app = public_app(everybody.platform)
    found = schemathesis.openapi.from_dict(app.openapi())
    found.app = app
    return found


@every
def test_no_answer_is_a_500_or_undocumented(
    operation: Operation, everybody: People, schema: Any
) -> None:
    _probe(schema, operation, everybody, operation.role or Role.USER, examples=6)


@pytest.mark.slow
@pytest.mark.parametrize("role", [Role.USER, Role.ADMINISTRATOR])
@every
def test_no_answer_is_a_500_for_many_examples(
    operation: Operation, everybody: People, schema: Any, role: Role
) -> None:
    _probe(schema, operation, everybody, role, examples=300)


def _probe(schema: Any, operation: Operation, people: People, role: Role, *, examples: int) -> None:
    person = people.new(role)
    found = schema[operation.path][operation.method]
    modes: dict[str, Callable[[Any], None]] = {}

    def probe(case: Any) -> None:
        nonlocal person
        reply = case.call(headers={"Authorization": f"Bearer {person.access_token}"})
        case.validate_response(reply, checks=CHECKS)
        if reply.status_code == 401 and operation.role is not None:
            person = people.new(role)  # it was an operation that ends one's own session

    for mode in GenerationMode:
        modes[mode.value] = given(case=found.as_strategy(generation_mode=mode))(probe)
    for run in modes.values():
        careful = settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        # What takes nothing cannot be called wrongly.
        with contextlib.suppress(unittest.SkipTest, Unsatisfiable):
            careful(run)()
