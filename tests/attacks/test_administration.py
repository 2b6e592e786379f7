"""Administration by those who may not, and by those who may only some of it."""

from collections.abc import Iterator
from typing import Any

import pytest

from attacks.objects import BODIES, OBJECTS, Making
from attacks.people import People, Person, nobody
from dormouse_control.app import public_app
from dormouse_control.identity.models import Role
from dormouse_control.wiring import Platform
from fixtures.control_plane import FakeClock
from fixtures.operations import Operation, operations

ADMINISTRATIVE = (
    "users",
    "groups",
    "budgets",
    "approvals",
    "access",
    "audit",
    "invitations",
    "signing-keys",
)
"""Nothing below these paths is for users."""

OPERATORS = {
    "GET:/api/v1/users",
    "GET:/api/v1/users/{id}",
    "GET:/api/v1/users/{id}/keys",
    "GET:/api/v1/groups",
    "GET:/api/v1/groups/{id}",
    "GET:/api/v1/groups/{id}/members",
    "GET:/api/v1/budgets",
    "GET:/api/v1/budgets/{subject}",
    "GET:/api/v1/approvals",
    "GET:/api/v1/access",
    "PUT:/api/v1/users/{id}/entitlements/{service}",
    "POST:/api/v1/users/{id}/entitlements/{service}/refuse",
}
"""All that an operator may do and a user may not: read, and decide what was asked for."""


@pytest.fixture
def everybody(platform: Platform, clock: FakeClock) -> Iterator[People]:
    found = nobody(platform, clock)
    yield found
    found.call.close()


def _administrative(platform: Platform) -> list[Operation]:
    found = [
        operation
        for operation in operations(public_app(platform).openapi())
        if operation.path.removeprefix("/api/v1/").partition("/")[0] in ADMINISTRATIVE
        or operation.path == "/api/v1/tiers/{id}"
    ]
    assert len(found) >= 25
    return found


def _path(people: People, operation: Operation) -> str:
    values: dict[str, str] = {}
    for path in operation.parameters:
        values[path] = OBJECTS[path].make(Making(people, people.root, values))
    return operation.filled(values)


def _body(people: People, operation: Operation) -> Any:
    body = BODIES.get(operation.id)
    return body(Making(people, people.root)) if callable(body) else body


def _state(people: People) -> list[Any]:
    root = people.root
    lists = ("users", "groups", "approvals", "access", "invitations", "tiers", "budgets")
    return [root.made("GET", f"/api/v1/{name}?limit=200")["items"] for name in lists]


def test_t40_no_user_may_administrate(everybody: People) -> None:
    user = everybody.new()
    key = user.made("POST", "/api/v1/keys", {"name": "x"})["key"]
    for operation in _administrative(everybody.platform):
        path, body = _path(everybody, operation), _body(everybody, operation)
        before = _state(everybody)
        for bearer in (user.access_token, key):
            reply = everybody.call(operation.method, path, bearer=bearer, json=body)
            assert (reply.status, reply.code) == (403, "forbidden"), operation.id
        assert _state(everybody) == before, operation.id


def test_t40_an_administrators_key_may_not_either(everybody: People) -> None:
    key = everybody.root.made("POST", "/api/v1/keys", {"name": "x"})["key"]
    for operation in _administrative(everybody.platform):
        path, body = _path(everybody, operation), _body(everybody, operation)
        reply = everybody.call(operation.method, path, bearer=key, json=body)
        assert (reply.status, reply.code) == (403, "session_required"), operation.id


def test_t40_no_header_or_parameter_makes_another_verb(everybody: People) -> None:
    victim, operator = everybody.new(), everybody.new(Role.OPERATOR)
    path = f"/api/v1/users/{victim.id}"
    names = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
    for name in names:
        for verb in ("DELETE", "PATCH"):
            read = everybody.call("GET", path, bearer=operator.access_token, headers=[(name, verb)])
            assert read.status == 200
            posted = everybody.call(
                "POST",
                f"{path}?_method={verb}",
                bearer=everybody.root.access_token,
                json={"role": "administrator", "_method": verb},
                headers=[(name, verb)],
            )
            assert posted.status == 405
    assert everybody.root.made("GET", path)["status"] == "active"
    assert everybody.root.made("GET", path)["role"] == "user"


