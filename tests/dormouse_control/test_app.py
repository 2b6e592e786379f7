"""What holds for every endpoint."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY
from sqlalchemy import event, func, select
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from dormouse_control import errors
from dormouse_control import log as logs
from dormouse_control.app import public_app
from dormouse_control.identity.models import User
from dormouse_control.monitoring.requests import RequestLog
from dormouse_control.wiring import Platform

CREDENTIALS = {"email": "ada@example.org", "password": "correct horse battery"}
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "missing_required_parameter"),
        (b"{", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[" * 200_000, 400, "invalid_json"),
        (b"{" + b'"a":{' * 50_000, 400, "invalid_json"),
        (b'{"email": 1' + b"0" * 5000 + b"}", 400, "invalid_json"),
        (b'{"email": 1e999, "password": "x"}', 422, "invalid_value"),
        (b'{"email": NaN, "password": "x"}', 422, "invalid_value"),
        (b"[]", 422, "invalid_value"),
        (b"null", 422, "invalid_value"),
        (b'"text"', 422, "invalid_value"),
        (b'{"email": "' + b"a" * 2_000_000 + b'"}', 413, "body_too_large"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_bad_bodies_are_a_clear_4xx(
    client: TestClient, content: bytes, status: int, code: str
) -> None:
    answer = client.post("/api/v1/sessions", content=content, headers=JSON)

    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["type"]) == (code, "invalid_request_error")


def test_a_body_without_a_declared_length_is_limited_too(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"email": "'
        for _ in range(40):
            yield b"a" * 50_000

    answer = client.post("/api/v1/sessions", content=chunks(), headers=JSON)

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_a_form_is_not_taken_for_json(client: TestClient) -> None:
    answer = client.post(
        "/api/v1/sessions", content=json.dumps(CREDENTIALS), headers={"content-type": "text/plain"}
    )

    assert answer.status_code == 422


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/api/v1/", "/api/v1/keys/", "/metrics"])
def test_other_paths_are_not_found_and_never_redirected(client: TestClient, path: str) -> None:
    answer = client.get(path, follow_redirects=False)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_other_methods_are_refused_and_the_right_ones_named(client: TestClient) -> None:
    answer = client.put("/api/v1/me")

    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


def test_a_commit_that_fails_is_not_reported_as_success(
    client: TestClient, platform: Platform
) -> None:
    def fail(_session: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("disk full"))

    event.listen(platform.database.sessions, "before_commit", fail)
    answer = client.post("/api/v1/registrations", json=CREDENTIALS)
    event.remove(platform.database.sessions, "before_commit", fail)

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "control_plane_unavailable"
    assert "retry-after" in answer.headers
    with platform.database.reads() as reading:
        assert reading.scalar(select(func.count()).select_from(User)) == 0


def test_the_answer_leaves_after_the_commit(client: TestClient, platform: Platform) -> None:
    order: list[str] = []
    event.listen(platform.database.sessions, "after_commit", lambda _: order.append("commit"))
    sending = client.app

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def note(message: Any) -> None:
            order.append(message["type"])
            await send(message)

        await sending(scope, receive, note)  # type: ignore[misc, call-arg]

    TestClient(watched).post("/api/v1/registrations", json=CREDENTIALS)

    assert order == ["commit", "http.response.start", "http.response.body"]


def test_an_unexpected_error_is_logged_and_not_shown(platform: Platform) -> None:
    app = public_app(platform)

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("canary")

    with structlog.testing.capture_logs() as lines:
        answer = TestClient(app).get("/broken")

    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "canary" not in answer.text
    assert [line["event"] for line in lines] == ["request_failed", "request"]
    assert lines[0]["exc_info"]


def test_a_request_is_logged_with_the_gateways_id_and_its_route(ada: Any) -> None:
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as lines:
        ada.client.delete("/api/v1/keys/key_1?x=canary", headers={"x-request-id": "from-gateway"})

    (line,) = [line for line in lines if line["event"] == "request"]
    assert line.pop("ms") >= 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "request_id": "from-gateway",
        "method": "DELETE",
        "route": "/api/v1/keys/{id}",
        "status": 401,
    }


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, '{"a":1}'])
def test_a_strange_request_id_is_replaced(client: TestClient, given: str) -> None:
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as lines:
        client.get("/healthz", headers={"x-request-id": given})

    assert len(lines[0]["request_id"]) == 32


def test_requests_are_counted_by_route_and_status(client: TestClient) -> None:
    labels = {"api": "public", "method": "GET", "route": "/v1/models/{id:path}", "status": "401"}
    before = REGISTRY.get_sample_value("dormouse_http_requests_total", labels) or 0

    client.get("/v1/models/one")
    client.get("/v1/models/two")

    assert REGISTRY.get_sample_value("dormouse_http_requests_total", labels) == before + 2


def test_no_secret_is_ever_answered_or_logged(
    client: TestClient, internal: TestClient, platform: Platform, clock: Any
) -> None:
    import io

    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    logs.configure("control-plane", "debug")
    written = io.StringIO()
    root.handlers[0].setStream(written)  # type: ignore[attr-defined]
    try:
        secrets, later = _use_everything(client, internal, platform, clock)
    finally:
        root.handlers[:], logging.raiseExceptions = handlers, raising
        root.setLevel(level)
        structlog.reset_defaults()

    assert written.getvalue().count('"event": "request"') > 10
    assert [secret for secret in secrets if secret in written.getvalue()] == []
    assert [secret for secret in secrets if secret in later] == []


def _use_everything(
    client: TestClient, internal: TestClient, platform: Platform, clock: Any
) -> tuple[list[str], str]:
    """Every endpoint, well and badly; the secrets that went through, and the later answers."""
    credentials = {"email": "ada@example.org", "password": "canary horse battery"}
    client.post("/api/v1/registrations", json=credentials)
    client.post("/api/v1/registrations", json=credentials)
    client.post("/api/v1/registrations", json=credentials | {"email": credentials["password"]})
    client.post("/api/v1/sessions", json=credentials | {"extra": "x"})
    first = client.post("/api/v1/sessions", json=credentials).json()
    pair = client.post(
        "/api/v1/sessions/refresh", json={"refresh_token": first["refresh_token"]}
    ).json()
    headers = {"authorization": f"Bearer {pair['access_token']}"}
    key = client.post("/api/v1/keys", json={"name": "x"}, headers=headers).json()["key"]
    with platform.database.reads() as reading:
        stored = reading.scalars(select(User)).one().password_hash
    later = ""
    for bearer in (pair["access_token"], key, f"{key}x", pair["access_token"] + "x"):
        for path in ("me", "keys", "usage", "services", "entitlements", "status"):
            headers = {"authorization": f"Bearer {bearer}"}
            later += client.get(f"/api/v1/{path}", headers=headers).text
    later += internal.get("/internal/v1/revocations?after=0").text
    clock.advance(seconds=20)
    replay = {"refresh_token": first["refresh_token"]}
    later += client.post("/api/v1/sessions/refresh", json=replay).text
    secrets = ["canary horse battery", stored, key, *first.values(), *pair.values()]
    return [secret for secret in secrets if isinstance(secret, str) and len(secret) > 10], later


def test_every_operation_has_a_stable_name_and_a_description(client: TestClient) -> None:
    schema = client.get("/api/v1/openapi.json").json()
    operations = [operation for path in schema["paths"].values() for operation in path.values()]

    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names) > 15
    assert [found["operationId"] for found in operations if not found.get("description")] == []


def test_no_answer_has_a_field_that_could_be_a_hash(client: TestClient) -> None:
    schemas = client.get("/api/v1/openapi.json").json()["components"]["schemas"]
    fields = {
        field
        for name, schema in schemas.items()
        for field in schema.get("properties", {})
        if name not in ("AuditRead", "HeadRead")  # whose hashes are there to be seen
    }

    assert fields & {"password_hash", "sha256", "hash", "mac", "seq"} == set()


def _errors() -> list[type[errors.PlatformError]]:
    found, left = [], [errors.PlatformError]
    while left:
        kind = left.pop()
        found.append(kind)
        left += kind.__subclasses__()
    return found


def test_the_tree_of_errors_is_the_one_that_is_drawn() -> None:
    drawn = errors.__doc__ or ""
    missing = [
        kind.__name__
        for kind in _errors()
        if not any(
            line.strip("│├└─ ").split()[:3] == [kind.__name__, str(kind.status), kind.code]
            for line in drawn.splitlines()
        )
    ]
    assert missing == []


def test_types_follow_the_status() -> None:
    types = {
        401: "authentication_error",
        403: "permission_error",
        429: "rate_limit_error",
    }
    for kind in _errors():
        usual = "server_error" if kind.status >= 500 else "invalid_request_error"
        assert kind.type == types.get(kind.status, usual)


async def _never(*_: object) -> None:
    raise AssertionError


def test_other_protocols_pass_untouched() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
        seen.append(scope["type"])

    import asyncio

    asyncio.run(RequestLog(app, api="x", max_body=1)({"type": "lifespan"}, _never, _never))

    assert seen == ["lifespan"]
