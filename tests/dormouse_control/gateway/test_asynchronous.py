"""Calls that nobody waits for go to the control plane, and it makes them on a socket of its own."""

import json
import stat
from typing import Any

import httpx
import pytest

from dormouse_control.gateway.paths import DELEGATING_HEADER

BODY = {"model": "small", "messages": [{"role": "user", "content": "Hi"}]}
KEY = {"authorization": "Bearer dm_x"}


def _post(gateway: Any, path: str, headers: list[tuple[str, str]]) -> None:
    sent = [("authorization", "Bearer dm_x"), *headers]
    assert httpx.post(gateway.url + path, headers=sent, json=BODY).status_code == 200


@pytest.mark.parametrize(
    "preferences",
    [
        ["respond-async"],
        ["Respond-Async"],
        ["respond-async, wait=10"],
        ["wait=10,respond-async"],
        ["wait=10; x=1 ,\trespond-async;x"],
        ['x="a, b\\"c", respond-async'],
        ["wait=10", "respond-async"],
        ["respond-async", "handling=lenient"],
    ],
)
@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions", "/completions", "/m/small/v1/embeddings", "/m/small/embeddings"],
)
def test_a_call_that_nobody_waits_for_goes_to_the_control_plane(
    gateway: Any, preferences: list[str], path: str
) -> None:
    _post(gateway, path, [("prefer", each) for each in preferences])

    assert gateway.authorizer.seen == gateway.predictor.seen == []
    [seen] = gateway.control_plane.seen
    assert seen.path == "/v1/" + path.removeprefix("/m/small").removeprefix("/v1").lstrip("/")
    assert seen.headers["x-dormouse-model"] == "small"
    assert seen.headers["authorization"] == "Bearer dm_x"
    assert json.loads(seen.body) == BODY


@pytest.mark.parametrize(
    "preferences",
    [
        ["wait=10"],
        ["respond-asynchronously"],
        ["no-respond-async"],
        ["x=respond-async"],
        ['x="a, respond-async"'],
        ['x="a\\", respond-async, b"'],
        ["x; respond-async"],
    ],
)
def test_other_preferences_do_not_matter(gateway: Any, preferences: list[str]) -> None:
    _post(gateway, "/v1/chat/completions", [("prefer", each) for each in preferences])

    assert gateway.control_plane.seen == []
    assert len(gateway.predictor.seen) == 1


def test_only_calls_are_left_with_the_control_plane(gateway: Any) -> None:
    headers = {**KEY, "prefer": "respond-async"}
    httpx.get(f"{gateway.url}/v1/chat/completions", headers=headers)

    assert len(gateway.authorizer.seen) == 1
    assert gateway.control_plane.seen == []


def test_what_only_we_may_say_is_not_a_callers(gateway: Any) -> None:
    claims = ("x-dormouse-model-error", "x-dormouse-worker", "x-dormouse-bytes")
    _post(
        gateway,
        "/v1/chat/completions",
        [("prefer", "respond-async"), *((name, "invented") for name in claims)],
    )

    [seen] = gateway.control_plane.seen
    assert {name: seen.headers.get(name) for name in claims} == {
        "x-dormouse-model-error": None,
        "x-dormouse-worker": None,
        "x-dormouse-bytes": str(len(seen.body)),
    }


def test_why_no_model_was_found_is_told(gateway: Any) -> None:
    headers = {**KEY, "prefer": "respond-async"}
    httpx.post(f"{gateway.url}/v1/chat/completions", headers=headers, content=b'{"a": 1}')

    [seen] = gateway.control_plane.seen
    assert seen.headers["x-dormouse-model-error"] == "missing"
    assert "x-dormouse-model" not in seen.headers


def test_a_body_that_is_too_long_goes_nowhere(gateway: Any) -> None:
    headers = {**KEY, "prefer": "respond-async", "x-dormouse-model": "small"}
    content = b"x" * (1024 * 1024 + 1)
    answer = httpx.post(f"{gateway.url}/v1/chat/completions", headers=headers, content=content)

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert gateway.control_plane.seen == []


def _delegated(gateway: Any) -> httpx.Client:
    return httpx.Client(
        transport=httpx.HTTPTransport(uds=str(gateway.calls_socket)), base_url="http://gateway"
    )


def test_calls_of_the_control_plane_are_checked_like_others(gateway: Any) -> None:
    request = "8f14e45f-ceea-467f-a0e6-1f2d3c4b5a69"
    headers = {**KEY, "x-request-id": request, "x-dormouse-model": "small"}
    with _delegated(gateway) as client:
        answer = client.post("/v1/chat/completions", headers=headers, json=BODY)

    assert (answer.status_code, answer.headers["x-request-id"]) == (200, request)
    [asked], [seen] = gateway.authorizer.seen, gateway.predictor.seen
    assert asked.headers[DELEGATING_HEADER] == "1"
    assert asked.headers["x-request-id"] == seen.headers["x-request-id"] == request
    assert asked.headers["x-dormouse-model"] == "small"
    assert seen.headers["authorization"] == "Bearer internal"
    assert DELEGATING_HEADER not in seen.headers


def test_nothing_but_calls_is_reached_through_their_socket(gateway: Any) -> None:
    with _delegated(gateway) as client:
        for path in ("/api/v1/me", "/v1/models", "/"):
            assert client.get(path, headers=KEY).status_code == 404
    assert gateway.control_plane.seen == gateway.authorizer.seen == []
    assert stat.S_IMODE(gateway.calls_socket.stat().st_mode) == 0o600


def test_no_caller_can_say_that_their_credential_is_a_delegation(gateway: Any) -> None:
    claims = [(DELEGATING_HEADER, "1"), (DELEGATING_HEADER.upper(), "1")]
    _post(gateway, "/v1/chat/completions", claims)

    [asked] = gateway.authorizer.seen
    assert DELEGATING_HEADER not in asked.headers
