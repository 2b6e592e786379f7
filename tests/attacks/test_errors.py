"""T113: whatever fails, wherever it fails, nothing of its inside is told to the caller."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, ProgrammingError
from starlette.testclient import TestClient

from attacks.objects import BODIES, QUERIES
from fixtures.operations import PARAMETER, Operation, operations

SECRET = "hunter2 at 0x7f3a /home/me/secret.py SELECT password_hash"
# Of operations that anybody may perform, and where BODIES needs somebody's secrets.
MORE_BODIES: dict[str, Any] = {
    "POST:/api/v1/registrations": {"email": "eve@example.org", "password": "x" * 20},
    "POST:/api/v1/administrators": {"token": "x", "email": "e@example.org", "password": "x" * 20},
    "POST:/api/v1/verifications": {"email": "eve@example.org"},
    "POST:/api/v1/verifications/confirm": {"token": "x"},
    "POST:/api/v1/resets": {"email": "eve@example.org"},
    "POST:/api/v1/resets/confirm": {"token": "x", "password": "x" * 20},
    "POST:/api/v1/sessions": {"email": "eve@example.org", "password": "x" * 20},
    "POST:/api/v1/sessions/refresh": {"refresh_token": "x"},
    "POST:/api/v1/sessions/code": {"code": "x", "verifier": "x" * 43},
    "POST:/api/v1/me/second-factor/confirm": {"code": "123456"},
    "POST:/api/v1/me/second-factor/remove": {"password": "x", "code": "123456"},
    "POST:/api/v1/groups": {"name": "x"},
    "PATCH:/api/v1/groups/{id}": {"name": "x"},
}
MORE_QUERIES = {
    "GET:/api/v1/providers/{name}/authorize": {
        "challenge": "x" * 43,
        "redirect": "http://127.0.0.1:5000/",
        "state": "x" * 43,
    },
    "GET:/api/v1/providers/{name}/link": {"state": "x" * 43},
    "GET:/api/v1/providers/{name}/callback": {"state": "x" * 43, "code": "x"},
}


def sql(kind: Callable[..., Exception]) -> Exception:
    return kind(SECRET, {"password": SECRET}, Exception(SECRET))


FAILURES: dict[str, tuple[Exception, int, str]] = {
    "bug": (RuntimeError(SECRET), 500, "internal_error"),
    "key": (KeyError(SECRET), 500, "internal_error"),
    "deep": (RecursionError(SECRET), 500, "internal_error"),
    "file": (FileNotFoundError(2, SECRET, SECRET), 500, "internal_error"),
    "encoding": (UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET), 500, "internal_error"),
    "away": (sql(OperationalError), 503, "control_plane_unavailable"),
    "duplicate": (sql(IntegrityError), 409, "already_exists"),
    "statement": (sql(ProgrammingError), 500, "internal_error"),
    "value": (sql(DataError), 500, "internal_error"),
}


class Failing:
    """An application whose every handler raises `error`."""

    def __init__(self, client: TestClient) -> None:
        self.error: Exception = RuntimeError()
        self.client = client
        self.names = {self._break(route) for route in iter_route_contexts(client.app.routes)}

    def _break(self, route: Any) -> str:
        dependant = getattr(route, "dependant", None)
        if dependant is None:
            return ""
        if inspect.iscoroutinefunction(dependant.call):

            async def fail_later(**_: object) -> None:
                raise self.error

            dependant.call = fail_later
        else:

            def fail(**_: object) -> None:
                raise self.error

            dependant.call = fail
        return str(route.name)

    def send(self, operation: Operation, token: str) -> Any:
        body = MORE_BODIES.get(operation.id, BODIES.get(operation.id))
        if callable(body):  # nobody looks into it here
            body = {}
        return self.client.request(
            operation.method,
            PARAMETER.sub("x", operation.path),
            params=MORE_QUERIES.get(operation.id, QUERIES.get(operation.id, {})),
            json=({} if body is None and operation.takes_body else body),
            headers={"authorization": f"Bearer {token}", "x-request-id": "req-of-this-call"},
        )


@pytest.fixture
def failing(client: TestClient, administrator: Any) -> Failing:
    assert administrator.get("/api/v1/me").status_code == 200
    return Failing(client)


@pytest.mark.parametrize("failure", FAILURES)
def test_t113_an_exception_in_any_handler_tells_nothing(failing, administrator, failure) -> None:
    failing.error, status, code = FAILURES[failure]
    found = operations(failing.client.get("/api/v1/openapi.json").json())
    bodies = set()
    for operation in found:
        merge = structlog.contextvars.merge_contextvars
        with structlog.testing.capture_logs(processors=[merge]) as lines:
            answer = failing.send(operation, administrator.access_token)

        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), operation.id
        assert SECRET not in answer.text + str(answer.headers)
        assert not any(word in answer.text for word in ("hunter2", "Traceback", ".py", "0x"))
        told = [line for line in lines if line["event"] == "request"]
        assert [(line["request_id"], line["status"]) for line in told] == [
            ("req-of-this-call", status)
        ]
        if status >= 500:
            # What the caller is not told stands in the log, under the same id.
            [reason] = [line for line in lines if line["log_level"] == "error"]
            assert reason["request_id"] == "req-of-this-call"
            assert reason.get("exc_info")
        bodies.add(answer.text)

    assert len(found) > 50
    assert len(bodies) == 1


def test_t113_a_database_that_is_gone_tells_nothing(ada, lose_database) -> None:
    lose_database()
    for path in ("/api/v1/me", "/api/v1/keys", "/api/v1/usage", "/v1/models"):
        answer = ada.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (
            503,
            "control_plane_unavailable",
        )
        assert not any(
            word in answer.text for word in ("sqlite", "postgres", "dormouse.db", "no s")
        )


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/api/v1/keys", {"name": SECRET, "extra": SECRET}),
        ("/api/v1/keys", {"name": [SECRET]}),
        ("/api/v1/entitlements", {"service": {SECRET: SECRET}}),
        ("/api/v1/sessions", {"email": SECRET, "password": [SECRET]}),
    ],
)
def test_t113_what_was_sent_is_not_told_back(ada, path, sent) -> None:
    answer = ada.post(path, sent)

    assert answer.status_code in (401, 422)
    assert SECRET not in answer.text


def test_t113_paths_and_methods_that_do_not_exist_tell_nothing(client) -> None:
    for method, path in (
        ("GET", f"/{SECRET}"),
        ("PUT", "/api/v1/me"),
        ("TRACE", "/api/v1/me"),
        ("X" * 50, "/api/v1/me"),
        ("GET", "/api/v1/../../etc/passwd"),
        ("GET", "/%00"),
    ):
        answer = client.request(method, path)
        assert answer.status_code in (404, 405)
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert "hunter2" not in answer.text
        assert "server" not in answer.headers
