"""`client.requests` over HTTP."""

from typing import Any

import pytest

from dormouse.errors import APITimeoutError

REQUEST = {
    "id": "req_1",
    "status": "queued",
    "model": "small",
    "webhook": {"url": "https://x", "state": "waiting", "attempts": 0},
}
RESULT = {"status_code": 200, "body": {"object": "x"}, "usage": {"total_tokens": 3}}
ENDED = {**REQUEST, "status": "completed", "result": RESULT}


def test_a_call_is_left_with_its_options(client: Any, platform: Any) -> None:
    platform.once("POST", "/v1/chat/completions", lambda _, reply: reply.json(202, REQUEST))
    asked = client.requests.create(
        "chat.completions", webhook="https://x", model="small", messages=[], priority=2
    )

    assert (asked.id, asked.ended, asked.webhook.state) == ("req_1", False, "waiting")
    sent = platform.requests[-1]
    assert sent.body == {"model": "small", "messages": [], "priority": 2}
    assert sent.headers["prefer"] == "respond-async"
    assert sent.headers["x-dormouse-webhook"] == "https://x"
    assert sent.headers["x-dormouse-model"] == "small"
    assert sent.headers["idempotency-key"]
    with pytest.raises(TypeError, match="model="):
        client.requests.create("embeddings", input="x")


def test_waiting_ends_with_the_request(client: Any, platform: Any) -> None:
    answers = [REQUEST, {**REQUEST, "status": "running"}, ENDED]
    platform.always(
        "GET", "/api/v1/requests/req_1", lambda _, reply: reply.json(200, answers.pop(0))
    )
    found = client.requests.wait("req_1", timeout=60)

    assert (found.status, found.ended) == ("completed", True)
    assert (found.result.status_code, found.result.body) == (200, {"object": "x"})
    assert answers == []


def test_nobody_waits_longer_than_they_want(client: Any, platform: Any) -> None:
    platform.always("GET", "/api/v1/requests/req_1", lambda _, reply: reply.json(200, REQUEST))
    with pytest.raises(APITimeoutError, match="req_1"):
        client.requests.wait("req_1", timeout=0.2)


def test_they_are_listed_and_cancelled(client: Any, platform: Any) -> None:
    pages = [{"items": [ENDED], "next": "a"}, {"items": [REQUEST], "next": None}]
    platform.always("GET", "/api/v1/requests", lambda _, reply: reply.json(200, pages.pop(0)))
    assert [each.status for each in client.requests.list()] == ["completed", "queued"]
    platform.once("DELETE", "/api/v1/requests/req_1", lambda _, reply: reply.raw(204, b""))
    client.requests.cancel("req_1")
    assert platform.requests[-1].method == "DELETE"


def test_the_secret_of_webhooks_is_made(client: Any, platform: Any) -> None:
    made = {"created_at": "2030-01-01T00:00:00Z", "previous_until": None, "secret": "whsec_x"}
    platform.once("POST", "/api/v1/webhook-secret", lambda _, reply: reply.json(201, made))
    assert client.requests.make_webhook_secret().secret == "whsec_x"
