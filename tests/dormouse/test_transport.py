import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import dormouse
from dormouse import Dormouse, transport
from dormouse.calls import segment


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the transport slept between attempts; it does not really."""
    found: list[float] = []
    monkeypatch.setattr(transport.time, "sleep", found.append)
    return found


def ask(client: Dormouse) -> Any:
    return client.completions.create(model="small", prompt="once")


STATUSES = [
    (400, dormouse.BadRequestError),
    (401, dormouse.AuthenticationError),
    (402, dormouse.InsufficientQuotaError),
    (403, dormouse.PermissionDeniedError),
    (404, dormouse.NotFoundError),
    (409, dormouse.ConflictError),
    (413, dormouse.BadRequestError),
    (422, dormouse.BadRequestError),
    (429, dormouse.RateLimitError),
    (500, dormouse.InternalServerError),
    (502, dormouse.InternalServerError),
    (503, dormouse.ServiceUnavailableError),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_an_error_answer_is_a_typed_error(
    platform: Any, client: Dormouse, status: int, kind: type[dormouse.APIStatusError]
) -> None:
    error = {"message": "Too hot.", "type": "t", "param": "temperature", "code": "invalid_value"}
    headers = {"x_request_id": "req_7"}
    platform.always(
        "POST", "/v1/completions", lambda _, reply: reply.json(status, {"error": error}, **headers)
    )
    with pytest.raises(kind) as caught:
        ask(client)
    assert type(caught.value) is kind
    assert str(caught.value) == caught.value.message == "Too hot."
    assert (caught.value.code, caught.value.param) == ("invalid_value", "temperature")
    assert (caught.value.status_code, caught.value.request_id) == (status, "req_7")
    assert caught.value.body == {"error": error}
    assert caught.value.retry_after is None
    assert len(platform.requests) == 1  # none of these may be repeated without Retry-After


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"upstream connect error", "the server answered 500: upstream connect error"),
        (b"", "the server answered 500"),
        (b"[1]", "the server answered 500"),
        (b'{"error": "no"}', "the server answered 500"),
        (b'{"error": {"message": 7}}', "the server answered 500"),
        (b"\xff\xfe", "the server answered 500: \ufffd\ufffd"),
    ],
)
def test_an_error_in_another_form_is_an_error_still(
    platform: Any, client: Dormouse, body: bytes, message: str
) -> None:
    platform.once("POST", "/v1/completions", lambda _, reply: reply.raw(500, body))
    with pytest.raises(dormouse.InternalServerError) as caught:
        ask(client)
    assert caught.value.message == message
    assert caught.value.code is None


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b"null", b'{"id": "1"}', b'{"choices":1}'])
def test_an_answer_that_is_none_of_ours_is_named_so(
    platform: Any, client: Dormouse, body: bytes
) -> None:
    platform.once("POST", "/v1/completions", lambda _, reply: reply.raw(200, body))
    with pytest.raises(dormouse.UnexpectedAnswerError):
        ask(client)


def test_a_redirection_is_not_followed_with_the_credential(platform: Any, client: Dormouse) -> None:
    away = {"location": "http://127.0.0.1:1/elsewhere"}
    platform.once("GET", "/api/v1/me", lambda _, reply: reply.raw(307, b"", **away))
    with pytest.raises(dormouse.APIStatusError) as caught:
        client.me()
    assert caught.value.status_code == 307


@pytest.mark.parametrize("status", [429, 503])
def test_a_call_waits_as_long_as_the_server_asks(
    platform: Any, client: Dormouse, pauses: list[float], status: int
) -> None:
    for _ in range(2):
        refuse = lambda _, reply: reply.error(status, "busy", retry_after="3")  # noqa: E731
        platform.once("POST", "/v1/completions", refuse)
    assert ask(client).choices[0].text == "once upon"
    assert len(pauses) == 2
    assert all(3 < pause < 3.2 for pause in pauses)


def test_a_call_gives_up_after_its_retries(
    platform: Any, client: Dormouse, pauses: list[float]
) -> None:
    refuse = lambda _, reply: reply.error(429, "rate_limited", retry_after="1")  # noqa: E731
    platform.always("POST", "/v1/completions", refuse)
    with pytest.raises(dormouse.RateLimitError) as caught:
        ask(client)
    assert caught.value.retry_after == 1
    assert (len(platform.requests), len(pauses)) == (3, 2)


@pytest.mark.parametrize("after", ["61", "soon", "-1", "inf", "nan"])
def test_a_wait_that_is_too_long_or_no_number_is_the_callers(
    platform: Any, client: Dormouse, pauses: list[float], after: str
) -> None:
    refuse = lambda _, reply: reply.error(429, "rate_limited", retry_after=after)  # noqa: E731
    platform.always("POST", "/v1/completions", refuse)
    with pytest.raises(dormouse.RateLimitError) as caught:
        ask(client)
    assert caught.value.retry_after == (61 if after == "61" else None)
    assert pauses == []


def test_the_number_of_retries_is_the_callers(
    platform: Any, connect: Any, pauses: list[float]
) -> None:
    refuse = lambda _, reply: reply.error(503, "busy", retry_after="1")  # noqa: E731
    platform.always("GET", "/api/v1/me", refuse)
    with pytest.raises(dormouse.ServiceUnavailableError):
        connect(api_key="dm_x", max_retries=0).me()
    assert (len(platform.requests), pauses) == (1, [])


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_refused_connection_is_tried_again_with_growing_pauses(
    connect: Any, pauses: list[float]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(dormouse.APIConnectionError, match=f"cannot connect to {url}") as caught:
        ask(connect(base_url=url, api_key="dm_x"))
    assert not caught.value.connected
    assert 0.125 <= pauses[0] <= 0.25 <= pauses[1] <= 0.5
    assert len(pauses) == 2


def test_pauses_differ_from_caller_to_caller() -> None:
    assert len({transport._jittered(1) for _ in range(20)}) > 10


def test_a_server_that_comes_up_meanwhile_is_found(platform: Any, connect: Any) -> None:
    """As when `dormouse up` was typed a moment ago."""
    refused: list[httpx.Request] = []

    class NotYet(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if not refused:
                refused.append(request)
                raise httpx.ConnectError("refused", request=request)
            return super().handle_request(request)

    platform.keys["dm_x"] = {}
    client = connect(api_key="dm_x", http_client=httpx.Client(transport=NotYet()))
    assert ask(client).choices[0].text == "once upon"
    assert len(refused) == 1


def test_a_call_that_may_have_had_its_effect_is_not_repeated(
    platform: Any, client: Dormouse, pauses: list[float]
) -> None:
    platform.always("POST", "/v1/completions", lambda _, reply: reply.break_off())
    with pytest.raises(dormouse.APIConnectionError, match="broke off") as caught:
        ask(client)
    assert caught.value.connected
    assert (len(platform.requests), pauses) == (1, [])


def test_a_reading_call_that_broke_off_is_repeated(
    platform: Any, client: Dormouse, pauses: list[float]
) -> None:
    platform.once("GET", "/v1/models", lambda _, reply: reply.break_off())
    assert client.models.list().data[0].id == "small"
    assert len(pauses) == 1


@pytest.mark.parametrize("code", ["waking_failed", "model_quarantined"])
def test_what_the_platform_has_tried_three_times_is_not_tried_again(
    platform: Any, client: Dormouse, pauses: list[float], code: str
) -> None:
    refused = lambda _, reply: reply.error(503, code, "No.", retry_after="5")  # noqa: E731
    platform.always("GET", "/v1/models", refused)
    with pytest.raises(dormouse.ServiceUnavailableError):
        client.models.list()
    assert (len(platform.requests), pauses) == (1, [])


KEY = {"id": "key_1", "name": "ci", "prefix": "dm_x", "key": "dm_x1", "created_at": "2026-01-01"}


def test_r12_a_call_that_the_server_knows_again_is_repeated_with_its_key(
    platform: Any, client: Dormouse, pauses: list[float]
) -> None:
    again = {"retry_after": "1"}
    first, second = "/api/v1/keys", "idempotency_in_progress"
    platform.once("POST", first, lambda _, reply: reply.break_off())
    platform.once("POST", first, lambda _, reply: reply.error(409, second, **again))
    platform.always("POST", first, lambda _, reply: reply.json(201, KEY))
    client.keys.create("ci")
    client.keys.create("ci")
    sent = [each.headers["idempotency-key"] for each in platform.asked("POST", first)]
    assert sent[0] == sent[1] == sent[2] != sent[3]
    assert len(pauses) == 2


def _creating(client: Dormouse) -> dict[str, Callable[[], object]]:
    """Every method that sends a repeatable operation, by that operation."""
    admin = client.admin
    return {
        "POST /api/v1/registrations": lambda: client.register("a@b.org", "p"),
        "POST /api/v1/verifications": lambda: client.verifications.create("a@b.org"),
        "POST /api/v1/verifications/confirm": lambda: client.verifications.confirm("t"),
        "POST /api/v1/resets": lambda: client.resets.create("a@b.org"),
        "POST /api/v1/resets/confirm": lambda: client.resets.confirm("t", "p"),
        "POST /api/v1/administrators": lambda: client.administrators.create(
            "a@b.org", "p", token="t"
        ),
        "POST /api/v1/invitations": lambda: client.invitations.create(),
        "POST /api/v1/keys": lambda: client.keys.create("ci"),
        "POST /api/v1/entitlements": lambda: client.entitlements.create("chat"),
        "PUT /api/v1/users/{id}/entitlements/{service}": lambda: admin.users.grant("u", "chat"),
        "POST /api/v1/users/{id}/entitlements/{service}/refuse": lambda: admin.users.refuse(
            "u", "chat"
        ),
        "POST /api/v1/groups": lambda: admin.groups.create("g"),
        "PUT /api/v1/groups/{id}/members/{user}": lambda: admin.groups.add_member("g", "u"),
        "PUT /api/v1/groups/{id}/entitlements/{service}": lambda: admin.groups.grant("g", "chat"),
        "PUT /api/v1/tiers/{id}": lambda: admin.tiers.put("t", title="T"),
        "PUT /api/v1/budgets/{subject}/{period}": lambda: admin.budgets.set("usr_1", "day", 1.0),
        "POST /api/v1/webhook-secret": client.requests.make_webhook_secret,
        "POST /v1/chat/completions": lambda: client.requests.create(
            "chat.completions", model="m", messages=[]
        ),
        "POST /v1/completions": lambda: client.requests.create("completions", model="m"),
        "POST /v1/embeddings": lambda: client.requests.create("embeddings", model="m"),
    }


def test_all_that_the_server_knows_again_carries_a_key(repository: Path) -> None:
    document = json.loads((repository / "docs/reference/openapi.json").read_text())
    known_again = {
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if any(each["name"] == "idempotency-key" for each in operation.get("parameters", []))
    }
    sent: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(400)

    http = httpx.Client(transport=httpx.MockTransport(refuse))
    calls = _creating(Dormouse(api_key="dm_x", http_client=http))
    assert set(calls) == known_again - {"POST /api/v1/signing-keys"}  # which has no method
    for operation, call in calls.items():
        with pytest.raises(dormouse.BadRequestError):
            call()
        assert len(sent[-1].headers.get("idempotency-key", "")) == 36, operation


def test_a_slow_answer_is_a_timeout_and_not_repeated(platform: Any, connect: Any) -> None:
    platform.always("GET", "/v1/models", lambda _, __: time.sleep(0.3))
    client = connect(api_key="dm_x", timeout=0.05)
    with pytest.raises(dormouse.APITimeoutError, match=r"within 0\.05 s"):
        client.models.list()
    assert len(platform.requests) == 1


def test_a_call_may_have_its_own_timeout(platform: Any, client: Dormouse) -> None:
    platform.always("POST", "/v1/completions", lambda _, __: time.sleep(0.3))
    with pytest.raises(dormouse.APITimeoutError):
        client.completions.create(model="small", prompt="once", timeout=0.05)
    assert "timeout" not in platform.requests[-1].body


def test_a_timeout_is_a_connection_error_as_in_openais_client() -> None:
    assert issubclass(dormouse.APITimeoutError, dormouse.APIConnectionError)


def test_connections_are_used_again(platform: Any, client: Dormouse) -> None:
    for _ in range(5):
        client.models.list()
        with pytest.raises(dormouse.NotFoundError):
            client.models.retrieve("absent")
    assert platform.connections == 1


def test_a_proxy_is_not_asked_for_this_machines_own_addresses(
    platform: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.keys["dm_x"] = {}
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert connect(api_key="dm_x").models.list().data


@pytest.mark.parametrize(
    ("id", "path"), [("a/b", "a%2Fb"), ("a b?c#d", "a%20b%3Fc%23d"), ("ключ", None), ("..a", "..a")]
)
def test_an_id_stays_one_part_of_the_path(id: str, path: str | None) -> None:
    assert "/" not in segment(id)
    assert path is None or segment(id) == path


@pytest.mark.parametrize("id", ["", ".", ".."])
def test_what_leaves_the_path_is_no_id(client: Dormouse, id: str) -> None:
    with pytest.raises(ValueError, match="is not an id"):
        client.services.get(id)


def test_numbers_that_json_has_not_are_refused_before_sending(
    platform: Any, client: Dormouse
) -> None:
    with pytest.raises(ValueError, match="JSON"):
        client.completions.create(model="small", prompt="x", temperature=float("nan"))
    with pytest.raises(TypeError, match="cannot be sent"):
        client.completions.create(model="small", prompt="x", extra_body={"x": object()})
    assert platform.requests == []


def test_the_client_names_itself(platform: Any, client: Dormouse) -> None:
    client.me()
    agent = platform.requests[-1].headers["user-agent"]
    assert agent == f"dormouse-python/{dormouse.__version__}"
    assert json.dumps(platform.requests[-1].headers).count("dm_test") == 1
