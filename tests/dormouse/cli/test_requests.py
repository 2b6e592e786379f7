"""`dormouse requests`."""

import json
from typing import Any

REQUEST = {"id": "req_1", "status": "running", "model": "small", "attempts": 2}
ENDED = {
    **REQUEST,
    "status": "failed",
    "refusal": {"code": "invalid_value", "message": "No.", "type": "x", "param": None},
    "result": {"status_code": 422, "body": {"error": {"code": "invalid_value"}}, "usage": None},
}


def test_requests_are_listed(platform: Any, signed_in: Any) -> None:
    page = {"items": [REQUEST], "next": None}
    platform.always("GET", "/api/v1/requests", lambda _, reply: reply.json(200, page))

    shown = signed_in("requests", "list").stdout
    assert all(word in shown for word in ("req_1", "small", "running", "2"))
    assert json.loads(signed_in("requests", "list", "--json").stdout)["items"] == [REQUEST]


def test_a_result_is_shown_when_it_is_there(platform: Any, signed_in: Any) -> None:
    answers = [REQUEST, ENDED]
    platform.always(
        "GET", "/api/v1/requests/req_1", lambda _, reply: reply.json(200, answers.pop(0))
    )
    done = signed_in("requests", "get", "req_1", "--wait")

    assert done.exit_code == 0, done.stderr
    assert "invalid_value: No." in done.stderr
    assert '"code": "invalid_value"' in done.stdout


def test_one_is_cancelled(platform: Any, signed_in: Any) -> None:
    platform.always("DELETE", "/api/v1/requests/req_1", lambda _, reply: reply.raw(204, b""))
    assert signed_in("requests", "cancel", "req_1").stdout == "Cancelled req_1.\n"
    assert platform.requests[-1].method == "DELETE"


def test_the_secret_of_webhooks_is_alone_on_stdout(platform: Any, signed_in: Any) -> None:
    made = {"created_at": "x", "previous_until": "2030-01-02T00:00:00Z", "secret": "whsec_x"}
    platform.always("POST", "/api/v1/webhook-secret", lambda _, reply: reply.json(201, made))
    done = signed_in("requests", "webhook-secret")
    assert done.stdout == "whsec_x\n"
    assert "signs too until" in done.stderr