@pytest.mark.parametrize(
    "path",
    [
        "/internal/v1/principals",
        "/internal/v1/events",
        "/internal/v1/revocations",
        "/local/v1/administrators",
        "/metrics",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/api/v1/docs",
        "/admin",
        "/api/v1/users/",
        "/api/v1//users",
        "/API/V1/users",
        "/api/v1/users/..;/users",
    ],
)
def test_t40_what_is_not_documented_is_not_there(everybody: People, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        for person in (everybody.root, everybody.new()):
            assert person(method, path).status == 404


def test_t40_a_role_is_not_taken_from_what_somebody_sends(everybody: People) -> None:
    user = everybody.new()
    for path, body in (
        ("/api/v1/entitlements", {"service": "chat", "role": "administrator"}),
        ("/api/v1/keys", {"name": "x", "role": "administrator"}),
        ("/api/v1/me/erase", {"password": "x", "user": everybody.root.id}),
    ):
        assert user("POST", path, body).code == "unknown_parameter"
    headers = [("x-role", "administrator"), ("x-user", everybody.root.id)]
    reply = everybody.call("GET", "/api/v1/users", bearer=user.access_token, headers=headers)
    assert reply.status == 403


def test_t41_exactly_these_operations_are_an_operators(everybody: People) -> None:
    found = {operation.id: operation.role for operation in _administrative(everybody.platform)}

    assert {id for id, role in found.items() if role is Role.OPERATOR} == OPERATORS
    assert {role for id, role in found.items() if id not in OPERATORS} == {Role.ADMINISTRATOR}


def test_t41_who_may_read_changes_nothing(everybody: People) -> None:
    operator = everybody.new(Role.OPERATOR)
    for operation in _administrative(everybody.platform):
        path, body = _path(everybody, operation), _body(everybody, operation)
        before = _state(everybody)
        reply = operator(operation.method, path, body)
        if operation.id in OPERATORS:
            assert reply.status == 200, operation.id
        else:
            assert (reply.status, reply.code) == (403, "forbidden"), operation.id
            assert _state(everybody) == before, operation.id


@pytest.mark.parametrize("role", list(Role))
def test_t41_an_operator_gives_no_role_to_anybody(everybody: People, role: Role) -> None:
    operator = everybody.new(Role.OPERATOR)
    for somebody in (operator, everybody.new(), everybody.root):
        body = {"role": role.value}
        assert operator("PATCH", f"/api/v1/users/{somebody.id}", body).status == 403
    assert operator.made("GET", "/api/v1/me")["role"] == "operator"


def test_t41_an_operator_grants_nothing_that_was_not_asked_for(everybody: People) -> None:
    operator, user = everybody.new(Role.OPERATOR), everybody.new()
    for somebody in (operator, user):
        path = f"/api/v1/users/{somebody.id}/entitlements/draw"
        assert operator("PUT", path, {}).status == 403
    operator.made("POST", "/api/v1/entitlements", {"service": "draw"})
    assert operator("PUT", f"/api/v1/users/{operator.id}/entitlements/draw", {}).status == 403
    assert _entitled(operator) == _entitled(user) == []


def test_t41_who_may_call_a_service_may_not_change_who_else_does(everybody: People) -> None:
    user, other = everybody.new(), everybody.new()
    user.made("POST", "/api/v1/entitlements", {"service": "chat"})
    path = f"/api/v1/users/{other.id}/entitlements/chat"
    for method, body in (("PUT", {}), ("DELETE", None)):
        assert user(method, path, body).status == 403
    assert _entitled(other) == []


def _entitled(person: Person) -> list[str]:
    services = person.made("GET", "/api/v1/services")["items"]
    return [each["id"] for each in services if each["entitled"]]
